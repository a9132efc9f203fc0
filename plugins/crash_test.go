package plugins

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// gate is a proxy in front of the API server that calls hook before each
// request that writes; a dry-run is none. hook returns whether to pass it on.
type gate struct {
	mu    sync.Mutex
	n     int
	hook  func(n int, r *http.Request) bool
	after func(n int)
	seen  []string
}

func (g *gate) isWrite(r *http.Request) bool {
	return r.Method != http.MethodGet && r.Method != http.MethodHead && r.URL.Query().Get("dryRun") == ""
}

// startGate returns the gate and a kubeconfig that leads through it.
func startGate(t *testing.T, g *gate) (kubeconfig string) {
	t.Helper()
	return startProxy(t, func(w http.ResponseWriter, r *http.Request, pass http.HandlerFunc) {
		if !g.isWrite(r) {
			pass(w, r)
			return
		}
		g.mu.Lock()
		g.n++
		n := g.n
		g.seen = append(g.seen, r.Method+" "+r.URL.Path)
		g.mu.Unlock()
		if g.hook != nil && !g.hook(n, r) {
			panic(http.ErrAbortHandler)
		}
		pass(w, r)
		if g.after != nil {
			g.after(n)
		}
	})
}

// startProxy puts between in front of the API server; pass hands a request on.
// It returns a kubeconfig that leads through it.
func startProxy(t *testing.T, between func(w http.ResponseWriter, r *http.Request, pass http.HandlerFunc)) (kubeconfig string) {
	t.Helper()
	if os.Getenv("DEVCLUSTER") == "" {
		t.Fatal(needCluster)
	}
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		t.Fatal(err)
	}
	transport, err := rest.TransportFor(config)
	if err != nil {
		t.Fatal(err)
	}
	server, err := url.Parse(config.Host)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(server) },
		Transport:     transport,
		FlushInterval: -1,
		ErrorLog:      log.New(io.Discard, "", 0), // a client that was killed is what is meant
		// What cannot be passed on ends as it does without a proxy: no answer at all.
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	front := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { between(w, r, proxy.ServeHTTP) }))
	front.EnableHTTP2 = true // as the API server does
	front.StartTLS()
	t.Cleanup(front.Close)
	file := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","current-context":"gate",
"clusters":[{"name":"gate","cluster":{"server":%q,"insecure-skip-tls-verify":true}}],
"users":[{"name":"u","user":{"token":%q}}],
"contexts":[{"name":"gate","context":{"cluster":"gate","user":"u"}}]}`, front.URL, config.BearerToken)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// repo writes files below a new directory.
func repo(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, files)
	return dir
}

func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func configMap(ns, name, value string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, namespace: %s}\ndata: {v: %q}\n---\n", name, ns, value)
}

func kustomization(ns, name, path string) string {
	return fmt.Sprintf("apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: %s, namespace: %s}\n"+
		"spec: {interval: 10m, path: ./%s, prune: true, sourceRef: {kind: GitRepository, name: flux-system}}\n---\n", name, ns, path)
}

// runSync runs the real binary; started, if not nil, gets its process.
func runSync(t *testing.T, ctx context.Context, kubeconfig, dir, ns string, started func(*os.Process), args ...string) (code int, out string) {
	t.Helper()
	return runVerb(t, ctx, "sync", kubeconfig, dir, ns, started, args...)
}

// runVerb runs another command as runSync does.
func runVerb(t *testing.T, ctx context.Context, verb, kubeconfig, dir, ns string, started func(*os.Process), args ...string) (code int, out string) {
	t.Helper()
	c := exec.CommandContext(ctx, "kubectl-gitops", append([]string{verb, "--source", dir, "--path", "root", "-n", ns, "--kubeconfig", kubeconfig,
		"--cache-dir", filepath.Join(t.TempDir(), "cache")}, args...)...)
	c.Env = append(os.Environ(), "NO_COLOR=1", "LC_ALL=C.UTF-8", "HOME="+t.TempDir())
	var buf bytes.Buffer
	c.Stdout, c.Stderr = &buf, &buf
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if started != nil {
		started(c.Process)
	}
	_ = c.Wait() // the code says it
	return c.ProcessState.ExitCode(), buf.String()
}

func kubectl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("kubectl", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// owned is the inventory in the ConfigMap of a Kustomization.
func owned(t *testing.T, ns, name string) string {
	t.Helper()
	packed := kubectl(t, "get", "configmap", "gitops-"+name, "-n", ns, "-o", `jsonpath={.binaryData.inventory\.json\.gz}`)
	raw, err := base64.StdEncoding.DecodeString(packed)
	if err != nil {
		t.Fatal(err)
	}
	zr, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(zr)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// A run that is killed at any of its writes, before the server gets it or
// before we get the answer, orphans nothing: the next run finishes the work, and
// prunes what is owed, even what only the killed run had made and Git has
// dropped again since.
func TestKilledAtEveryWrite(t *testing.T) {
	const ns = "killed-at-every-write"
	first := map[string]string{
		"root/ks.yaml": kustomization(ns, "apps", "apps"),
		"apps/a.yaml":  "apiVersion: v1\nkind: Namespace\nmetadata: {name: " + ns + "-2}\n---\n" + configMap(ns, "a", "1") + configMap(ns, "b", "1") + configMap(ns, "c", "1"),
	}
	second := map[string]string{
		"apps/a.yaml": "apiVersion: v1\nkind: Namespace\nmetadata: {name: " + ns + "-2}\n---\n" + configMap(ns, "a", "2") + configMap(ns, "d", "1"),
	}
	third := map[string]string{
		"apps/a.yaml": "apiVersion: v1\nkind: Namespace\nmetadata: {name: " + ns + "-2}\n---\n" + configMap(ns, "a", "3"),
	}
	kubectl(t, "create", "namespace", ns)
	direct := os.Getenv("KUBECONFIG")
	for _, answered := range []bool{false, true} {
		for kill := 1; ; kill++ {
			dir := repo(t, first)
			if code, out := runSync(t, t.Context(), direct, dir, ns, nil); code != 0 {
				t.Fatalf("setting up: exit %d\n%s", code, out)
			}
			write(t, dir, second)
			var process *os.Process
			var once sync.Mutex
			once.Lock()
			g := &gate{}
			shoot := func(n int) bool {
				if n != kill {
					return true
				}
				once.Lock() // until the process is known
				_ = process.Signal(syscall.SIGKILL)
				_, _ = process.Wait()
				once.Unlock()
				return answered
			}
			if answered {
				g.after = func(n int) { shoot(n) }
			} else {
				g.hook = func(n int, _ *http.Request) bool { return shoot(n) }
			}
			through := startGate(t, g)
			code, out := runSync(t, t.Context(), through, dir, ns, func(p *os.Process) { process = p; once.Unlock() })
			if code == 0 {
				if kill < 5 {
					t.Fatalf("only %d writes: %v", kill-1, g.seen)
				}
				break // every write has been shot at
			}
			write(t, dir, third)
			if code, next := runSync(t, t.Context(), direct, dir, ns, nil); code != 0 {
				t.Fatalf("killed at write %d (answered: %v), then exit %d\nkilled run:\n%s\nnext run:\n%s", kill, answered, code, out, next)
			}
			got := kubectl(t, "get", "configmaps", "-n", ns, "-l", "kustomize.toolkit.fluxcd.io/name=apps", "-o", "jsonpath={range .items[*]}{.metadata.name}={.data.v} {end}")
			if got != "a=3 " {
				t.Fatalf("killed at write %d (answered: %v): the next run left %q, want %q\nkilled run:\n%s", kill, answered, got, "a=3 ", out)
			}
			inventory := owned(t, ns, "apps")
			var refs []struct{ ID string }
			if err := json.Unmarshal([]byte(inventory), &refs); err != nil || len(refs) != 2 {
				t.Fatalf("killed at write %d (answered: %v): inventory %s, want the namespace and a", kill, answered, inventory)
			}
		}
	}
}

// Ctrl-C stops between objects, records what is owned, says what was written
// and exits 130; the next run goes on.
func TestInterruptedBetweenObjects(t *testing.T) {
	const ns = "interrupted"
	kubectl(t, "create", "namespace", ns)
	files := map[string]string{"root/ks.yaml": kustomization(ns, "apps", "apps")}
	var objects string
	for i := range 40 {
		objects += configMap(ns, fmt.Sprintf("o%02d", i), "1")
	}
	files["apps/o.yaml"] = objects
	dir := repo(t, files)
	var process *os.Process
	var once sync.Mutex
	once.Lock()
	g := &gate{}
	g.hook = func(n int, _ *http.Request) bool {
		if n == 6 {
			once.Lock()
			_ = process.Signal(os.Interrupt)
			once.Unlock()
		}
		return true
	}
	code, out := runSync(t, t.Context(), startGate(t, g), dir, ns, func(p *os.Process) { process = p; once.Unlock() })
	if code != 130 || !strings.Contains(out, "interrupted") {
		t.Fatalf("exit %d, want 130 and the word interrupted:\n%s", code, out)
	}
	live := strings.Fields(kubectl(t, "get", "configmaps", "-n", ns, "-l", "kustomize.toolkit.fluxcd.io/name=apps", "-o", "jsonpath={.items[*].metadata.name}"))
	if len(live) == 0 || len(live) == 40 {
		t.Fatalf("%d of 40 objects were written: a Ctrl-C stops in between", len(live))
	}
	inventory := owned(t, ns, "apps")
	for _, name := range live {
		if !strings.Contains(inventory, "_"+name+"_") {
			t.Errorf("%s was written and is not owned: %s", name, inventory)
		}
	}
	if code, out := runSync(t, t.Context(), os.Getenv("KUBECONFIG"), dir, ns, nil); code != 0 {
		t.Fatalf("the next run: exit %d\n%s", code, out)
	}
}
