package cluster

import (
	"context"
	"encoding/json"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
)

// SetStatus merges fields, and the condition ready for this generation, into the
// status of a Flux object, in the name of the controller whose object it is. One
// that is gone is none to write to, and no error.
func (c *Cluster) SetStatus(ctx context.Context, live *unstructured.Unstructured, controller string, fields map[string]any, ready metav1.Condition) error {
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
	ready.Type, ready.ObservedGeneration = "Ready", live.GetGeneration()
	meta.SetStatusCondition(&status.Conditions, ready)
	meta.RemoveStatusCondition(&status.Conditions, "Reconciling")
	meta.RemoveStatusCondition(&status.Conditions, "Stalled")
	fields["conditions"], fields["observedGeneration"] = status.Conditions, live.GetGeneration()
	patch, err := json.Marshal(map[string]any{"status": fields})
	if err != nil {
		return err
	}
	_, err = c.at(r, live.GetNamespace()).Patch(ctx, live.GetName(), types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "gotk-" + controller}, "status")
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return c.refusal(err, "patch", r, object.IDOf(live), live)
	}
	return nil
}
