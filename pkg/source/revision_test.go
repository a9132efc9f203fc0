package source

import (
	"fmt"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"
)

func TestRefs(t *testing.T) {
	t.Parallel()
	c := withFiles(t, "v", "1")
	first := c.head()
	c.git("tag", "v1.0.0")
	c.git("branch", "release")
	c.git("branch", "both", first)
	c.write("v", "2")
	second := c.commit("second")
	c.git("tag", "-a", "-m", "annotated", "v1.2.0")
	c.git("tag", "both")
	c.git("tag", "v2.0.0-rc.1")
	c.git("tag", "1.9")
	c.git("tag", "v1.3")
	c.git("update-ref", "refs/pull/7/head", first)
	c.git("update-ref", "refs/remotes/origin/upstream", first)
	c.write("v", "3")
	third := c.commit("third")
	c.git("pack-refs", "--all")
	c.git("branch", "loose", second)
	for _, r := range []struct{ ref, revision, branch, commit string }{
		{"", "main@sha1:" + third, "main", third},
		{"HEAD", "main@sha1:" + third, "main", third},
		{"main", "main@sha1:" + third, "main", third},
		{"release", "release@sha1:" + first, "release", first},
		{"loose", "loose@sha1:" + second, "loose", second},
		{"refs/heads/release", "refs/heads/release@sha1:" + first, "release", first},
		{"v1.0.0", "v1.0.0@sha1:" + first, "", first},
		{"v1.2.0", "v1.2.0@sha1:" + second, "", second},
		{"refs/tags/v1.2.0", "refs/tags/v1.2.0@sha1:" + second, "", second},
		{"refs/pull/7/head", "refs/pull/7/head@sha1:" + first, "", first},
		{"both", "both@sha1:" + second, "", second},
		{"origin/upstream", "upstream@sha1:" + first, "upstream", first},
		{"upstream", "upstream@sha1:" + first, "upstream", first},
		{first, "sha1:" + first, "", first},
		{first[:7], "sha1:" + first, "", first},
		{strings.ToUpper(first[:9]), "sha1:" + first, "", first},
		{"HEAD~1", "sha1:" + second, "", second},
		{"main^", "sha1:" + second, "", second},
		{"main~1^", "sha1:" + first, "", first},
		{"v1.2.0~", "sha1:" + first, "", first},
		{">=1.0.0 <2.0.0", "v1.2.0@sha1:" + second, "", second},
		{"1.x", "v1.2.0@sha1:" + second, "", second},
		{"<1.2.0", "v1.0.0@sha1:" + first, "", first},
		{"~1.0.0", "v1.0.0@sha1:" + first, "", first},
		{">=1.0.0-0", "v2.0.0-rc.1@sha1:" + second, "", second},
	} {
		o := c.options()
		o.Ref = r.ref
		s := open(t, o)
		is(t, r.ref+" revision", s.Revision, r.revision)
		is(t, r.ref+" branch", s.Branch, r.branch)
		is(t, r.ref+" commit", s.Commit, r.commit)
	}
	for ref, want := range map[string]string{
		"relase":                          "did you mean --ref release?",
		">=3.0.0":                         "no tag in that semver range: the branches are both, loose, main, release, upstream; the tags are 1.9, both",
		"HEAD~9":                          "the history ends at " + first,
		"main^2":                          "the history ends at",
		"main~x":                          "behind a name only ~N and ^N may stand",
		"refs/heads/nope":                 `no branch, tag or commit "refs/heads/nope"`,
		"../../config":                    "no branch, tag or commit",
		strings.Repeat("e", 40):           "git fetch --all",
		"deadbeef":                        `no branch, tag or commit "deadbeef"`,
		c.git("rev-parse", "HEAD^{tree}"): "is a tree, not a commit",
	} {
		o := c.options()
		o.Ref = ref
		refused(t, o, want)
	}
}

func TestARefIsReadWhateverTheWorkTreeIs(t *testing.T) {
	t.Parallel()
	c := withFiles(t, "dir/a", "1")
	c.git("tag", "v1.0.0")
	c.write("dir/a", "2")
	c.commit("second")
	c.write("dir/a", "dirty")
	s := open(t, Options{Source: c.dir + "/dir", Ref: "v1.0.0", WorkTree: true})
	same(t, "files", files(t, s), []string{"a=1"})
	same(t, "dirty", s.Dirty, nil)
	is(t, "revision", s.Revision, "v1.0.0@sha1:"+c.git("rev-parse", "v1.0.0"))
	c.write("later/b", "b")
	c.commit("third")
	refused(t, Options{Source: c.dir + "/later", Ref: "v1.0.0"}, "nothing is committed there at v1.0.0@sha1:")
}

func TestOfEqualVersionsTheYoungestCommitWins(t *testing.T) {
	t.Parallel()
	c := withFiles(t, "v", "1")
	c.git("tag", "1.0.0+a")
	c.git("tag", "1.0.0+z")
	c.env = append(c.env, "GIT_COMMITTER_DATE=2026-02-02T00:00:00Z")
	c.write("v", "2")
	second := c.commit("second")
	c.git("tag", "-a", "-m", "x", "v1.0.0+m")
	for _, source := range []string{c.dir, "file://" + c.dir} {
		s := open(t, Options{Source: source, Ref: "1.0.x"})
		is(t, source, s.Revision, "v1.0.0+m@sha1:"+second)
	}
}

func TestAmbiguousAbbreviation(t *testing.T) {
	t.Parallel()
	c := withFiles(t, "v", "0")
	tree := c.git("rev-parse", "HEAD^{tree}")
	seen := map[string]string{}
	var prefix string
	for i := 0; prefix == ""; i++ { // four digits: of a few hundred commits two begin alike
		text := fmt.Sprintf("tree %s\nauthor a <a@example.com> %d +0000\ncommitter a <a@example.com> 1 +0000\n\nx\n", tree, i)
		h := plumbing.ComputeHash(plumbing.CommitObject, []byte(text)).String()
		if twin := seen[h[:4]]; twin != "" {
			prefix = h[:4]
			c.write(".git/one", twin, ".git/two", text)
			c.git("hash-object", "-w", "-t", "commit", ".git/one")
			c.git("hash-object", "-w", "-t", "commit", ".git/two")
		}
		seen[h[:4]] = text
	}
	o := c.options()
	o.Ref = prefix
	refused(t, o, "commit "+prefix+" is ambiguous", "it could be "+prefix)
}

func TestDetachedHead(t *testing.T) {
	t.Parallel()
	origin := withFiles(t, "v", "1")
	origin.git("branch", "staging")
	first := origin.head()
	clone := func() *checkout {
		c := &checkout{t: t, dir: real(t, t.TempDir()) + "/clone", env: origin.env}
		origin.git("clone", "-q", origin.dir, c.dir)
		c.git("checkout", "-q", "--detach")
		return c
	}
	c := clone()
	s := open(t, c.options())
	is(t, "at the default branch's remote state", s.Revision, "main@sha1:"+first)
	is(t, "branch", s.Branch, "main")

	// As CI fetches: one remote branch, no refs/remotes/origin/HEAD.
	c.git("symbolic-ref", "--delete", "refs/remotes/origin/HEAD")
	is(t, "two branches there, neither the default", open(t, c.options()).Revision, "sha1:"+first)
	c.git("update-ref", "-d", "refs/remotes/origin/main")
	is(t, "one branch there", open(t, c.options()).Revision, "staging@sha1:"+first)

	c = clone()
	c.write("v", "2")
	c.commit("local")
	s = open(t, c.options())
	is(t, "beyond the remote", s.Revision, "sha1:"+c.head())
	is(t, "branch", s.Branch, "")
	c.write("v", "3")
	o := c.options()
	o.WorkTree = true
	is(t, "and dirty", open(t, o).Revision, "sha1:"+c.head()+"-dirty")
}

func TestRootCommitIsTheOldest(t *testing.T) {
	t.Parallel()
	c := withFiles(t, "v", "1")
	c.git("checkout", "-q", "--orphan", "other")
	c.env = append(c.env, "GIT_COMMITTER_DATE=2020-01-01T00:00:00Z")
	c.write("w", "2")
	oldest := c.commit("older root")
	c.git("checkout", "-q", "main")
	c.git("merge", "-q", "--allow-unrelated-histories", "-m", "merge", "other", "-X", "theirs")
	root, err := open(t, c.options()).RootCommit(t.Context())
	must(t, err)
	is(t, "root", root, oldest)
	if _, err := open(t, c.options()).RootCommit(canceled(t)); err == nil {
		t.Error("a canceled context is not seen")
	}
}
