package image

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// hook installs a hook of the served repository.
func (f *forge) hook(name, script string) {
	f.t.Helper()
	name = filepath.Join(f.bare, "hooks", name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		f.t.Fatal(err)
	}
}

// Somebody pushes between the fetch and the push: the update is made anew on what they did, and
// theirs stays.
func TestAnUpdateThatRaces(t *testing.T) {
	f, host, _ := fleet(t, nil)
	theirs := `[ -e raced ] && exit 0
touch raced
tree=$(git rev-parse main^{tree})
c=$(echo theirs | GIT_AUTHOR_NAME=x GIT_AUTHOR_EMAIL=x@example.com GIT_COMMITTER_NAME=x GIT_COMMITTER_EMAIL=x@example.com git commit-tree $tree -p main)
git update-ref refs/heads/main $c
`
	f.hook("update", theirs)
	out, errs, code := f.update()
	if code != 0 {
		t.Fatalf("%d\n%s%s", code, out, errs)
	}
	check(t, "log", f.served("log", "--format=%s", "main"), "Update from image update automation\ntheirs\nfirst")
	if strings.Count(out, "→") != 1 || strings.Count(out, "pushed ") != 1 {
		t.Errorf("told of an attempt that came to nothing:\n%s", out)
	}
	check(t, "file", f.served("show", "main:apps/api/deployment.yaml"), host+"/team/api:1.2.0")
}

// A branch that moves each time is given up after some attempts, and is as it was.
func TestARaceThatIsLost(t *testing.T) {
	f, _, _ := fleet(t, nil)
	f.hook("update", `tree=$(git rev-parse main^{tree})
c=$(echo again | GIT_AUTHOR_NAME=x GIT_AUTHOR_EMAIL=x@example.com GIT_COMMITTER_NAME=x GIT_COMMITTER_EMAIL=x@example.com git commit-tree $tree -p main)
git update-ref refs/heads/main $c
`)
	r, errs, code := f.report()
	if code != 1 || r.Automations[0].Status != "failed" || r.Commit == nil || r.Commit.Pushed {
		t.Errorf("%d %+v", code, r)
	}
	check(t, "stderr", errs, "branch main has moved")
	check(t, "log", f.served("log", "--format=%s", "main"), "again\nagain\nagain\nagain\nagain\nfirst")
}

func TestAProtectedBranch(t *testing.T) {
	f, _, _ := fleet(t, nil)
	f.hook("pre-receive", "echo 'main is protected' >&2; exit 1\n")
	before := f.served("for-each-ref")
	r, errs, code := f.report()
	if code != 1 || r.Commit == nil || r.Commit.Pushed || f.served("for-each-ref") != before {
		t.Errorf("%d %+v", code, r)
	}
	check(t, "stderr", errs, "the server refused the push to main: pre-receive hook declined; main is protected", "hint: for a protected branch: --push-branch NAME")
}

// What lies in a submodule is another repository's.
func TestASubmoduleIsNotEdited(t *testing.T) {
	f, host, _ := fleet(t, nil)
	f.in(f.work, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", f.bare, "sub")
	f.in(f.work, "commit", "-qm", "sub")
	f.in(f.work, "push", "-q", "origin", "HEAD")
	before := f.served("ls-tree", "main", "sub")
	out, errs, code := f.update()
	if code != 0 || !strings.Contains(out, host+"/team/api:1.2.0") || strings.Contains(out, "sub/") || f.served("ls-tree", "main", "sub") != before {
		t.Errorf("%d\n%s%s", code, out, errs)
	}
}
