package plugins

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cluster"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
)

// A server that restarts in the middle of a run breaks connections and is away
// for a moment: every request fails once, and the run has done its work.
func TestEveryRequestFailsOnceAndTheRunSucceeds(t *testing.T) {
	const ns = "every-request-fails-once"
	kubectl(t, "create", "namespace", ns)
	dir := repo(t, map[string]string{
		"root/ks.yaml": kustomization(ns, "apps", "apps") + kustomization(ns, "gone", "gone"),
		"apps/a.yaml":  configMap(ns, "a", "1") + configMap(ns, "b", "1"),
		"gone/c.yaml":  configMap(ns, "c", "1"),
	})
	var mu sync.Mutex
	failed := map[string]bool{}
	answered, n := false, 0
	through := startProxy(t, func(w http.ResponseWriter, r *http.Request, pass http.HandlerFunc) {
		mu.Lock()
		key := r.Method + " " + r.URL.String()
		first := answered && !failed[key] && !isWatch(r)
		failed[key] = true
		answered = true
		n++
		f := []fault{reset, lost, broken, away}[n%4]
		create := r.Method == http.MethodPost && r.URL.Query().Get("dryRun") == ""
		if create || strings.HasPrefix(r.Header.Get("Content-Type"), "application/json-patch") {
			f = away // where nobody knows whether it was done, it is not done again
		}
		mu.Unlock()
		if !first {
			f = none
		}
		misfortune(w, r, f, 0, pass)
	})
	for _, what := range []string{"everything new", "a change, a deletion and a removal"} {
		if code, out := runSync(t, t.Context(), through, dir, ns, nil); code != 0 {
			t.Fatalf("%s: exit %d\n%s", what, code, out)
		}
		write(t, dir, map[string]string{"root/ks.yaml": kustomization(ns, "apps", "apps"), "apps/a.yaml": configMap(ns, "a", "2")})
	}
	got := kubectl(t, "get", "configmaps", "-n", ns, "-l", flux.OwnerNamespaceLabel+"="+ns, "-o", "jsonpath={range .items[*]}{.metadata.name}={.data.v} {end}")
	if got != "a=2 " {
		t.Errorf("the cluster has %q, want %q", got, "a=2 ")
	}
}

// A Kustomization is renamed, and under its new name an object cannot be written.
// The old one keeps owning what the new one has not taken over: what Git drops
// next is deleted all the same.
func TestRenameThatFailsHalfwayOrphansNothing(t *testing.T) {
	const ns = "rename-fails-halfway"
	kubectl(t, "create", "namespace", ns)
	dir := repo(t, map[string]string{"root/ks.yaml": kustomization(ns, "old", "apps"), "apps/a.yaml": configMap(ns, "a", "1") + configMap(ns, "b", "1")})
	direct := os.Getenv("KUBECONFIG")
	if code, out := runSync(t, t.Context(), direct, dir, ns, nil); code != 0 {
		t.Fatalf("exit %d\n%s", code, out)
	}
	through := startProxy(t, func(w http.ResponseWriter, r *http.Request, pass http.HandlerFunc) {
		f := none
		if (&gate{}).isWrite(r) && strings.HasSuffix(r.URL.Path, "/configmaps/b") {
			f = conflict
		}
		misfortune(w, r, f, 0, pass)
	})
	write(t, dir, map[string]string{"root/ks.yaml": kustomization(ns, "new", "apps")})
	if code, out := runSync(t, t.Context(), through, dir, ns, nil); code != 1 {
		t.Fatalf("an object that cannot be written: exit %d\n%s", code, out)
	}
	write(t, dir, map[string]string{"apps/a.yaml": configMap(ns, "a", "1")})
	if code, out := runSync(t, t.Context(), direct, dir, ns, nil); code != 0 {
		t.Fatalf("exit %d\n%s", code, out)
	}
	got := kubectl(t, "get", "configmaps", "-n", ns, "-l", flux.OwnerNamespaceLabel+"="+ns, "-o", "jsonpath={.items[*].metadata.name}")
	records := kubectl(t, "get", "configmaps", "-n", ns, "-l", "kubectl-gitops.dev/kustomization", "-o", "jsonpath={.items[*].metadata.name}")
	if got != "a" || strings.Contains(records, "old") {
		t.Errorf("the cluster has %q, want a; records: %s", got, records)
	}
}

// The answer to the taking of a lock, and to its first renewal, is lost: it is
// ours all the same, and is not given up as if another had it.
func TestLockWhoseAnswersAreLostIsOurs(t *testing.T) {
	t.Parallel()
	const ns = "lock-answers-lost"
	kubectl(t, "create", "namespace", ns)
	var mu sync.Mutex
	puts := 0
	renewed := make(chan struct{})
	through := startProxy(t, func(w http.ResponseWriter, r *http.Request, pass http.HandlerFunc) {
		f := none
		if r.Method == http.MethodPost || r.Method == http.MethodPut {
			mu.Lock()
			if r.Method == http.MethodPut {
				puts++
			}
			// The create; the update that takes it anew, the first of those that
			// renew it; each once.
			if r.Method == http.MethodPost || puts == 2 || puts == 4 {
				f = lost
			}
			if puts == 5 {
				defer close(renewed)
			}
			mu.Unlock()
		}
		misfortune(w, r, f, 0, pass)
	})
	flags := genericclioptions.NewConfigFlags(false)
	flags.KubeConfig, flags.CacheDir = &through, ptr.To(filepath.Join(t.TempDir(), "cache"))
	c, err := cluster.Connect(flags, "test")
	if err != nil {
		t.Fatal(err)
	}
	root := flux.Ref{Namespace: ns, Name: "flux-system"}
	for _, title := range []string{"a lock that nobody had", "a lock that somebody had"} {
		seen, err := c.LockState(t.Context(), root)
		if err != nil {
			t.Fatal(err)
		}
		lock, err := c.Lock(t.Context(), root, "ada", seen, 0, func(holder string) { t.Errorf("%s: waiting for %s", title, holder) })
		if err != nil {
			t.Fatalf("%s: %v", title, err)
		}
		if lock.Moved {
			t.Errorf("%s: somebody else is said to have held it", title)
		}
		held, release := lock.Hold(t.Context())
		if title == "a lock that somebody had" {
			select {
			case <-renewed:
			case <-held.Done():
				t.Errorf("%s: %v", title, context.Cause(held))
			case <-time.After(time.Minute):
				t.Errorf("%s: it is not renewed", title)
			}
		}
		release()
		if now, err := c.LockState(t.Context(), root); err != nil || now.Holder() != "" {
			t.Errorf("%s: released, and held by %q, %v", title, now.Holder(), err)
		}
	}
}

// Ctrl-C while the server does not answer which fields of a kind are passwords: the
// diff stops at once, and shows none of them.
func TestInterruptedDiffShowsNoPasswords(t *testing.T) {
	const ns, crd = "interrupted-passwords", "safes.interrupted-passwords.example.com"
	kubectl(t, "create", "namespace", ns)
	dir := repo(t, map[string]string{"crd.yaml": `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: ` + crd + `}
spec:
  group: interrupted-passwords.example.com
  scope: Namespaced
  names: {kind: Safe, plural: safes, singular: safe}
  versions:
    - name: v1
      served: true
      storage: true
      schema:
        openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {password: {type: string, format: password, maxLength: 20}}}}}
`})
	kubectl(t, "apply", "-f", filepath.Join(dir, "crd.yaml"))
	kubectl(t, "wait", "--for=condition=Established", "crd/"+crd)
	var stop func()
	through := startProxy(t, func(w http.ResponseWriter, r *http.Request, pass http.HandlerFunc) {
		switch {
		case r.URL.Path == "/openapi/v3": // as in the moments after a kind was made
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(`{"paths":{}}`))
		case strings.HasSuffix(r.URL.Path, "/customresourcedefinitions/"+crd) && stop != nil:
			stop()
			<-r.Context().Done() // until who asks gives up
		default:
			pass(w, r)
		}
	})
	safe := func(password string) string {
		return "apiVersion: interrupted-passwords.example.com/v1\nkind: Safe\nmetadata: {name: s, namespace: " + ns + "}\nspec: {password: " + password + "}\n"
	}
	write(t, dir, map[string]string{"root/safe.yaml": safe("hunter2")})
	started, once := make(chan *os.Process, 1), sync.Once{}
	stop = func() { once.Do(func() { _ = (<-started).Signal(os.Interrupt) }) }
	code, out := runVerb(t, t.Context(), "diff", through, dir, ns, func(p *os.Process) { started <- p })
	if code != 130 || strings.Contains(out, "hunter2") {
		t.Errorf("exit %d, want 130 and no password:\n%s", code, out)
	}

	// The server quotes what it refuses. The end of the run is the end of the question.
	flags := genericclioptions.NewConfigFlags(false)
	flags.KubeConfig, flags.CacheDir = &through, ptr.To(filepath.Join(t.TempDir(), "cache"))
	c, err := cluster.Connect(flags, "test")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	stop = cancel
	var refused unstructured.Unstructured
	if err := yaml.Unmarshal([]byte(safe("hunter2-is-longer-than-is-allowed")), &refused.Object); err != nil {
		t.Fatal(err)
	}
	_, err = c.DryRun(ctx, &refused)
	if !errors.Is(err, context.Canceled) || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("what is refused while the run ends: %v", err)
	}
	stop = nil
	if _, err := c.PasswordFields(ctx, refused.GroupVersionKind()); !errors.Is(err, context.Canceled) {
		t.Errorf("the schema is asked for after the end of the run: %v", err)
	}
}
