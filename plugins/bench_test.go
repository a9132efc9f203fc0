package plugins

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/fluxcd/pkg/ssa"
	ssautil "github.com/fluxcd/pkg/ssa/utils"
	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/ptr"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/bench"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/gitops"
)

// BenchmarkSync measures whole runs of the real binaries on the devcluster,
// beside what else does the same with the same objects: bare requests (the floor),
// kubectl, and the ResourceManager that Flux's controller applies with. Requests
// are the figure that holds on any machine. BENCH=full adds the slow peers at 5,000
// objects and takes the median of more runs; BENCH=quick stops at 1,000.
func BenchmarkSync(b *testing.B) {
	if os.Getenv("DEVCLUSTER") == "" {
		b.Fatal(needCluster)
	}
	full, quick := os.Getenv("BENCH") == "full", os.Getenv("BENCH") == "quick"
	t := &table{b: b, runs: 3}
	if full {
		t.runs = 5
	}
	sizes := []int{100, 1000, 5000}
	if quick {
		sizes = sizes[:2]
	}
	for _, n := range sizes {
		t.oneKustomization(n, n <= 1000 || full)
	}
	t.manyKustomizations(200, 20)
	start := t.command("start-up", "", "", 5, "kubectl-gitops", "version")
	t.row("", "`kubectl-gitops version`", start)
	bench.Record(b, "sync", "Syncing", t.text())
}

// measure is one command, or the median of several.
type measure struct {
	seconds, cpu float64
	rss          int64 // KiB at most
	requests     gitops.RequestReport
}

type table struct {
	b    *testing.B
	runs int
	rows []string
}

func (t *table) text() string {
	return "Objects of ten kinds; each row the median of some runs. `nothing to do, cold` is without caches, `warm` with those of an earlier run.\n\n" +
		"| objects | what | seconds | CPU seconds | MiB | requests | get | list | watch | patch |\n|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|\n" + strings.Join(t.rows, "\n")
}

func (t *table) row(objects, what string, m measure) {
	r := m.requests
	number := func(n int64) string {
		if r.Total == 0 {
			return ""
		}
		return fmt.Sprint(n)
	}
	line := fmt.Sprintf("| %s | %s | %.2f | %.2f | %d | %s | %s | %s | %s | %s |", objects, what, m.seconds, m.cpu, m.rss>>10,
		number(r.Total), number(r.Get), number(r.List), number(r.Watch), number(r.Patch))
	t.b.Log(line)
	t.rows = append(t.rows, line)
}

// command runs a command so many times; the exit codes 0 and 1 are answers.
func (t *table) command(what, dir, home string, runs int, args ...string) measure {
	t.b.Helper()
	var all []measure
	for range runs {
		c := exec.Command(args[0], args[1:]...)
		c.Dir = dir
		c.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
		if home != "" {
			c.Env = append(c.Env, "KUBECACHEDIR="+home)
		}
		var errOut strings.Builder
		c.Stderr = &errOut
		start := time.Now()
		out, err := c.Output()
		m := measure{seconds: time.Since(start).Seconds()}
		if code := c.ProcessState.ExitCode(); code != 0 && code != 1 {
			t.b.Fatalf("%s: %v: %v\n%s%s", what, args, err, out, errOut.String())
		}
		m.cpu = (c.ProcessState.UserTime() + c.ProcessState.SystemTime()).Seconds()
		if usage, ok := c.ProcessState.SysUsage().(*syscall.Rusage); ok {
			m.rss = usage.Maxrss
		}
		var report struct {
			Result   string
			Requests gitops.RequestReport
		}
		if json.Unmarshal(out, &report) == nil {
			m.requests = report.Requests
			if report.Result == string(gitops.Failed) {
				t.b.Fatalf("%s: %s", what, out)
			}
		}
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b measure) int { return int((a.seconds - b.seconds) * 1e6) })
	return all[len(all)/2]
}

// oneKustomization is n objects in one Kustomization.
func (t *table) oneKustomization(n int, slow bool) {
	b, objects := t.b, fmt.Sprint(n)
	ns := fmt.Sprintf("bench-%d", n)
	dir, home := benchRepo(b, map[string]string{"objects.yaml": benchObjects(ns, 0, n), "kustomization.yaml": "resources: [objects.yaml]\n"}), b.TempDir()
	benchNamespace(b, ns)
	sync := []string{"kubectl-gitops", "sync", "--source", dir, "--path", ".", "-n", ns, "-o", "json", "--progress", "none", "--wait=false"}
	diff := []string{"kubectl-gitops", "diff", "--source", dir, "--path", ".", "-n", ns, "-o", "json", "--progress", "none"}
	t.row(objects, "sync, first", t.command("first", "", home, 1, sync...))
	var cold []measure
	for range t.runs {
		cold = append(cold, t.command("cold", "", b.TempDir(), 1, sync...))
	}
	slices.SortFunc(cold, func(a, b measure) int { return int((a.seconds - b.seconds) * 1e6) })
	t.row(objects, "sync, nothing to do, cold", cold[len(cold)/2])
	t.command("learn", "", home, 2, sync...)
	t.row(objects, "sync, nothing to do, warm", t.command("warm", "", home, 2*t.runs-1, sync...))
	t.row(objects, "diff, nothing to do, warm", t.command("diff", "", home, t.runs, diff...))
	t.row(objects, "sync, nothing to do, `--verify server`", t.command("server", "", home, 1, append(sync, "--verify", "server")...))
	benchDrift(b, ns, n/100, "drifted")
	t.row(objects, "diff, 1 % drifted", t.command("diff", "", home, t.runs, diff...))
	t.row(objects, "sync, 1 % drifted", t.command("drift", "", home, 1, sync...))
	text := strings.Replace(benchObjects(ns, 0, n), "v: '1'", "v: '2'", max(n/100, 1))
	benchCommit(b, dir, map[string]string{"objects.yaml": text})
	t.row(objects, "sync, 1 % changed in Git", t.command("change", "", home, 1, sync...))
	t.row(objects, "`kubectl kustomize`", t.command("kustomize", "", "", 1, "kubectl", "kustomize", dir))
	t.floor(n, ns, text)
	if !slow {
		return
	}
	t.resourceManager(n, dir)
	t.row(objects, "`kubectl diff --server-side -k`", t.command("kubectl diff", "", "", 1, "kubectl", "diff", "--server-side", "--force-conflicts", "--field-manager=kustomize-controller", "-k", dir))
	t.row(objects, "`kubectl apply --server-side -k`, nothing to do", t.command("kubectl apply", "", "", 1, "kubectl", "apply", "--server-side", "--force-conflicts", "--field-manager=bench", "-k", dir))
}

// manyKustomizations is k Kustomizations of n objects.
func (t *table) manyKustomizations(k, n int) {
	b := t.b
	const ns = "bench-many"
	files := map[string]string{}
	for i := range k {
		name := fmt.Sprintf("k%03d", i)
		files["root/"+name+".yaml"] = fmt.Sprintf("apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: %s, namespace: %s}\n"+
			"spec: {interval: 1h, path: ./%s, prune: true, sourceRef: {kind: GitRepository, name: flux-system}}\n", name, ns, name)
		files[name+"/objects.yaml"] = benchObjects(ns, i*n, n)
	}
	dir, home := benchRepo(b, files), b.TempDir()
	benchNamespace(b, ns)
	sync := []string{"kubectl-gitops", "sync", "--source", dir, "--path", "root", "-n", ns, "-o", "json", "--progress", "none", "--wait=false"}
	objects := fmt.Sprintf("%d × %d", k, n)
	t.row(objects, "sync, first", t.command("first", "", home, 1, sync...))
	t.row(objects, "sync, nothing to do, cold", t.command("cold", "", b.TempDir(), 1, sync...))
	t.command("learn", "", home, 2, sync...)
	t.row(objects, "sync, nothing to do, warm", t.command("warm", "", home, t.runs, sync...))
}

// floor is what the requests alone cost, 16 at a time, without a render and
// without any thought: a dry run of each object, then a PATCH of each.
func (t *table) floor(n int, ns, text string) {
	b := t.b
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		b.Fatal(err)
	}
	config.QPS = -1
	var sent atomic.Int64
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return counted{next, &sent} })
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		b.Fatal(err)
	}
	objects, err := ssautil.ReadObjects(strings.NewReader(text))
	if err != nil {
		b.Fatal(err)
	}
	for _, round := range []struct {
		what   string
		dryRun []string
	}{{"bare dry runs, 16 at a time (floor)", []string{metav1.DryRunAll}}, {"bare PATCHes, 16 at a time (floor)", nil}} {
		m := t.inProcess(&sent, func() error {
			g, ctx := errgroup.WithContext(b.Context())
			g.SetLimit(16)
			for _, o := range objects {
				g.Go(func() error { return benchPatch(ctx, client, o, round.dryRun) })
			}
			return g.Wait()
		})
		m.requests.Patch = m.requests.Total
		t.row(fmt.Sprint(n), round.what, m)
	}
}

func benchPatch(ctx context.Context, client dynamic.Interface, o *unstructured.Unstructured, dryRun []string) error {
	resource := schema.GroupVersionResource{Group: o.GroupVersionKind().Group, Version: o.GroupVersionKind().Version, Resource: benchPlurals[o.GetKind()]}
	data, err := o.MarshalJSON()
	if err != nil {
		return err
	}
	_, err = client.Resource(resource).Namespace(o.GetNamespace()).Patch(ctx, o.GetName(), types.ApplyPatchType, data,
		metav1.PatchOptions{FieldManager: "bench-floor", Force: ptr.To(true), DryRun: dryRun})
	return err
}

type counted struct {
	next http.RoundTripper
	n    *atomic.Int64
}

func (c counted) RoundTrip(r *http.Request) (*http.Response, error) {
	c.n.Add(1)
	return c.next.RoundTrip(r)
}

// inProcess measures what f does in this process. Its memory is not told.
func (t *table) inProcess(sent *atomic.Int64, f func() error) measure {
	var before, after syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &before)
	sent.Store(0)
	start := time.Now()
	if err := f(); err != nil {
		t.b.Fatal(err)
	}
	m := measure{seconds: time.Since(start).Seconds()}
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &after)
	m.cpu = time.Duration(after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()).Seconds()
	m.requests.Total = sent.Load()
	return m
}

// resourceManager is a reconcile with nothing to do as Flux's controller does
// it: kustomize build, then fluxcd/pkg/ssa with its four at a time.
func (t *table) resourceManager(n int, dir string) {
	b := t.b
	var sent atomic.Int64
	f := newFluxOf(b, func(next http.RoundTripper) http.RoundTripper { return counted{next, &sent} })
	f.SetConcurrency(4)
	reconcile := func() error {
		text, err := exec.Command("kubectl", "kustomize", dir).Output()
		if err != nil {
			return err
		}
		objects, err := ssautil.ReadObjects(strings.NewReader(string(text)))
		if err != nil {
			return err
		}
		f.SetOwnerLabels(objects, "flux-system", objects[0].GetNamespace())
		_, err = f.ApplyAllStaged(b.Context(), objects, ssa.DefaultApplyOptions())
		return err
	}
	if err := reconcile(); err != nil {
		b.Fatal(err)
	}
	t.row(fmt.Sprint(n), "ResourceManager with `kubectl kustomize`, nothing to do", t.inProcess(&sent, reconcile))
}

// benchRepo is a Git repository of files.
func benchRepo(b *testing.B, files map[string]string) string {
	dir := b.TempDir()
	if out, err := exec.Command("git", "init", "-q", dir).CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	benchCommit(b, dir, files)
	return dir
}

func benchCommit(b *testing.B, dir string, files map[string]string) {
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	for _, args := range [][]string{{"add", "-A"}, {"-c", "user.name=Ada", "-c", "user.email=ada@example.com", "commit", "-qm", "x"}} {
		if out, err := exec.Command("git", append([]string{"-C", dir}, args...)...).CombinedOutput(); err != nil {
			b.Fatalf("%v\n%s", err, out)
		}
	}
}

func benchNamespace(b *testing.B, ns string) {
	if out, err := exec.Command("kubectl", "create", "namespace", ns).CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
}

// benchDrift changes some ConfigMaps behind our back.
func benchDrift(b *testing.B, ns string, n int, value string) {
	for i := range n {
		if out, err := exec.Command("kubectl", "patch", "configmap", fmt.Sprintf("o%05d", 10*i), "-n", ns, "--field-manager=somebody", "--type=merge",
			"-p", fmt.Sprintf(`{"data":{"v":%q}}`, value)).CombinedOutput(); err != nil {
			b.Fatalf("%v\n%s", err, out)
		}
	}
}

var benchPlurals = map[string]string{"ConfigMap": "configmaps", "Secret": "secrets", "Service": "services", "ServiceAccount": "serviceaccounts", "Role": "roles",
	"RoleBinding": "rolebindings", "Deployment": "deployments", "NetworkPolicy": "networkpolicies", "PodDisruptionBudget": "poddisruptionbudgets", "CronJob": "cronjobs"}

// benchObjects is n objects of ten kinds, numbered from first. No pod comes of
// them: it is the objects that are measured.
func benchObjects(ns string, first, n int) string {
	var out strings.Builder
	for i := first; i < first+n; i++ {
		name := fmt.Sprintf("o%05d", i)
		meta := fmt.Sprintf("metadata: {name: %s, namespace: %s, labels: {app: %s}}\n", name, ns, name)
		pod := "spec: {restartPolicy: Never, containers: [{name: app, image: 'registry.example.com/app:1'}]}"
		out.WriteString([]string{
			"apiVersion: v1\nkind: ConfigMap\n" + meta + "data: {v: '1', config.yaml: 'a: b'}\n",
			"apiVersion: v1\nkind: Secret\n" + meta + "stringData: {v: '1'}\n",
			"apiVersion: v1\nkind: Service\n" + meta + "spec: {clusterIP: None, selector: {app: " + name + "}, ports: [{port: 80}]}\n",
			"apiVersion: v1\nkind: ServiceAccount\n" + meta,
			"apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\n" + meta + "rules: [{apiGroups: [''], resources: [pods], verbs: [get]}]\n",
			"apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\n" + meta + "roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: " + name + "}\nsubjects: [{kind: ServiceAccount, name: " + name + ", namespace: " + ns + "}]\n",
			"apiVersion: apps/v1\nkind: Deployment\n" + meta + "spec: {replicas: 0, selector: {matchLabels: {app: " + name + "}}, template: {metadata: {labels: {app: " + name + "}}, spec: {containers: [{name: app, image: 'registry.example.com/app:1', ports: [{containerPort: 80}], env: [{name: A, value: b}], resources: {requests: {cpu: 100m, memory: 64Mi}}}]}}}\n",
			"apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n" + meta + "spec: {podSelector: {matchLabels: {app: " + name + "}}, policyTypes: [Ingress]}\n",
			"apiVersion: policy/v1\nkind: PodDisruptionBudget\n" + meta + "spec: {minAvailable: 1, selector: {matchLabels: {app: " + name + "}}}\n",
			"apiVersion: batch/v1\nkind: CronJob\n" + meta + "spec: {schedule: '0 0 31 2 *', suspend: true, jobTemplate: {spec: {template: {" + pod + "}}}}\n",
		}[i%10])
		out.WriteString("---\n")
	}
	return out.String()
}
