package cluster

import (
	"context"
	"encoding/json"

	fluxmeta "github.com/fluxcd/pkg/apis/meta"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
)

// SetStatus writes fields, and the condition ready for this generation, into the
// status of a Flux object, in the name of the controller whose object it is.
// stalled says that what is not ready stays so until somebody changes the object.
// One that is gone is none to write to, and no error.
func (c *Cluster) SetStatus(ctx context.Context, live *unstructured.Unstructured, controller string, fields map[string]any, ready metav1.Condition, stalled bool) error {
	r, err := c.Resolve(live.GroupVersionKind())
	if err != nil {
		return err
	}
	var status struct {
		Conditions []metav1.Condition `json:"conditions"`
	}
	if text, err := json.Marshal(live.Object["status"]); err == nil {
		_ = json.Unmarshal(text, &status) // what cannot be read is replaced
	}
	ready.Type, ready.ObservedGeneration = fluxmeta.ReadyCondition, live.GetGeneration()
	meta.SetStatusCondition(&status.Conditions, ready)
	meta.RemoveStatusCondition(&status.Conditions, fluxmeta.ReconcilingCondition)
	meta.RemoveStatusCondition(&status.Conditions, fluxmeta.StalledCondition)
	if stalled {
		meta.SetStatusCondition(&status.Conditions, metav1.Condition{Type: fluxmeta.StalledCondition, Status: metav1.ConditionTrue,
			Reason: ready.Reason, Message: ready.Message, ObservedGeneration: ready.ObservedGeneration})
	}
	before, _ := live.Object["status"].(map[string]any)
	whole := map[string]any{"conditions": status.Conditions, "observedGeneration": live.GetGeneration()}
	for name, value := range fields {
		whole[name] = value
		if value, ok := value.(map[string]any); ok {
			had, _ := before[name].(map[string]any)
			whole[name] = instead(had, value)
		}
	}
	if asked, ok := fluxmeta.ReconcileAnnotationValue(live.GetAnnotations()); ok {
		whole["lastHandledReconcileAt"] = asked
	}
	patch, err := json.Marshal(map[string]any{"status": whole})
	if err != nil {
		return err
	}
	_, err = c.at(r, live.GetNamespace()).Patch(ctx, live.GetName(), types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "gotk-" + controller}, "status")
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return c.refusal(ctx, err, "patch", r, object.IDOf(live), live)
	}
	return nil
}

// instead is the merge patch that makes had to be want: a merge alone would leave
// what want does not have.
func instead(had, want map[string]any) map[string]any {
	out := map[string]any{}
	for key := range had {
		out[key] = nil
	}
	for key, value := range want {
		out[key] = value
		if value, ok := value.(map[string]any); ok {
			inner, _ := had[key].(map[string]any)
			out[key] = instead(inner, value)
		}
	}
	return out
}
