package cache

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"
)

// verdictFile is the one verdict file in dir.
func verdictFile(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "verdicts-*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%v %v", files, err)
	}
	return files[0]
}

// A verdict is known to the next run, and to nobody for whom it was not made.
func TestVerdictsAreRemembered(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "gitops")
	d := Open(dir, "v1")
	v := d.Verdicts("cluster-a")
	v.Add(d.Sum("uid", "7", "desired"))
	v.Save()

	again := Open(dir, "v1")
	if w := again.Verdicts("cluster-a"); w.Empty() || !w.Has(again.Sum("uid", "7", "desired")) {
		t.Error("the next run does not know it")
	} else if w.Has(again.Sum("uid", "8", "desired")) || w.Has(again.Sum("uid", "7desired")) {
		t.Error("another object's is believed")
	}
	if !again.Verdicts("cluster-b").Empty() {
		t.Error("another cluster's is believed")
	}
	if other := Open(dir, "v2"); other.Verdicts("cluster-a").Has(other.Sum("uid", "7", "desired")) {
		t.Error("another version's is believed")
	}
	if err := os.Remove(filepath.Join(dir, "key")); err != nil {
		t.Fatal(err)
	}
	if other := Open(dir, "v1"); !other.Verdicts("cluster-a").Empty() {
		t.Error("what another key wrote is believed")
	}
	for _, f := range []string{"key", filepath.Base(verdictFile(t, dir))} {
		if info, err := os.Stat(filepath.Join(dir, f)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v, want mode 0600", f, info.Mode(), err)
		}
	}
}

// Whatever has happened to a file, a run goes on without it and mends it.
func TestWhatIsDamagedIsNotBelieved(t *testing.T) {
	for title, damage := range map[string]func(data []byte) []byte{
		"empty":       func([]byte) []byte { return nil },
		"cut short":   func(data []byte) []byte { return data[:len(data)-5] },
		"an entry":    func(data []byte) []byte { return append(make([]byte, 16), data...) },
		"a bit":       func(data []byte) []byte { data[3] ^= 1; return data },
		"other bytes": func([]byte) []byte { return []byte(strings.Repeat("x", 4096)) },
	} {
		dir := t.TempDir()
		d := Open(dir, "v1")
		v := d.Verdicts("c")
		v.Add(d.Sum("a"))
		v.Save()
		file := verdictFile(t, dir)
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, damage(data), 0o600); err != nil {
			t.Fatal(err)
		}
		v = d.Verdicts("c")
		if !v.Empty() {
			t.Errorf("%s: believed", title)
		}
		v.Add(d.Sum("a"))
		v.Save()
		if !d.Verdicts("c").Has(d.Sum("a")) {
			t.Errorf("%s: not mended", title)
		}
	}
}

// A key that others may know seals nothing: what they write would be believed. One that is damaged is none.
func TestKeysThatOthersMayKnowAreReplaced(t *testing.T) {
	known := []byte(strings.Repeat("k", keySize))
	for title, place := range map[string]func(name string) error{
		"others may read it": func(name string) error { return errors.Join(os.WriteFile(name, known, 0o600), os.Chmod(name, 0o644)) },
		"it is a link": func(name string) error {
			target := filepath.Join(filepath.Dir(name), "theirs")
			return errors.Join(os.WriteFile(target, known, 0o600), os.Symlink(target, name))
		},
		"it is short": func(name string) error { return os.WriteFile(name, known[:5], 0o600) },
		"it is empty": func(name string) error { return os.WriteFile(name, nil, 0o600) },
		"it is long":  func(name string) error { return os.WriteFile(name, append(known, known...), 0o600) },
	} {
		dir := t.TempDir()
		name := filepath.Join(dir, "key")
		if err := place(name); err != nil {
			t.Fatal(err)
		}
		d := Open(dir, "v1")
		if d == nil || len(d.key) != keySize || string(d.key) == string(known) {
			t.Errorf("%s: it is used, or no new one was made", title)
			continue
		}
		if again := Open(dir, "v1"); again == nil || string(again.key) != string(d.key) {
			t.Errorf("%s: the next run has another key", title)
		}
	}
}

// Parts are told apart, whatever bytes they hold.
func TestSumsTellPartsApart(t *testing.T) {
	d := Open(t.TempDir(), "v1")
	if zeros := strings.Repeat("\x00", 8); d.Sum("a", "b") == d.Sum("a"+zeros+"b") {
		t.Error("one part that reads like two has their sum")
	}
}

// Runs at the same time keep what each has found, and never read half a file.
func TestParallelRunsShareACache(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			d := Open(dir, "v1")
			v := d.Verdicts("c")
			v.Add(d.Sum(fmt.Sprint(i)))
			v.Save()
		})
	}
	wg.Wait()
	d := Open(dir, "v1")
	v := d.Verdicts("c")
	if v.Empty() {
		t.Error("nothing was kept")
	}
	v.Add(d.Sum("later"))
	v.Save()
	if w := d.Verdicts("c"); len(w.known) != len(v.known) {
		t.Errorf("%d verdicts after a run that knew %d", len(w.known), len(v.known))
	}
}

// The file is bounded, and what was used last stays.
func TestVerdictsAreBounded(t *testing.T) {
	d := Open(t.TempDir(), "v1")
	v := d.Verdicts("c")
	for i := range mostVerdicts {
		v.Add(d.Sum(fmt.Sprint(i)))
	}
	v.Save()
	v = d.Verdicts("c")
	old := d.Sum(fmt.Sprint(mostVerdicts - 1)) // the last of the file, so the first to go
	v.Has(old)
	v.Add(d.Sum("new"))
	v.Save()
	v = d.Verdicts("c")
	if len(v.known) != mostVerdicts || !v.Has(old) || !v.Has(d.Sum("new")) {
		t.Errorf("%d verdicts; used %v, new %v", len(v.known), v.Has(old), v.Has(d.Sum("new")))
	}
	if info, err := os.Stat(filepath.Join(d.path, v.name)); err != nil || info.Size() != (mostVerdicts+1)*int64(len(old)) {
		t.Errorf("a file of %d bytes, %v", info.Size(), err)
	}
}

// No directory, one that cannot be written, one that is a file: no cache.
func TestNoCacheIsNoError(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, d := range []*Dir{nil, Open("", "v1"), Open(file, "v1"), Open(filepath.Join(file, "below"), "v1")} {
		if d != nil {
			t.Error("a cache where none can be")
		}
		v := d.Verdicts("c")
		v.Add(d.Sum("a"))
		v.Save()
		if v.Has(d.Sum("a")) || !v.Empty() {
			t.Error("nothing has a verdict")
		}
		var x []string
		d.Keep(d.Sum("a"), x)
		d.Trim()
		if d.Recall(d.Sum("a"), &x) || d.Same(fstest.MapFS{}, nil) {
			t.Error("nothing was recalled")
		}
	}
	dir := t.TempDir()
	d := Open(dir, "v1")
	v := d.Verdicts("c")
	v.Add(d.Sum("a"))
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil { // as good as read-only, also for root
		t.Fatal(err)
	}
	v.Save()
	d.Keep(d.Sum("a"), "x")
}

// What a rendering depends on: files read, directories listed, names that were
// looked for in vain. A change of any of them is seen, one of anything else not.
func TestTrace(t *testing.T) {
	d := Open(t.TempDir(), "v1")
	base := fstest.MapFS{"a/x.yaml": {Data: []byte("x")}, "a/y.yaml": {Data: []byte("y")}, "b/z.yaml": {Data: []byte("z")}}
	traced, trace := d.Trace(base)
	for _, err := range []error{
		second(fs.ReadFile(traced, "a/x.yaml")), second(fs.ReadDir(traced, "a")), second(traced.Open("b")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := fs.Stat(traced, "a/kustomization.yaml"); err == nil {
		t.Fatal("it is not there")
	}
	seen, ok := trace.Seen()
	if !ok || !d.Same(base, seen) {
		t.Fatal("it is the same")
	}
	for title, c := range map[string]struct {
		name, data string
		same       bool
	}{
		"a file that was read":      {"a/x.yaml", "changed", false},
		"a file that was only seen": {"a/y.yaml", "changed", true},
		"a new file":                {"a/new.yaml", "", false},
		"a file that was missing":   {"a/kustomization.yaml", "", false},
		"a new file elsewhere":      {"c/new.yaml", "", true},
	} {
		now := fstest.MapFS{}
		for name, f := range base {
			now[name] = f
		}
		now[c.name] = &fstest.MapFile{Data: []byte(c.data)}
		if got := d.Same(now, seen); got != c.same {
			t.Errorf("%s: same is %v", title, got)
		}
	}
}

// What is only asked for counts as well, and what fails in a way that may be
// different the next time is not to be remembered, nor believed.
func TestTraceOfOneName(t *testing.T) {
	d := Open(t.TempDir(), "v1")
	traced, trace := d.Trace(fstest.MapFS{})
	if _, err := fs.Stat(traced, "x"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	seen, ok := trace.Seen()
	if !ok || d.Same(fstest.MapFS{"x": {}}, seen) || !d.Same(fstest.MapFS{}, seen) {
		t.Error("a name that was looked for in vain, and is there now, is not seen")
	}
	if d.Same(denied{}, seen) {
		t.Error("what cannot be looked at is taken for missing")
	}
	traced, trace = d.Trace(denied{})
	if _, err := fs.ReadFile(traced, "x"); !errors.Is(err, fs.ErrPermission) {
		t.Fatal(err)
	}
	if _, ok := trace.Seen(); ok {
		t.Error("a file that may be readable the next time is remembered")
	}
}

// denied is a file system that lets nobody in.
type denied struct{}

func (denied) Open(name string) (fs.File, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
}

// Of the renderings those that were written last stay. What a killed run left half-written goes,
// what another run is writing does not.
func TestTrimKeepsTheYoungest(t *testing.T) {
	d := Open(t.TempDir(), "v1")
	dir := filepath.Join(d.path, rendersDir)
	if err := os.MkdirAll(filepath.Join(dir, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for name, age := range map[string]time.Duration{"a": 2 * time.Minute, "b": 3 * time.Minute, "c": time.Minute, "d": 4 * time.Minute,
		tempPrefix + "killed": 2 * time.Hour, tempPrefix + "now": time.Minute} {
		file := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(file, make([]byte, 100), 0o600), os.Chtimes(file, now, now.Add(-age))); err != nil {
			t.Fatal(err)
		}
	}
	d.trim(rendersDir, 200)
	var left []string
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if want := tempPrefix + "now a c folder"; err != nil || strings.Join(left, " ") != want {
		t.Errorf("left: %s, want %s; %v", strings.Join(left, " "), want, err)
	}
}

// A sum that is none is no rendering.
func TestRecallOfWhatIsNoSum(t *testing.T) {
	d := Open(t.TempDir(), "v1")
	for _, text := range []string{"", "00", strings.Repeat("0", 64), strings.Repeat("x", 32)} {
		d.Keep(d.Sum("s"), map[string]string{"read a": text})
		var got map[string]Sum
		if d.Recall(d.Sum("s"), &got) {
			t.Errorf("%q: believed", text)
		}
	}
}

func second[T any](_ T, err error) error { return err }
