package cluster

import (
	"context"
	"encoding/json"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
)

const (
	// suspendManager is not that of Git's own fields, so that an apply leaves what
	// it sets alone.
	suspendManager   = "gitops-suspend"
	suspendedKey     = NotePrefix + "suspended" // on the ConfigMap: "true"
	suspendReasonKey = NotePrefix + "suspend-reason"
)

// Suspended reports whether the cluster itself has the Kustomization suspended,
// and why, as far as somebody said.
func (r *Record) Suspended() (suspended bool, reason string) {
	if r.Live != nil {
		suspended, _, _ = unstructured.NestedBool(r.Live.Object, "spec", "suspend")
	}
	return suspended || r.Notes[suspendedKey] == "true", r.Notes[suspendReasonKey]
}

// SuspendedByGit reports whether it is what Git declares that has it suspended.
func (r *Record) SuspendedByGit(fieldManager string) bool {
	suspended, _ := r.Suspended()
	return suspended && r.Live != nil && r.Notes[suspendedKey] != "true" && Owns(r.Live, fieldManager, "spec", "suspend")
}

// SuspendedByHand reports whether somebody has it suspended in the cluster,
// whatever Git declares.
func (r *Record) SuspendedByHand(fieldManager string) bool {
	suspended, _ := r.Suspended()
	return suspended && !r.SuspendedByGit(fieldManager)
}

// Suspend suspends or resumes a Kustomization that the cluster knows: in its
// spec, or in the ConfigMap that stands in for it.
func (c *Cluster) Suspend(ctx context.Context, rec *Record, suspend bool, reason string) error {
	orNil := func(set bool, v any) any {
		if set {
			return v
		}
		return nil // a merge patch takes it out
	}
	why := orNil(suspend && reason != "", reason)
	if rec.Live != nil {
		r, err := c.Resolve(rec.Live.GroupVersionKind())
		if err != nil {
			return err
		}
		if err := c.mergePatch(ctx, r, object.IDOf(rec.Live), map[string]any{
			"metadata": map[string]any{"annotations": map[string]any{suspendReasonKey: why}},
			"spec":     map[string]any{"suspend": orNil(suspend, true)},
		}); err != nil {
			return err
		}
	}
	if rec.InConfigMap {
		id := object.ID{Kind: "ConfigMap", Namespace: rec.Ref.Namespace, Name: recordPrefix + rec.Ref.Name}
		return c.mergePatch(ctx, configMaps, id, map[string]any{
			"metadata": map[string]any{"annotations": map[string]any{suspendedKey: orNil(suspend, "true"), suspendReasonKey: why}},
		})
	}
	return nil
}

func (c *Cluster) mergePatch(ctx context.Context, r Resource, id object.ID, patch map[string]any) error {
	data, err := json.Marshal(patch)
	if err != nil {
		return err
	}
	if _, err := c.send(ctx, r, id.Namespace, id.Name, types.MergePatchType, data, metav1.PatchOptions{FieldManager: suspendManager}); err != nil {
		return c.refusal(ctx, err, "patch", r, id, nil)
	}
	return nil
}

// Request asks a Flux controller to reconcile an object now, as flux reconcile
// does: id of any of Flux's kinds, at the time that its status will repeat. It
// returns the object as it was before; nil where there is none to ask for.
func (c *Cluster) Request(ctx context.Context, id object.ID, at string) (before *unstructured.Unstructured, err error) {
	u, err := c.Get(ctx, id, "v1")
	if err != nil || u == nil {
		return nil, err
	}
	r, err := c.Resolve(u.GroupVersionKind())
	if err != nil {
		return nil, err
	}
	return u, c.mergePatch(ctx, r, id, map[string]any{"metadata": map[string]any{"annotations": map[string]any{flux.RequestKey: at}}})
}
