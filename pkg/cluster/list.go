package cluster

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/pager"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
)

// List reads all objects of a kind, page by page, in the version that the server
// likes best: of namespace, or of all where that is "". Without the kind there
// are none. *NoKindError, if that matters, comes from Resolve.
func (c *Cluster) List(ctx context.Context, kind schema.GroupKind, namespace string) ([]*unstructured.Unstructured, error) {
	r, err := c.Resolve(kind.WithVersion(""))
	if IsNoKind(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []*unstructured.Unstructured
	p := pager.New(func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		return c.at(r, namespace).List(ctx, o)
	})
	err = p.EachListItem(ctx, metav1.ListOptions{}, func(o runtime.Object) error {
		out = append(out, o.(*unstructured.Unstructured))
		return nil
	})
	switch {
	case apierrors.IsNotFound(err): // the kind has gone, and kubectl's cache does not know it
		return nil, nil
	case apierrors.IsForbidden(err):
		return nil, c.refusal(ctx, err, "list", r, object.ID{Group: r.Group, Kind: r.Kind, Namespace: namespace}, nil)
	case err != nil:
		return nil, c.unreachable(err)
	}
	return out, nil
}
