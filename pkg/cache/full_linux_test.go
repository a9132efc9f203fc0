package cache

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// On a disk that is full, or may not be written, what was kept before still
// serves, what is new is not kept, and nothing half-written is left.
func TestFullOrReadOnlyDiskKeepsWhatItHas(t *testing.T) {
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=256k"); err != nil {
		t.Skipf("only who may mount a disk can fill one: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, 0); err != nil {
			t.Error(err)
		}
	})
	dir := filepath.Join(disk, "gitops")
	d := Open(dir, "v1")
	v := d.Verdicts("c")
	v.Add(d.Sum("before"))
	v.Save()
	d.Keep(d.Sum("small"), "small")
	serves := func(how string) {
		t.Helper()
		again := Open(dir, "v1")
		w := again.Verdicts("c")
		if !w.Has(again.Sum("before")) {
			t.Errorf("%s: a verdict is lost", how)
		}
		w.Add(again.Sum(how))
		w.Save()
		if again.Verdicts("c").Has(again.Sum(how)) {
			t.Errorf("%s: there was room after all", how)
		}
		again.Keep(again.Sum("small"), strings.Repeat("x", 512<<10))
		var kept string
		if !again.Recall(again.Sum("small"), &kept) || kept != "small" {
			t.Errorf("%s: a rendering is lost: %q", how, kept)
		}
		again.Trim()
		for _, pattern := range []string{tempPrefix + "*", "*/" + tempPrefix + "*"} {
			if left, _ := filepath.Glob(filepath.Join(dir, pattern)); len(left) > 0 {
				t.Errorf("%s: %v is left", how, left)
			}
		}
	}
	fill, err := os.Create(filepath.Join(disk, "fill"))
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = fill.Write(make([]byte, 4096))
	}
	if cerr := fill.Close(); cerr != nil {
		t.Fatal(cerr)
	}
	serves("full")
	if err := syscall.Mount("", disk, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, "size=256k"); err != nil {
		t.Fatal(err)
	}
	serves("read-only")
	if d := Open(filepath.Join(disk, "new"), "v1"); d != nil {
		t.Error("a cache where none can be")
	}
}
