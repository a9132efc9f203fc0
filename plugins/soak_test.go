package plugins

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
)

// soakTime is when the soak makes no further sync, unless SOAK_TIME says otherwise.
const soakTime = 14 * time.Minute

// hang is when a run that has not ended is taken for one that never will.
const hang = 4 * time.Minute

// soak is one soak: SOAK syncs of a repository that changes in between, under
// faults that SEED decides.
type soak struct {
	*testing.T
	seed     uint64
	dir      string // what is left to look at when it fails
	model    *model
	sky      *sky
	through  string // kubeconfig that leads through sky
	client   dynamic.Interface
	restarts sync.WaitGroup
	withFlux bool // Flux's CRDs are installed by now

	codes map[string]int
	did   map[string]int
}

// A repository that changes 200 times, applied by runs that are killed, cut off
// from the API server, refused and throttled, over an API server that restarts:
// a run that succeeds has made the cluster what the repository says, and never
// is there an object that nobody owns.
func TestSoak(t *testing.T) {
	syncs, _ := strconv.Atoi(os.Getenv("SOAK"))
	if syncs == 0 {
		t.Skip("this takes minutes: make soak")
	}
	seed, err := strconv.ParseUint(os.Getenv("SEED"), 10, 64)
	if err != nil {
		seed = uint64(time.Now().Unix())
	}
	limit, err := time.ParseDuration(os.Getenv("SOAK_TIME"))
	if err != nil {
		limit = soakTime
	}
	t.Logf("SEED=%d", seed)
	s := newSoak(t, seed)
	begin, crds := time.Now(), syncs/3
	for i := range syncs {
		if time.Since(begin) > limit {
			t.Logf("%s are over: %d of %d syncs were made", limit, i, syncs)
			break
		}
		if i == crds {
			s.installFlux()
		}
		s.sync(i)
	}
	s.end()
	t.Logf("%d seconds; exit codes: %v; %v; commits: %v", int(time.Since(begin).Seconds()), s.codes, s.did, s.model.commits)
	t.Logf("%d requests, %d of them writes; faults: %s", s.sky.requests, s.sky.writes, s.sky.figures())
}

func newSoak(t *testing.T, seed uint64) *soak {
	dir, err := os.MkdirTemp("", fmt.Sprintf("gitops-soak-%d-", seed))
	if err != nil {
		t.Fatal(err)
	}
	s := &soak{T: t, seed: seed, dir: dir, sky: &sky{faults: map[fault]int{}}, codes: map[string]int{}, did: map[string]int{}}
	t.Cleanup(func() {
		if !t.Failed() {
			_ = os.RemoveAll(dir)
			return
		}
		t.Logf("again: make soak SEED=%d; what each run printed and the repository are in %s", seed, dir)
	})
	s.through = startProxy(t, s.sky.serve)
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1
	if s.client, err = dynamic.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "repo"), 0o755); err != nil {
		t.Fatal(err)
	}
	s.model = newModel(t, rand.New(rand.NewPCG(seed, 0)), filepath.Join(dir, "repo"))
	return s
}

// run is one sync, and how it is to end before it does by itself.
type run struct {
	process *os.Process
	started sync.WaitGroup
	code    string
	out     []byte
}

func (s *soak) start(ctx context.Context, cache string) (*run, func()) {
	c := exec.CommandContext(ctx, "kubectl-gitops", "sync", "--source", s.model.dir, "--path", "clusters/soak", "-n", "soak", "--kubeconfig", s.through,
		"--cache-dir", filepath.Join(s.dir, cache), "--allow-prune", "1000", "--timeout", "90s", "--progress", "plain")
	c.Env = append(os.Environ(), "NO_COLOR=1", "LC_ALL=C.UTF-8", "HOME="+s.dir, "GOTRACEBACK=all")
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGQUIT) } // and it tells where it hangs
	c.WaitDelay = 10 * time.Second
	var buf bytes.Buffer
	c.Stdout, c.Stderr = &buf, &buf
	r := &run{}
	r.started.Add(1)
	return r, func() {
		if err := c.Start(); err != nil {
			s.Error(err)
		}
		r.process = c.Process
		r.started.Done()
		_ = c.Wait() // the code says it
		r.code = strconv.Itoa(c.ProcessState.ExitCode())
		if ws, ok := c.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			r.code = ws.Signal().String()
		}
		r.out = buf.Bytes()
	}
}

// sync makes a commit most of the time, runs a sync in some weather, and looks
// at what it left.
func (s *soak) sync(i int) {
	r := rand.New(rand.NewPCG(s.seed, uint64(i+1)))
	what := "nothing"
	if r.IntN(8) > 0 {
		what = s.model.change()
	}
	w := weathers[r.IntN(len(weathers))]
	if r.IntN(20) == 0 {
		_ = os.RemoveAll(filepath.Join(s.dir, "cache")) // as on another machine
	}
	ctx, cancel := context.WithTimeout(s.Context(), hang)
	defer cancel()
	one, first := s.start(ctx, "cache")
	var two *run
	second := func() {}
	strike := map[int]func(){}
	at := 1 + r.IntN(60)
	event := ""
	signal := func(sig os.Signal) func() {
		return func() {
			one.started.Wait()
			_ = one.process.Signal(sig)
			if sig == syscall.SIGKILL {
				time.Sleep(20 * time.Millisecond) // it is gone before it has an answer
			}
		}
	}
	switch n := r.IntN(100); {
	case n < 25:
		event = "kill -9"
		strike[at] = signal(syscall.SIGKILL)
	case n < 30:
		event = "Ctrl-C"
		strike[at] = signal(os.Interrupt)
	case n < 38:
		event = "restart of the API server"
		strike[at] = func() { s.restarts.Go(s.restart) }
	case n < 45:
		event = "two at once"
		two, second = s.start(ctx, "cache2")
	}
	if event != "" {
		s.did[event]++
	}
	s.did[w.name]++
	s.sky.over(r, w, strike)
	begin := time.Now()
	var wg sync.WaitGroup
	wg.Go(first)
	wg.Go(second)
	wg.Wait()
	s.restarts.Wait()
	for _, run := range []*run{one, two} {
		if run == nil {
			continue
		}
		s.codes[run.code]++
		title := fmt.Sprintf("sync %d: %s; %s %s: exit %s after %.1fs", i, what, w.name, event, run.code, time.Since(begin).Seconds())
		s.Log(title)
		name := filepath.Join(s.dir, fmt.Sprintf("%03d.txt", i))
		if run == two {
			name = filepath.Join(s.dir, fmt.Sprintf("%03d-second.txt", i))
		}
		if err := os.WriteFile(name, append([]byte(title+"\n"), run.out...), 0o600); err != nil {
			s.Fatal(err)
		}
		if ctx.Err() != nil || bytes.Contains(run.out, []byte("goroutine ")) {
			s.Fatalf("it hung or panicked; see %s", name)
		}
		if run.code != "0" && w.name == "calm" && (event == "" || run == two) {
			s.Fatalf("nothing was in its way, and it failed: exit %s\n%s", run.code, run.out)
		}
		if !slices.Contains([]string{"0", "1", "2", "3", "130", syscall.SIGKILL.String()}, run.code) {
			s.Fatalf("exit %s is none of the promised ones; see %s", run.code, name)
		}
	}
	s.look(one.code == "0" || two != nil && two.code == "0")
}

// restart kills the API server and starts it again.
func (s *soak) restart() {
	if out, err := exec.Command("devcluster", "restart", "apiserver", "--dir", os.Getenv("DEVCLUSTER")).CombinedOutput(); err != nil {
		s.Errorf("devcluster restart: %v\n%s", err, out)
	}
}

// installFlux brings Flux's kinds, as somebody would who installs Flux some day.
func (s *soak) installFlux() {
	files, err := fluxCRDFiles()
	if err != nil {
		s.Fatal(err)
	}
	for _, f := range files {
		kubectl(s.T, "apply", "--server-side", "-f", f)
	}
	s.withFlux = true
}

// found is an object in the cluster that a Kustomization of the soak owns.
type found struct{ owner, value string }

// cluster is what the cluster has, and what each Kustomization's inventory has.
func (s *soak) cluster() (objects map[string]found, inventories map[string]map[string]bool) {
	list := func(group, version, resource string, o metav1.ListOptions) []unstructured.Unstructured {
		l, err := s.client.Resource(schema.GroupVersionResource{Group: group, Version: version, Resource: resource}).List(s.Context(), o)
		if err != nil {
			if resource == "widgets" && len(objects) == 0 {
				return nil // the first runs may not have got as far
			}
			s.Fatalf("list %s: %v", resource, err)
		}
		return l.Items
	}
	owned := metav1.ListOptions{LabelSelector: flux.OwnerNamespaceLabel + "=soak"}
	objects = map[string]found{}
	for _, r := range [][3]string{{"soak.example.com", "v1", "widgets"}, {"", "v1", "configmaps"}, {"", "v1", "secrets"}, {"", "v1", "services"}, {"", "v1", "serviceaccounts"}, {"", "v1", "namespaces"},
		{"rbac.authorization.k8s.io", "v1", "roles"}, {"rbac.authorization.k8s.io", "v1", "clusterroles"}, {"apps", "v1", "deployments"}, {"apiextensions.k8s.io", "v1", "customresourcedefinitions"}} {
		for _, u := range list(r[0], r[1], r[2], owned) {
			value := u.GetAnnotations()["value"]
			if data, ok, _ := unstructured.NestedStringMap(u.Object, "data"); ok && u.GetKind() == "ConfigMap" {
				// What Git dropped is gone: a key of an older value would be left.
				value = strings.TrimPrefix(strings.Join(slices.DeleteFunc(slices.Sorted(maps.Keys(data)), func(k string) bool { return k == "value" }), "+"), "k")
			}
			objects[u.GetKind()+"/"+u.GetNamespace()+"/"+u.GetName()] = found{u.GetLabels()[flux.OwnerNameLabel], value}
		}
	}
	inventories = map[string]map[string]bool{}
	add := func(ks string, entries any) {
		if inventories[ks] == nil {
			inventories[ks] = map[string]bool{}
		}
		for _, e := range entries.([]any) {
			p := strings.Split(e.(map[string]any)["id"].(string), "_")
			inventories[ks][p[3]+"/"+p[0]+"/"+p[1]] = true
		}
	}
	if s.withFlux {
		for _, u := range list(flux.KustomizeGroup, "v1", "kustomizations", metav1.ListOptions{}) {
			entries, _, _ := unstructured.NestedSlice(u.Object, "status", "inventory", "entries")
			add(u.GetName(), entries)
			objects["Kustomization/soak/"+u.GetName()] = found{u.GetLabels()[flux.OwnerNameLabel], ""}
		}
	}
	for _, u := range list("", "v1", "configmaps", metav1.ListOptions{LabelSelector: "kubectl-gitops.dev/kustomization"}) {
		packed, _, _ := unstructured.NestedString(u.Object, "binaryData", "inventory.json.gz")
		raw, err := base64.StdEncoding.DecodeString(packed)
		if err != nil {
			s.Fatal(err)
		}
		zr, err := gzip.NewReader(bytes.NewReader(raw))
		if err != nil {
			s.Fatal(err)
		}
		text, err := io.ReadAll(zr)
		var entries any
		if err == nil {
			err = json.Unmarshal(text, &entries)
		}
		if err != nil {
			s.Fatal(err)
		}
		add(u.GetLabels()["kubectl-gitops.dev/kustomization"], entries)
	}
	return objects, inventories
}

// look holds the cluster to what is promised: every object is owned, and after a
// success there is what the repository has, and nothing else.
func (s *soak) look(succeeded bool) {
	s.Helper()
	objects, inventories := s.cluster()
	for id, o := range objects {
		if o.owner != "" && !inventories[o.owner][id] {
			s.Errorf("%s is of %s, and not in its inventory", id, o.owner)
		}
	}
	if succeeded {
		s.compare(objects, inventories)
	}
	if s.Failed() {
		s.FailNow()
	}
}

func (s *soak) compare(objects map[string]found, inventories map[string]map[string]bool) {
	want := map[string]found{"Namespace//soak-a": {"infra", ""}, "Namespace//soak-b": {"infra", ""}, "CustomResourceDefinition//widgets.soak.example.com": {"infra", ""}}
	records := map[string]bool{"infra": true, "flux-system": true}
	for ks, things := range s.model.has {
		records[ks] = true
		for id, value := range things {
			want[id] = found{ks, fmt.Sprint(value)}
		}
	}
	if s.withFlux {
		for ks := range records {
			want["Kustomization/soak/"+ks] = found{"flux-system", ""}
		}
	}
	for id, o := range want {
		switch got, ok := objects[id]; {
		case !ok:
			s.Errorf("%s of %s is missing", id, o.owner)
		case got != o:
			s.Errorf("%s is %+v, and the repository says %+v", id, got, o)
		}
		if !inventories[o.owner][id] {
			s.Errorf("%s is not in the inventory of %s", id, o.owner)
		}
	}
	for id, o := range objects {
		if _, ok := want[id]; !ok {
			s.Errorf("%s of %s is left, and the repository does not have it", id, o.owner)
		}
	}
	for ks, inventory := range inventories {
		if !records[ks] {
			s.Errorf("there is a record of %s, which is no longer declared", ks)
		}
		for id := range inventory {
			if o, ok := want[id]; (!ok || o.owner != ks) && (s.withFlux || !strings.HasPrefix(id, "Kustomization/")) {
				s.Errorf("%s is in the inventory of %s, and not declared there", id, ks)
			}
		}
	}
}

// end is a last sync in calm weather, and one more that finds nothing to do.
func (s *soak) end() {
	for _, title := range []string{"the last sync", "one more sync"} {
		s.sky.over(rand.New(rand.NewPCG(s.seed, 0)), calm, nil)
		before := s.sky.writes
		ctx, cancel := context.WithTimeout(s.Context(), hang)
		r, run := s.start(ctx, "cache")
		run()
		cancel()
		if r.code != "0" {
			s.Fatalf("%s: exit %s\n%s", title, r.code, r.out)
		}
		s.look(true)
		if wrote := s.sky.writes - before; title == "one more sync" && wrote != 0 {
			s.Errorf("%s wrote %d times:\n%s", title, wrote, r.out)
		}
	}
	if holder := kubectl(s.T, "get", "lease", "gitops-flux-system", "-n", "soak", "-o", "jsonpath={.spec.holderIdentity}"); holder != "" {
		s.Errorf("the lock is held: %s", holder)
	}
	objects, _ := s.cluster()
	s.Logf("%d objects of %d Kustomizations: the cluster is what the repository says", len(objects), len(s.model.has)+2)
}
