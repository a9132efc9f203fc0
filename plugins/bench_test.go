package plugins

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/gitops"
)

// BenchmarkSync times whole runs of the real binary on the devcluster: a first
// sync, one with nothing to do, and one that sets back what drifted. Requests
// are the figure that holds on any machine.
func BenchmarkSync(b *testing.B) {
	if os.Getenv("DEVCLUSTER") == "" {
		b.Fatal(needCluster)
	}
	for _, n := range []int{100, 1000} {
		ns := fmt.Sprintf("bench-%d", n)
		if out, err := exec.Command("kubectl", "create", "namespace", ns).CombinedOutput(); err != nil && !strings.Contains(string(out), "AlreadyExists") {
			b.Fatalf("%v\n%s", err, out)
		}
		dir := b.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "objects.yaml"), []byte(benchObjects(ns, n)), 0o600); err != nil {
			b.Fatal(err)
		}
		delete := func() {
			// One request a kind: kubectl delete sends one an object, and waits for each.
			for _, resource := range []string{"api/v1/namespaces/" + ns + "/configmaps", "api/v1/namespaces/" + ns + "/services",
				"api/v1/namespaces/" + ns + "/serviceaccounts", "apis/rbac.authorization.k8s.io/v1/namespaces/" + ns + "/roles"} {
				path := "/" + resource + "?labelSelector=kustomize.toolkit.fluxcd.io/namespace%3D" + ns
				if out, err := exec.Command("kubectl", "delete", "--raw", path).CombinedOutput(); err != nil {
					b.Fatalf("%s: %v\n%s", path, err, out)
				}
			}
		}
		b.Run(fmt.Sprintf("first/objects=%d", n), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				delete()
				b.StartTimer()
				benchRun(b, dir, ns, n)
			}
		})
		b.Run(fmt.Sprintf("nothing/objects=%d", n), func(b *testing.B) {
			for b.Loop() {
				benchRun(b, dir, ns, 0)
			}
		})
		b.Run(fmt.Sprintf("drift/objects=%d", n), func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				b.StopTimer()
				patch := fmt.Sprintf(`{"data":{"v":"drifted-%d"}}`, i)
				for k := range n / 100 {
					if out, err := exec.Command("kubectl", "patch", "configmap", fmt.Sprintf("o%05d", 4*k), "-n", ns, "--field-manager=somebody", "--type=merge", "-p", patch).CombinedOutput(); err != nil {
						b.Fatalf("%v\n%s", err, out)
					}
				}
				b.StartTimer()
				benchRun(b, dir, ns, n/100)
			}
		})
		delete()
	}
}

// benchRun runs a sync that must write so many objects.
func benchRun(b *testing.B, dir, ns string, writes int) {
	b.Helper()
	c := exec.Command("kubectl-gitops", "sync", "--source", dir, "--path", ".", "-n", ns, "-o", "json", "--progress", "none")
	c.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	out, err := c.Output()
	if err != nil {
		b.Fatalf("sync: %v\n%s", err, out)
	}
	var r gitops.SyncReport
	if err := json.Unmarshal(out, &r); err != nil {
		b.Fatal(err)
	}
	w := r.Kustomizations[0].Written
	if got := w.Created + w.Configured; got != writes {
		b.Fatalf("%d objects written, want %d", got, writes)
	}
	b.ReportMetric(float64(r.Requests.Total), "requests/op")
}

// benchObjects is n objects of four kinds.
func benchObjects(ns string, n int) string {
	var out strings.Builder
	for i := range n {
		name := fmt.Sprintf("o%05d", i)
		switch i % 4 {
		case 0:
			out.WriteString(configMap(ns, name, "1"))
		case 1:
			// Headless: a thousand of them must not use up the addresses.
			fmt.Fprintf(&out, "apiVersion: v1\nkind: Service\nmetadata: {name: %s, namespace: %s}\nspec: {clusterIP: None, selector: {app: %s}, ports: [{port: 80}]}\n---\n", name, ns, name)
		case 2:
			fmt.Fprintf(&out, "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: %s, namespace: %s}\n---\n", name, ns)
		case 3:
			fmt.Fprintf(&out, "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: %s, namespace: %s}\nrules: [{apiGroups: [\"\"], resources: [pods], verbs: [get]}]\n---\n", name, ns)
		}
	}
	return out.String()
}
