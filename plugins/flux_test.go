package plugins

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/rogpeppe/go-internal/txtar"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/gitops"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/source/gitserver"
)

// fluxWorld is a cluster of its own with Flux's kinds, a Git server with a
// repository, and a checkout of it.
type fluxWorld struct {
	*testing.T
	kubeconfig string
	work       string // the checkout; its origin is served at url
	bare       string
	url        string
	client     dynamic.Interface
	cache      string
	storage    string // address at which source-controller serves what it keeps in its folder
}

// newFluxWorld starts with the files of an archive below testdata committed and pushed.
func newFluxWorld(t *testing.T, archive string) *fluxWorld {
	t.Helper()
	dir := t.TempDir()
	w := &fluxWorld{T: t, work: filepath.Join(dir, "work"), bare: filepath.Join(dir, "served", "gitops.git"), cache: filepath.Join(dir, "cache")}
	cluster := filepath.Join(dir, "cluster")
	w.run("", "devcluster", "up", "--dir", cluster)
	t.Cleanup(func() { w.run("", "devcluster", "down", "--dir", cluster) })
	w.kubeconfig = filepath.Join(cluster, "kubeconfig")
	t.Setenv("KUBECONFIG", w.kubeconfig)
	t.Setenv("KUBECACHEDIR", filepath.Join(dir, "kubecache"))
	config, err := clientcmd.BuildConfigFromFlags("", w.kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	if w.client, err = dynamic.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	crds, err := fluxCRDFiles()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range crds {
		kubectl(t, "create", "-f", f)
	}
	kubectl(t, "wait", "--for=condition=Established", "--timeout=60s", "crd/kustomizations.kustomize.toolkit.fluxcd.io", "crd/gitrepositories.source.toolkit.fluxcd.io")
	kubectl(t, "create", "namespace", "flux-system")

	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.storage = listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}

	w.run("", "git", "init", "-q", "--bare", "-b", "main", w.bare)
	server := httptest.NewServer(gitserver.Backend(t, filepath.Dir(w.bare)))
	t.Cleanup(server.Close)
	w.url = server.URL + "/gitops.git"
	a, err := txtar.ParseFile(filepath.Join("testdata", archive))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range a.Files {
		write(t, w.work, map[string]string{f.Name: strings.ReplaceAll(string(f.Data), "GITURL", w.url)})
	}
	w.run(w.work, "git", "init", "-q", "-b", "main")
	w.run(w.work, "git", "remote", "add", "origin", w.url)
	return w
}

// run runs a program in dir, and fails the test where it fails.
func (w *fluxWorld) run(dir, name string, args ...string) string {
	w.Helper()
	c := exec.Command(name, args...)
	c.Dir = dir
	c.Env = append(os.Environ(), "GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.com", "GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.com")
	out, err := c.CombinedOutput()
	if err != nil {
		w.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// commit commits all there is, and returns its revision.
func (w *fluxWorld) commit(message string) string {
	w.Helper()
	w.run(w.work, "git", "add", "-A")
	w.run(w.work, "git", "commit", "-q", "-m", message)
	return "main@sha1:" + strings.TrimSpace(w.run(w.work, "git", "rev-parse", "HEAD"))
}

// push puts the branch where the server has it; fetching alone is served.
func (w *fluxWorld) push() { w.Helper(); w.run(w.work, "git", "push", "-q", w.bare, "main") }

// edit replaces text in a file of the checkout.
func (w *fluxWorld) edit(file, old, new string) {
	w.Helper()
	data, err := os.ReadFile(filepath.Join(w.work, file))
	if err != nil || !strings.Contains(string(data), old) {
		w.Fatalf("%s: no %q: %v", file, old, err)
	}
	write(w.T, w.work, map[string]string{file: strings.Replace(string(data), old, new, 1)})
}

// sync runs the real binary on the checkout, and wants its exit code.
func (w *fluxWorld) sync(code int, args ...string) (report gitops.SyncReport, stderr string) {
	w.Helper()
	c := exec.Command("kubectl-gitops", append([]string{"sync", "--path", "clusters/prod", "-o", "json", "--progress", "plain", "--cache-dir", w.cache}, args...)...)
	c.Dir = w.work
	c.Env = append(os.Environ(), "NO_COLOR=1", "LC_ALL=C.UTF-8", "HOME="+w.work)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	_ = c.Run() // the code says it
	if got := c.ProcessState.ExitCode(); got != code {
		w.Fatalf("sync %s: exit %d, want %d\n%s%s", strings.Join(args, " "), got, code, errs.String(), out.String())
	}
	if out.Len() > 0 {
		if err := json.Unmarshal(out.Bytes(), &report); err != nil {
			w.Fatalf("%v\n%s", err, out.String())
		}
	}
	return report, errs.String()
}

// changed lists what a report says was not unchanged, or skipped.
func changed(r gitops.SyncReport) []string {
	var out []string
	for _, k := range r.Kustomizations {
		for _, c := range k.Changes {
			if c.Action != "unchanged" && c.Action != "skipped" {
				out = append(out, fmt.Sprintf("%s/%s %s", c.Kind, c.Name, c.Action))
			}
		}
	}
	slices.Sort(out)
	return out
}

// controllers are Flux's own, as processes.
type controllers struct {
	w         *fluxWorld
	processes []*exec.Cmd
	release   func()
	log       string
}

// startControllers starts source-controller and kustomize-controller. Outside of
// a cluster they elect no leader, so its Lease is kept here.
func (w *fluxWorld) startControllers() *controllers {
	w.Helper()
	dir := filepath.Join(filepath.Dir(w.work), "flux") // the same each time: what was fetched is still there
	if err := os.MkdirAll(dir, 0o755); err != nil {
		w.Fatal(err)
	}
	c := &controllers{w: w, log: filepath.Join(w.TempDir(), "log")}
	log, err := os.Create(c.log)
	if err != nil {
		w.Fatal(err)
	}
	defer log.Close()
	common := []string{"--metrics-addr=0", "--health-addr=0"}
	for _, args := range [][]string{
		append([]string{"source-controller", "--storage-path=" + dir, "--storage-addr=" + w.storage, "--storage-adv-addr=" + w.storage}, common...),
		append([]string{"kustomize-controller", "--requeue-dependency=1s"}, common...),
	} {
		p := exec.Command(args[0], args[1:]...)
		p.Env = append(os.Environ(), "RUNTIME_NAMESPACE=flux-system", "HOME="+dir, "TMPDIR="+dir)
		p.Stdout, p.Stderr = log, log
		p.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := p.Start(); err != nil {
			w.Fatalf("%v: make flux builds it", err)
		}
		c.processes = append(c.processes, p)
	}
	w.Cleanup(c.stop)
	c.release = keepLease(w.client)
	return c
}

func (c *controllers) stop() {
	for _, p := range c.processes {
		_ = p.Process.Kill() // as a node that is gone: nothing is to be tidied up
		_ = p.Wait()
	}
	if c.release != nil {
		c.release()
	}
	if c.w.Failed() && len(c.processes) > 0 {
		data, _ := os.ReadFile(c.log)
		c.w.Logf("the controllers:\n%s", tailOf(string(data), 12000))
	}
	c.processes, c.release = nil, nil
}

func tailOf(s string, n int) string { return s[max(0, len(s)-n):] }

// ask has the controllers reconcile the source and all Kustomizations, and waits
// until they have, at revision. As a person would, it asks again after a while.
func (c *controllers) ask(revision string) {
	w := c.w
	w.Helper()
	request := func(what []string, answered func(at string) string) {
		w.Helper()
		var asked time.Time
		at := ""
		w.eventually(strings.Join(what, " "), func() (string, bool) {
			if time.Since(asked) > 45*time.Second {
				asked = time.Now()
				at = asked.UTC().Format(time.RFC3339Nano)
				args := append([]string{"annotate", "-n", "flux-system", "--overwrite", "--field-manager=somebody"}, what...)
				kubectl(w.T, append(args, flux.RequestKey+"="+at)...)
			}
			why := answered(at)
			return why, why == ""
		})
	}
	request([]string{"gitrepository", "flux-system"}, func(at string) string {
		got := kubectl(w.T, "get", "gitrepository", "flux-system", "-n", "flux-system", "-o", "jsonpath={.status.lastHandledReconcileAt} {.status.artifact.revision} {.status.conditions}")
		if strings.HasPrefix(got, at+" "+revision+" ") {
			return ""
		}
		return got
	})
	request([]string{"kustomization", "flux-system"}, func(at string) string { return w.unanswered(at, revision, "flux-system") })
	request([]string{"kustomization", "--all"}, func(at string) string { return w.unanswered(at, revision) })
}

// unanswered says which Kustomizations, of all where none is named, have not
// answered a request or are not ready at revision.
func (w *fluxWorld) unanswered(at, revision string, names ...string) (why string) {
	w.Helper()
	for name, k := range w.kustomizations() {
		if len(names) > 0 && !slices.Contains(names, name) {
			continue
		}
		if k.Status.LastHandledReconcileAt != at || k.Status.LastAppliedRevision != revision || !meta.IsStatusConditionTrue(k.Status.Conditions, "Ready") {
			why += fmt.Sprintf("%s: asked %s (is %s), handled %s, applied %s: %+v\n", name, at, k.Annotations[flux.RequestKey], k.Status.LastHandledReconcileAt, k.Status.LastAppliedRevision, k.Status.Conditions)
		}
	}
	return why
}

func (w *fluxWorld) eventually(what string, condition func() (string, bool)) {
	w.Helper()
	for end := time.Now().Add(3 * time.Minute); ; time.Sleep(200 * time.Millisecond) {
		got, ok := condition()
		if ok {
			return
		}
		if time.Now().After(end) {
			w.Fatalf("still waiting for %s: %s", what, got)
		}
	}
}

func (w *fluxWorld) kustomizations() map[string]*kustomizev1.Kustomization {
	w.Helper()
	var list kustomizev1.KustomizationList
	if err := json.Unmarshal([]byte(kubectl(w.T, "get", "kustomizations", "-n", "flux-system", "-o", "json", "--show-managed-fields")), &list); err != nil {
		w.Fatal(err)
	}
	out := map[string]*kustomizev1.Kustomization{}
	for i := range list.Items {
		out[list.Items[i].Name] = &list.Items[i]
	}
	return out
}

// ownedKinds are the kinds of testdata/flux.txtar.
const ownedKinds = "namespaces,configmaps,secrets,services,serviceaccounts,deployments.apps,statefulsets.apps,jobs.batch,cronjobs.batch,poddisruptionbudgets.policy," +
	"horizontalpodautoscalers.autoscaling,ingresses.networking.k8s.io,networkpolicies.networking.k8s.io,roles.rbac.authorization.k8s.io,rolebindings.rbac.authorization.k8s.io," +
	"clusterroles.rbac.authorization.k8s.io,clusterrolebindings.rbac.authorization.k8s.io,priorityclasses.scheduling.k8s.io,customresourcedefinitions.apiextensions.k8s.io," +
	"kustomizations.kustomize.toolkit.fluxcd.io,gitrepositories.source.toolkit.fluxcd.io,widgets.handover.example.com"

// othersWrite are the kinds to whose objects the control plane, or Flux, writes
// a status by itself.
var othersWrite = []string{"Deployment", "StatefulSet", "Job", "CronJob", "PodDisruptionBudget", "HorizontalPodAutoscaler", "Namespace", "Kustomization", "GitRepository", "CustomResourceDefinition", "Ingress"}

// state is, of each object that a Kustomization owns, all by which it can be
// told that somebody wrote it: generation, what an apply owns and since when,
// and the resourceVersion where nobody else writes. Of each Kustomization, its
// inventory too.
func (w *fluxWorld) state() map[string]string {
	w.Helper()
	var list unstructured.UnstructuredList
	out := kubectl(w.T, "get", ownedKinds, "-A", "-l", flux.OwnerNamespaceLabel+"=flux-system", "-o", "json", "--show-managed-fields")
	if err := list.UnmarshalJSON([]byte(out)); err != nil {
		w.Fatal(err)
	}
	state := map[string]string{}
	for _, u := range list.Items {
		var applied []string
		for _, e := range u.GetManagedFields() {
			if e.Manager == flux.FieldManager && e.Operation == metav1.ManagedFieldsOperationApply {
				applied = append(applied, fmt.Sprintf("since %s %s", e.Time.UTC().Format(time.RFC3339), e.FieldsV1.Raw))
			}
		}
		text := fmt.Sprintf("%s generation %d applied %s", u.GetUID(), u.GetGeneration(), strings.Join(applied, "; "))
		if !slices.Contains(othersWrite, u.GetKind()) {
			text += " version " + u.GetResourceVersion()
		}
		state[u.GetKind()+"/"+u.GetNamespace()+"/"+u.GetName()] = text
	}
	for name := range w.kustomizations() {
		state["the inventory of "+name] = kubectl(w.T, "get", "kustomization", name, "-n", "flux-system", "-o", "jsonpath={.status.inventory}")
	}
	return state
}

// same fails where two states differ, but for the keys that may.
func (w *fluxWorld) same(title string, before, after map[string]string, but ...string) {
	w.Helper()
	for k, v := range before {
		if after[k] != v && !slices.Contains(but, k) {
			w.Errorf("%s: %s\n  was %s\n  is  %s", title, k, v, after[k])
		}
	}
	for k := range after {
		if _, ok := before[k]; !ok && !slices.Contains(but, k) {
			w.Errorf("%s: %s is new", title, k)
		}
	}
}

// fluxResets is what Flux writes anew each time: of an aggregated ClusterRole it
// applies no rules, which takes away those that a controller has filled in.
const fluxResets = "ClusterRole//handover-whole"

func needFlux(t *testing.T) {
	t.Helper()
	if os.Getenv("FLUX") == "" {
		t.Skip("this needs Flux's own controllers, which take minutes to build: make soak")
	}
}

// What we applied, Flux's own controllers find as it should be, and the other
// way round; each prunes and drops what the other made.
func TestFluxControllersHandOver(t *testing.T) {
	needFlux(t)
	w := newFluxWorld(t, "flux.txtar")
	handover, err := os.ReadFile("testdata/handover.yaml")
	if err != nil {
		t.Fatal(err)
	}
	keys := filepath.Join(t.TempDir(), "age.agekey")
	recipient := regexp.MustCompile(`age1\w+`).FindString(w.run("", "age-keygen", "-o", keys))
	plain := filepath.Join(t.TempDir(), "secret.yaml")
	write(t, filepath.Dir(plain), map[string]string{"secret.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: sealed, namespace: app}\nstringData: {password: a-password}\n"})
	write(t, w.work, map[string]string{
		"app/handover.yaml": strings.ReplaceAll(string(handover), "NAMESPACE", "app"),
		"app/secret.yaml":   w.run("", "sops", "encrypt", "--encrypted-regex", "^(data|stringData)$", "--age", recipient, plain),
	})
	kubectl(t, "create", "secret", "generic", "sops-age", "-n", "flux-system", "--from-file="+keys)
	first := w.commit("one")
	w.push()

	title := "we apply, and then Flux comes"
	report, _ := w.sync(0)
	t.Logf("%s: %d objects", title, len(changed(report)))
	ours := w.state()
	status := w.kustomizations()
	c := w.startControllers()
	c.ask(first)
	w.same(title, ours, w.state(), fluxResets)
	for name, k := range w.kustomizations() {
		if s := status[name]; k.Generation != s.Generation || len(k.Status.History) != 1 || k.Status.History[0].Digest != s.Status.History[0].Digest {
			t.Errorf("%s: %s: generation %d and history %+v, want %d and one entry like %+v", title, name, k.Generation, k.Status.History, s.Generation, s.Status.History)
		}
	}
	c.stop()
	ours = w.state()

	title = "Flux goes, and we come again"
	if report, _ = w.sync(0); len(changed(report)) > 0 {
		t.Errorf("%s: %v", title, changed(report))
	}
	w.same(title, ours, w.state())

	title = "Flux applies a commit, and then we come"
	w.edit("app/marks.yaml", `{a: "1", dropped-by-us: x, dropped-by-flux: x}`, `{a: "2", dropped-by-us: x, by-flux: x}`)
	w.edit("tenant/a.yaml", "metadata: {name: second}", "metadata: {name: third}")
	w.edit("app/widget.yaml", "empty: {}, ", "")
	w.edit("clusters/prod/app.yaml", "newTag: 1.1.0", "newTag: 1.2.0")
	second := w.commit("two")
	w.push()
	c = w.startControllers()
	c.ask(second)
	if got := kubectl(t, "get", "configmap", "changing", "-n", "app", "-o", "jsonpath={.data}"); got != `{"a":"2","by-flux":"x","dropped-by-us":"x"}` {
		t.Errorf("%s: a field that we applied and Git dropped: %s", title, got)
	}
	if got := kubectl(t, "get", "configmaps", "-n", "tenant", "-l", flux.OwnerNameLabel+"=tenant", "-o", "jsonpath={.items[*].metadata.name}"); got != "blue-a blue-first blue-third" {
		t.Errorf("%s: Flux's prune of what we made: %s", title, got)
	}
	c.stop()
	theirs := w.state()
	if report, _ = w.sync(0); len(changed(report)) > 0 {
		t.Errorf("%s: %v", title, changed(report))
	}
	w.same(title, theirs, w.state())

	title = "we apply a commit to what Flux made, and Flux comes again"
	w.edit("app/marks.yaml", `{a: "2", dropped-by-us: x, by-flux: x}`, `{a: "3"}`)
	w.edit("tenant/a.yaml", "metadata: {name: third}", "metadata: {name: fourth}")
	third := w.commit("three")
	w.push()
	report, _ = w.sync(0)
	want := []string{"ConfigMap/blue-fourth created", "ConfigMap/blue-third deleted", "ConfigMap/changing configured"}
	if got := changed(report); !slices.Equal(got, want) {
		t.Errorf("%s: %v, want %v", title, got, want)
	}
	if got := kubectl(t, "get", "configmap", "changing", "-n", "app", "-o", "jsonpath={.data}"); got != `{"a":"3"}` {
		t.Errorf("%s: fields that Flux applied and Git dropped: %s", title, got)
	}
	ours = w.state()
	c = w.startControllers()
	c.ask(third)
	w.same(title, ours, w.state(), fluxResets)

	title = "beside live controllers"
	w.edit("app/marks.yaml", `{a: "3"}`, `{a: "4"}`)
	fourth := w.commit("four")
	if _, stderr := w.sync(2); !strings.Contains(stderr, "1 commit not pushed to main") {
		t.Errorf("%s, not pushed: %s", title, stderr)
	}
	w.push()
	report, _ = w.sync(0)
	if got := changed(report); report.Revision != fourth || !slices.Equal(got, []string{"ConfigMap/changing configured"}) {
		t.Errorf("%s, pushed: revision %s, changes %v", title, report.Revision, got)
	}
	for _, k := range report.Kustomizations {
		if k.Status != gitops.StatusReady || k.Revision != fourth {
			t.Errorf("%s: %+v", title, k)
		}
	}
	if got := kubectl(t, "get", "configmap", "changing", "-n", "app", "-o", "jsonpath={.data}"); got != `{"a":"4"}` {
		t.Errorf("%s: the controllers have not done as asked: %s", title, got)
	}

	title = "beside live controllers, with --engine local"
	w.edit("app/marks.yaml", `{a: "4"}`, `{a: "5"}`)
	w.commit("five")
	if _, stderr := w.sync(2, "--engine", "local"); !strings.Contains(stderr, "--suspend") {
		t.Errorf("%s: %s", title, stderr)
	}
	_, stderr := w.sync(0, "--engine", "local", "--suspend")
	if !strings.Contains(stderr, "left so") {
		t.Errorf("%s: it does not tell that it leaves something suspended: %s", title, stderr)
	}
	ours = w.state()
	if got := kubectl(t, "get", "configmap", "changing", "-n", "app", "-o", "jsonpath={.data}"); got != `{"a":"5"}` {
		t.Errorf("%s: %s", title, got)
	}
	w.push()
	names := strings.Fields(kubectl(t, "get", "kustomizations", "-n", "flux-system", "-o", `jsonpath={.items[?(@.spec.suspend==true)].metadata.name}`))
	w.run(w.work, "kubectl-gitops", append([]string{"resume", "--cache-dir", w.cache}, names...)...)
	c.ask("main@sha1:" + strings.TrimSpace(w.run(w.work, "git", "rev-parse", "HEAD")))
	but := []string{fluxResets} // and what was resumed has another generation
	for _, name := range names {
		but = append(but, "Kustomization/flux-system/"+name)
	}
	w.same(title, ours, w.state(), but...)
	c.stop()
}

// record notes what whoever asked for a reconcile can see of the Kustomizations
// until stop is called: each state once, in the order in which they came.
func (w *fluxWorld) record(revision string) (stop func() map[string][]string) {
	w.Helper()
	ctx, cancel := context.WithCancel(w.Context())
	watch, err := w.client.Resource(schema.GroupVersionResource{Group: flux.KustomizeGroup, Version: "v1", Resource: "kustomizations"}).Namespace("flux-system").Watch(ctx, metav1.ListOptions{})
	if err != nil {
		w.Fatal(err)
	}
	seen := map[string][]string{}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for e := range watch.ResultChan() {
			u, ok := e.Object.(*unstructured.Unstructured)
			if !ok {
				continue
			}
			var k kustomizev1.Kustomization
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &k); err != nil {
				w.Error(err)
				continue
			}
			state := ""
			for _, typ := range []string{"Ready", "Reconciling"} {
				if c := meta.FindStatusCondition(k.Status.Conditions, typ); c != nil {
					state += fmt.Sprintf("%s %s %s, ", typ, c.Status, c.Reason)
				}
			}
			state += fmt.Sprintf("handled %t, observed %t, applied %t, attempted %t", k.Status.LastHandledReconcileAt == k.Annotations[flux.RequestKey],
				k.Status.ObservedGeneration == k.Generation, k.Status.LastAppliedRevision == revision, k.Status.LastAttemptedRevision == revision)
			if before := seen[k.Name]; len(before) == 0 || before[len(before)-1] != state {
				seen[k.Name] = append(before, state)
			}
		}
	}()
	return func() map[string][]string { cancel(); watch.Stop(); <-ended; return seen }
}

// What playflux shows to a run that asks for a reconcile, Flux's controllers show.
func TestFluxPlayerPlaysTheControllers(t *testing.T) {
	needFlux(t)
	w := newFluxWorld(t, "player.txtar")
	revision := w.commit("one")
	w.push()
	w.sync(1, "--timeout", "30s") // nobody is there yet, and bad is not healthy
	seen := map[string]map[string][]string{}
	for _, who := range []string{"the controllers", "playflux"} {
		var stop func()
		if who == "playflux" {
			stop = play(w.client, w.bare)
		} else {
			stop = w.startControllers().stop
		}
		w.sync(1) // whatever they do when they start
		recorded := w.record(revision)
		report, _ := w.sync(1)
		seen[who] = recorded()
		stop()
		for _, k := range report.Kustomizations {
			want := gitops.StatusReady
			if k.Name == "bad" {
				want = gitops.StatusFailed
			}
			if k.Status != want {
				t.Errorf("%s: %s is %s: %s", who, k.Name, k.Status, k.Message)
			}
		}
	}
	if len(seen["playflux"]) != 3 || !reflect.DeepEqual(seen["playflux"], seen["the controllers"]) {
		for who, states := range seen {
			for name, list := range states {
				t.Errorf("%s: %s:\n  %s", who, name, strings.Join(list, "\n  "))
			}
		}
	}
}
