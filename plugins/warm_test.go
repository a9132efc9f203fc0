package plugins

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// What an earlier run rendered serves a later one only for as long as nothing
// moves. An object that changes after its metadata was seen to be as it was, or a
// Job that goes away while it is waited for, was taken for one that is there in
// full, and is not.
func TestRecalledAndOvertaken(t *testing.T) {
	const ns = "recalled-and-overtaken"
	const waiting = "    spec: {nodeSelector: {no: such-node}, containers: [{name: x, image: example.com/x}]"
	kubectl(t, "create", "namespace", ns)
	dir := repo(t, map[string]string{
		"root/ks.yaml": kustomization(ns, "apps", "apps") + kustomization(ns, "jobs", "jobs"),
		"apps/web.yaml": "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: " + ns + "}\nspec:\n  selector: {matchLabels: {app: x}}\n" +
			"  template:\n    metadata: {labels: {app: x}}\n" + waiting + "}\n",
		"jobs/job.yaml": "apiVersion: batch/v1\nkind: Job\nmetadata: {name: once, namespace: " + ns + "}\nspec:\n  ttlSecondsAfterFinished: 1000\n" +
			"  template:\n" + waiting + ", restartPolicy: Never}\n",
	})
	cache := filepath.Join(t.TempDir(), "cache")
	direct := os.Getenv("KUBECONFIG")
	kept, settled := "", false
	for range 10 {
		// The first writes, the next learn, until the controllers have said what they have to say.
		code, out := runSync(t, t.Context(), direct, dir, ns, nil, "--wait=false", "--cache-dir", cache)
		if code != 0 {
			t.Fatalf("exit %d\n%s", code, out)
		}
		was := kept
		if kept = renderings(t, cache); kept == was && strings.Count(kept, "\n") == 2 {
			settled = true
			break
		}
	}
	if !settled {
		t.Fatal("it is rendered each time")
	}
	var once sync.Once
	through := startProxy(t, func(w http.ResponseWriter, r *http.Request, pass http.HandlerFunc) {
		if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/deployments") && !strings.Contains(r.Header.Get("Accept"), "PartialObjectMetadata") {
			once.Do(func() {
				kubectl(t, "annotate", "deployment", "web", "-n", ns, "somebody=was-here", "--field-manager=somebody")
			})
		}
		pass(w, r)
	})
	code, out := runSync(t, t.Context(), through, dir, ns, nil, "--wait=false", "--cache-dir", cache)
	if code != 0 || !strings.Contains(out, "✔ apps") || strings.Contains(out, "configured") {
		t.Errorf("an object that changes between two looks: exit %d\n%s", code, out)
	}
	var deleted sync.Once
	through = startProxy(t, func(w http.ResponseWriter, r *http.Request, pass http.HandlerFunc) {
		if r.URL.Query().Get("watch") != "" && strings.HasSuffix(r.URL.Path, "/jobs") {
			deleted.Do(func() { go exec.Command("kubectl", "delete", "job", "once", "-n", ns).Run() })
		}
		pass(w, r)
	})
	code, out = runSync(t, t.Context(), through, dir, ns, nil, "--cache-dir", cache, "--timeout", "60s", "jobs")
	if code != 0 || !strings.Contains(out, "✔ jobs") {
		t.Errorf("a Job that is gone once it has ended: exit %d\n%s", code, out)
	}
}

// renderings lists what is kept of renderings; each is a new file whenever it is
// rendered again.
func renderings(t *testing.T, cache string) string {
	t.Helper()
	out, err := exec.Command("ls", "-i1", filepath.Join(cache, "kubectl-gitops", "renders")).CombinedOutput()
	if err != nil {
		return ""
	}
	return string(out)
}
