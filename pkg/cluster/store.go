package cluster

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/pager"
	"k8s.io/utils/ptr"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/plan"
)

// The ConfigMap that stands in for a Kustomization's status where the cluster
// has no such kind: gitops-<name> in the Kustomization's namespace. Its
// "status" is a KustomizationStatus in JSON without the inventory; its binary
// "inventory" is the entries in JSON, compressed: a ConfigMap holds 1 MiB. Its
// "end" is what is to be known of the spec once Git has it no longer, in JSON.
const (
	// Not "kubectl-…": Flux takes over the fields of managers that begin so.
	managerName   = "gitops-inventory"
	managedBy     = "app.kubernetes.io/managed-by"
	managedByUs   = "kubectl-gitops"
	recordLabel   = "kubectl-gitops.dev/kustomization"
	recordPrefix  = "gitops-"
	statusKey     = "status"
	endKey        = "end"
	inventoryKey  = "inventory.json.gz"
	recordVersion = "v1"
	// maxInventory is what an inventory may unpack to: half a million entries, some ten
	// times what a ConfigMap has room for.
	maxInventory = 64 << 20
)

// NotePrefix begins the annotations in which we remember what Flux's status has
// no place for.
const NotePrefix = "kubectl-gitops.dev/"

var (
	configMaps = Resource{schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}, "ConfigMap", true}
	namespaces = Resource{schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}, "Namespace", false}
)

// Record is what the cluster remembers of a Kustomization.
type Record struct {
	Ref flux.Ref
	// Live is the Kustomization in the cluster; nil where there is none, or no
	// such kind.
	Live *unstructured.Unstructured
	// Status is the recorded status, Inventory included; zero if none.
	Status kustomizev1.KustomizationStatus
	// InConfigMap says that a ConfigMap holds a part of it.
	InConfigMap bool
	// End is what the ConfigMap has of the spec; nil where it has nothing.
	End       *flux.End
	Inventory plan.Inventory
	// Notes are the annotations that begin with NotePrefix, of the ConfigMap and,
	// over them, of Live.
	Notes map[string]string
}

// RecordName is the name of the ConfigMap that stands in for a Kustomization, and
// of the Lease of a root.
func RecordName(ref flux.Ref) string { return recordPrefix + ref.Name }

// note takes over the notes of u.
func (r *Record) note(u *unstructured.Unstructured) {
	for k, v := range u.GetAnnotations() {
		if strings.HasPrefix(k, NotePrefix) {
			if r.Notes == nil {
				r.Notes = map[string]string{}
			}
			r.Notes[k] = v
		}
	}
}

// kustomizations is the served resource of Flux's Kustomization, ok false
// where the CRD is missing.
func (c *Cluster) kustomizations() (r Resource, ok bool, err error) {
	gvk := kustomizev1.GroupVersion.WithKind(kustomizev1.KustomizationKind)
	r, err = c.Resolve(gvk)
	var none *NoKindError
	if asNoKind(err, &none) {
		if len(none.Served) == 0 {
			return Resource{}, false, nil
		}
		gvk.Version = none.Served[0]
		r, err = c.Resolve(gvk)
	}
	return r, err == nil, err
}

// Load reads what the cluster remembers of one Kustomization: its status, its
// ConfigMap, or both while it moves from one to the other.
func (c *Cluster) Load(ctx context.Context, ref flux.Ref) (*Record, error) {
	r, ok, err := c.kustomizations()
	if err != nil {
		return nil, err
	}
	var live *unstructured.Unstructured
	if ok {
		live, err = c.at(r, ref.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			live = nil
		case err != nil:
			return nil, c.about(ref.String(), err)
		}
	}
	cm, err := c.ownConfigMap(ctx, ref)
	if err != nil {
		return nil, err
	}
	return newRecord(ref, live, cm)
}

// ownConfigMap is the ConfigMap of ref, nil where there is none. One of that
// name that is not ours is an error: it must not be overwritten.
func (c *Cluster) ownConfigMap(ctx context.Context, ref flux.Ref) (*unstructured.Unstructured, error) {
	cm, err := c.at(configMaps, ref.Namespace).Get(ctx, recordPrefix+ref.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		c.ours.Store(ref, true)
		return nil, nil
	}
	if err != nil {
		return nil, c.about(fmt.Sprintf("configmap/%s in %s", RecordName(ref), ref.Namespace), err)
	}
	if cm.GetLabels()[managedBy] != managedByUs {
		return nil, &Error{What: fmt.Sprintf("configmap/%s in %s", cm.GetName(), ref.Namespace),
			Why: fmt.Errorf("it is somebody else's (its label %s is not %s), and its name is that of the inventory of %s", managedBy, managedByUs, ref),
			Fix: "rename it, or the Kustomization"}
	}
	c.ours.Store(ref, true)
	return cm, nil
}

// Records reads what the cluster remembers of all Kustomizations in a
// namespace, in all where that is "", sorted by namespace and name.
func (c *Cluster) Records(ctx context.Context, namespace string) ([]*Record, error) {
	type pair struct{ live, cm *unstructured.Unstructured }
	found := map[flux.Ref]*pair{}
	at := func(ref flux.Ref) *pair {
		if found[ref] == nil {
			found[ref] = &pair{}
		}
		return found[ref]
	}
	list, err := c.List(ctx, schema.GroupKind{Group: flux.KustomizeGroup, Kind: kustomizev1.KustomizationKind}, namespace)
	if err != nil {
		return nil, err
	}
	for _, u := range list {
		at(flux.Ref{Namespace: u.GetNamespace(), Name: u.GetName()}).live = u
	}
	p := pager.New(func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		return c.at(configMaps, namespace).List(ctx, o)
	})
	err = p.EachListItem(ctx, metav1.ListOptions{LabelSelector: managedBy + "=" + managedByUs + "," + recordLabel}, func(o runtime.Object) error {
		u := o.(*unstructured.Unstructured)
		at(flux.Ref{Namespace: u.GetNamespace(), Name: strings.TrimPrefix(u.GetName(), recordPrefix)}).cm = u
		return nil
	})
	switch {
	case apierrors.IsForbidden(err):
		return nil, c.about("the records of Kustomizations", err)
	case err != nil:
		return nil, c.unreachable(err)
	}
	refs := slices.SortedFunc(maps.Keys(found), func(a, b flux.Ref) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	records := make([]*Record, 0, len(refs))
	for _, ref := range refs {
		rec, err := newRecord(ref, found[ref].live, found[ref].cm)
		if err != nil {
			return nil, err
		}
		records = append(records, rec)
	}
	return records, nil
}

// newRecord reads a Kustomization and its ConfigMap; each is nil where there is
// none.
func newRecord(ref flux.Ref, live, cm *unstructured.Unstructured) (*Record, error) {
	rec := &Record{Ref: ref, Live: live}
	var err error
	if live != nil {
		if s, ok := live.Object["status"].(map[string]any); ok {
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(s, &rec.Status); err != nil {
				return nil, fmt.Errorf("%s: status: %w", ref, err)
			}
		}
		if rec.Status.Inventory != nil {
			if rec.Inventory, err = plan.ReadInventory(rec.Status.Inventory.Entries); err != nil {
				return nil, fmt.Errorf("%s: status.inventory: %w", ref, err)
			}
		}
	}
	if cm == nil {
		if live != nil {
			rec.note(live)
		}
		return rec, nil
	}
	status, inv, err := decodeRecord(cm)
	if err != nil {
		return nil, fmt.Errorf("configmap/%s in %s: %w", cm.GetName(), ref.Namespace, err)
	}
	if text, _, _ := unstructured.NestedString(cm.Object, "data", endKey); text != "" {
		rec.End = &flux.End{}
		if err := json.Unmarshal([]byte(text), rec.End); err != nil {
			return nil, fmt.Errorf("configmap/%s in %s: %s: %w", cm.GetName(), ref.Namespace, endKey, err)
		}
	}
	rec.InConfigMap = true
	rec.note(cm)
	if live != nil {
		rec.note(live)
	}
	if live == nil || len(rec.Status.Conditions) == 0 {
		status.Inventory = rec.Status.Inventory
		rec.Status = status
	}
	rec.Inventory = rec.Inventory.Union(inv)
	return rec, nil
}

func decodeRecord(cm *unstructured.Unstructured) (status kustomizev1.KustomizationStatus, inv plan.Inventory, err error) {
	text, _, _ := unstructured.NestedString(cm.Object, "data", statusKey)
	if text != "" {
		if err := json.Unmarshal([]byte(text), &status); err != nil {
			return status, nil, fmt.Errorf("%s: %w", statusKey, err)
		}
	}
	packed, _, _ := unstructured.NestedString(cm.Object, "binaryData", inventoryKey)
	if packed == "" {
		return status, nil, nil
	}
	raw, err := base64.StdEncoding.DecodeString(packed)
	if err != nil {
		return status, nil, fmt.Errorf("%s: %w", inventoryKey, err)
	}
	zr, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		return status, nil, fmt.Errorf("%s: %w", inventoryKey, err)
	}
	data, err := io.ReadAll(io.LimitReader(zr, maxInventory+1))
	switch {
	case err != nil:
		return status, nil, fmt.Errorf("%s: %w", inventoryKey, err)
	case len(data) > maxInventory:
		return status, nil, fmt.Errorf("%s: unpacks to more than %d MiB, as no inventory does: somebody else has written it", inventoryKey, maxInventory>>20)
	}
	var refs []kustomizev1.ResourceRef
	if err := json.Unmarshal(data, &refs); err != nil {
		return status, nil, fmt.Errorf("%s: %w", inventoryKey, err)
	}
	inv, err = plan.ReadInventory(refs)
	return status, inv, err
}

// Save stores status and inv as those of k: in the status of the
// Kustomization where the cluster has it, else in the ConfigMap (whose
// namespace is made when it is missing), with notes. A ConfigMap that is no
// longer needed goes once the status holds all.
func (c *Cluster) Save(ctx context.Context, k flux.Kustomization, status kustomizev1.KustomizationStatus, inv plan.Inventory, notes map[string]string) error {
	ref := k.Ref
	r, ok, err := c.kustomizations()
	if err != nil {
		return err
	}
	if ok {
		status.Inventory = &kustomizev1.ResourceInventory{Entries: inv.Refs()}
		patch, err := json.Marshal(map[string]any{"status": status})
		if err != nil {
			return err
		}
		_, err = c.send(ctx, r, ref.Namespace, ref.Name, types.MergePatchType, patch,
			metav1.PatchOptions{FieldManager: flux.StatusManager}, "status")
		if err == nil {
			return nil
		}
		if !apierrors.IsNotFound(err) {
			return c.about(ref.String()+": store the inventory", err)
		}
	}
	return c.saveConfigMap(ctx, k, status, inv, notes)
}

// Note writes notes to a Kustomization in the cluster. Its generation and the
// fields of other managers stay as they are.
func (c *Cluster) Note(ctx context.Context, live *unstructured.Unstructured, notes map[string]string) error {
	annotations := map[string]any{}
	for k, v := range notes {
		if live.GetAnnotations()[k] != v {
			annotations[k] = v
		}
	}
	if len(annotations) == 0 {
		return nil
	}
	r, err := c.Resolve(live.GroupVersionKind())
	if err != nil {
		return err
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": annotations}})
	if err != nil {
		return err
	}
	_, err = c.send(ctx, r, live.GetNamespace(), live.GetName(), types.MergePatchType, patch, metav1.PatchOptions{FieldManager: managerName})
	if err != nil && !apierrors.IsNotFound(err) {
		return c.refusal(ctx, err, "patch", r, object.IDOf(live), nil)
	}
	return nil
}

// SaveOutcome stores what became of ref where the cluster keeps a record of it,
// and leaves alone what it owns: another run may be claiming that just now.
func (c *Cluster) SaveOutcome(ctx context.Context, ref flux.Ref, status kustomizev1.KustomizationStatus) error {
	status.Inventory = nil // omitted, and so not touched
	r, ok, err := c.kustomizations()
	if err != nil {
		return err
	}
	if ok {
		patch, err := json.Marshal(map[string]any{"status": status})
		if err != nil {
			return err
		}
		_, err = c.send(ctx, r, ref.Namespace, ref.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: flux.StatusManager}, "status")
		if err == nil {
			return nil
		}
		if !apierrors.IsNotFound(err) {
			return c.about(ref.String()+": store the status", err)
		}
	}
	text, err := json.Marshal(status)
	if err != nil {
		return err
	}
	patch, err := json.Marshal(map[string]any{"data": map[string]any{statusKey: string(text)}})
	if err != nil {
		return err
	}
	_, err = c.send(ctx, configMaps, ref.Namespace, recordPrefix+ref.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: managerName})
	if err != nil && !apierrors.IsNotFound(err) {
		return c.about(ref.String()+": store the status", err)
	}
	return nil
}

func (c *Cluster) saveConfigMap(ctx context.Context, k flux.Kustomization, status kustomizev1.KustomizationStatus, inv plan.Inventory, notes map[string]string) error {
	ref := k.Ref
	if _, known := c.ours.Load(ref); !known {
		if _, err := c.ownConfigMap(ctx, ref); err != nil {
			return err
		}
	}
	status.Inventory = nil
	text, err := json.Marshal(status)
	if err != nil {
		return err
	}
	end, err := json.Marshal(k.End())
	if err != nil {
		return err
	}
	list, err := json.Marshal(inv.Refs())
	if err != nil {
		return err
	}
	var packed bytes.Buffer
	zw := gzip.NewWriter(&packed)
	if _, err := zw.Write(list); err != nil {
		return err
	}
	if err := zw.Close(); err != nil {
		return err
	}
	cm, err := json.Marshal(map[string]any{
		"apiVersion": recordVersion, "kind": "ConfigMap",
		"metadata": map[string]any{
			"name": recordPrefix + ref.Name, "namespace": ref.Namespace,
			"labels":      map[string]any{managedBy: managedByUs, recordLabel: ref.Name},
			"annotations": notes,
		},
		"data":       map[string]any{statusKey: string(text), endKey: string(end)},
		"binaryData": map[string]any{inventoryKey: packed.Bytes()},
	})
	if err != nil {
		return err
	}
	apply := func() error {
		_, err := c.send(ctx, configMaps, ref.Namespace, recordPrefix+ref.Name, types.ApplyPatchType, cm,
			metav1.PatchOptions{FieldManager: managerName, Force: ptr.To(true)})
		return err
	}
	if err = apply(); apierrors.IsNotFound(err) {
		if err := c.makeNamespace(ctx, ref.Namespace); err != nil {
			return err
		}
		if err := apply(); err != nil {
			return c.about(ref.String()+": store the inventory", err)
		}
		return nil
	}
	if err != nil {
		return c.about(ref.String()+": store the inventory", err)
	}
	return nil
}

// makeNamespace makes the namespace in which records are kept.
func (c *Cluster) makeNamespace(ctx context.Context, name string) error {
	ns := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": name},
	}}
	_, err := c.at(namespaces, "").Create(ctx, ns, metav1.CreateOptions{FieldManager: managerName})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return c.about(fmt.Sprintf("namespace/%s, to keep the record of its Kustomizations in", name), err)
	}
	return nil
}

// DropConfigMap removes the ConfigMap of ref, once its Kustomization is gone or
// its status holds all.
func (c *Cluster) DropConfigMap(ctx context.Context, ref flux.Ref) error {
	err := c.at(configMaps, ref.Namespace).Delete(ctx, recordPrefix+ref.Name, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return c.about(fmt.Sprintf("configmap/%s in %s", RecordName(ref), ref.Namespace), err)
	}
	return nil
}

// HasKustomizations reports whether the cluster has Flux's Kustomization kind.
func (c *Cluster) HasKustomizations() (bool, error) {
	_, ok, err := c.kustomizations()
	return ok, err
}

// Presence tells whether something can be written to.
type Presence int

const (
	Absent Presence = iota
	Present
	Leaving // being deleted: nothing can be made in it any more
)

// HoldsNamespace says what keeps a namespace that is being deleted from going, ""
// where nobody says.
func (c *Cluster) HoldsNamespace(ctx context.Context, name string) string {
	u, err := c.at(namespaces, "").Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return ""
	}
	var why []string
	conditions, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	for _, c := range conditions {
		m, _ := c.(map[string]any)
		message, _ := m["message"].(string)
		if m["status"] == "True" && message != "" {
			why = append(why, message)
		}
	}
	return strings.Join(why, "; ")
}

// HasNamespace tells whether a namespace exists.
func (c *Cluster) HasNamespace(ctx context.Context, name string) (Presence, error) {
	u, err := c.at(namespaces, "").Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return Absent, nil
	}
	if apierrors.IsForbidden(err) {
		return Present, nil // what would be in it tells
	}
	if err != nil {
		return Absent, fmt.Errorf("namespace/%s: %w", name, err)
	}
	if u.GetDeletionTimestamp() != nil {
		return Leaving, nil
	}
	return Present, nil
}
