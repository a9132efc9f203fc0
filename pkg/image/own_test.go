package image

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func ownPolicy(t testing.TB, spec string, annotations ...string) Policy {
	t.Helper()
	p := policyOf(t, spec)
	p.Annotations = map[string]string{}
	for i := 0; i < len(annotations); i += 2 {
		p.Annotations[annotations[i]] = annotations[i+1]
	}
	return p
}

// told is what became of the tags, a line each, with the codes of warnings.
func told(c Choice, err error) string {
	var out strings.Builder
	for _, v := range c.Verdicts {
		fmt.Fprintf(&out, "%s: %s\n", v.Tag, v.Reason())
	}
	for _, w := range c.Warnings {
		fmt.Fprintf(&out, "%s: %s\n", w.Code, w.Message)
	}
	if err != nil {
		fmt.Fprintf(&out, "error: %s\n", err)
	} else {
		fmt.Fprintf(&out, "= %s, %s\n", c.Tag, c.Reason)
	}
	return out.String()
}

func TestOrderByCreation(t *testing.T) {
	p := ownPolicy(t, "policy: {alphabetical: {order: desc}, semver: {range: '*'}}\nfilterTags: {pattern: '^(?P<kind>sha)-[a-f0-9]+$', extract: '$kind'}", OrderAnnotation, "created")
	at := func(day int) Fact { return Fact{Created: time.Date(2026, 3, day, 8, 0, 0, 0, time.UTC)} }
	facts := Facts{"sha-aaaaaaa": at(2), "sha-fffffff": at(1), "sha-0000000": at(3), "sha-1111111": {}, "sha-2222222": {Why: "it is gone"}}
	got := told(Choose(p, nil, strings.Fields("latest sha-fffffff sha-0000000 sha-aaaaaaa sha-1111111 sha-2222222"), facts))
	want := `sha-0000000: built 2026-03-03T08:00:00Z, chosen
sha-aaaaaaa: built 2026-03-02T08:00:00Z, ranked 2
sha-fffffff: built 2026-03-01T08:00:00Z, ranked 3
sha-2222222: it is gone
sha-1111111: the image does not say when it was built
latest: not matched by "^(?P<kind>sha)-[a-f0-9]+$"
image-undated: 2 of 5 candidates do not say when they were built, and are skipped: sha-2222222, sha-1111111
= sha-0000000, the newest of 3 images, built 2026-03-03T08:00:00Z
`
	if got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}

	facts["sha-ccccccc"] = at(3)
	if got := told(Choose(p, nil, []string{"sha-0000000", "sha-ccccccc"}, facts)); !strings.Contains(got, "= sha-ccccccc,") ||
		!strings.Contains(got, "image-tie: sha-ccccccc and sha-0000000 were built at the same time: the last by alphabet is taken") {
		t.Error(got)
	}
	got = told(Choose(p, nil, []string{"sha-1111111"}, facts))
	if !strings.Contains(got, "none of 1 candidate says when it was built") {
		t.Error(got)
	}
}

func TestOrderByCommit(t *testing.T) {
	hash := func(prefix string) string { return prefix + strings.Repeat("0", 40-len(prefix)) }
	history := []string{hash("aaaaaaa1"), hash("bbbbbbb2"), hash("42ea07d1"), hash("42ea07d9"), hash("ccccccc3")}
	p := ownPolicy(t, "policy: {alphabetical: {order: desc}}\nfilterTags: {pattern: '^main-(?P<sha>[a-f0-9]+)', extract: '$sha'}",
		OrderAnnotation, "commit", RepositoryAnnotation, "https://git.example.com/team/app", BranchAnnotation, "main")
	choose := func(tags string) string {
		t.Helper()
		all := strings.Fields(tags)
		candidates, err := Candidates(p, nil, all)
		if err != nil {
			t.Fatal(err)
		}
		return told(Choose(p, nil, all, CommitFacts(history, candidates)))
	}
	want := `main-bbbbbbb: extracted as "bbbbbbb", commit bbbbbbb20000, 1 commit behind, chosen
main-42ea07d: extracted as "42ea07d", commit 42ea07d10000, 2 commits behind, ranked 2
main-ccccccc300000000000000000000000000000000: extracted as "ccccccc300000000000000000000000000000000", commit ccccccc30000, 4 commits behind, ranked 3
main-eeeeeee: extracted as "eeeeeee", not a commit of branch main of https://git.example.com/team/app
main-42: extracted as "42", "42" is not a commit of 7 digits or more
latest: not matched by "^main-(?P<sha>[a-f0-9]+)"
image-unknown-commit: 2 of 5 candidates are of no commit of branch main of https://git.example.com/team/app, and are skipped: main-eeeeeee, main-42
= main-bbbbbbb, of the newest of 3 commits, commit bbbbbbb20000, 1 commit behind
`
	if got := choose("latest main-42 main-ccccccc300000000000000000000000000000000 main-bbbbbbb main-42ea07d main-eeeeeee"); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	for _, test := range []struct{ name, tags, want string }{
		{"the newest is the tip", "main-bbbbbbb main-aaaaaaa1", "= main-aaaaaaa1, of the newest of 2 commits, commit aaaaaaa10000, the newest"},
		{"twice the same commit", "main-bbbbbbb main-bbbbbbb-arm", "image-tie: main-bbbbbbb-arm and main-bbbbbbb are of the same commit: the last by alphabet is taken"},
		{"an abbreviation that can be the newest is refused", "main-42ea07d main-ccccccc", "error: policy.yaml:1: imagepolicy.image.toolkit.fluxcd.io/api in flux-system: main-42ea07d can be several commits of branch main of"},
		{"with more digits it is not ambiguous", "main-42ea07d9 main-ccccccc", "= main-42ea07d9,"},
		{"none", "main-eeeeeee", "none of 1 candidate is of a commit of branch main of https://git.example.com/team/app"},
	} {
		if got := choose(test.tags); !strings.Contains(got, test.want) {
			t.Errorf("%s:\n%s\nwant %s", test.name, got, test.want)
		}
	}
	// Without an extract: a word, and then the commit; capitals are none of Git's.
	p = ownPolicy(t, "policy: {alphabetical: {}}", OrderAnnotation, "commit", RepositoryAnnotation, "https://git.example.com/team/app")
	if got := choose("sha-CCCCCCC sha-bbbbbbb latest"); !strings.Contains(got, "= sha-bbbbbbb, of the newest of 2 commits") || !strings.Contains(got, `latest: "latest" is not a commit`) ||
		!strings.Contains(got, "1 of 3 candidates are of no commit of the branch of https://git.example.com/team/app") {
		t.Error(got)
	}
}

func TestOwnOrdersThatCannotBe(t *testing.T) {
	for _, test := range []struct {
		annotations []string
		want        string
	}{
		{[]string{OrderAnnotation, "newest"}, `annotation kubectl-gitops.dev/order: "newest" is neither created nor commit`},
		{[]string{OrderAnnotation, ""}, `"" is neither created nor commit`},
		{[]string{OrderAnnotation, "commit"}, "does not say of which repository"},
		{[]string{RepositoryAnnotation, "https://git.example.com/a"}, "and kubectl-gitops.dev/order is not commit"},
		{[]string{OrderAnnotation, "created", BranchAnnotation, "main"}, "and kubectl-gitops.dev/order is not commit"},
	} {
		p := ownPolicy(t, "policy: {alphabetical: {}}", test.annotations...)
		if err := p.Check(); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: %v, want %s", test.annotations, err, test.want)
		}
		if _, err := Choose(p, nil, []string{"a"}, nil); err == nil {
			t.Errorf("%q: chosen", test.annotations)
		}
	}
}

// The annotations are read from the file, and the hash warning names them.
func TestAnnotationsOfAFile(t *testing.T) {
	objects, problems := Read("p.yaml", []byte("apiVersion: image.toolkit.fluxcd.io/v1\nkind: ImagePolicy\nmetadata:\n  name: api\n  annotations:\n    kubectl-gitops.dev/order: created\nspec:\n  policy: {alphabetical: {}}\n"))
	if len(problems) > 0 || len(objects.Policies) != 1 {
		t.Fatal(problems)
	}
	if own, err := objects.Policies[0].Own(); err != nil || own.By != ByCreated {
		t.Error(own, err)
	}
	c, _ := Choose(policyOf(t, "policy: {alphabetical: {}}"), nil, []string{"sha-42ea07d", "sha-0ab1c2d"}, nil)
	if len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0].Hint, OrderAnnotation+": created") {
		t.Error(c.Warnings)
	}
}
