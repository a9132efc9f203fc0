package plugins

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
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

	"github.com/kubectl-gitops/kubectl-gitops/pkg/gitops"
)

// floorManager owns what the bare requests write.
const floorManager = "bench-floor"

// floor is what the requests of a first sync alone cost, 16 at a time, without a
// render and without any thought: a dry run of each object, then a PATCH of each.
func (t *table) floor(n int, ns string) {
	b := t.b
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		b.Fatal(err)
	}
	config.QPS = -1
	sent := &counted{}
	config.Wrap(sent.wrap)
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		b.Fatal(err)
	}
	objects, err := ssautil.ReadObjects(strings.NewReader(benchObjects(ns, 0, n)))
	if err != nil {
		b.Fatal(err)
	}
	for _, round := range []struct {
		what   string
		dryRun []string
	}{{floorDryRuns, []string{metav1.DryRunAll}}, {floorPatches, nil}} {
		t.row(fmt.Sprint(n), round.what, t.inProcess(sent, func() error {
			g, ctx := errgroup.WithContext(b.Context())
			g.SetLimit(16)
			for _, o := range objects {
				g.Go(func() error { return benchPatch(ctx, client, o, round.dryRun) })
			}
			return g.Wait()
		}))
	}
}

func benchPatch(ctx context.Context, client dynamic.Interface, o *unstructured.Unstructured, dryRun []string) error {
	resource := schema.GroupVersionResource{Group: o.GroupVersionKind().Group, Version: o.GroupVersionKind().Version, Resource: benchPlurals[o.GetKind()]}
	data, err := o.MarshalJSON()
	if err != nil {
		return err
	}
	_, err = client.Resource(resource).Namespace(o.GetNamespace()).Patch(ctx, o.GetName(), types.ApplyPatchType, data,
		metav1.PatchOptions{FieldManager: floorManager, Force: ptr.To(true), DryRun: dryRun})
	return err
}

// counted counts the requests that go through it.
type counted struct {
	next http.RoundTripper
	mu   sync.Mutex
	sent gitops.RequestReport
}

func (c *counted) wrap(next http.RoundTripper) http.RoundTripper {
	c.next = next
	return c
}

func (c *counted) RoundTrip(r *http.Request) (*http.Response, error) {
	c.mu.Lock()
	count(&c.sent, r.Method)
	c.mu.Unlock()
	return c.next.RoundTrip(r)
}

// inProcess measures what f does in this process. Its memory is not told.
func (t *table) inProcess(c *counted, f func() error) measure {
	var before, after syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &before)
	c.sent = gitops.RequestReport{}
	start := time.Now()
	if err := f(); err != nil {
		t.b.Fatal(err)
	}
	m := measure{seconds: time.Since(start).Seconds(), requests: c.sent}
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &after)
	m.cpu = time.Duration(after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()).Seconds()
	return m
}

// resourceManager is a reconcile with nothing to do as Flux's controller does it:
// kustomize build, as measured before, then fluxcd/pkg/ssa with its four at a time.
// What our sync wrote is nothing to do for it, which is checked.
func (t *table) resourceManager(n int, rendered string) {
	b := t.b
	sent := &counted{}
	f := newFluxOf(b, sent.wrap)
	f.SetConcurrency(4)
	text, err := os.ReadFile(rendered)
	if err != nil {
		b.Fatal(err)
	}
	m := t.inProcess(sent, func() error {
		objects, err := ssautil.ReadObjects(strings.NewReader(string(text)))
		if err != nil {
			return err
		}
		f.SetOwnerLabels(objects, "flux-system", objects[0].GetNamespace())
		changes, err := f.ApplyAllStaged(b.Context(), objects, ssa.DefaultApplyOptions())
		if err != nil {
			return err
		}
		for _, c := range changes.Entries {
			if c.Action != ssa.UnchangedAction {
				return fmt.Errorf("%s: %s: it was to have nothing to do", c.Subject, c.Action)
			}
		}
		return nil
	})
	if rendered, ok := t.find(fmt.Sprint(n), kustomizeBuild); ok {
		m.seconds += rendered.seconds
		m.cpu += rendered.cpu
	}
	t.row(fmt.Sprint(n), fluxReconcile, m)
}

// benchKustomize is the real kustomize, of the version whose libraries render here.
func benchKustomize(tb testing.TB) string {
	file, err := filepath.Abs("../bin/kustomize")
	if err == nil {
		_, err = os.Stat(file)
	}
	if err != nil {
		tb.Fatalf("make kustomize builds it: %v", err)
	}
	return file
}
