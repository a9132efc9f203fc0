package source

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/source/gitserver"
)

// baseOf wants the base of snap with rev to be that commit, whole.
func baseOf(t *testing.T, snap *Snapshot, rev, want string) *Snapshot {
	t.Helper()
	b, err := snap.Base(t.Context(), rev, false)
	if err != nil {
		t.Fatalf("the base with %s: %v", rev, err)
	}
	is(t, "the base with "+rev, b.Commit, want)
	files(t, b) // reads them
	return b
}

func TestBaseIsWhereTheBranchBegan(t *testing.T) {
	t.Parallel()
	c := withFiles(t, "apps/a.yaml", "1\n", "other.yaml", "1\n")
	first := c.head()
	c.git("switch", "-q", "-c", "feature")
	c.write("apps/b.yaml", "1\n")
	c.commit("side")
	c.git("switch", "-q", "main")
	c.write("other.yaml", "2\n")
	second := c.commit("second")
	c.git("tag", "-a", "-m", "x", "v1.0.0", second)
	c.git("switch", "-q", "feature")
	c.write("apps/a.yaml", "2\n", "apps/new.yaml", "1\n")
	o := c.options()
	o.WorkTree = true
	snap := open(t, o)
	base := baseOf(t, snap, "main", first)
	is(t, "revision", base.Revision, "main@sha1:"+first)
	baseOf(t, snap, "v1.0.0", first)
	baseOf(t, snap, "main~1", first)
	changed, err := snap.Changed(t.Context(), base)
	must(t, err)
	same(t, "changed", changed, []string{"apps/a.yaml", "apps/b.yaml", "apps/new.yaml"})
	exact, err := snap.Base(t.Context(), "main", true)
	must(t, err)
	is(t, "exactly main", exact.Commit, second)
	changed, err = snap.Changed(t.Context(), exact)
	must(t, err)
	same(t, "changed", changed, []string{"apps/a.yaml", "apps/b.yaml", "apps/new.yaml", "other.yaml"})

	// Once main was merged, the base is main itself.
	c.git("stash", "-q", "-u")
	c.git("merge", "-q", "-m", "merge", "main")
	baseOf(t, open(t, c.options()), "main", second)
	// A directory that is new has an empty base.
	o.Source = filepath.Join(c.dir, "fresh")
	c.write("fresh/a.yaml", "1\n")
	c.commit("fresh")
	fresh, err := open(t, o).Base(t.Context(), "main", false)
	must(t, err)
	same(t, "files of what was not there", files(t, fresh), nil)

	_, err = snap.Base(t.Context(), "mian", false)
	if err == nil || !strings.Contains(err.Error(), `no branch, tag or commit "mian"`) || hint(err) != "did you mean --base main?" {
		t.Errorf("a branch that is not there: %v, hint %s", err, hint(err))
	}
	c.git("switch", "-q", "--orphan", "elsewhere")
	c.write("a.yaml", "other\n")
	c.commit("orphan")
	_, err = open(t, c.options()).Base(t.Context(), "main", false)
	if err == nil || !strings.Contains(err.Error(), "no common ancestor") {
		t.Errorf("no common ancestor: %v", err)
	}
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "a.yaml"), []byte("1\n"), 0o644))
	_, err = open(t, Options{Source: dir, Auth: Auth{Env: c.env}}).Base(t.Context(), "main", false)
	if err == nil || !strings.Contains(err.Error(), "it is no Git repository") {
		t.Errorf("a plain directory: %v", err)
	}
}

// A forge makes a merge commit of a pull request, and CI clones that alone: the
// branch it is to go to is not even there by name.
func TestBaseOfAShallowMergeCheckout(t *testing.T) {
	t.Parallel()
	c := withFiles(t, "a.yaml", "1\n")
	for _, text := range []string{"2\n", "3\n", "4\n"} {
		c.write("a.yaml", text)
		c.commit("before")
	}
	began := c.head()
	c.git("switch", "-q", "-c", "feature")
	c.write("b.yaml", "1\n")
	c.commit("side")
	c.git("switch", "-q", "main")
	c.write("a.yaml", "5\n")
	tip := c.commit("meanwhile")
	c.git("switch", "-q", "--detach")
	c.git("merge", "-q", "-m", "pull request", "feature")
	c.git("update-ref", "refs/pull/7/merge", "HEAD")
	c.git("switch", "-q", "main")
	c.git("branch", "-q", "at-merge", tip)
	c.write("a.yaml", "6\n")
	later := c.commit("later")
	for name, config := range map[string]string{"every commit": "true", "only those of branches": "false"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := real(t, t.TempDir())
			runGit(t, root, c.env, "clone", "-q", "--mirror", c.dir, "fleet.git")
			for _, key := range []string{"uploadpack.allowAnySHA1InWant", "uploadpack.allowFilter"} {
				runGit(t, filepath.Join(root, "fleet.git"), c.env, "config", key, config)
			}
			url := serve(t, gitserver.Backend(t, root)) + "/fleet.git"
			for depth, ref := range map[string]string{"--depth=1": "refs/pull/7/merge", "--depth=2": "refs/pull/7/merge", "--depth=3": "refs/heads/feature"} {
				dir := filepath.Join(real(t, t.TempDir()), "clone")
				must(t, os.Mkdir(dir, 0o755))
				for _, args := range [][]string{{"init", "-q"}, {"remote", "add", "origin", url}, {"fetch", "-q", "--no-tags", depth, "origin", "+" + ref + ":refs/remotes/pull/merge"}, {"checkout", "-q", "--detach", "refs/remotes/pull/merge"}} {
					runGit(t, dir, c.env, args...)
				}
				want, exact := tip, tip // the merge has main's commit of its time
				if ref == "refs/heads/feature" {
					want = began
				}
				o := Options{Source: dir, Auth: Auth{Env: c.env}, WorkTree: true}
				base := baseOf(t, open(t, o), "origin/main", want)
				baseOf(t, open(t, o), "at-merge", want)
				baseOf(t, open(t, o), "main~1", want)
				b, err := open(t, o).Base(t.Context(), "main", true)
				must(t, err)
				is(t, "exactly main", b.Commit, later)
				b, err = open(t, o).Base(t.Context(), "at-merge", true)
				must(t, err)
				is(t, "exactly at-merge", b.Commit, exact)
				changed, err := open(t, o).Changed(t.Context(), base)
				must(t, err)
				same(t, "changed", changed, []string{"b.yaml"})

				runGit(t, dir, c.env, "remote", "set-url", "origin", serve(t, http.NotFoundHandler())+"/fleet.git")
				_, err = open(t, o).Base(t.Context(), "main~1", false)
				if err == nil || !strings.Contains(err.Error(), "no such repository (404)") {
					t.Errorf("%s: the remote is gone: %v", depth, err)
				}
				_, err = open(t, o).Base(t.Context(), "HEAD~1", false)
				if depth == "--depth=1" && (err == nil || !strings.Contains(hint(err), "fetch-depth: 0")) {
					t.Errorf("%s: the remote is gone: %v, hint %s", depth, err, hint(err))
				}
			}
			remote := open(t, Options{Source: url, Ref: "feature", Auth: Auth{Env: c.env}})
			baseOf(t, remote, "main", began)
			baseOf(t, open(t, Options{Source: "file://" + c.dir, Ref: "feature", Auth: Auth{Env: c.env}}), "main", began)
		})
	}
}
