package image

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/Masterminds/semver/v3"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/bench"
)

// policyOf reads a policy from the text of its spec.
func policyOf(t testing.TB, spec string) Policy {
	t.Helper()
	text := "apiVersion: image.toolkit.fluxcd.io/v1\nkind: ImagePolicy\nmetadata: {name: api, namespace: flux-system}\nspec:\n  imageRepositoryRef: {name: api}\n"
	for line := range strings.Lines(strings.TrimSpace(spec)) {
		text += "  " + line
	}
	objects, problems := Read("policy.yaml", []byte(text+"\n"))
	if len(problems) > 0 || len(objects.Policies) != 1 {
		t.Fatalf("%v\n%s", problems, text)
	}
	return objects.Policies[0]
}

func TestChoose(t *testing.T) {
	const digits = "filterTags: {pattern: '^main-[a-f0-9]+-(?P<ts>[0-9]+)', extract: '$ts'}\n"
	for _, test := range []struct {
		name, spec, tags, want string
		warnings               string
	}{
		{"the highest version in the range", "policy: {semver: {range: '>=1.0.0'}}", "1.0.0 1.10.0 1.9.0 0.9.0", "1.10.0", ""},
		{"a v does not count", "policy: {semver: {range: '1.x'}}", "v1.2.0 1.1.0 v2.0.0", "v1.2.0", ""},
		{"a version has three numbers", "policy: {semver: {range: '>=1.0.0'}}", "2.0 3 v4 1.2.3 latest", "1.2.3", ""},
		{"prereleases need a range that has one", "policy: {semver: {range: '>=1.0.0'}}", "1.0.0 1.1.0-rc.1", "1.0.0", ""},
		{"prereleases in such a range", "policy: {semver: {range: '>=1.0.0-0'}}", "1.0.0 1.1.0-rc.1 1.1.0-rc.2", "1.1.0-rc.2", ""},
		{"equal versions: the last by alphabet", "policy: {semver: {range: '*'}}", "1.0.0 v1.0.0 1.0.0+a 0.1.0", "v1.0.0", "image-tie"},
		{"equal versions after a filter", "policy: {semver: {range: '*'}}\nfilterTags: {pattern: '^[ab]-(.*)$', extract: '$1'}", "a-1.0.0 b-v1.0.0", "b-v1.0.0", "image-tie"},
		{"an equal pair below the choice is nobody's business", "policy: {semver: {range: '*'}}", "1.0.0 v1.0.0 2.0.0", "2.0.0", ""},
		{"alphabetical: ascending takes the last", "policy: {alphabetical: {order: asc}}", "a c b", "c", ""},
		{"alphabetical: descending takes the first", "policy: {alphabetical: {order: desc}}", "b a c", "a", ""},
		{"alphabetical: by bytes, and asc by default", "policy: {alphabetical: {}}", "Zebra apple B10 B9", "apple", ""},
		{"order does not look at case", "policy: {alphabetical: {order: DESC}}", "b a c", "a", ""},
		{"numerical: ascending takes the largest", "policy: {numerical: {order: asc}}", "9 10 8", "10", ""},
		{"numerical: descending takes the smallest", "policy: {numerical: {order: desc}}", "9 10 8", "8", ""},
		{"numerical: floats", "policy: {numerical: {}}", "1.5 1.25 1e1 -3", "1e1", ""},
		{"equal numbers: the first by alphabet", "policy: {numerical: {}}", "10 010 1e1 9", "010", "image-tie"},
		{"extracted", "policy: {numerical: {}}\n" + digits, "main-abc-20 main-def-100 other-xyz-900", "main-def-100", ""},
		{"a pattern is not anchored", "policy: {alphabetical: {}}\nfilterTags: {pattern: 'rc'}", "x-rc-1 rc y", "x-rc-1", ""},
		{"two tags with one value: the first by alphabet", "policy: {numerical: {}}\n" + digits, "main-abc-7 main-def-7 main-aaa-3", "main-abc-7", "image-collision"},
		{"a collision below the choice is nobody's business", "policy: {numerical: {}}\n" + digits, "main-abc-3 main-def-3 main-aaa-7", "main-aaa-7", ""},
		{"beyond 2^53, filtered: the larger one", "policy: {numerical: {}}\n" + digits, "main-a-9007199254740993 main-b-9007199254740992 main-c-1", "main-a-9007199254740993", "image-precision"},
		{"beyond 2^53, descending", "policy: {numerical: {order: desc}}\n" + digits, "main-a-9007199254740993 main-b-9007199254740992", "main-b-9007199254740992", "image-precision"},
		{"beyond 2^53, as it is: Flux's", "policy: {numerical: {}}", "9007199254740993 9007199254740992", "9007199254740992", "image-precision"},
		{"digits that a float64 still has", "policy: {numerical: {}}", "20260102030405123 20260102030405127", "20260102030405127", ""},
		{"two kinds: semver wins", "policy: {numerical: {}, semver: {range: '*'}}", "1.0.0 2.0.0", "2.0.0", "image-two-policies"},
		{"two kinds: alphabetical before numerical", "policy: {numerical: {order: desc}, alphabetical: {order: asc}}", "1 2", "2", "image-two-policies"},
		{"commit hashes by alphabet", "policy: {alphabetical: {order: desc}}\nfilterTags: {pattern: '^sha-[a-f0-9]+$'}", "sha-42ea07d sha-0ab1c2d sha-9999999 latest", "sha-0ab1c2d", "image-hash-order"},
		{"dates are no hashes", "policy: {alphabetical: {order: asc}}", "20260101 20260102", "20260102", ""},
		{"excluded", "policy: {alphabetical: {order: asc}}", "a b sha256-x.sig", "b", ""},
		{"a dollar in an extract", "policy: {alphabetical: {order: asc}}\nfilterTags: {pattern: '^(a|b)$', extract: '$$${1}'}", "a b c", "b", ""},
		{"an empty pattern matches all", "policy: {alphabetical: {}}\nfilterTags: {}", "a b", "b", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := policyOf(t, test.spec)
			tags := strings.Fields(test.tags)
			for range 6 {
				c, err := Choose(p, Repository{}.Exclusions(), tags, nil)
				if err != nil {
					t.Fatal(err)
				}
				var codes []string
				for _, w := range c.Warnings {
					codes = append(codes, w.Code)
				}
				if c.Tag != test.want || strings.Join(codes, " ") != test.warnings {
					t.Fatalf("of %v: chose %s (%s), warnings %v; want %s, %q", tags, c.Tag, c.Reason, c.Warnings, test.want, test.warnings)
				}
				if len(c.Verdicts) != len(tags) || c.Verdicts[0].Tag != c.Tag || c.Verdicts[0].Outcome != Chosen || c.Verdicts[0].Rank != 1 {
					t.Fatalf("verdicts: %+v", c.Verdicts)
				}
				rand.Shuffle(len(tags), func(i, j int) { tags[i], tags[j] = tags[j], tags[i] })
			}
		})
	}
}

func TestEveryTagHasItsReason(t *testing.T) {
	p := policyOf(t, "policy: {semver: {range: '1.x'}}\nfilterTags: {pattern: '^(?P<v>v?[0-9].*)-(amd64|arm64)$', extract: '$v'}")
	tags := strings.Fields("1.2.0-amd64 1.2.0-arm64 1.1.0-amd64 2.0.0-amd64 1.3-amd64 1.3.0-rc.1-amd64 01.2.3-amd64 latest x.sig")
	c, err := Choose(p, Repository{}.Exclusions(), tags, nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, v := range c.Verdicts {
		got = append(got, v.Tag+": "+v.Reason())
	}
	want := []string{
		`1.2.0-amd64: extracted as "1.2.0", chosen`,
		`1.1.0-amd64: extracted as "1.1.0", ranked 2`,
		`x.sig: excluded by "^.*\\.sig$" of the repository's exclusionList`,
		`latest: not matched by "^(?P<v>v?[0-9].*)-(amd64|arm64)$"`,
		`2.0.0-amd64: extracted as "2.0.0", not in "1.x"`,
		`1.3.0-rc.1-amd64: extracted as "1.3.0-rc.1", a prerelease, and "1.x" has none`,
		`1.3-amd64: extracted as "1.3", not a version: it is not X.Y.Z`,
		`1.2.0-arm64: extracted as "1.2.0", gives way to 1.2.0-amd64, which has the same extracted value`,
		`01.2.3-amd64: extracted as "01.2.3", not a version: version segment starts with 0`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if want := `the highest of 2 versions in "1.x", extracted as "1.2.0"`; c.Reason != want {
		t.Errorf("reason: %s, want %s", c.Reason, want)
	}
}

func TestNothingIsChosen(t *testing.T) {
	for _, test := range []struct{ name, spec, exclude, tags, want, hint string }{
		{"an empty list", "policy: {semver: {range: '*'}}", "", "",
			"no tag to choose from: the repository has none", ""},
		{"all excluded", "policy: {semver: {range: '*'}}", ".*", "1.0.0 2.0.0",
			"no tag to choose from: of 2, 2 excluded", ""},
		{"none matched", "policy: {semver: {range: '*'}}\nfilterTags: {pattern: '^v'}", "", "1.0.0 x.sig",
			`no tag to choose from: of 2, 1 excluded, 1 not matched by "^v"`, ""},
		{"no version", "policy: {semver: {range: '*'}}", "", "latest main",
			`no tag in "*": 2 candidates not a version`, "take it out with spec.filterTags.extract"},
		{"none in the range", "policy: {semver: {range: '>=2.0.0'}}", "", "1.0.0 latest",
			`no tag in ">=2.0.0": 1 candidate not a version, 1 candidate out of range`, ""},
		{"prereleases only", "policy: {semver: {range: '>=1.0.0'}}", "", "1.0.0-rc.1 1.0.0-rc.2 1.1.0-a",
			`no tag in ">=1.0.0": 3 candidates out of range`, "range: '>=1.0.0-0'"},
		{"a candidate that is no number", "policy: {numerical: {}}", "", "1 2 latest",
			"numerical needs numbers, and this is none: latest", "let through numbers only"},
		{"many of them", "policy: {numerical: {}}", "", "1 a b c d e",
			"these are none: e, d, c and 2 more", ""},
		{"not a number at all", "policy: {numerical: {}}", "", "1 NaN", "this is none: NaN", ""},
		{"out of range of a float64", "policy: {numerical: {}}", "", "1 1e999", "this is none: 1e999", ""},
		{"a pattern that does not compile", "policy: {semver: {range: '*'}}\nfilterTags: {pattern: '(a'}", "", "1.0.0",
			`policy.yaml:7: imagepolicy.image.toolkit.fluxcd.io/api in flux-system: spec.filterTags.pattern "(a": missing closing )`, ""},
		{"a pattern that would explode", "policy: {semver: {range: '*'}}\nfilterTags: {pattern: '((a{1000}){1000}){1000}'}", "", "1.0.0",
			"invalid repeat count", ""},
		{"an exclusion that does not compile", "policy: {semver: {range: '*'}}", "[", "1.0.0", `exclusionList of its repository: "[": missing closing ]`, ""},
		{"an extract of a missing group", "policy: {numerical: {}}\nfilterTags: {pattern: '^main-(?P<ts>[0-9]+)$', extract: '$time'}", "", "main-1",
			`takes group "time", which the pattern "^main-(?P<ts>[0-9]+)$" does not have`, "the pattern has $0, the whole match, $ts"},
		{"an extract of a missing number", "policy: {numerical: {}}\nfilterTags: {pattern: '^main-([0-9]+)$', extract: '$2'}", "", "main-1",
			`takes group "2"`, "$1"},
		{"an extract that runs on", "policy: {alphabetical: {}}\nfilterTags: {pattern: '^(a)$', extract: '$1_x'}", "", "a",
			`takes group "1_x"`, "write ${1}_x"},
		{"a range that is none", "policy: {semver: {range: 'newest'}}", "", "1.0.0", `spec.policy.semver.range "newest": `, ""},
		{"an order that is none", "policy: {numerical: {order: up}}", "", "1", `spec.policy.numerical.order: "up" is neither asc nor desc`, ""},
		{"no policy", "policy: {}", "", "1", "none of semver, alphabetical, numerical", "semver"},
	} {
		t.Run(test.name, func(t *testing.T) {
			exclude := Repository{}.Exclusions()
			if test.exclude != "" {
				exclude = []string{test.exclude}
			}
			tags := strings.Fields(test.tags)
			c, err := Choose(policyOf(t, test.spec), exclude, tags, nil)
			problem := (*Problem)(nil)
			if !errors.As(err, &problem) {
				t.Fatalf("chose %q, error %v", c.Tag, err)
			}
			if c.Tag != "" || !strings.Contains(err.Error(), test.want) || !strings.Contains(problem.Hint, test.hint) {
				t.Errorf("error %q, hint %q; want %q, %q", err, problem.Hint, test.want, test.hint)
			}
			if problem.File != "policy.yaml" || problem.Line == 0 {
				t.Errorf("where: %s:%d", problem.File, problem.Line)
			}
		})
	}
}

func TestReadAndCheck(t *testing.T) {
	const text = `apiVersion: image.toolkit.fluxcd.io/v1beta1
kind: ImageRepository
metadata: {name: old, namespace: x}
spec: {image: ghcr.io/team/old, exclusionList: []}
---
apiVersion: image.toolkit.fluxcd.io/v1beta2
kind: ImageRepository
metadata: {name: tagged}
spec:
  image: ghcr.io:443/team/x:1.0
---
apiVersion: image.toolkit.fluxcd.io/v1
kind: ImageRepository
metadata: {name: scheme}
spec: {image: "https://ghcr.io/team/x", exclusionList: [a]}
---
apiVersion: image.toolkit.fluxcd.io/v1beta2
kind: ImagePolicy
metadata: {name: lost}
spec:
  policy: {semver: {range: "*"}}
---
apiVersion: image.toolkit.fluxcd.io/v1
kind: ImagePolicy
metadata: {name: wrong}
spec:
  policy: newest
---
apiVersion: image.toolkit.fluxcd.io/v1
kind: ImagePolicy
metadata: {name: other, namespace: a}
spec:
  imageRepositoryRef: {name: r, namespace: b}
  policy: {alphabetical: {}}
`
	got, problems := Read("f.yaml", []byte(text))
	if len(got.Repositories) != 3 || len(got.Policies) != 2 || len(problems) != 1 {
		t.Fatalf("%d repositories, %d policies, %v", len(got.Repositories), len(got.Policies), problems)
	}
	if len(got.Repositories[0].Exclusions()) != 0 || len(got.Repositories[1].Exclusions()) != 1 || got.Repositories[2].Exclusions()[0] != "a" {
		t.Errorf("exclusions: %v %v %v", got.Repositories[0].Exclusions(), got.Repositories[1].Exclusions(), got.Repositories[2].Exclusions())
	}
	if ref := got.Policies[1].RepositoryRef(); ref.Namespace != "b" || ref.Name != "r" {
		t.Errorf("repository: %v", ref)
	}
	for i, test := range []struct {
		err  error
		want string
	}{
		{got.Repositories[0].Check(), ""},
		{got.Repositories[1].Check(), "f.yaml:10: imagerepository.image.toolkit.fluxcd.io/tagged: spec.image ghcr.io:443/team/x:1.0 has a tag or a digest"},
		{got.Repositories[2].Check(), "f.yaml:15: imagerepository.image.toolkit.fluxcd.io/scheme: spec.image https://ghcr.io/team/x has a scheme"},
		{got.Policies[0].CheckRepository(), "f.yaml:20: imagepolicy.image.toolkit.fluxcd.io/lost: spec.imageRepositoryRef.name is missing: the policy has no repository"},
		{problems[0], "f.yaml:26: imagepolicy.image.toolkit.fluxcd.io/wrong: spec: policy: is a string, want an object"},
	} {
		if got := fmt.Sprint(test.err); test.want == "" && test.err != nil || !strings.HasPrefix(got, test.want) && test.want != "" {
			t.Errorf("%d: %s, want %s", i, got, test.want)
		}
	}
	if _, problems := Read("t.yaml", []byte("apiVersion: image.toolkit.fluxcd.io/v1\n{{ if }}: [")); len(problems) != 1 || problems[0].Line == 0 {
		t.Errorf("a template: %v", problems)
	}
}

// asFlux is what Flux's controller does with tags, in the order in which its
// three policies get them: the words of its documentation as plain loops.
func asFlux(kind, constraint string, desc bool, in []string) (string, bool) {
	if len(in) == 0 {
		return "", false
	}
	switch kind {
	case "semver":
		want, _ := semver.NewConstraint(constraint)
		var latest *semver.Version
		for _, s := range in {
			v, err := version(s)
			if err == nil && want.Check(v) && (latest == nil || v.GreaterThan(latest)) {
				latest = v
			}
		}
		if latest == nil {
			return "", false
		}
		return latest.Original(), true
	case "alphabetical":
		if desc {
			return slices.Min(in), true
		}
		return slices.Max(in), true
	}
	best, bestN := "", 0.0
	for i, s := range in {
		n, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return "", false
		}
		if i == 0 || !desc && n >= bestN || desc && n <= bestN {
			best, bestN = s, n
		}
	}
	return best, true
}

// Without filterTags Flux gets the tags from Z to A, and we choose what it
// chooses. With them it gets them in any order: what we choose is one of those.
func TestChoosesWhatFluxChooses(t *testing.T) {
	words := map[string][]string{
		"semver":       {"1.0.0", "v1.0.0", "1.0.0+a", "1.0.0+b", "1.1.0", "v1.1.0", "2.0.0-rc.1", "1.2", "latest", "0.1.0", "1.0.0-0"},
		"alphabetical": {"a", "b", "A", "10", "9", "a-1", "z", "Z"},
		"numerical":    {"1", "01", "1.0", "10", "1e1", "010", "9", "-2", "9007199254740993", "9007199254740992", "0x10", "1_0"},
	}
	r := rand.New(rand.NewPCG(6, 6))
	for range 800 {
		for kind, all := range words {
			tags := slices.Clone(all)
			r.Shuffle(len(tags), func(i, j int) { tags[i], tags[j] = tags[j], tags[i] })
			tags = tags[:1+r.IntN(6)]
			desc := kind != "semver" && r.IntN(2) == 0
			constraint := []string{"*", "1.x", ">=1.0.0-0"}[r.IntN(3)]
			spec := fmt.Sprintf("policy: {%s: {order: %s}}", kind, map[bool]string{true: "desc", false: "asc"}[desc])
			if kind == "semver" {
				spec = fmt.Sprintf("policy: {semver: {range: '%s'}}", constraint)
			}

			sorted := slices.Clone(tags)
			slices.Sort(sorted)
			slices.Reverse(sorted)
			want, ok := asFlux(kind, constraint, desc, sorted)
			c, err := Choose(policyOf(t, spec), nil, tags, nil)
			if ok != (err == nil) || c.Tag != want {
				t.Fatalf("%s of %v: %q %v, Flux chooses %q", spec, tags, c.Tag, err, want)
			}

			c, err = Choose(policyOf(t, spec+"\nfilterTags: {pattern: '^(.+)$', extract: '$1'}"), nil, tags, nil)
			possible := map[string]bool{}
			for range 40 {
				r.Shuffle(len(tags), func(i, j int) { tags[i], tags[j] = tags[j], tags[i] })
				if s, ok := asFlux(kind, constraint, desc, tags); ok {
					possible[s] = true
				}
			}
			if (len(possible) > 0) != (err == nil) || err == nil && !possible[c.Tag] {
				t.Fatalf("%s, filtered, of %v: %q %v, Flux chooses one of %v", spec, tags, c.Tag, err, possible)
			}
			if err == nil && (len(possible) > 1) != (len(c.Warnings) > 0) {
				t.Fatalf("%s, filtered, of %v: Flux chooses one of %v, warnings %v", spec, tags, possible, c.Warnings)
			}
		}
	}
}

func TestValidTag(t *testing.T) {
	grammar := regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`) // as the specification has it
	tags := []string{"", "a", "_", ".a", "-a", "a.b-c_D9", "a/b", "a:b", "ä", "a\n", "a b", "\xff", strings.Repeat("a", 128), strings.Repeat("a", 129)}
	for c := range 256 {
		tags = append(tags, string([]byte{byte(c)}), string([]byte{'a', byte(c)}))
	}
	for _, tag := range tags {
		if got, want := ValidTag(tag), grammar.MatchString(tag); got != want {
			t.Errorf("%q: %v, want %v", tag, got, want)
		}
	}
}

func FuzzChoose(f *testing.F) {
	f.Add("^main-(?P<ts>[0-9]+)$", "$ts", "*", "main-1 main-2 latest")
	f.Add("(", "$1", "1.x", "1.0.0")
	f.Add("a(b)?", "${1}$$", ">=1", "ab a")
	f.Fuzz(func(t *testing.T, pattern, extract, constraint, tags string) {
		base := policyOf(t, "policy: {semver: {range: '*'}}\nfilterTags: {pattern: a}")
		for kind := range 3 {
			p := base
			filter := *p.Spec.FilterTags
			filter.Pattern, filter.Extract = pattern, extract
			p.Spec.FilterTags = &filter
			switch kind {
			case 0:
				v := *p.Spec.Policy.SemVer
				v.Range = constraint
				p.Spec.Policy.SemVer = &v
			case 1:
				p.Spec.Policy = policyOf(t, "policy: {alphabetical: {}}").Spec.Policy
			case 2:
				p.Spec.Policy = policyOf(t, "policy: {numerical: {}}").Spec.Policy
			}
			list := strings.Fields(tags)
			c, err := Choose(p, nil, list, nil)
			if (c.Tag == "") != (err != nil) {
				t.Fatalf("%q, %v", c.Tag, err)
			}
			if err == nil && !slices.Contains(list, c.Tag) {
				t.Fatalf("%q is not among %v", c.Tag, list)
			}
			for _, v := range c.Verdicts {
				_ = v.Reason()
			}
		}
	})
}

// BenchmarkChoose is the choice of one tag among 100,000, with the reason for each.
func BenchmarkChoose(b *testing.B) {
	const n = 100_000
	var versions, dated, commits, history []string
	facts := Facts{}
	for i := range n {
		hash := fmt.Sprintf("%040x", uint64(i)*0x9E3779B97F4A7C15)
		versions = append(versions, fmt.Sprintf("1.%d.%d", i/100, i%100))
		dated = append(dated, fmt.Sprintf("main-%s-%d", hash[24:31], 1_700_000_000+i))
		history = append(history, hash[24:]+hash[:24])
		commits = append(commits, "sha-"+hash[24:36])
		facts[commits[i]] = Fact{Created: time.Unix(int64(1_700_000_000+i), 0).UTC()}
	}
	const filter = "\nfilterTags: {pattern: '^main-[a-f0-9]+-(?P<ts>[0-9]+)$', extract: '$ts'}"
	const hashes = "policy: {alphabetical: {}}\nfilterTags: {pattern: '^sha-(?P<sha>[a-f0-9]+)$', extract: '$sha'}"
	table := "| policy | seconds | of 100,000 tags |\n|---|---|---|\n"
	for _, bench := range []struct {
		name, what string
		policy     Policy
		tags       []string
	}{
		{"semver", "`>=1.0.0`", policyOf(b, "policy: {semver: {range: '>=1.0.0'}}"), versions},
		{"alphabetical", "`main-<commit>-<time>`, extracted by filterTags", policyOf(b, "policy: {alphabetical: {order: asc}}"+filter), dated},
		{"numerical", "the same", policyOf(b, "policy: {numerical: {order: asc}}"+filter), dated},
		{"created", "`sha-<commit>`, their dates known", ownPolicy(b, hashes, OrderAnnotation, "created"), commits},
		{"commit", "`sha-<commit>`, found among 100,000 commits", ownPolicy(b, hashes, OrderAnnotation, "commit", RepositoryAnnotation, "https://git.example.com/team/api"), commits},
	} {
		b.Run(bench.name, func(b *testing.B) {
			for b.Loop() {
				facts := facts
				if own, _ := bench.policy.Own(); own.By == ByCommit {
					candidates, err := Candidates(bench.policy, Repository{}.Exclusions(), bench.tags)
					if err != nil {
						b.Fatal(err)
					}
					facts = CommitFacts(history, candidates)
				}
				c, err := Choose(bench.policy, Repository{}.Exclusions(), bench.tags, facts)
				if err != nil || len(c.Verdicts) != n {
					b.Fatal(err)
				}
			}
			table += fmt.Sprintf("| %s | %.2f | %s |\n", bench.name, b.Elapsed().Seconds()/float64(b.N), bench.what)
		})
	}
	bench.Record(b, "image-choose", "Images: choosing among 100,000 tags", table+"\nEvery tag is told what became of it, and why.")
}
