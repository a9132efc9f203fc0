package plugins

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// webhook serves a validating webhook until the script ends, and writes its address
// and its certificate into webhooks.yaml: it denies what has the label deny=always,
// and what has deny=late unless it is asked on trial.
func webhook(ts *testscript.TestScript, neg bool, args []string) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review admissionv1.AdmissionReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil || review.Request == nil {
			http.Error(w, "want an AdmissionReview", http.StatusBadRequest)
			return
		}
		var o struct{ Metadata metav1.ObjectMeta }
		_ = json.Unmarshal(review.Request.Object.Raw, &o)
		trial := review.Request.DryRun != nil && *review.Request.DryRun
		review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true}
		switch deny := o.Metadata.Labels["deny"]; {
		case deny == "always":
			review.Response.Allowed, review.Response.Result = false, &metav1.Status{Message: "not on a Friday"}
		case deny == "late" && !trial:
			review.Response.Allowed, review.Response.Result = false, &metav1.Status{Message: "not for real"}
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(review)
	}))
	ts.Defer(server.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	ts.Setenv("WEBHOOK", server.URL)
	text := strings.NewReplacer("WEBHOOK", server.URL, "CABUNDLE", base64.StdEncoding.EncodeToString(ca)).Replace(ts.ReadFile("webhooks.yaml"))
	ts.Check(os.WriteFile(ts.MkAbs("webhooks.yaml"), []byte(text), 0o600))
}

// A run whose lock another one has taken, for whatever reason, writes nothing
// more: no object, no inventory, no condition, no Event. It ends as one that found
// the root busy.
func TestLockLostInMidRun(t *testing.T) {
	t.Parallel()
	const ns = "lock-lost"
	kubectl(t, "create", "namespace", ns)
	var objects string
	for _, name := range []string{"a", "b", "c", "d"} {
		objects += configMap(ns, name, "1")
	}
	dir := repo(t, map[string]string{"root/ks.yaml": kustomization(ns, "apps", "apps"), "apps/x.yaml": objects})
	lost := make(chan struct{})
	var mu sync.Mutex
	var taken, told sync.Once
	over, after := false, []string{}
	through := startProxy(t, func(w http.ResponseWriter, r *http.Request, pass http.HandlerFunc) {
		isLease := strings.Contains(r.URL.Path, "/leases/")
		if !(&gate{}).isWrite(r) {
			pass(w, r)
			return
		}
		mu.Lock()
		if over && !isLease {
			after = append(after, r.Method+" "+r.URL.Path)
		}
		mu.Unlock()
		if strings.HasSuffix(r.URL.Path, "/configmaps/b") {
			taken.Do(func() {
				kubectl(t, "patch", "lease", "gitops-flux-system", "-n", ns, "--type", "merge", "-p",
					`{"spec":{"holderIdentity":"bob@ci pid 7, v0.9.0","renewTime":"`+time.Now().Add(time.Hour).UTC().Format("2006-01-02T15:04:05.000000Z")+`"}}`)
				select {
				case <-lost:
				case <-time.After(time.Minute):
					t.Error("the lock is never renewed")
				}
			})
		}
		pass(w, r)
		if isLease && r.Method == http.MethodPut {
			if holder := kubectl(t, "get", "lease", "gitops-flux-system", "-n", ns, "-o", "jsonpath={.spec.holderIdentity}"); strings.HasPrefix(holder, "bob") {
				told.Do(func() {
					time.AfterFunc(time.Second, func() { // who holds it is looked up first
						mu.Lock()
						over = true
						mu.Unlock()
						close(lost)
					})
				})
			}
		}
	})
	code, out := runSync(t, t.Context(), through, dir, ns, nil, "--concurrency", "1")
	if code != 3 || !strings.Contains(out, "the lock of kustomization/flux-system in "+ns+" was lost: bob@ci pid 7, v0.9.0 has it now") {
		t.Errorf("exit %d, want 3 and who has the lock\n%s", code, out)
	}
	if len(after) > 0 {
		t.Errorf("written after the lock was lost: %v\n%s", after, out)
	}
	live := kubectl(t, "get", "configmaps", "-n", ns, "-l", "kustomize.toolkit.fluxcd.io/name=apps", "-o", "jsonpath={.items[*].metadata.name}")
	if live != "a b" {
		t.Errorf("the cluster has %q, want a and b, which was under way", live)
	}
	if holder := kubectl(t, "get", "lease", "gitops-flux-system", "-n", ns, "-o", "jsonpath={.spec.holderIdentity}"); !strings.HasPrefix(holder, "bob") {
		t.Errorf("the lock of the other was taken away: %q", holder)
	}
}

// Another writer is faster each first time, and the server is busy: who applies
// asks again, and takes over from kubectl what the object has by then.
func TestConflictsAndThrottling(t *testing.T) {
	t.Parallel()
	const ns = "conflicts"
	kubectl(t, "create", "namespace", ns)
	dir := repo(t, map[string]string{
		"root/ks.yaml": kustomization(ns, "apps", "apps"),
		"apps/x.yaml":  configMap(ns, "a", "1") + configMap(ns, "b", "1"),
	})
	manifest := filepath.Join(t.TempDir(), "a.yaml")
	if err := os.WriteFile(manifest, []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: "+ns+"}\ndata: {v: \"0\", kubectls: \"1\"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	kubectl(t, "apply", "-f", manifest)
	var mu sync.Mutex
	seen := map[string]int{}
	var once sync.Once
	answer := func(w http.ResponseWriter, code int, reason metav1.StatusReason, message string) {
		w.Header().Set("Content-Type", "application/json")
		if code == http.StatusTooManyRequests {
			w.Header().Set("Retry-After", "1")
		}
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: "Failure", Code: int32(code), Reason: reason, Message: message})
	}
	through := startProxy(t, func(w http.ResponseWriter, r *http.Request, pass http.HandlerFunc) {
		mu.Lock()
		key := r.Method + " " + r.URL.String()
		seen[key]++
		first, n := seen[key] == 1, len(seen)
		mu.Unlock()
		switch {
		case strings.HasPrefix(r.Header.Get("Content-Type"), "application/json-patch"):
			// A real conflict: the object is another one than was looked at.
			once.Do(func() {
				kubectl(t, "label", "configmap", "a", "-n", ns, "somebody=was-here", "--field-manager=somebody")
			})
			pass(w, r)
		case first && (&gate{}).isWrite(r) && strings.Contains(r.URL.Path, "/configmaps/"):
			answer(w, http.StatusConflict, metav1.StatusReasonConflict, "the object has been modified; please apply your changes to the latest version and try again")
		case first && n%8 == 7:
			answer(w, http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests, "the server has received too many requests")
		default:
			pass(w, r)
		}
	})
	code, out := runSync(t, t.Context(), through, dir, ns, nil)
	got := kubectl(t, "get", "configmap", "a", "-n", ns, "-o", "jsonpath={.data} {.metadata.labels.somebody}")
	if code != 0 || got != `{"v":"1"} was-here` {
		t.Errorf("exit %d, and a has %s\n%s", code, got, out)
	}
}
