package secret_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/secret"
)

func TestWriteAllOrNone(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	for _, p := range []string{a, b} {
		if err := errors.Join(os.WriteFile(p, []byte("old"), 0o640), os.Chmod(p, 0o640)); err != nil {
			t.Fatal(err)
		}
	}
	read := func(p string) string {
		t.Helper()
		data, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	err := secret.Write([]secret.Change{{Path: a, Data: []byte("new")}, {Path: filepath.Join(dir, "no", "c"), Data: []byte("new")}})
	if err == nil || read(a) != "old" {
		t.Errorf("got %v, %s", err, read(a))
	}
	// The last cannot be put in its place: the others are put back.
	c := filepath.Join(dir, "c")
	secret.FailRenameTo(t, c)
	d := filepath.Join(dir, "d")
	err = secret.Write([]secret.Change{{Path: a, Data: []byte("new")}, {Path: d, Data: []byte("new"), Mode: 0o644}, {Path: c, Data: []byte("new")}})
	if err == nil || read(a) != "old" {
		t.Errorf("got %v, %s", err, read(a))
	}
	if _, err := os.Stat(d); err == nil {
		t.Error("a new file is left")
	}
	// What was in clear has no second name meanwhile, and is not put back.
	err = secret.Write([]secret.Change{{Path: b, Data: []byte("sealed"), FromClear: true}, {Path: c, Data: []byte("new")}})
	if err == nil || read(b) != "sealed" || !strings.Contains(err.Error(), b+": is written already") {
		t.Errorf("got %v, %s", err, read(b))
	}
	if err := secret.Write([]secret.Change{{Path: a, Data: []byte("new")}, {Path: b, Data: []byte("new")}}); err != nil {
		t.Fatal(err)
	}
	if read(a) != "new" || read(b) != "new" {
		t.Error("not written")
	}
	if info, err := os.Stat(a); err != nil || info.Mode() != 0o640 {
		t.Errorf("got %v, %v", info.Mode(), err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("strays are left: %v, %v", entries, err)
	}
}

func TestLinksAreNotFollowedOut(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"repo/.git", "repo/apps"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{"outside", "repo/inside"} {
		if err := os.WriteFile(filepath.Join(dir, f), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{"repo/apps/out": "../../outside", "repo/apps/in": "../inside", "repo/up": "..", "repo/none": "nowhere", "repo/folder": "apps"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	for path, says := range map[string]string{
		"repo/inside": "", "repo/apps/in": "", "repo/apps/out": "leads out of", "repo/up/outside": "leads out of", "repo/none": "leads nowhere", "repo/apps": "is a directory",
		"repo/folder": "is no regular file",
	} {
		_, err := secret.Real(filepath.Join(dir, path))
		if (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%s: got %v", path, err)
		}
	}
	link := filepath.Join(dir, "repo/apps/in")
	if err := secret.Write([]secret.Change{{Path: link, Data: []byte("new")}}); err == nil || !strings.Contains(err.Error(), "is no regular file") {
		t.Errorf("a link that was put there meanwhile: %v", err)
	}
	if to, err := os.Readlink(link); err != nil || to != "../inside" {
		t.Errorf("the link is gone: %q, %v", to, err)
	}
}
