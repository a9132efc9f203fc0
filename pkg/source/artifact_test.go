package source

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/source/gitserver"
)

// names are the paths of the files of an artifact, in order.
func names(t *testing.T, s *Snapshot, c Content) []string {
	t.Helper()
	a, err := s.Artifact(c)
	must(t, err)
	is(t, "revision", a.Revision, s.Revision)
	var out []string
	must(t, fs.WalkDir(a.FS, ".", func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			out = append(out, p)
		}
		return err
	}))
	return out
}

func TestArtifactHasWhatFluxWouldPutIntoIt(t *testing.T) {
	t.Parallel()
	c := withFiles(t, "app/a.yaml", "a", "app/logo.png", "x", "app/b.tar.gz", "x", ".github/workflows/ci.yml", "x", ".sops.yaml", "x", "app/.sops.yaml", "x",
		".gitignore", "zzz\n", "app/.gitattributes", "* text\n", ".travis.yml", "x", "travis.yml", "x")
	c.git("add", "-f", ".")
	snap := open(t, c.options())
	same(t, "defaults", names(t, snap, Content{}), []string{"app/a.yaml", "travis.yml"})
	a, err := snap.Artifact(Content{})
	must(t, err)
	for p, why := range map[string]string{
		"app/logo.png": "Flux's default rules, which hold while there is no .sourceignore",
		".gitignore":   "one of Git's own files",
		".github/x":    "",
	} {
		_, err := fs.ReadFile(a.FS, p)
		if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v", p, err)
		}
	}
	ignore := "# comment\n\n/app/*\n!/app/logo.png\n"
	same(t, "spec.ignore", names(t, snap, Content{Ignore: &ignore}), []string{".github/workflows/ci.yml", ".sops.yaml", ".travis.yml", "app/logo.png", "travis.yml"})
	none := ""
	same(t, "an empty spec.ignore", names(t, snap, Content{Ignore: &none}), []string{"app/a.yaml", "travis.yml"})

	c.write(".sourceignore", "*.yml\n", "app/.sourceignore", "a.yaml\n", "other/a.yaml", "x")
	c.commit("with .sourceignore")
	snap = open(t, c.options())
	want := []string{".sops.yaml", ".sourceignore", "app/.sops.yaml", "app/.sourceignore", "app/b.tar.gz", "app/logo.png", "other/a.yaml"}
	same(t, ".sourceignore", names(t, snap, Content{}), want)
	except := "!travis.yml\n"
	same(t, ".sourceignore, then spec.ignore", names(t, snap, Content{Ignore: &except}), append(want, "travis.yml"))
	a, err = snap.Artifact(Content{})
	must(t, err)
	if _, err := fs.Stat(a.FS, "app/a.yaml"); err == nil || !strings.Contains(err.Error(), "is left out by .sourceignore or spec.ignore") {
		t.Error(err)
	}
	o := c.options()
	o.WorkTree = true
	same(t, "the work tree", names(t, open(t, o), Content{}), want)
}

func TestArtifactOfASparseCheckoutWithIncludes(t *testing.T) {
	t.Parallel()
	base := withFiles(t, "lib/x.yaml", "x", "lib/deep/y.yaml", "y", "z.yaml", "z", "pic.png", "p")
	c := withFiles(t, "apps/a.yaml", "a", "apps-old/a.yaml", "a", "infra/a.yaml", "a", "root.yaml", "r")
	snap := open(t, c.options())
	same(t, "sparse", names(t, snap, Content{Sparse: []string{"./apps"}}), []string{"apps/a.yaml", "apps-old/a.yaml"})
	same(t, "sparse", names(t, snap, Content{Sparse: []string{"apps/", "infra"}}), []string{"apps/a.yaml", "infra/a.yaml"})
	if _, err := snap.Artifact(Content{Sparse: []string{"nowhere"}}); err == nil || !strings.Contains(err.Error(), `spec.sparseCheckout: there is no "nowhere" in the repository`) {
		t.Error(err)
	}
	other, err := open(t, base.options()).Artifact(Content{})
	must(t, err)
	include := func(from, to string) []Include {
		return []Include{{Snapshot: other, Name: "base", From: from, To: to}}
	}
	same(t, "all of it", names(t, snap, Content{Sparse: []string{"infra"}, Include: include("", "base")}),
		[]string{"base/lib/deep/y.yaml", "base/lib/x.yaml", "base/z.yaml", "infra/a.yaml"})
	same(t, "a part, over what is there", names(t, snap, Content{Include: include("./lib", "infra")}),
		[]string{"apps/a.yaml", "apps-old/a.yaml", "infra/a.yaml", "infra/deep/y.yaml", "infra/x.yaml", "root.yaml"})
	same(t, "not out of it", names(t, snap, Content{Sparse: []string{"infra"}, Include: include("../../lib", "../up")}),
		[]string{"infra/a.yaml", "up/deep/y.yaml", "up/x.yaml"})
	if _, err := snap.Artifact(Content{Include: include("nowhere", "x")}); err == nil || !strings.Contains(err.Error(), "spec.include of base: there is no nowhere in it") {
		t.Error(err)
	}
}

// A directory of which all was left out is not there; an include makes it.
func TestIncludeFillsADirectoryThatWasEmpty(t *testing.T) {
	t.Parallel()
	base, err := open(t, withFiles(t, "x.yaml", "x").options()).Artifact(Content{})
	must(t, err)
	snap, err := open(t, withFiles(t, "a.yaml", "a", "lib/pic.png", "p").options()).Artifact(Content{})
	must(t, err)
	same(t, "before", names(t, snap, Content{}), []string{"a.yaml"})
	same(t, "after", names(t, snap, Content{Include: []Include{{Snapshot: base, Name: "base", To: "lib"}}}), []string{"a.yaml", "lib/x.yaml"})
}

// Submodules are fetched with their parent, relative URLs and nesting included, and left empty where
// the GitRepository does not ask for them, as Flux leaves them.
func TestSubmodulesOfARemote(t *testing.T) {
	t.Parallel()
	s := newServed(t)
	url := serve(t, gitserver.Backend(t, s.root))
	mirror := func(c *checkout, name string) {
		c.git("clone", "-q", "--mirror", c.dir, s.root+"/"+name)
		runGit(t, s.root+"/"+name, c.env, "config", "uploadpack.allowReachableSHA1InWant", "true")
	}
	inner := withFiles(t, "inner.yaml", "i\n")
	mirror(inner, "inner.git")
	lib := withFiles(t, "lib.yaml", "1\n")
	lib.git("submodule", "add", "-q", url+"/inner.git", "nested")
	lib.commit("with a submodule")
	mirror(lib, "lib.git")
	c := withFiles(t, "a.yaml", "a\n")
	c.git("submodule", "add", "-q", url+"/lib.git", "vendor/lib")
	c.git("config", "-f", ".gitmodules", "submodule.vendor/lib.url", "../lib.git")
	c.commit("with a submodule")
	lib.write("lib.yaml", "2\n")
	lib.commit("later") // the submodule stays at what is recorded for it
	lib.git("push", "-q", s.root+"/lib.git", "main")
	mirror(c, "parent.git")

	snap := open(t, Options{Source: url + "/parent.git", Submodules: true})
	same(t, "with submodules", files(t, snap)[1:], []string{"a.yaml=a\n", "vendor/lib/.gitmodules=" + lib.git("show", "HEAD~1:.gitmodules") + "\n",
		"vendor/lib/lib.yaml=1\n", "vendor/lib/nested/inner.yaml=i\n"})
	same(t, "artifact", names(t, snap, Content{Submodules: true}), []string{"a.yaml", "vendor/lib/lib.yaml", "vendor/lib/nested/inner.yaml"})
	same(t, "without recurseSubmodules", names(t, snap, Content{}), []string{"a.yaml"})

	c.git("config", "-f", ".gitmodules", "submodule.vendor/lib.url", "../gone.git")
	c.commit("the submodule's repository is gone")
	c.git("push", "-q", s.root+"/parent.git", "main")
	snap = open(t, Options{Source: url + "/parent.git", Submodules: true})
	if _, err := fs.ReadFile(snap.FS, "vendor/lib/lib.yaml"); err == nil || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "the submodule cannot be fetched") {
		t.Errorf("a submodule that cannot be had is not a missing file: %v", err)
	}
}
