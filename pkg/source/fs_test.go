package source

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

func TestLinksOfACommitAreLeftOutAndExplained(t *testing.T) {
	t.Parallel()
	c := newCheckout(t)
	c.write("base/a.yaml", "a\n")
	must(t, os.Symlink("base", filepath.Join(c.dir, "overlay")))
	must(t, os.MkdirAll(filepath.Join(c.dir, "only"), 0o755))
	must(t, os.Symlink("/etc/passwd", filepath.Join(c.dir, "only", "passwd")))
	c.commit("first")
	for _, workTree := range []bool{false, true} {
		o := c.options()
		o.WorkTree = workTree
		s := open(t, o)
		same(t, "files", files(t, s), []string{"base/a.yaml=a\n"})
		if len(s.Links) != 2 || s.Links["overlay"] != "base" || s.Links["only/passwd"] != "/etc/passwd" {
			t.Errorf("links: %v", s.Links)
		}
		for _, p := range []string{"overlay", "overlay/a.yaml", "only/passwd"} {
			if _, err := s.FS.Open(p); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "is a symbolic link to") {
				t.Errorf("%s: %v", p, err)
			}
		}
		if _, err := s.FS.Open("only"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a directory of links alone: %v", err)
		}
		must(t, fstest.TestFS(s.FS, "base/a.yaml"))
	}
}

// withSubmodule is a checkout with a file beside a submodule at vendor/lib.
func withSubmodule(t *testing.T) (*checkout, *checkout) {
	t.Helper()
	lib := withFiles(t, "lib.yaml", "v1\n")
	c := withFiles(t, "apps/a.yaml", "a\n")
	c.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", lib.dir, "vendor/lib")
	c.commit("submodule")
	return c, lib
}

func TestSubmoduleThatIsCheckedOutIsRead(t *testing.T) {
	t.Parallel()
	c, lib := withSubmodule(t)
	s := open(t, c.options())
	data, err := fs.ReadFile(s.FS, "vendor/lib/lib.yaml")
	must(t, err)
	is(t, "content", string(data), "v1\n")
	same(t, "dirty", s.Dirty, nil)

	sub := &checkout{t: t, dir: filepath.Join(c.dir, "vendor", "lib"), env: c.env}
	sub.write("lib.yaml", "edited\n", "new.yaml", "n\n")
	s = open(t, c.options())
	same(t, "dirty", s.Dirty, []string{"vendor/lib/lib.yaml"})
	same(t, "untracked", s.Untracked, []string{"vendor/lib/new.yaml"})
	data, err = fs.ReadFile(s.FS, "vendor/lib/lib.yaml")
	must(t, err)
	is(t, "content of the commit", string(data), "v1\n")
	o := c.options()
	o.WorkTree = true
	data, err = fs.ReadFile(open(t, o).FS, "vendor/lib/lib.yaml")
	must(t, err)
	is(t, "content of the work tree", string(data), "edited\n")

	sub.commit("moved on")
	s = open(t, c.options())
	same(t, "dirty", s.Dirty, []string{"vendor/lib"})

	// The commit that is recorded is not there: pushed nowhere, as after a reset of the submodule.
	lib.write("lib.yaml", "v3\n")
	c.git("update-index", "--cacheinfo", "160000,"+lib.commit("v3")+",vendor/lib")
	c.git("commit", "-q", "-m", "unknown commit")
	s = open(t, c.options())
	_, err = fs.ReadFile(s.FS, "vendor/lib/lib.yaml")
	if err == nil || !strings.Contains(err.Error(), "the submodule lacks the commit") {
		t.Errorf("%v", err)
	}
}

func TestSubmoduleThatIsNotThereFailsWhereItIsRead(t *testing.T) {
	t.Parallel()
	origin, _ := withSubmodule(t)
	c := &checkout{t: t, dir: filepath.Join(real(t, t.TempDir()), "clone"), env: origin.env}
	origin.git("clone", "-q", origin.dir, c.dir)
	check := func(s *Snapshot, want, fix string) {
		t.Helper()
		data, err := fs.ReadFile(s.FS, "apps/a.yaml")
		must(t, err)
		is(t, "the rest", string(data), "a\n")
		for what, read := range map[string]func(string) error{
			"open":    func(p string) error { _, err := s.FS.Open(p); return err },
			"read":    func(p string) error { _, err := fs.ReadFile(s.FS, p); return err },
			"readdir": func(p string) error { _, err := fs.ReadDir(s.FS, p); return err },
			"stat":    func(p string) error { _, err := fs.Stat(s.FS, p); return err },
		} {
			for _, p := range []string{"vendor/lib", "vendor/lib/lib.yaml", "vendor/lib/x/y"} {
				err := read(p)
				if err == nil || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), want) || !strings.Contains(hint(err), fix) {
					t.Errorf("%s %s: %v (hint: %s)", what, p, err, hint(err))
				}
			}
		}
		walked := fs.WalkDir(s.FS, ".", func(_ string, _ fs.DirEntry, err error) error { return err })
		if walked == nil {
			t.Error("a walk over the submodule does not fail")
		}
	}
	s := open(t, c.options())
	same(t, "dirty", s.Dirty, nil)
	check(s, "the submodule is not checked out", "git -C "+c.dir+" submodule update --init vendor/lib")
	o := c.options()
	o.WorkTree = true
	check(open(t, o), "the submodule is not checked out", "submodule update --init vendor/lib")
	check(open(t, Options{Source: "file://" + c.dir}), "is a submodule: those of a repository on the disk are read where it is checked out alone", "git clone --recurse-submodules")
	must(t, os.Remove(filepath.Join(c.dir, "vendor", "lib")))
	check(open(t, c.options()), "the submodule is not checked out", "submodule update")
}

func TestObjectsThatAPartialCloneLacks(t *testing.T) {
	t.Parallel()
	origin := withFiles(t, "a.yaml", "a\n", "dir/b.yaml", "b\n")
	origin.git("config", "uploadpack.allowFilter", "true")
	for filter, want := range map[string]string{"blob:none": "", "tree:0": "is missing from this clone: it is a partial clone"} {
		c := &checkout{t: t, dir: filepath.Join(real(t, t.TempDir()), "clone"), env: origin.env}
		origin.git("clone", "-q", "--no-checkout", "--filter="+filter, "file://"+origin.dir, c.dir)
		o := Options{Source: "file://" + c.dir}
		if want != "" {
			refused(t, o, want, "git fetch --refetch --no-filter")
		} else {
			s := open(t, o)
			_, err := fs.ReadFile(s.FS, "dir/b.yaml")
			if err == nil || errors.Is(err, fs.ErrNotExist) || !strings.Contains(hint(err), "git fetch --refetch --no-filter") {
				t.Errorf("%v (hint: %s)", err, hint(err))
			}
		}
		c.git("fetch", "-q", "--refetch", "--no-filter")
		same(t, "after the hint", files(t, open(t, o)), []string{"a.yaml=a\n", "dir/b.yaml=b\n"})
	}
}

func TestShallowClone(t *testing.T) {
	t.Parallel()
	origin := withFiles(t, "a.yaml", "1\n")
	first := origin.head()
	origin.write("a.yaml", "2\n")
	origin.commit("second")
	c := &checkout{t: t, dir: filepath.Join(real(t, t.TempDir()), "clone"), env: origin.env}
	origin.git("clone", "-q", "--depth=1", "file://"+origin.dir, c.dir)
	s := open(t, c.options())
	same(t, "files", files(t, s), []string{"a.yaml=2\n"})
	if root, err := s.RootCommit(t.Context()); root != "" || err != nil {
		t.Errorf("a shallow clone knows its root: %q %v", root, err)
	}
	for _, ref := range []string{first, "HEAD~1"} {
		o := c.options()
		o.Ref = ref
		refused(t, o, "shallow", "git fetch --unshallow")
	}
}
