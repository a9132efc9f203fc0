package secret_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/secret"
)

// A directory is taken for memory by what the kernel says of it, not by its name.
func TestScratchIsInMemory(t *testing.T) {
	disk := t.TempDir()
	guard := []string{"/bin/cat"} // stays until it is let go
	s, err := secret.NewScratch(secret.ScratchOptions{Guard: guard, Getenv: func(string) string { return disk }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if !strings.HasPrefix(s.Dir, "/dev/shm/") && !strings.HasPrefix(disk, "/dev/shm/") {
		t.Errorf("made in %s", s.Dir)
	}
	secret.NoMemory(t)
	if _, err := secret.NewScratch(secret.ScratchOptions{Guard: guard, Getenv: os.Getenv}); !errors.Is(err, secret.ErrNoMemory) {
		t.Errorf("got %v", err)
	}
	chosen, err := secret.NewScratch(secret.ScratchOptions{Dir: disk, Guard: guard, Getenv: os.Getenv})
	if err != nil || filepath.Dir(chosen.Dir) != disk {
		t.Fatalf("got %v, %+v", err, chosen)
	}
	if err := chosen.Close(); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(disk); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// Without its guard there is no directory.
func TestScratchNeedsItsGuard(t *testing.T) {
	disk := t.TempDir()
	if _, err := secret.NewScratch(secret.ScratchOptions{Dir: disk, Guard: []string{"/no/such/program"}, Getenv: os.Getenv}); err == nil || !strings.Contains(err.Error(), "the guard that removes") {
		t.Errorf("got %v", err)
	}
	if left, _ := os.ReadDir(disk); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// The guard removes a directory of an edit, and nothing else.
func TestGuardTakesNothingElse(t *testing.T) {
	dir := t.TempDir()
	outside := filepath.Join(dir, "outside")
	link := filepath.Join(dir, "kubectl-gitops-edit-1")
	open := filepath.Join(dir, "kubectl-gitops-edit-2")
	if err := errors.Join(os.Mkdir(outside, 0o700), os.Symlink(outside, link), os.Mkdir(open, 0o755), os.Chmod(open, 0o755)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{outside, link, open, "kubectl-gitops-edit-3", "/"} {
		if err := secret.GuardScratch(strings.NewReader(""), path); err == nil {
			t.Errorf("%s: removed", path)
		}
	}
}
