package plugins

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fluxcd/pkg/ssa"
	"github.com/fluxcd/pkg/ssa/normalize"
	ssautil "github.com/fluxcd/pkg/ssa/utils"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/gitops"
)

// fluxManager applies as kustomize-controller does: its library, under its
// options (field manager, owner group, what is cleaned up).
type fluxManager struct {
	*ssa.ResourceManager
	client client.Client
}

func newFlux(t *testing.T) fluxManager {
	t.Helper()
	return newFluxOf(t, nil)
}

// newFluxOf is newFlux, its requests going through wrap.
func newFluxOf(t testing.TB, wrap func(http.RoundTripper) http.RoundTripper) fluxManager {
	t.Helper()
	if os.Getenv("DEVCLUSTER") == "" {
		t.Fatal(needCluster)
	}
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		t.Fatal(err)
	}
	if wrap != nil {
		config.QPS = -1 // a client's own limit is not what is to be measured
		config.Wrap(wrap)
	}
	c, err := client.New(config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return fluxManager{ssa.NewResourceManager(c, nil, ssa.Owner{Field: flux.FieldManager, Group: flux.KustomizeGroup}), c}
}

// apply returns what Flux says that it did to each object.
func (f fluxManager) apply(t *testing.T, ns, manifests string) map[string]string {
	t.Helper()
	objects, err := ssautil.ReadObjects(strings.NewReader(manifests))
	if err != nil {
		t.Fatal(err)
	}
	if err := normalize.UnstructuredList(objects); err != nil {
		t.Fatal(err)
	}
	f.SetOwnerLabels(objects, "flux-system", ns)
	options := ssa.DefaultApplyOptions()
	options.Cleanup = ssa.ApplyCleanupOptions{
		Annotations: []string{corev1.LastAppliedConfigAnnotation, flux.KustomizeGroup + "/checksum", "fluxcd.io/sync-checksum"},
		Labels:      []string{"fluxcd.io/sync-gc-mark"},
		FieldManagers: []ssa.FieldManager{
			{Name: "kubectl", OperationType: metav1.ManagedFieldsOperationApply},
			{Name: "kubectl", OperationType: metav1.ManagedFieldsOperationUpdate},
			{Name: "before-first-apply", OperationType: metav1.ManagedFieldsOperationUpdate},
			{Name: flux.FieldManager, OperationType: metav1.ManagedFieldsOperationUpdate},
		},
		Exclusions: map[string]string{flux.SSAKey: "Merge"},
	}
	changes, err := f.ApplyAllStaged(t.Context(), objects, options)
	if err != nil {
		t.Fatal(err)
	}
	actions := map[string]string{}
	for _, e := range changes.Entries {
		actions[e.Subject] = e.Action.String()
	}
	return actions
}

// owned is, for each object of the namespace, its generation and the fields that
// applies of kustomize-controller own.
func (f fluxManager) owned(ctx context.Context, t *testing.T, ns, manifests string) map[string]string {
	t.Helper()
	objects, err := ssautil.ReadObjects(strings.NewReader(manifests))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, o := range objects {
		live := &unstructured.Unstructured{}
		live.SetGroupVersionKind(o.GroupVersionKind())
		if err := f.client.Get(ctx, client.ObjectKeyFromObject(o), live); err != nil {
			t.Fatal(err)
		}
		var fields any
		for _, e := range live.GetManagedFields() {
			if e.Manager != flux.FieldManager {
				continue
			}
			if e.Operation != metav1.ManagedFieldsOperationApply {
				t.Errorf("%s: %s owns fields by %s", ssautil.FmtUnstructured(live), e.Manager, e.Operation)
			}
			if err := json.Unmarshal(e.FieldsV1.Raw, &fields); err != nil {
				t.Fatal(err)
			}
		}
		text, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		out[strings.ReplaceAll(ssautil.FmtUnstructured(live), ns, "NS")] = string(text)
	}
	return out
}

// What we applied, Flux finds unchanged, and the other way round: the same
// fields are owned by the same manager, whoever came first.
func TestHandOverBothWays(t *testing.T) {
	const ours, theirs = "handover-ours", "handover-theirs"
	f := newFlux(t)
	data, err := os.ReadFile("testdata/handover.yaml")
	if err != nil {
		t.Fatal(err)
	}
	manifests := func(ns string) string { return strings.ReplaceAll(string(data), "NAMESPACE", ns) }
	sync := func(ns string) gitops.SyncReport {
		t.Helper()
		dir := repo(t, map[string]string{"root/all.yaml": manifests(ns)})
		code, out := runSync(t, t.Context(), os.Getenv("KUBECONFIG"), dir, ns, nil, "--wait=false", "-o", "json", "--progress", "none")
		if code != 0 {
			t.Fatalf("exit %d\n%s", code, out)
		}
		var r gitops.SyncReport
		if err := json.Unmarshal([]byte(out[strings.IndexByte(out, '{'):]), &r); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return r
	}
	for _, ns := range []string{ours, theirs} {
		kubectl(t, "create", "namespace", ns)
	}

	sync(ours)
	before := f.owned(t.Context(), t, ours, manifests(ours))
	for subject, action := range f.apply(t, ours, manifests(ours)) {
		if action != ssa.UnchangedAction.String() {
			t.Errorf("we applied %s, and Flux finds it %s", subject, action)
		}
	}

	f.apply(t, theirs, manifests(theirs))
	reference := f.owned(t.Context(), t, theirs, manifests(theirs))
	for _, c := range sync(theirs).Kustomizations[0].Changes {
		if c.Action != "unchanged" {
			t.Errorf("Flux applied %s/%s, and we find it %s: %s", c.Kind, c.Name, c.Action, c.Message)
		}
	}
	for subject, fields := range reference {
		if before[subject] != fields {
			t.Errorf("%s: fields owned after Flux's apply and after ours differ:\nFlux %s\nours %s", subject, fields, before[subject])
		}
	}
}

// A field that Git drops disappears whoever applied it first.
func TestDroppedFieldsGoWhoeverAppliedThem(t *testing.T) {
	const ns = "handover-dropped"
	f := newFlux(t)
	kubectl(t, "create", "namespace", ns)
	with := func(data string) string {
		return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, namespace: " + ns + "}\ndata: " + data + "\n"
	}
	f.apply(t, ns, with("{a: b, dropped: c}"))
	dir := repo(t, map[string]string{"root/x.yaml": with("{a: b}")})
	if code, out := runSync(t, t.Context(), os.Getenv("KUBECONFIG"), dir, ns, nil); code != 0 {
		t.Fatalf("exit %d\n%s", code, out)
	}
	if got := kubectl(t, "get", "configmap", "x", "-n", ns, "-o", "jsonpath={.data}"); got != `{"a":"b"}` {
		t.Errorf("after Flux's apply and our sync: %s", got)
	}
	if err := os.WriteFile(filepath.Join(dir, "root/x.yaml"), []byte(with("{a: b, ours: c}")), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out := runSync(t, t.Context(), os.Getenv("KUBECONFIG"), dir, ns, nil); code != 0 {
		t.Fatalf("exit %d\n%s", code, out)
	}
	f.apply(t, ns, with("{a: b}"))
	if got := kubectl(t, "get", "configmap", "x", "-n", ns, "-o", "jsonpath={.data}"); got != `{"a":"b"}` {
		t.Errorf("after our sync and Flux's apply: %s", got)
	}
}
