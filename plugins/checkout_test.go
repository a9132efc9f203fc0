package plugins

import (
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// dist is what make release VERSION=v0.1.0 writes for the platform at hand,
// made once for all tests; it goes with them.
var dist = sync.OnceValues(func() (dir string, err error) {
	root, err := filepath.Abs("..")
	if err != nil {
		return "", err
	}
	if made, err = os.MkdirTemp("", "kubectl-gitops-dist"); err != nil {
		return "", err
	}
	dir = filepath.Join(made, "dist")
	release := exec.Command("release", "-version", "v0.1.0", "-source", root, "-host", filepath.Join(root, "bin"), "-targets", "host",
		"-builds", filepath.Join(made, "builds"), "-out", dir)
	if out, err := release.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%v: %w\n%s", release, err, out)
	}
	return dir, nil
})

var made string // the directory of dist, once that is made

func TestMain(m *testing.M) {
	code := m.Run()
	if made != "" {
		_ = os.RemoveAll(made)
	}
	os.Exit(code)
}

// released gives a script what is published: released DIR.
func released(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: released DIR")
	}
	dir, err := dist()
	ts.Check(err)
	ts.Check(os.Symlink(dir, ts.MkAbs(args[0])))
}

// checkout is this repository in dir, by links, with bin/ as it was built. make,
// go test and devcluster up are played there: what they do is what runs this.
func (r *reader) checkout(dir, url string) error {
	root, err := filepath.Abs("..")
	if err != nil {
		return err
	}
	makes, err := exec.LookPath("make")
	if err != nil {
		return err
	}
	play := filepath.Join(root, "testdata/checkout.sh")
	published := ""
	if strings.Contains(strings.Join(r.page.lines, "\n"), "make release VERSION=v0.1.0") {
		if published, err = dist(); err != nil {
			return err
		}
	}
	for _, name := range []string{"make", "go"} {
		r.term.write("bin/"+name, fmt.Sprintf("#!/bin/sh\nMAKE='%s' DIST='%s' exec sh '%s' %s \"$@\"\n", makes, published, play, name))
		if err := os.Chmod(filepath.Join(r.term.dir, "bin", name), 0o755); err != nil {
			return err
		}
	}
	return r.hide(fmt.Sprintf("sh '%s' checkout %s %s", play, dir, url))
}

// uninstalled takes what is built here from PATH. What a user has there instead
// are the folders of krew and ~/.local/bin.
func (r *reader) uninstalled() error {
	krew, err := exec.LookPath("krew")
	if err != nil {
		return fmt.Errorf("%w: make krew builds it", err)
	}
	r.stands("linux_amd64", runtime.GOOS+"_"+runtime.GOARCH)
	r.term.write("bin/kubectl-krew", fmt.Sprintf("#!/bin/sh\nexec '%s' \"$@\"\n", krew))
	if err := os.Chmod(filepath.Join(r.term.dir, "bin/kubectl-krew"), 0o755); err != nil {
		return err
	}
	path := []string{filepath.Join(r.term.home, ".local/bin"), filepath.Join(r.term.home, ".krew/bin"), filepath.Join(r.term.dir, "bin")}
	path = append(path, slices.DeleteFunc(filepath.SplitList(os.Getenv("PATH")), func(dir string) bool {
		found, _ := filepath.Glob(filepath.Join(dir, "kubectl-gitops*"))
		return len(found) > 0
	})...)
	build, err := buildinfo.ReadFile(filepath.Join("../bin/kubectl-gitops"))
	if err != nil {
		return err
	}
	r.term.back = append(r.term.back, build.Main.Version, "v0.1.0") // as what make release builds of this tag says
	// krew uninstall wants an index, of which there is one wherever krew was installed by its own documents.
	return r.hide(fmt.Sprintf("export PATH='%s'\nmkdir -p ~/.local/bin ~/.krew/bin ~/.krew/index\ngit init -q ~/.krew/index/default", strings.Join(path, ":")))
}
