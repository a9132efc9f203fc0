package source

import (
	"bytes"
	"crypto/sha1"
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// gitStatus is what the real git says: the tracked paths that differ from HEAD, the untracked ones.
func (c *checkout) gitStatus() (dirty, untracked []string) {
	c.t.Helper()
	for rec := range strings.SplitSeq(c.git("-c", "core.fileMode=false", "status", "--porcelain", "-z", "--untracked-files=all", "--no-renames"), "\x00") {
		switch {
		case rec == "":
		case strings.HasPrefix(rec, "??"):
			untracked = append(untracked, rec[3:])
		default:
			dirty = append(dirty, rec[3:])
		}
	}
	slices.Sort(dirty)
	slices.Sort(untracked)
	return dirty, untracked
}

// agrees opens the checkout and holds Dirty and Untracked to git's own answer. It asks before git
// does: git status refreshes the index.
func (c *checkout) agrees(what string) *Snapshot {
	c.t.Helper()
	s := open(c.t, c.options())
	dirty, untracked := c.gitStatus()
	same(c.t, what+": dirty", s.Dirty, dirty)
	same(c.t, what+": untracked", s.Untracked, untracked)
	return s
}

func TestDirtyIsWhatGitSays(t *testing.T) {
	t.Parallel()
	files := []string{".gitignore", "*.tmp\n/build/\n!keep.tmp\n", "a.yaml", "a\n", "b/c.yaml", "c\n", "b/d.yaml", "d\n", "e f/ü.yaml", "u\n"}
	for name, change := range map[string]func(c *checkout){
		"clean":           func(*checkout) {},
		"edited":          func(c *checkout) { c.write("a.yaml", "changed\n") },
		"edited to equal": func(c *checkout) { c.write("a.yaml", "a\n") },
		"same length, same time": func(c *checkout) {
			name := filepath.Join(c.dir, "a.yaml")
			info, err := os.Stat(name)
			must(t, err)
			c.write("a.yaml", "b\n")
			must(t, os.Chtimes(name, info.ModTime(), info.ModTime()))
		},
		"touched":             func(c *checkout) { must(t, os.Chtimes(filepath.Join(c.dir, "a.yaml"), time.Now(), time.Unix(1e9, 5))) },
		"staged":              func(c *checkout) { c.write("a.yaml", "s\n"); c.git("add", "a.yaml") },
		"staged and set back": func(c *checkout) { c.write("a.yaml", "s\n"); c.git("add", "a.yaml"); c.write("a.yaml", "a\n") },
		"deleted":             func(c *checkout) { must(t, os.Remove(filepath.Join(c.dir, "b", "c.yaml"))) },
		"directory deleted":   func(c *checkout) { must(t, os.RemoveAll(filepath.Join(c.dir, "b"))) },
		"git rm":              func(c *checkout) { c.git("rm", "-q", "a.yaml") },
		"removed from index":  func(c *checkout) { c.git("rm", "-q", "--cached", "a.yaml") },
		"renamed":             func(c *checkout) { c.git("mv", "a.yaml", "z.yaml") },
		"new and staged":      func(c *checkout) { c.write("n.yaml", "n\n"); c.git("add", "n.yaml") },
		"intent to add":       func(c *checkout) { c.write("n.yaml", "n\n"); c.git("add", "-N", "n.yaml") },
		"untracked":           func(c *checkout) { c.write("n.yaml", "n\n", "b/n.yaml", "n\n", "x/y/z.yaml", "z\n") },
		"ignored":             func(c *checkout) { c.write("n.tmp", "", "b/n.tmp", "", "build/x", "", "b/build/y", "", "keep.tmp", "") },
		"tracked and ignored": func(c *checkout) { c.write("build/t", "t"); c.git("add", "-f", "build/t"); c.write("build/u", "") },
		"empty directory":     func(c *checkout) { must(t, os.MkdirAll(filepath.Join(c.dir, "empty", "x"), 0o755)) },
		"file is a directory": func(c *checkout) { must(t, os.Remove(filepath.Join(c.dir, "a.yaml"))); c.write("a.yaml/x", "x") },
		"directory is a file": func(c *checkout) { must(t, os.RemoveAll(filepath.Join(c.dir, "b"))); c.write("b", "b") },
		"file is a link": func(c *checkout) {
			must(t, os.Remove(filepath.Join(c.dir, "a.yaml")))
			must(t, os.Symlink("b/c.yaml", filepath.Join(c.dir, "a.yaml")))
		},
		"directory is a link": func(c *checkout) {
			must(t, os.Rename(filepath.Join(c.dir, "b"), filepath.Join(c.dir, "q")))
			must(t, os.Symlink("q", filepath.Join(c.dir, "b")))
		},
		"executable":           func(c *checkout) { must(t, os.Chmod(filepath.Join(c.dir, "a.yaml"), 0o755)) },
		"conflict":             conflict,
		"repository inside":    func(c *checkout) { runGit(t, c.dir, c.env, "init", "-q", "inner"); c.write("inner/x", "x") },
		"index file is absent": func(c *checkout) { must(t, os.Remove(filepath.Join(c.dir, ".git", "index"))) },
		"assumed unchanged":    func(c *checkout) { c.git("update-index", "--assume-unchanged", "b/c.yaml"); c.write("a.yaml", "x\n") },
		"restored from backup": func(c *checkout) { c.git("update-index", "--force-remove", "b/d.yaml"); c.git("add", "b/d.yaml") },
		"only the index's ids": func(c *checkout) { c.git("update-index", "--index-version", "4"); c.write("b/c.yaml", "v4\n") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := withFiles(t, files...)
			change(c)
			c.agrees("just changed")
			c.agrees("after git has refreshed the index")
		})
	}
}

func conflict(c *checkout) {
	c.git("checkout", "-q", "-b", "other")
	c.write("a.yaml", "theirs\n")
	c.commit("theirs")
	c.git("checkout", "-q", "main")
	c.write("a.yaml", "ours\n")
	c.commit("ours")
	c.git("read-tree", "-m", "main~1", "main", "other")
}

// TestRacilyCleanFile is about a file that is written again, with the same length, in the same
// instant as the index: its times prove nothing. The instant is made by hand.
func TestRacilyCleanFile(t *testing.T) {
	t.Parallel()
	c := withFiles(t, "a", "1")
	c.write("a", "2")
	info, err := os.Stat(filepath.Join(c.dir, "a"))
	must(t, err)
	name := filepath.Join(c.dir, ".git", "index")
	data, err := os.ReadFile(name)
	must(t, err)
	sec, nsec, _, ok := changeTime(info)
	if !ok {
		sec, nsec = info.ModTime().Unix(), int64(info.ModTime().Nanosecond())
	}
	for i, v := range []int64{sec, nsec, info.ModTime().Unix(), int64(info.ModTime().Nanosecond())} {
		binary.BigEndian.PutUint32(data[12+4*i:], uint32(v))
	}
	sum := sha1.Sum(data[:len(data)-20])
	must(t, os.WriteFile(name, append(data[:len(data)-20], sum[:]...), 0o644))
	must(t, os.Chtimes(name, time.Now(), info.ModTime()))
	same(t, "an index as old as the file", open(t, c.options()).Dirty, []string{"a"})
	must(t, os.Chtimes(name, time.Now(), info.ModTime().Add(time.Second)))
	same(t, "an index that is younger is trusted, as Git trusts it", open(t, c.options()).Dirty, nil)
}

func TestWorkTreeThatChangesIsNotReadAnyMore(t *testing.T) {
	t.Parallel()
	c := withFiles(t, "a.yaml", "one\n", "b.yaml", "two\n", "c.yaml", "three\n")
	c.write("a.yaml", "ONE\n", "b.yaml", "TWO\n", "c.yaml", "THREE\n")
	o := c.options()
	o.WorkTree = true
	s := open(t, o)
	keep := func(name string, change func(name string)) {
		name = filepath.Join(c.dir, name)
		info, err := os.Stat(name)
		must(t, err)
		change(name)
		must(t, os.Chtimes(name, info.ModTime(), info.ModTime()))
	}
	keep("a.yaml", func(name string) { // another file in its place, of its length and time
		must(t, os.WriteFile(name+".new", []byte("XXX\n"), 0o644))
		must(t, os.Rename(name+".new", name))
	})
	must(t, os.Chtimes(filepath.Join(c.dir, "b.yaml"), time.Now(), time.Now().Add(time.Minute)))
	keep("c.yaml", func(name string) { must(t, os.WriteFile(name, []byte("LONGER\n"), 0o644)) })
	for _, p := range []string{"a.yaml", "b.yaml", "c.yaml"} {
		data, err := fs.ReadFile(s.FS, p)
		if err == nil || !strings.Contains(err.Error(), p+": changed while it was being read") || hint(err) != "run again" {
			t.Errorf("%s: %q, %v", p, data, err)
		}
	}
}

func TestLineEndingsModesAndFiltersAreNotDirt(t *testing.T) {
	t.Parallel()
	c := withFiles(t, "lf.yaml", "a: |\n  b\n", "crlf.yaml", "a: 1\r\nb: 2\r\n", "mode.sh", "x\n", "dir/other.yaml", "1\n2\n")
	c.write("lf.yaml", "a: |\r\n  b\r\n", "crlf.yaml", "a: 1\nb: 2\n")
	must(t, os.Chmod(filepath.Join(c.dir, "mode.sh"), 0o755))
	o := c.options()
	o.WorkTree = true
	s := open(t, o)
	same(t, "dirty", s.Dirty, nil)
	is(t, "revision", s.Revision, "main@sha1:"+c.head())
	same(t, "content is the commit's", files(t, s), []string{"crlf.yaml=a: 1\r\nb: 2\r\n", "dir/other.yaml=1\n2\n", "lf.yaml=a: |\n  b\n", "mode.sh=x\n"})
	c.write("dir/other.yaml", "1\r\n3\r\n")
	s = open(t, o)
	same(t, "dirty", s.Dirty, []string{"dir/other.yaml"})
	data, err := fs.ReadFile(s.FS, "dir/other.yaml")
	must(t, err)
	is(t, "as it would be committed", string(data), "1\n3\n")
}

func TestCheckoutWithAutocrlf(t *testing.T) {
	t.Parallel()
	origin := withFiles(t, "a.yaml", "a: 1\nb: 2\n", "b/c.yaml", "c\n")
	c := &checkout{t: t, dir: filepath.Join(real(t, t.TempDir()), "clone"), env: origin.env}
	origin.git("clone", "-q", "-c", "core.autocrlf=true", origin.dir, c.dir)
	data, err := os.ReadFile(filepath.Join(c.dir, "a.yaml"))
	must(t, err)
	is(t, "on the disk", string(data), "a: 1\r\nb: 2\r\n")
	c.agrees("clean")
	must(t, os.Chtimes(filepath.Join(c.dir, "a.yaml"), time.Now(), time.Now().Add(time.Hour)))
	c.agrees("touched")
	c.write("a.yaml", "a: 1\r\nb: 3\r\n")
	c.agrees("edited")
	o := c.options()
	o.WorkTree = true
	same(t, "files", files(t, open(t, o)), []string{"a.yaml=a: 1\nb: 3\n", "b/c.yaml=c\n"})
}

func TestFileInGitLFS(t *testing.T) {
	t.Parallel()
	content := strings.Repeat("large\n", 1000)
	c := withFiles(t, ".gitattributes", "*.bin filter=lfs\n", "big.bin", string(pointer([]byte(content))))
	o := c.options()
	o.WorkTree = true
	c.write("big.bin", content) // as the smudge filter leaves it
	s := open(t, o)
	same(t, "dirty", s.Dirty, nil)
	data, err := fs.ReadFile(s.FS, "big.bin")
	must(t, err)
	is(t, "content", string(data), string(pointer([]byte(content))))
	c.write("big.bin", content+"more")
	s = open(t, o)
	same(t, "dirty", s.Dirty, []string{"big.bin"})
	data, err = fs.ReadFile(s.FS, "big.bin")
	must(t, err)
	is(t, "content", string(data), string(pointer([]byte(content+"more"))))
}

func TestFileBehindACleanFilter(t *testing.T) {
	t.Parallel()
	c := newCheckout(t)
	c.git("config", "filter.rot.clean", "tr a-z n-za-m")
	c.git("config", "filter.rot.smudge", "tr a-z n-za-m")
	c.write(".gitattributes", "*.rot filter=rot\n", "dir/a.rot", "hello\n")
	c.commit("first")
	must(t, os.Chtimes(filepath.Join(c.dir, "dir", "a.rot"), time.Now(), time.Unix(1e9, 0)))
	s := c.agrees("touched")
	same(t, "dirty", s.Dirty, nil)
	is(t, "content", files(t, s)[1], "dir/a.rot=uryyb\n")
	c.write("dir/a.rot", "world\n")
	c.agrees("edited")
	same(t, "without git it counts as changed", open(t, Options{Source: c.dir}).Dirty, []string{"dir/a.rot"})
}

func TestWorkTreeIsWhatGitAddWouldCommit(t *testing.T) {
	t.Parallel()
	c := newCheckout(t)
	c.write(".gitignore", "*.dec.yaml\nout/**\n!out/keep.yaml\n", "a.yaml", "a\n", "b.yaml", "b\n", "gone.yaml", "g\n", "staged.yaml", "1\n")
	c.commit("first")
	c.write("b.yaml", "edited\n", "new/n.yaml", "n\n", "secret.dec.yaml", "plain\n", "out/x.yaml", "x\n", "out/keep.yaml", "k\n", "staged.yaml", "2\n")
	c.git("add", "staged.yaml")
	c.write("staged.yaml", "3\n")
	must(t, os.Remove(filepath.Join(c.dir, "gone.yaml")))
	o := c.options()
	o.WorkTree = true
	s := open(t, o)
	var want []string
	c.git("add", "-A")
	for name := range strings.SplitSeq(c.git("ls-files", "-z"), "\x00") {
		if name != "" {
			want = append(want, name+"="+c.git("show", ":"+name)+"\n")
		}
	}
	same(t, "files", files(t, s), want)
	is(t, "revision", s.Revision, "main@sha1:"+c.head()+"-dirty")
	for p, file := range map[string]string{"secret.dec.yaml": ".gitignore", "out/x.yaml": ".gitignore"} {
		_, err := s.FS.Open(p)
		if err == nil || !strings.Contains(err.Error(), "is ignored by "+file) {
			t.Errorf("%s: %v", p, err)
		}
	}
	if entries, err := fs.ReadDir(s.FS, "out"); err != nil || len(entries) != 1 {
		t.Errorf("an ignored file is listed: %v %v", entries, err)
	}
}

func TestOnlyUntrackedFiles(t *testing.T) {
	t.Parallel()
	c := withFiles(t, "a.yaml", "a\n")
	c.write("n.yaml", "n\n")
	is(t, "of the commit", open(t, c.options()).Revision, "main@sha1:"+c.head())
	o := c.options()
	o.WorkTree = true
	is(t, "of the work tree", open(t, o).Revision, "main@sha1:"+c.head()+"-dirty")
}

func TestUnreadableDirectories(t *testing.T) {
	t.Parallel()
	c := withFiles(t, "a/b.yaml", "b\n")
	inner := filepath.Join(c.dir, "inner")
	runGit(t, c.dir, c.env, "init", "-q", "inner")
	c.write("inner/x.yaml", "x\n")
	o := c.options()
	o.WorkTree = true
	s := open(t, o)
	same(t, "untracked", s.Untracked, []string{"inner/"})
	if _, err := fs.ReadFile(s.FS, "inner/x.yaml"); err == nil || !strings.Contains(err.Error(), inner+": is a Git repository of its own") {
		t.Errorf("%v", err)
	}
}

func TestSparseCheckoutIsReadWhole(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"--no-sparse-index", "--sparse-index"} {
		c := withFiles(t, "a/x.yaml", "x\n", "b/y.yaml", "y\n", "b/deep/z.yaml", "z\n", "top.yaml", "t\n")
		c.git("sparse-checkout", "set", "--cone", kind, "a")
		if _, err := os.Stat(filepath.Join(c.dir, "b")); err == nil {
			t.Fatal("git did not make the checkout sparse")
		}
		c.agrees(kind)
		o := c.options()
		o.WorkTree = true
		s := open(t, o)
		same(t, kind, files(t, s), []string{"a/x.yaml=x\n", "b/deep/z.yaml=z\n", "b/y.yaml=y\n", "top.yaml=t\n"})
		is(t, "revision", s.Revision, "main@sha1:"+c.head())
		c.write("a/x.yaml", "edited\n")
		c.agrees(kind + " edited")
	}
}

func TestIndexFormats(t *testing.T) {
	t.Parallel()
	c := newCheckout(t)
	long := strings.Repeat("d/", 60) + strings.Repeat("long", 50) + ".yaml"
	c.write("a", "1", "ab", "2", "abc/d", "3", "abc/e", "4", long, "5")
	c.commit("first")
	c.write("later", "x")
	c.git("add", "-N", "later")
	for _, version := range []string{"2", "3", "4"} {
		c.git("update-index", "--index-version", version)
		r, err := discover(c.dir, Auth{})
		must(t, err)
		idx, err := r.index()
		must(t, err)
		var got []string
		for _, e := range idx.entries {
			got = append(got, fmt.Sprintf("%06o %s %d\t%s", uint32(e.mode), e.hash, e.stage, e.name))
		}
		same(t, "version "+version, got, strings.Split(c.git("-c", "core.quotePath=false", "ls-files", "--stage"), "\n"))
		c.agrees("version " + version)
	}
	name := filepath.Join(c.dir, ".git", "index")
	data, err := os.ReadFile(name)
	must(t, err)
	must(t, os.WriteFile(name, slices.Concat(data[:len(data)-20], make([]byte, 20)), 0o644)) // as index.skipHash writes it
	same(t, "without a checksum", open(t, c.options()).Dirty, []string{"later"})
	bad := bytes.Clone(data)
	bad[40] ^= 1
	must(t, os.WriteFile(name, bad, 0o644))
	refused(t, c.options(), name, "the index is damaged", "its checksum is wrong")
	must(t, os.WriteFile(name, data, 0o644))
	c.git("update-index", "--split-index")
	refused(t, c.options(), "a split index cannot be read", "git update-index --no-split-index")
	c.git("update-index", "--no-split-index")
	open(t, c.options())
}

func FuzzIndex(f *testing.F) {
	f.Add([]byte("DIRC\x00\x00\x00\x02\x00\x00\x00\x00" + strings.Repeat("\x00", 20)))
	f.Add([]byte("DIRC\x00\x00\x00\x04\x00\x00\x00\x01" + strings.Repeat("\x00", 62) + "\x00a\x00" + strings.Repeat("\x00", 20)))
	f.Add([]byte("DIRC\x00\x00\x00\x03\x00\x00\x00\x01" + strings.Repeat("\x00", 60) + "\x40\x00\x00\x00abc\x00" + strings.Repeat("\x00", 28)))
	f.Fuzz(func(_ *testing.T, data []byte) {
		var x index
		_ = x.decode(data) // any input ends in entries or an error
	})
}
