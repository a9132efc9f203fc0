package image

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// images is a registry that counts what it is asked.
type images struct {
	host string

	mu       sync.Mutex
	requests []string
}

func newImages(t *testing.T) *images {
	t.Helper()
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	t.Setenv("HOME", t.TempDir())
	out := &images{}
	inner := ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out.mu.Lock()
		out.requests = append(out.requests, r.Method+" "+r.URL.Path)
		out.mu.Unlock()
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	out.host = strings.TrimPrefix(s.URL, "http://")
	return out
}

// push puts an image that was built at a time; zero is never.
func (i *images) push(t *testing.T, repository, tag string, built time.Time) {
	t.Helper()
	image := empty.Image
	if !built.IsZero() {
		var err error
		if image, err = mutate.CreatedAt(image, v1.Time{Time: built}); err != nil {
			t.Fatal(err)
		}
	}
	ref, err := name.NewTag(i.host + "/" + repository + ":" + tag)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, image); err != nil {
		t.Fatal(err)
	}
}

// asked are the requests since the last time, for manifests and blobs.
func (i *images) asked() (all []string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, r := range i.requests {
		if strings.Contains(r, "/manifests/") || strings.Contains(r, "/blobs/") {
			all = append(all, r)
		}
	}
	i.requests = nil
	return all
}

func annotated(name, annotations, spec string) string {
	return strings.Replace(policy(name, "v1", spec), "namespace: flux-system}", "namespace: flux-system, annotations: {"+annotations+"}}", 1)
}

// What Flux cannot: the image that was built last, among tags without an order.
func TestOrderByCreation(t *testing.T) {
	r := newImages(t)
	day := func(n int) time.Time { return time.Date(2026, 3, n, 8, 0, 0, 0, time.UTC) }
	r.push(t, "team/api", "sha-0ab1c2d", day(1))
	r.push(t, "team/api", "sha-42ea07d", day(3))
	r.push(t, "team/api", "sha-9999999", day(2))
	r.push(t, "team/api", "sha-fffffff", time.Time{})
	r.push(t, "team/api", "latest", day(4))
	r.asked()
	dir := write(t, map[string]string{
		"a.yaml": repository("api", "v1", r.host+"/team/api", "") + annotated("api", "kubectl-gitops.dev/order: created",
			"  imageRepositoryRef: {name: api}\n  filterTags: {pattern: '^sha-[a-f0-9]+$'}\n  policy: {alphabetical: {order: desc}}\n"),
	})
	cache := filepath.Join(t.TempDir(), "cache")
	out, errs, code := run(t, "", "policy", "--source", dir, "--cache-dir", cache, "--explain")
	if code != 0 {
		t.Errorf("%d\n%s%s", code, out, errs)
	}
	check(t, "stdout", out, "1      sha-42ea07d   built 2026-03-03T08:00:00Z, chosen", "2      sha-9999999   built 2026-03-02", "-      sha-fffffff   the image does not say when it was built", "-      latest        not matched")
	check(t, "stderr", errs, "warning: a.yaml:9: imagepolicy.image.toolkit.fluxcd.io/api in flux-system: 1 of 4 candidates do not say when they were built, and are skipped: sha-fffffff")
	if asked := r.asked(); len(asked) != 4*3 || strings.Contains(strings.Join(asked, " "), "latest") {
		t.Errorf("want HEAD, manifest and config of 4 candidates, and nothing of others:\n%s", strings.Join(asked, "\n"))
	}

	// What is behind a digest is known the next time.
	file := filepath.Join(cache, "gitops", "image-dates.json")
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatal(info, err)
	}
	data, _ := os.ReadFile(file)
	if strings.Contains(string(data), "team") || strings.Contains(string(data), r.host) {
		t.Errorf("the cache tells where the images are: %s", data)
	}
	out, _, code = run(t, "", "policy", "--source", dir, "--cache-dir", cache)
	check(t, "stdout", out, "sha-42ea07d   the newest of 3 images, built 2026-03-03T08:00:00Z")
	asked := r.asked()
	for _, a := range asked {
		if !strings.HasPrefix(a, "HEAD ") {
			t.Errorf("asked again: %s", a)
		}
	}
	if code != 0 || len(asked) != 4 {
		t.Error(code, asked)
	}
	// A cache that is no cache costs requests, and nothing else.
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, _, code = run(t, "", "policy", "--source", dir, "--cache-dir", cache); code != 0 || len(r.asked()) != 12 || !strings.Contains(out, "sha-42ea07d") {
		t.Error(code, out)
	}
}

func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	c := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=t", "-c", "user.email=t@example.com"}, args...)...)
	c.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1")
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// What Flux cannot: the image of the newest commit of a branch.
func TestOrderByCommit(t *testing.T) {
	r := newImages(t)
	app := t.TempDir()
	git(t, app, "init", "-q", "-b", "main")
	var commits []string
	for i := range 3 {
		git(t, app, "commit", "-q", "--allow-empty", "-m", fmt.Sprint(i))
		commits = append(commits, git(t, app, "rev-parse", "HEAD"))
	}
	git(t, app, "switch", "-q", "-c", "feature")
	git(t, app, "commit", "-q", "--allow-empty", "-m", "of a feature")
	feature := git(t, app, "rev-parse", "HEAD")
	for _, c := range []string{commits[0], commits[1], feature} {
		r.push(t, "team/api", "sha-"+c[:9], time.Time{})
	}
	spec := "  imageRepositoryRef: {name: api}\n  filterTags: {pattern: '^sha-(?P<sha>[a-f0-9]+)$', extract: '$sha'}\n  policy: {alphabetical: {order: desc}}\n"
	of := func(more string) string {
		return annotated("api", "kubectl-gitops.dev/order: commit, kubectl-gitops.dev/commit-repository: 'file://"+filepath.ToSlash(app)+"'"+more, spec)
	}
	files := map[string]string{"a.yaml": repository("api", "v1", r.host+"/team/api", "") + of(", kubectl-gitops.dev/commit-branch: main")}
	out, errs, code := run(t, "", "policy", "--source", write(t, files))
	if code != 0 {
		t.Errorf("%d\n%s%s", code, out, errs)
	}
	check(t, "stdout", out, "sha-"+commits[1][:9]+"   of the newest of 2 commits, commit "+commits[1][:12]+", 1 commit behind")
	check(t, "stderr", errs, "warning: a.yaml:9: ", "1 of 3 candidates are of no commit of branch main of file://", ", and are skipped: sha-"+feature[:9])

	files["a.yaml"] = repository("api", "v1", r.host+"/team/api", "") + of("") // the branch that HEAD is
	out, _, _ = run(t, "", "policy", "--source", write(t, files))
	check(t, "stdout", out, "sha-"+feature[:9]+"   of the newest of 3 commits")

	files["a.yaml"] = repository("api", "v1", r.host+"/team/api", "") + of(", kubectl-gitops.dev/commit-branch: release")
	_, errs, code = run(t, "", "policy", "--source", write(t, files), "-o", "json")
	if code != 1 {
		t.Error(code)
	}
	check(t, "stderr", errs, "error: a.yaml:9: imagepolicy.image.toolkit.fluxcd.io/api in flux-system: ", `no branch, tag or commit "refs/heads/release": the branches are feature, main`)

	// The same from a list of tags: no registry is asked.
	dir := write(t, map[string]string{"p.yaml": of(""), "tags": "sha-" + commits[0][:7] + "\nsha-" + commits[2] + "\n"})
	r.asked()
	out, errs, code = run(t, "", "eval", "-f", filepath.Join(dir, "p.yaml"), "--tags", filepath.Join(dir, "tags"))
	if code != 0 || out != "sha-"+commits[2]+"\n" || len(r.asked()) > 0 {
		t.Errorf("%d %s%s", code, out, errs)
	}
}

// The URL of a commit repository stands in Git: a token for the source is not for it.
func TestTokensAreForTheSourceOnly(t *testing.T) {
	var mu sync.Mutex
	var shown []string
	git := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		shown = append(shown, r.Header.Get("Authorization"))
		mu.Unlock()
		w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	t.Cleanup(git.Close)
	t.Setenv("GITOPS_GIT_TOKEN", "hunter2")
	dir := write(t, map[string]string{
		"p.yaml": annotated("api", "kubectl-gitops.dev/order: commit, kubectl-gitops.dev/commit-repository: '"+git.URL+"/app.git'", semver), "tags": "sha-42ea07d\n",
	})
	_, errs, code := runEnv(t, []string{"GITOPS_GIT_TOKEN=hunter2"}, "eval", "-f", filepath.Join(dir, "p.yaml"), "--tags", filepath.Join(dir, "tags"))
	if code != 1 || len(shown) == 0 || strings.Trim(strings.Join(shown, ""), " ") != "" {
		t.Errorf("%d %q\n%s", code, shown, errs)
	}
	check(t, "stderr", errs, "error: ", "imagepolicy.image.toolkit.fluxcd.io/api in flux-system: ", "401")
}

func TestEvalByCreation(t *testing.T) {
	dir := write(t, map[string]string{
		"p.yaml": annotated("api", "kubectl-gitops.dev/order: created", "  imageRepositoryRef: {name: api}\n  policy: {alphabetical: {}}\n"),
		"tags":   "sha-a 2026-03-01T08:00:00Z\nsha-b   2026-03-02T08:00:00+02:00\nsha-c\n", "none": "sha-a\n", "wrong": "sha-a yesterday\n",
	})
	for _, test := range []struct {
		tags, out, errs string
		code            int
	}{
		{"tags", "sha-b\n", "1 of 3 candidates do not say when they were built, and are skipped: sha-c", 0},
		{"none", "", "orders by the time at which images were built, and the list of tags has no times", 2},
		{"wrong", "", `wrong:1: "yesterday" behind the tag is not a time`, 2},
	} {
		out, errs, code := run(t, "", "eval", "-f", filepath.Join(dir, "p.yaml"), "--tags", filepath.Join(dir, test.tags))
		if out != test.out || code != test.code || !strings.Contains(errs, test.errs) {
			t.Errorf("%s: %d %q %s", test.tags, code, out, errs)
		}
	}
	var report Report
	out, _, _ := run(t, "", "eval", "-f", filepath.Join(dir, "p.yaml"), "--tags", filepath.Join(dir, "tags"), "-o", "json", "--explain")
	if err := json.Unmarshal([]byte(out), &report); err != nil || report.Policies[0].Tags[2].Outcome != "undated" {
		t.Error(err, out)
	}
}
