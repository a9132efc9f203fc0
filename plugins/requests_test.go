package plugins

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/gitops"
)

// Requests are the figure of a run that holds on any machine: two for what is
// written, and of what is not, as many as there are kinds, however many objects
// there are and in however many Kustomizations.
func TestRequestsGrowWithKindsAndChanges(t *testing.T) {
	const ns, k, n, kinds, drifted = "requests", 20, 10, 10, 3
	kubectl(t, "create", "namespace", ns)
	files := map[string]string{}
	for i := range k {
		name := fmt.Sprintf("k%02d", i)
		files["root/ks.yaml"] += kustomization(ns, name, name)
		files[name+"/objects.yaml"] = benchObjects(ns, i*n, n)
	}
	dir, cache := repo(t, files), filepath.Join(t.TempDir(), "cache")
	syncBy := func(kubeconfig string) gitops.RequestReport {
		t.Helper()
		code, out := runSync(t, t.Context(), kubeconfig, dir, ns, nil, "--wait=false", "--cache-dir", cache, "-o", "json", "--progress", "none")
		_, text, _ := strings.Cut(out, "\n{")
		var report gitops.SyncReport
		if err := json.Unmarshal([]byte("{"+text), &report); err != nil || code != 0 {
			t.Fatalf("exit %d: %v\n%s", code, err, out)
		}
		return report.Requests
	}
	sync := func() gitops.RequestReport { return syncBy(os.Getenv("KUBECONFIG")) }
	const besides = 60 // who and what is there, the lock, and what is recorded
	if r := sync(); r.Total > 2*k*n+3*k+besides || r.List > kinds+4 {
		t.Errorf("the first: %+v; want two for each of %d objects, three for each of %d records", r, k*n, k)
	}
	// Controllers write into their status what they have to say.
	for resource, condition := range map[string]string{
		"deployments":          `jsonpath={.status.conditions[?(@.type=="Progressing")].reason}=NewReplicaSetAvailable`,
		"poddisruptionbudgets": `jsonpath={.status.observedGeneration}=1`,
	} {
		kubectl(t, "wait", resource, "--all", "-n", ns, "--for="+condition, "--timeout=120s")
	}
	sync() // learns
	sync() // and knows
	if r := sync(); r.Total > 40 || r.List > kinds+3 || r.Total != r.Get+r.List {
		t.Errorf("nothing to do: %+v; want at most 40, a LIST for each of %d kinds and three besides, and none that writes", r, kinds)
	}
	for i := range drifted {
		kubectl(t, "patch", "configmap", fmt.Sprintf("o%05d", n*i), "-n", ns, "--field-manager=somebody", "--type=merge", "-p", `{"data":{"v":"drifted"}}`)
	}
	// A Kustomization in which something changed has a record of it to write.
	if r := sync(); r.Total > 40+5*drifted || r.Patch < 2*drifted {
		t.Errorf("%d drifted: %+v", drifted, r)
	}
	// What is in other namespaces is not asked for.
	var elsewhere atomic.Value
	syncBy(startProxy(t, func(w http.ResponseWriter, r *http.Request, pass http.HandlerFunc) {
		if r.URL.Query().Get("labelSelector") == flux.OwnerNameLabel && !strings.Contains(r.URL.Path, "/namespaces/"+ns+"/") {
			elsewhere.Store(r.URL.String())
		}
		pass(w, r)
	}))
	if found := elsewhere.Load(); found != nil {
		t.Errorf("all is in one namespace, and it lists %s", found)
	}
}
