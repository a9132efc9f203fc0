package controlplane

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestClaimRefusesDirectoryInUse(t *testing.T) {
	path := t.TempDir()
	d, err := Claim(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Claim(path)
	var inUse *InUseError
	if !errors.As(err, &inUse) || inUse.PID != os.Getpid() {
		t.Errorf("%v, want it in use by %d", err, os.Getpid())
	}
	if pid, err := Owner(path); err != nil || pid != os.Getpid() {
		t.Errorf("owner %d, %v; want %d", pid, err, os.Getpid())
	}
	if err := d.Remove(false); err != nil {
		t.Fatal(err)
	}
	if pid, err := Owner(path); err != nil || pid != 0 {
		t.Errorf("owner %d, %v; want none", pid, err)
	}
}

func TestClaimClearsWhatADeadOneLeft(t *testing.T) {
	path := t.TempDir()
	for _, name := range []string{lockName, stateName, "logs/etcd.log", "run/etcd/data"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(path, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(path, name), []byte("999999\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d, err := Claim(path)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(path)
	if err != nil || len(entries) != 1 {
		t.Errorf("%v, %v; want the lock and nothing else", entries, err)
	}
	if err := d.Remove(false); err != nil {
		t.Fatal(err)
	}
}

func TestRemoveKeepsForeignFiles(t *testing.T) {
	path := t.TempDir()
	d, err := Claim(path)
	if err != nil {
		t.Fatal(err)
	}
	note := filepath.Join(path, "note.txt")
	if err := os.WriteFile(note, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.Remove(false); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(note); err != nil {
		t.Error(err)
	}
}

func TestSweepRemovesOnlyTheAbandoned(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	live, err := Claim("")
	if err != nil {
		t.Fatal(err)
	}
	for dir, lock := range map[string]string{"devcluster-dead": "999999\n", "devcluster-starting": ""} {
		if err := os.Mkdir(filepath.Join(temp, dir), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(temp, dir, lockName), []byte(lock), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(temp, "devcluster-of-somebody"), 0o700); err != nil {
		t.Fatal(err)
	}
	Sweep()
	entries, err := os.ReadDir(temp)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	got := strings.Join(names, " ")
	if strings.Contains(got, "dead") || len(names) != 3 {
		t.Errorf("%s are left, want the live one's, the starting one's and somebody's", got)
	}
	if err := live.Remove(false); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(live.Path); !os.IsNotExist(err) {
		t.Errorf("%s: %v, want it gone", live.Path, err)
	}
}
