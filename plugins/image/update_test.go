package image

import (
	"encoding/json"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/source/gitserver"
)

// forge is a bare repository served by the real git over http, and a clone of it.
type forge struct {
	t          *testing.T
	url        string
	bare, work string
	env        []string
}

// newForge serves a repository with these files on its branch main.
func newForge(t *testing.T, files map[string]string) *forge {
	t.Helper()
	root := t.TempDir()
	f := &forge{t: t, bare: filepath.Join(root, "srv", "fleet.git"), work: filepath.Join(root, "fleet")}
	f.env = []string{"HOME=" + root, "PATH=" + os.Getenv("PATH"), "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=ada", "GIT_AUTHOR_EMAIL=ada@example.com",
		"GIT_COMMITTER_NAME=ada", "GIT_COMMITTER_EMAIL=ada@example.com", "LC_ALL=C.UTF-8"}
	f.in(root, "init", "-q", "--bare", "-b", "main", f.bare)
	f.in(f.bare, "config", "http.receivepack", "true")
	f.in(f.bare, "config", "receive.advertisePushOptions", "true")
	srv := httptest.NewServer(gitserver.Backend(t, filepath.Dir(f.bare)))
	t.Cleanup(srv.Close)
	f.url = srv.URL + "/fleet.git"
	f.in(root, "clone", "-q", f.url, f.work)
	f.in(f.work, "switch", "-q", "-C", "main")
	f.commit("first", files)
	return f
}

func (f *forge) in(dir string, args ...string) string {
	f.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir, cmd.Env = dir, f.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		f.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSuffix(string(out), "\n")
}

// commit writes files in the clone, commits and pushes them.
func (f *forge) commit(message string, files map[string]string) {
	f.t.Helper()
	for name, text := range files {
		name = filepath.Join(f.work, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			f.t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			f.t.Fatal(err)
		}
	}
	f.in(f.work, "add", "-A")
	f.in(f.work, "commit", "-q", "-m", message)
	f.in(f.work, "push", "-q", "origin", "HEAD")
}

// served runs git in the repository that is served.
func (f *forge) served(args ...string) string { f.t.Helper(); return f.in(f.bare, args...) }

// update runs the command in the clone.
func (f *forge) update(args ...string) (stdout, stderr string, code int) {
	f.t.Helper()
	return runEnv(f.t, f.env, append([]string{"update", "--source", f.work}, args...)...)
}

// automationYAML is an ImageUpdateAutomation of main that pushes to main.
func automationYAML(name, more string) string {
	return "---\napiVersion: image.toolkit.fluxcd.io/v1beta2\nkind: ImageUpdateAutomation\nmetadata: {name: " + name + ", namespace: flux-system}\nspec:\n" +
		"  interval: 30m\n  sourceRef: {kind: GitRepository, name: flux-system}\n  git:\n    checkout: {ref: {branch: main}}\n" +
		"    commit:\n      author: {name: fluxcdbot, email: bot@example.com}\n" + more + "  update: {path: ./, strategy: Setters}\n"
}

const deployment = `apiVersion: apps/v1
kind: Deployment
metadata: {name: api, namespace: shop}   # odd   spacing
spec:
  template:
    spec:
      containers:

      - name: api
        image: "HOST/team/api:1.0.0" # {"$imagepolicy": "flux-system:api"}
`

// fleet is a repository of one app whose registry has a newer tag.
func fleet(t *testing.T, more map[string]string) (*forge, string, func(string, ...string)) {
	t.Helper()
	host, push := serve(t, "", "")
	push("team/api", "1.0.0", "1.2.0")
	files := map[string]string{
		"apps/api/deployment.yaml": strings.ReplaceAll(deployment, "HOST", host),
		"apps/api/image.yaml":      repository("api", "v1beta2", host+"/team/api", "") + policy("api", "v1beta2", semver),
		"clusters/vps/auto.yaml":   automationYAML("flux-system", ""),
	}
	for name, text := range more {
		files[name] = strings.ReplaceAll(text, "HOST", host)
	}
	return newForge(t, files), host, push
}

func TestUpdate(t *testing.T) {
	f, host, push := fleet(t, nil)
	before := f.served("rev-parse", "main")

	out, errs, code := f.update("--dry-run")
	if code != 1 {
		t.Fatalf("%d\n%s%s", code, out, errs)
	}
	check(t, "diff", out, "--- a/apps/api/deployment.yaml\n+++ b/apps/api/deployment.yaml\n@@ -",
		"-        image: \""+host+"/team/api:1.0.0\" # {\"$imagepolicy\": \"flux-system:api\"}\n+        image: \""+host+"/team/api:1.2.0\" # {")
	if f.served("rev-parse", "main") != before {
		t.Fatal("a dry run has pushed")
	}

	out, errs, code = f.update()
	if code != 0 {
		t.Fatalf("%d\n%s%s", code, out, errs)
	}
	check(t, "stdout", out, "apps/api/deployment.yaml:10: "+host+"/team/api:1.0.0 → "+host+"/team/api:1.2.0 (api)\n", "to main of "+f.url)
	check(t, "commit", f.served("log", "-1", "--format=%an|%ae|%cn|%s|%P", "main"), "fluxcdbot|bot@example.com|fluxcdbot|Update from image update automation|"+before)
	want := strings.ReplaceAll(strings.ReplaceAll(deployment, "HOST", host), "1.0.0", "1.2.0")
	if got := f.served("show", "main:apps/api/deployment.yaml"); got+"\n" != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	check(t, "fsck", f.served("fsck", "--strict")+"ok", "ok")
	if got := f.served("diff", "--stat", "--summary", before, "main"); strings.Count(got, "\n") != 1 {
		t.Errorf("more has changed: %s", got)
	}

	out, errs, code = f.update()
	if code != 0 || !strings.HasPrefix(out, "nothing to update: main@sha1:") {
		t.Errorf("%d\n%s%s", code, out, errs)
	}

	push("team/api", "1.3.0")
	out, errs, code = f.update("-o", "json")
	var r Report
	if err := json.Unmarshal([]byte(out), &r); err != nil || code != 0 {
		t.Fatalf("%d %v\n%s%s", code, err, out, errs)
	}
	head := f.served("rev-parse", "main")
	if r.Commit == nil || r.Commit.SHA != head || !r.Commit.Pushed || r.Commit.Branch != "main" || len(r.Edits) != 1 || r.Edits[0].Column != 16 ||
		r.Edits[0].Policy != "flux-system/api" || r.Policies[0].Previous != host+"/team/api:1.2.0" || r.Policies[0].Tag != "1.3.0" || r.Automations[0].Status != "updated" {
		t.Errorf("%s", out)
	}
}

// Whatever state a clone is in, an update does not see it and does not change it.
func TestTheCloneIsLeftAlone(t *testing.T) {
	f, _, _ := fleet(t, nil)
	f.in(f.work, "worktree", "add", "-q", "-b", "topic", filepath.Join(filepath.Dir(f.work), "linked"))
	for _, test := range []struct{ name, dir string }{{"dirty", f.work}, {"detached", f.work}, {"linked", filepath.Join(filepath.Dir(f.work), "linked")}} {
		t.Run(test.name, func(t *testing.T) {
			if test.name == "detached" {
				f.in(f.work, "switch", "-q", "--detach")
			}
			deploy := filepath.Join(test.dir, "apps/api/deployment.yaml")
			if err := os.WriteFile(deploy, []byte("not: what is committed\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			f.in(test.dir, "add", "apps/api/deployment.yaml")
			state := func() string {
				return f.in(test.dir, "status", "--porcelain=v2", "--branch") + f.in(test.dir, "for-each-ref") + f.in(test.dir, "diff", "HEAD")
			}
			before, was := state(), f.served("rev-parse", "main")
			out, errs, code := runEnv(t, f.env, "update", "--source", test.dir)
			if code != 0 || f.served("rev-parse", "main~1") != was {
				t.Fatalf("%d\n%s%s", code, out, errs)
			}
			check(t, "stderr", errs, "warning: the work tree has changes of 1 file that are not committed")
			if after := state(); after != before {
				t.Errorf("before\n%s\nafter\n%s", before, after)
			}
			f.served("update-ref", "refs/heads/main", was)
			f.in(test.dir, "reset", "-q", "--hard")
		})
	}
}
