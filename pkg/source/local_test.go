package source

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

func TestRepositoryAroundTheCurrentDirectory(t *testing.T) {
	t.Parallel()
	c := withFiles(t, "clusters/a/k.yaml", "k: 1\n", "README.md", "hi\n")
	c.git("remote", "add", "fork", "https://me:hunter2@example.com/me/fleet.git")
	c.git("remote", "add", "origin", "git@example.com:acme/fleet.git")
	s := open(t, Options{WorkDir: filepath.Join(c.dir, "clusters", "a"), Auth: Auth{Env: c.env}})
	is(t, "revision", s.Revision, "main@sha1:"+c.head())
	is(t, "branch", s.Branch, "main")
	is(t, "commit", s.Commit, c.head())
	is(t, "dir", s.Dir, c.dir)
	is(t, "prefix", s.Prefix, "")
	is(t, "url", s.URL, "")
	same(t, "remotes", s.Remotes, []string{"git@example.com:acme/fleet.git", "https://example.com/me/fleet.git"})
	same(t, "files", files(t, s), []string{"README.md=hi\n", "clusters/a/k.yaml=k: 1\n"})
	if !s.Is("https://example.com/Acme/fleet") || s.Is("https://example.com/acme/other") {
		t.Error("Is does not follow the remotes")
	}
	root, err := s.RootCommit(t.Context())
	must(t, err)
	is(t, "root commit", root, c.head())
	must(t, fstest.TestFS(s.FS, "README.md", "clusters/a/k.yaml"))
}

func TestOutsideOfARepository(t *testing.T) {
	t.Parallel()
	err := refused(t, Options{WorkDir: t.TempDir()}, "no Git repository here or above", "--source DIR|URL")
	if !errors.Is(err, ErrNoRepository) {
		t.Error("not ErrNoRepository")
	}
}

func TestSubtreeThatIsTracked(t *testing.T) {
	t.Parallel()
	c := withFiles(t, "infra/fleet/a.yaml", "a\n", "infra/fleet/b/c.yaml", "c\n", "other/x.yaml", "x\n")
	link := filepath.Join(t.TempDir(), "link")
	must(t, os.Symlink(filepath.Join(c.dir, "infra"), link))
	for _, o := range []Options{
		{Source: filepath.Join(c.dir, "infra", "fleet")},
		{Source: "fleet", WorkDir: filepath.Join(c.dir, "infra")},
		{Source: ".", WorkDir: filepath.Join(c.dir, "infra", "fleet")},
		{Source: filepath.Join(link, "fleet")},
	} {
		s := open(t, o)
		is(t, "prefix", s.Prefix, "infra/fleet")
		is(t, "dir", s.Dir, c.dir)
		is(t, "revision", s.Revision, "main@sha1:"+c.head())
		same(t, "files", files(t, s), []string{"a.yaml=a\n", "b/c.yaml=c\n"})
	}
	c.write("other/x.yaml", "changed\n", "infra/fleet/b/c.yaml", "changed\n")
	s := open(t, Options{Source: filepath.Join(c.dir, "infra", "fleet")})
	same(t, "dirty", s.Dirty, []string{"b/c.yaml"})
}

func TestPlainDirectory(t *testing.T) {
	t.Parallel()
	dir := real(t, t.TempDir())
	c := &checkout{t: t, dir: dir}
	c.write("b.yaml", "b\n", "a/x.yaml", "x\n", "a.b", "1", ".git/config", "", "a/.gitignore", "*.yaml\n")
	must(t, os.Mkdir(filepath.Join(dir, "empty"), 0o755))
	must(t, os.Symlink("b.yaml", filepath.Join(dir, "link.yaml")))
	must(t, os.Symlink("/etc", filepath.Join(dir, "etc")))
	must(t, os.Chmod(filepath.Join(dir, "b.yaml"), 0o755))
	s := open(t, Options{Source: dir})
	sum := func(s string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(s))) }
	want := sum("a.b\x00" + sum("1") + "\na/.gitignore\x00" + sum("*.yaml\n") + "\na/x.yaml\x00" + sum("x\n") + "\nb.yaml\x00" + sum("b\n") + "\n")
	is(t, "revision", s.Revision, "dir@sha256:"+want)
	is(t, "commit", s.Commit, "")
	is(t, "dir", s.Dir, dir)
	same(t, "files", files(t, s), []string{"a/.gitignore=*.yaml\n", "a/x.yaml=x\n", "a.b=1", "b.yaml=b\n"})
	if len(s.Links) != 2 || s.Links["link.yaml"] != "b.yaml" || s.Links["etc"] != "/etc" {
		t.Errorf("links: %v", s.Links)
	}
	for _, p := range []string{"etc", "etc/passwd", "link.yaml"} {
		_, err := fs.ReadFile(s.FS, p)
		if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "symbolic link to") {
			t.Errorf("%s: %v", p, err)
		}
	}
	must(t, fstest.TestFS(s.FS, "b.yaml", "a/x.yaml", "empty"))
	if root, err := s.RootCommit(t.Context()); root != "" || err != nil {
		t.Error(root, err)
	}
	refused(t, Options{Source: dir, Ref: "main"}, `a plain directory has no ref "main"`, "it is in no Git repository", "leave --ref out")
}

func TestPlainDirectoryThatChangesIsNotReadAnyMore(t *testing.T) {
	t.Parallel()
	c := &checkout{t: t, dir: t.TempDir()}
	c.write("a.yaml", "one\n", "b.yaml", "two\n", "c/d.yaml", "d\n")
	s := open(t, Options{Source: c.dir})
	secret := filepath.Join(t.TempDir(), "secret")
	must(t, os.WriteFile(secret, []byte("one\n"), 0o600))
	must(t, os.Remove(filepath.Join(c.dir, "a.yaml")))
	must(t, os.Symlink(secret, filepath.Join(c.dir, "a.yaml")))
	must(t, os.WriteFile(filepath.Join(c.dir, "b.yaml"), []byte("TWO\n"), 0o644))
	must(t, os.Rename(filepath.Join(c.dir, "c"), filepath.Join(c.dir, "e")))
	for _, p := range []string{"a.yaml", "b.yaml", "c/d.yaml"} {
		data, err := fs.ReadFile(s.FS, p)
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%s: read %q, %v", p, data, err)
		}
	}
}

func TestDirectoryInARepositoryThatDoesNotTrackIt(t *testing.T) {
	t.Parallel()
	c := withFiles(t, "a.yaml", "a\n", ".gitignore", "out/\n")
	c.write("out/b.yaml", "b\n")
	s := open(t, Options{Source: filepath.Join(c.dir, "out")})
	if !strings.HasPrefix(s.Revision, "dir@sha256:") || s.Dir != filepath.Join(c.dir, "out") {
		t.Errorf("%s in %s", s.Revision, s.Dir)
	}
	same(t, "files", files(t, s), []string{"b.yaml=b\n"})
	refused(t, Options{Source: filepath.Join(c.dir, "out"), Ref: "main"}, "a plain directory has no ref", "has nothing below out")
}

func TestNoSuchDirectory(t *testing.T) {
	t.Parallel()
	c := withFiles(t, "clusters/production/k.yaml", "k\n")
	err := refused(t, Options{Source: "clusters/prodution", WorkDir: c.dir}, "no such directory", "did you mean "+filepath.Join(c.dir, "clusters", "production"))
	if !errors.Is(err, fs.ErrNotExist) {
		t.Error("not fs.ErrNotExist")
	}
	refused(t, Options{Source: "clusters/production/k.yaml", WorkDir: c.dir}, "is a file, not a directory", "--source "+filepath.Join(c.dir, "clusters", "production"))
}

func TestRepositoryWithoutCommits(t *testing.T) {
	t.Parallel()
	c := newCheckout(t)
	refused(t, c.options(), "the repository has no commits", "git commit")
	c.write("a/b.yaml", "b\n")
	c.git("add", "-A")
	refused(t, c.options(), "the repository has no commits")
}

// A work tree before its first commit is what is on the disk, and nothing else: what asks for
// commits, tags or signatures is told what to type.
func TestWorkTreeBeforeTheFirstCommit(t *testing.T) {
	t.Parallel()
	c := newCheckout(t)
	c.write("a/b.yaml", "b\n")
	o := c.options()
	o.WorkTree = true
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if data, err := fs.ReadFile(s.FS, "a/b.yaml"); err != nil || string(data) != "b\n" || !s.Unborn() {
		t.Errorf("%q %v", data, err)
	}
	_, base := s.Base(t.Context(), "main", false)
	_, pushed := s.Pushed(t.Context(), "https://git.example.com/x.git", "main")
	for _, err := range []error{base, pushed} {
		if err == nil || !strings.Contains(err.Error(), "the repository has no commits") {
			t.Errorf("%v", err)
		}
	}
	if _, err := s.Verify("HEAD", map[string]string{"a.sshpub": "x"}); err == nil || !strings.Contains(err.Error(), "nothing is committed") {
		t.Errorf("%v", err)
	}
	o.Ref = "v1"
	if _, err := Open(t.Context(), o); err == nil {
		t.Error("the work tree was taken for a tag that there is none of")
	}
}

func TestStagedDirectoryIsThereInTheWorkTreeOnly(t *testing.T) {
	t.Parallel()
	c := withFiles(t, "a.yaml", "a\n")
	c.write("new/b.yaml", "b\n")
	c.git("add", "new")
	o := Options{Source: filepath.Join(c.dir, "new")}
	refused(t, o, "nothing is committed there at main@sha1:", "git add new && git commit")
	o.WorkTree = true
	s := open(t, o)
	same(t, "files", files(t, s), []string{"b.yaml=b\n"})
	is(t, "revision", s.Revision, "main@sha1:"+c.head()+"-dirty")
}

func TestLinkedWorktreeAndSharedObjects(t *testing.T) {
	t.Parallel()
	c := withFiles(t, "a.yaml", "main\n")
	linked := filepath.Join(real(t, t.TempDir()), "linked")
	c.git("worktree", "add", "-q", "-b", "feature", linked)
	w := &checkout{t: t, dir: linked, env: c.env}
	w.write("a.yaml", "feature\n")
	w.commit("second")
	s := open(t, Options{WorkDir: linked, Auth: Auth{Env: c.env}})
	is(t, "revision", s.Revision, "feature@sha1:"+w.head())
	is(t, "dir", s.Dir, linked)
	same(t, "files", files(t, s), []string{"a.yaml=feature\n"})
	same(t, "dirty", s.Dirty, nil)

	shared := filepath.Join(real(t, t.TempDir()), "shared")
	c.git("gc", "-q")
	c.git("clone", "-q", "--shared", c.dir, shared)
	d := &checkout{t: t, dir: shared, env: c.env}
	d.write("b.yaml", "b\n")
	d.commit("third")
	s = open(t, d.options())
	same(t, "files", files(t, s), []string{"a.yaml=main\n", "b.yaml=b\n"})
	root, err := s.RootCommit(t.Context())
	must(t, err)
	is(t, "root", root, c.git("rev-list", "--max-parents=0", "main"))

	chained := filepath.Join(real(t, t.TempDir()), "chained")
	d.git("clone", "-q", "--shared", d.dir, chained)
	same(t, "of an alternate's alternate", files(t, open(t, Options{Source: chained})), []string{"a.yaml=main\n", "b.yaml=b\n"})

	must(t, os.Rename(c.dir, c.dir+".moved"))
	refused(t, Options{WorkDir: linked}, "the repository it points to is not there", "git worktree repair")
}

func TestBareRepositoryAndFileURL(t *testing.T) {
	t.Parallel()
	c := withFiles(t, "a.yaml", "a\n")
	bare := filepath.Join(real(t, t.TempDir()), "fleet.git")
	c.git("clone", "-q", "--bare", c.dir, bare)
	c.write("a.yaml", "dirty\n")
	for _, source := range []string{bare, "file://" + bare, "file://" + c.dir} {
		s := open(t, Options{Source: source, WorkTree: true})
		is(t, source, s.Revision, "main@sha1:"+c.head())
		same(t, source, files(t, s), []string{"a.yaml=a\n"})
		if strings.HasPrefix(source, "file:") && (s.URL != source || s.Dir != "" || !s.Is(strings.TrimPrefix(source, "file://"))) {
			t.Errorf("%s: URL %q, dir %q, remotes %q", source, s.URL, s.Dir, s.Remotes)
		}
	}
	refused(t, Options{Source: "file://" + t.TempDir()}, "is not a Git repository", "for a plain directory")
	refused(t, Options{Source: "file://" + bare, Ref: "v1"}, `no branch, tag or commit "v1"`, "the branches are main")
}

func TestEmptyGitDirectoryIsNoRepository(t *testing.T) {
	t.Parallel()
	c := withFiles(t, "a/b.yaml", "b\n")
	must(t, os.Mkdir(filepath.Join(c.dir, "a", ".git"), 0o755))
	is(t, "dir", open(t, Options{WorkDir: filepath.Join(c.dir, "a")}).Dir, c.dir)
	c.write("c/.git", "nonsense")
	refused(t, Options{WorkDir: filepath.Join(c.dir, "c")}, filepath.Join(c.dir, "c", ".git")+": is not a Git link")
}

func TestSnapshotOutlivesARepack(t *testing.T) {
	t.Parallel()
	c := withFiles(t, "a.yaml", "a\n", "b/c.yaml", "c\n")
	c.git("repack", "-adq")
	c.write("d.yaml", "d\n")
	c.commit("second")
	s := open(t, c.options())
	c.git("gc", "-q", "--prune=now")
	same(t, "files", files(t, s), []string{"a.yaml=a\n", "b/c.yaml=c\n", "d.yaml=d\n"})
}

func TestFormatsThatWouldBeMisreadAreRefused(t *testing.T) {
	t.Parallel()
	c := newCheckout(t)
	must(t, os.RemoveAll(filepath.Join(c.dir, ".git")))
	c.git("init", "-q", "--object-format=sha256")
	refused(t, c.options(), "is a repository of sha256 objects")
	c = withFiles(t, "a", "a")
	c.git("config", "core.repositoryformatversion", "1")
	c.git("config", "extensions.refStorage", "reftable")
	refused(t, c.options(), "stored as reftable", "git refs migrate")
}

func TestCanceled(t *testing.T) {
	t.Parallel()
	c := withFiles(t, "a", "a")
	for _, source := range []string{"", c.dir, t.TempDir(), "https://192.0.2.1/x/y", "ssh://git@192.0.2.1/x/y"} {
		if _, err := Open(canceled(t), Options{Source: source, WorkDir: c.dir}); !errors.Is(err, t.Context().Err()) && err == nil {
			t.Errorf("%q was opened", source)
		}
	}
}
