package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/fluxcd/pkg/ssa"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
)

// takenOver are the managers whose fields become ours before an apply, so that
// what Git no longer has goes away whoever wrote it: Flux's list.
func (c *Cluster) takenOver() []ssa.FieldManager {
	return []ssa.FieldManager{
		{Name: "kubectl", OperationType: metav1.ManagedFieldsOperationApply},
		{Name: "kubectl", OperationType: metav1.ManagedFieldsOperationUpdate},
		{Name: beforeFirstApply, OperationType: metav1.ManagedFieldsOperationUpdate},
		{Name: c.FieldManager, OperationType: metav1.ManagedFieldsOperationUpdate},
	}
}

// beforeFirstApply is to whom the server gives the fields of an object that nobody
// owns any of, at the first server-side apply.
const beforeFirstApply = "before-first-apply"

// Owned is live as the first server-side apply finds it: with an owner of its
// fields, as result, of a dry run, has it. Nobody owns a field of what was made by an
// apply that says nothing but a name, or long ago. What is owned so can be taken over
// before that apply, and not only by the run after it.
func Owned(live, result *unstructured.Unstructured) *unstructured.Unstructured {
	if live == nil || result == nil || len(live.GetManagedFields()) > 0 {
		return live
	}
	for _, e := range result.GetManagedFields() {
		if e.Manager == beforeFirstApply && e.Operation == metav1.ManagedFieldsOperationUpdate {
			owned := live.DeepCopy()
			owned.SetManagedFields([]metav1.ManagedFieldsEntry{e})
			return owned
		}
	}
	return live
}

// conflicts is how often another writer may be faster.
const conflicts = 5

// TakesOver reports whether the fields of a managed fields entry become ours.
func (c *Cluster) TakesOver(e metav1.ManagedFieldsEntry) bool {
	for _, m := range c.takenOver() {
		if e.Subresource == "" && e.Operation == m.OperationType && strings.HasPrefix(e.Manager, m.Name) {
			return true
		}
	}
	return false
}

// Cleanup is the JSON patch that Flux sends before it applies to an object
// that others made: kubectl's fields are handed over, its bookkeeping goes.
// nil when there is nothing to do.
func (c *Cluster) Cleanup(live *unstructured.Unstructured) ([]byte, error) {
	patches, err := ssa.PatchReplaceFieldsManagers(live, c.takenOver(), c.FieldManager)
	if err != nil {
		return nil, err
	}
	for i := range patches {
		patches[i].Operation = "add" // which also replaces: there may be none yet
	}
	patches = append(patches, ssa.PatchRemoveAnnotations(live, []string{
		"kubectl.kubernetes.io/last-applied-configuration",
		"kustomize.toolkit.fluxcd.io/checksum",
		"fluxcd.io/sync-checksum",
	})...)
	patches = append(patches, ssa.PatchRemoveLabels(live, []string{"fluxcd.io/sync-gc-mark"})...)
	if len(patches) == 0 {
		return nil, nil
	}
	return json.Marshal(patches)
}

// Owns reports whether manager's applies own a field of live.
func Owns(live *unstructured.Unstructured, manager string, path ...string) bool {
	for _, entry := range live.GetManagedFields() {
		if entry.Manager != manager || entry.Operation != metav1.ManagedFieldsOperationApply || entry.FieldsV1 == nil {
			continue
		}
		set, err := ssa.FieldsToSet(*entry.FieldsV1)
		if err == nil && set.Has(fieldpath.MakePathOrDie(anySlice(path)...)) {
			return true
		}
	}
	return false
}

func anySlice(path []string) []any {
	out := make([]any, len(path))
	for i, p := range path {
		out[i] = p
	}
	return out
}

// HandOver sends what Cleanup made of live, and makes it anew where live has
// changed since.
func (c *Cluster) HandOver(ctx context.Context, live *unstructured.Unstructured, patch []byte) error {
	r, err := c.Resolve(live.GroupVersionKind())
	if err != nil {
		return err
	}
	objects := c.at(r, live.GetNamespace())
	for try := 0; ; try++ {
		_, err = objects.Patch(ctx, live.GetName(), types.JSONPatchType, patch, metav1.PatchOptions{FieldManager: c.FieldManager})
		if !apierrors.IsConflict(err) || try == conflicts {
			break
		}
		if live, err = objects.Get(ctx, live.GetName(), metav1.GetOptions{}); err != nil {
			break
		}
		if patch, err = c.Cleanup(live); err != nil || patch == nil {
			return err
		}
	}
	if err != nil {
		return c.refusal(ctx, err, "patch", r, object.IDOf(live), live)
	}
	return nil
}

// Delete removes live, in the background as Flux does, if it is still the same
// object. One that is gone already is no error.
func (c *Cluster) Delete(ctx context.Context, live *unstructured.Unstructured) error {
	r, err := c.Resolve(live.GroupVersionKind())
	if err != nil {
		return err
	}
	err = c.at(r, live.GetNamespace()).Delete(ctx, live.GetName(), metav1.DeleteOptions{
		PropagationPolicy: ptr.To(metav1.DeletePropagationBackground),
		Preconditions:     &metav1.Preconditions{UID: ptr.To(live.GetUID())},
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return c.refusal(ctx, err, "delete", r, object.IDOf(live), nil)
	}
	return nil
}

// Gone waits until live no longer exists (or is another object of its name).
// When ctx is over first, the error says what holds it.
func (c *Cluster) Gone(ctx context.Context, live *unstructured.Unstructured) error {
	r, err := c.Resolve(live.GroupVersionKind())
	if err != nil {
		return err
	}
	last := live
	err = wait.PollUntilContextCancel(ctx, 200*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		u, err := c.at(r, live.GetNamespace()).Get(ctx, live.GetName(), metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			return true, nil
		case err != nil:
			return false, err
		}
		last = u
		return u.GetUID() != live.GetUID(), nil
	})
	if err == nil || ctx.Err() == nil {
		return err
	}
	id := object.IDOf(live)
	if f := last.GetFinalizers(); len(f) > 0 {
		return &Error{What: fmt.Sprintf("%s: is being deleted, and held by the finalizer %s", id, strings.Join(f, ", ")), Why: err,
			Fix: fmt.Sprintf("whoever put the finalizer there has to take it off: is that controller running? Where it is gone for good: kubectl%s patch %s --type merge -p '{\"metadata\":{\"finalizers\":null}}'",
				namespaceFlag(r, id), id.Short())}
	}
	return fmt.Errorf("%s: is still there: %w", id, err)
}

// RemoveFinalizer takes one finalizer off live.
func (c *Cluster) RemoveFinalizer(ctx context.Context, live *unstructured.Unstructured, finalizer string) error {
	var rest []string
	for _, f := range live.GetFinalizers() {
		if f != finalizer {
			rest = append(rest, f)
		}
	}
	if len(rest) == len(live.GetFinalizers()) {
		return nil
	}
	r, err := c.Resolve(live.GroupVersionKind())
	if err != nil {
		return err
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"finalizers": rest, "uid": live.GetUID()}})
	if err != nil {
		return err
	}
	_, err = c.at(r, live.GetNamespace()).Patch(ctx, live.GetName(), types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "gotk-" + c.FieldManager})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return c.refusal(ctx, err, "patch", r, object.IDOf(live), nil)
	}
	return nil
}
