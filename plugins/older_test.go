package plugins

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A server that knows less: discovery comes group by group, there is no OpenAPI
// v3, nobody validates fields, and admission policies are not known. The plan is
// the same. It is the devcluster's server, with these taken away on the way.
func TestAServerOfEarlierDays(t *testing.T) {
	const ns = "earlier-days"
	kubectl(t, "create", "namespace", ns)
	dir := repo(t, map[string]string{
		"root/ks.yaml": kustomization(ns, "apps", "apps"),
		"apps/a.yaml":  configMap(ns, "a", "1") + configMap(ns, "b", "1"),
	})
	through := startProxy(t, func(w http.ResponseWriter, r *http.Request, pass http.HandlerFunc) {
		if strings.HasPrefix(r.URL.Path, "/openapi/v3") || strings.Contains(r.URL.Path, "admissionpolic") {
			http.NotFound(w, r)
			return
		}
		if r.URL.Path == "/api" || r.URL.Path == "/apis" {
			r.Header.Set("Accept", "application/json")
		}
		if q := r.URL.Query(); q.Has("fieldValidation") {
			q.Del("fieldValidation")
			r.URL.RawQuery = q.Encode()
		}
		pass(w, r)
	})
	cache := filepath.Join(t.TempDir(), "cache")
	diff := func(wantCode int, want string) {
		t.Helper()
		c := exec.Command("kubectl-gitops", "diff", "--source", dir, "--path", "root", "-n", ns, "--kubeconfig", through, "--cache-dir", cache)
		c.Env = append(os.Environ(), "NO_COLOR=1", "LC_ALL=C.UTF-8", "HOME="+t.TempDir())
		out, _ := c.CombinedOutput() // the code says it
		if code := c.ProcessState.ExitCode(); code != wantCode || !strings.Contains(string(out), want) {
			t.Errorf("exit %d, want %d and %q:\n%s", code, wantCode, want, out)
		}
	}
	diff(1, "apps: 2 to create")
	if code, out := runSync(t, t.Context(), through, dir, ns, nil); code != 0 {
		t.Fatalf("exit %d\n%s", code, out)
	}
	diff(0, "no difference")
	kubectl(t, "patch", "configmap", "a", "-n", ns, "--type", "merge", "-p", `{"data":{"v":"2"}}`, "--field-manager", "somebody")
	diff(1, "last set by somebody")
	write(t, dir, map[string]string{"apps/a.yaml": configMap(ns, "a", "1") + strings.Replace(configMap(ns, "b", "1"), "\ndata:", "\ndta:", 1)})
	diff(2, "dta is not a field") // told here, where the server does not
}
