package cluster

import (
	"context"
	"encoding/json"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"
	"k8s.io/utils/ptr"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
)

// Get reads one object; nil, nil when it does not exist or its kind is not served.
func (c *Cluster) Get(ctx context.Context, id object.ID, version string) (*unstructured.Unstructured, error) {
	r, err := c.Resolve(schema.GroupVersionKind{Group: id.Group, Version: version, Kind: id.Kind})
	if err != nil {
		var none *NoKindError
		if !asNoKind(err, &none) {
			return nil, err
		}
		if len(none.Served) == 0 {
			return nil, nil
		}
		// The inventory may hold a version that the server has dropped.
		if r, err = c.Resolve(schema.GroupVersionKind{Group: id.Group, Version: none.Served[0], Kind: id.Kind}); err != nil {
			return nil, err
		}
	}
	u, err := c.at(r, id.Namespace).Get(ctx, id.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, c.refusal(ctx, err, "get", r, id, nil)
	}
	return u, nil
}

// concurrency bounds the requests under way at once.
const concurrency = 16

// DryRun asks the server what it would store, with strict field validation.
// A result without resourceVersion is an object that does not exist yet.
func (c *Cluster) DryRun(ctx context.Context, u *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	return c.patch(ctx, u, []string{metav1.DryRunAll})
}

// Apply writes u by server-side apply, taking over fields that others hold, as
// Flux does.
func (c *Cluster) Apply(ctx context.Context, u *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	return c.patch(ctx, u, nil)
}

// send patches an object by what names no state of it: a conflict is one of several
// writers at the same time, of which the server has had enough, and is tried again.
func (c *Cluster) send(ctx context.Context, r Resource, namespace, name string, how types.PatchType, patch []byte, o metav1.PatchOptions, subresources ...string) (out *unstructured.Unstructured, err error) {
	err = retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		out, err = c.at(r, namespace).Patch(ctx, name, how, patch, o, subresources...)
		return err
	})
	return out, err
}

func (c *Cluster) patch(ctx context.Context, u *unstructured.Unstructured, dryRun []string) (*unstructured.Unstructured, error) {
	r, err := c.Resolve(u.GroupVersionKind())
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(u.Object)
	if err != nil {
		return nil, err
	}
	out, err := c.send(ctx, r, u.GetNamespace(), u.GetName(), types.ApplyPatchType, data, metav1.PatchOptions{
		FieldManager:    c.FieldManager,
		Force:           ptr.To(true),
		DryRun:          dryRun,
		FieldValidation: metav1.FieldValidationStrict,
	})
	if err != nil {
		return nil, c.refusal(ctx, err, "patch", r, object.IDOf(u), u)
	}
	return out, nil
}

// DryRunCreate asks whether u would be accepted as a new object, under a name
// that nothing has. It proves that u is valid by itself before the object
// that stands in its way is deleted.
func (c *Cluster) DryRunCreate(ctx context.Context, u *unstructured.Unstructured) error {
	r, err := c.Resolve(u.GroupVersionKind())
	if err != nil {
		return err
	}
	probe := u.DeepCopy()
	probe.SetName("")
	probe.SetGenerateName("probe-")
	_, err = c.at(r, u.GetNamespace()).Create(ctx, probe, metav1.CreateOptions{
		FieldManager: c.FieldManager, DryRun: []string{metav1.DryRunAll}, FieldValidation: metav1.FieldValidationStrict,
	})
	if err != nil {
		return c.refusal(ctx, err, "create", r, object.IDOf(u), u)
	}
	return nil
}
