package source

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// listed is what git itself has and would add, regular files that are there.
func listed(c *checkout, dir string) []string {
	c.t.Helper()
	var out []string
	for p := range strings.SplitSeq(runGit(c.t, dir, c.env, "ls-files", "-z", "--cached", "--others", "--exclude-standard"), "\x00") {
		if info, err := os.Lstat(filepath.Join(dir, filepath.FromSlash(p))); p != "" && err == nil && info.Mode().IsRegular() && !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	slices.Sort(out)
	return out
}

func weList(c *checkout, dir string) []string {
	c.t.Helper()
	got, err := Files(c.t.Context(), dir, c.env)
	must(c.t, err)
	slices.Sort(got)
	return got
}

func TestFilesAreThoseOfGit(t *testing.T) {
	t.Parallel()
	c := withFiles(t, "kept.log", "k", "a/b/c.yaml", "c", "a/gone", "g", "x/tracked.tmp", "t")
	c.write(".gitignore", "*.log\n/build/\n!keep.log\nx/\n", "a/.gitignore", "local*\n", ".git/info/exclude", "*.secret\n",
		"a/local", "", "a/new", "", "new.log", "", "keep.log", "", "build/out", "", "x/new", "", "x/tracked.tmp", "changed", "key.secret", "", "a/b/local.d/f", "", ".sops.yaml", "")
	must(t, os.Remove(filepath.Join(c.dir, "a", "gone")))
	must(t, os.Symlink("kept.log", filepath.Join(c.dir, "link")))
	must(t, os.Symlink("..", filepath.Join(c.dir, "a", "up")))
	for _, dir := range []string{c.dir, filepath.Join(c.dir, "a"), filepath.Join(c.dir, "x"), filepath.Join(c.dir, "build")} {
		same(t, dir, weList(c, dir), listed(c, dir))
	}
	t.Run("before the first commit", func(t *testing.T) {
		c := newCheckout(t)
		c.write(".gitignore", "b\n", "a", "", "b", "")
		same(t, "files", weList(c, c.dir), []string{".gitignore", "a"})
	})
	t.Run("a linked worktree", func(t *testing.T) {
		dir := filepath.Join(c.dir, "..", "linked")
		c.git("worktree", "add", "-q", dir)
		must(t, os.WriteFile(filepath.Join(dir, "more"), nil, 0o644))
		same(t, "files", weList(c, dir), listed(c, dir))
	})
	t.Run("outside of a repository", func(t *testing.T) {
		dir := real(t, t.TempDir())
		must(t, os.MkdirAll(filepath.Join(dir, "d"), 0o755))
		for _, name := range []string{".gitignore", "d/a", "b"} {
			must(t, os.WriteFile(filepath.Join(dir, name), []byte("*\n"), 0o644))
		}
		same(t, "files", weList(c, dir), []string{".gitignore", "b", "d/a"})
	})
	t.Run("no such directory", func(t *testing.T) {
		if _, err := Files(t.Context(), filepath.Join(c.dir, "nowhere"), c.env); err == nil || !strings.Contains(err.Error(), "no such directory") {
			t.Errorf("got %v", err)
		}
	})
}

// A repository inside has its own index and rules, as a submodule and as a clone
// that somebody left there.
func TestFilesOfRepositoriesInside(t *testing.T) {
	t.Parallel()
	inner := withFiles(t, ".gitignore", "*.tmp\n", "in", "i")
	c := withFiles(t, "out", "o")
	c.git("-c", "protocol.file.allow=always", "submodule", "add", "-q", inner.dir, "sub")
	c.git("clone", "-q", inner.dir, "stray")
	c.write("sub/a.tmp", "", "sub/new", "", "stray/a.tmp", "", "stray/new", "")
	same(t, "files", weList(c, c.dir), []string{".gitmodules", "out", "stray/.gitignore", "stray/in", "stray/new", "sub/.gitignore", "sub/in", "sub/new"})
}

func TestHistoryVisitsEachContentOnce(t *testing.T) {
	t.Parallel()
	c := newCheckout(t)
	at := func(day string) {
		for i, v := range c.env {
			if k, _, _ := strings.Cut(v, "="); k == "GIT_COMMITTER_DATE" {
				c.env[i] = k + "=2026-01-" + day + "T00:00:00Z"
			}
		}
	}
	at("01")
	c.write("a.yaml", "one", "d/b", "bee", "big", strings.Repeat("x", 100))
	first := c.commit("first")
	at("02")
	c.write("a.yaml", "two", "copy.yaml", "one", "other.env", "one")
	second := c.commit("second")
	at("03")
	c.git("checkout", "-q", "-b", "side")
	c.write("only-there", "side")
	side := c.commit("side")
	c.git("checkout", "-q", "main")
	at("04")
	must(t, os.Remove(filepath.Join(c.dir, "a.yaml")))
	c.commit("third")
	c.write("stashed", "stash")
	c.git("add", "stashed")
	c.git("stash", "-q")
	stash := c.git("rev-parse", "refs/stash^2")
	c.git("tag", "-a", "-m", "t", "v1")
	c.git("tag", "blob", c.git("hash-object", "d/b"))
	c.git("gc", "-q") // from packs too
	var got []string
	report, err := History(t.Context(), filepath.Join(c.dir, "d"), HistoryOptions{MaxSize: 50, Env: c.env}, func(b Blob) error {
		if b.Commit == stash || b.Commit == c.git("rev-parse", "refs/stash") {
			b.Commit = "stash" // its two commits have one date
		}
		got = append(got, b.Path+"="+string(b.Data)+" "+b.Commit)
		return nil
	})
	must(t, err)
	slices.Sort(got)
	want := []string{"a.yaml=one " + first, "a.yaml=two " + second, "d/b=bee " + first, "only-there=side " + side, "other.env=one " + second, "stashed=stash stash"}
	same(t, "blobs", got, want)
	if report.Blobs != len(want) || report.TooLarge != 1 || report.Shallow || report.Missing != 0 {
		t.Errorf("got %+v", report)
	}
	if n := len(strings.Fields(c.git("rev-list", "--all"))); report.Commits != n {
		t.Errorf("read %d commits, git has %d", report.Commits, n)
	}
	stop := errors.New("stop")
	if _, err := History(t.Context(), c.dir, HistoryOptions{MaxSize: 50, Env: c.env}, func(Blob) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("got %v", err)
	}
}

func TestHistoryOfAShallowCloneSaysSo(t *testing.T) {
	t.Parallel()
	c := withFiles(t, "a", "one")
	c.write("a", "two")
	c.commit("second")
	dir := filepath.Join(c.dir, "..", "shallow")
	c.git("clone", "-q", "--depth=1", "file://"+c.dir, dir)
	var got []string
	report, err := History(t.Context(), dir, HistoryOptions{MaxSize: 50, Env: c.env}, func(b Blob) error {
		got = append(got, string(b.Data))
		return nil
	})
	must(t, err)
	if !report.Shallow || report.Missing != 0 || len(got) != 1 {
		t.Errorf("got %+v, %q", report, got)
	}
	if _, err := History(t.Context(), t.TempDir(), HistoryOptions{Env: c.env}, nil); !errors.Is(err, ErrNoRepository) {
		t.Errorf("got %v", err)
	}
}
