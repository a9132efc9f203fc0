package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/pager"
	"k8s.io/utils/ptr"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/plan"
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
		return nil, c.refusal(err, "get", r, id, nil)
	}
	return u, nil
}

// ErrStale means that a kind is gone that discovery, which kubectl keeps for
// hours, says is there. Forget, and resolve again.
var ErrStale = errors.New("the cluster no longer has a kind that it had")

// Owned lists the objects of the given kinds that carry Flux's owner labels,
// whoever the owner, one LIST a kind and version, in parallel: an object is
// compared in the version that it is written in. A kind that may not be
// listed cluster-wide is left out: its objects are then read one by one.
func (c *Cluster) Owned(ctx context.Context, resources []Resource) (map[plan.Entry]*unstructured.Unstructured, error) {
	lists := make([][]*unstructured.Unstructured, len(resources))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(concurrency)
	for i, r := range resources {
		g.Go(func() error {
			p := pager.New(func(ctx context.Context, o metav1.ListOptions) (list runtimeObject, err error) {
				return c.dynamic.Resource(r.GroupVersionResource).List(ctx, o)
			})
			err := p.EachListItem(ctx, metav1.ListOptions{LabelSelector: flux.OwnerNameLabel}, func(o runtimeObject) error {
				lists[i] = append(lists[i], o.(*unstructured.Unstructured))
				return nil
			})
			switch {
			case apierrors.IsNotFound(err):
				return ErrStale
			case apierrors.IsForbidden(err), apierrors.IsMethodNotSupported(err):
				lists[i] = nil
			case err != nil:
				return fmt.Errorf("list %s: %w", r.GroupResource(), err)
			}
			return nil
		})
	}
	if err := g.Wait(); errors.Is(err, ErrStale) {
		return nil, err
	} else if err != nil {
		return nil, c.unreachable(err)
	}
	live := map[plan.Entry]*unstructured.Unstructured{}
	for _, list := range lists {
		for _, u := range list {
			live[plan.Entry{ID: object.IDOf(u), Version: u.GroupVersionKind().Version}] = u
		}
	}
	return live, nil
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

func (c *Cluster) patch(ctx context.Context, u *unstructured.Unstructured, dryRun []string) (*unstructured.Unstructured, error) {
	r, err := c.Resolve(u.GroupVersionKind())
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(u.Object)
	if err != nil {
		return nil, err
	}
	out, err := c.at(r, u.GetNamespace()).Patch(ctx, u.GetName(), types.ApplyPatchType, data, metav1.PatchOptions{
		FieldManager:    c.FieldManager,
		Force:           ptr.To(true),
		DryRun:          dryRun,
		FieldValidation: metav1.FieldValidationStrict,
	})
	if err != nil {
		return nil, c.refusal(err, "patch", r, object.IDOf(u), u)
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
		return c.refusal(err, "create", r, object.IDOf(u), u)
	}
	return nil
}
