package cluster

import (
	"context"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/tools/pager"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
)

// RecordSet are the records of all Kustomizations, as they were at one moment. Each
// is decoded when it is asked for.
type RecordSet struct {
	c *Cluster
	// live and maps are nil where this user may not list them: each is read then.
	live, maps map[flux.Ref]*unstructured.Unstructured
}

// RecordSet reads the records of all Kustomizations, by two LISTs.
func (c *Cluster) RecordSet(ctx context.Context) (*RecordSet, error) {
	rs := &RecordSet{c: c}
	r, ok, err := c.kustomizations()
	if err != nil {
		return nil, err
	}
	list := func(ctx context.Context, r Resource, selector string) (map[flux.Ref]*unstructured.Unstructured, error) {
		out := map[flux.Ref]*unstructured.Unstructured{}
		p := pager.New(func(ctx context.Context, o metav1.ListOptions) (runtimeObject, error) {
			return c.at(r, "").List(ctx, o)
		})
		err := p.EachListItem(ctx, metav1.ListOptions{LabelSelector: selector}, func(o runtimeObject) error {
			u := o.(*unstructured.Unstructured)
			out[flux.Ref{Namespace: u.GetNamespace(), Name: u.GetName()}] = u
			return nil
		})
		switch {
		case apierrors.IsForbidden(err), apierrors.IsNotFound(err):
			return nil, nil
		case err != nil:
			return nil, c.unreachable(err)
		}
		return out, nil
	}
	g, ctx := errgroup.WithContext(ctx)
	if ok {
		g.Go(func() (err error) {
			rs.live, err = list(ctx, r, "")
			return err
		})
	} else {
		rs.live = map[flux.Ref]*unstructured.Unstructured{}
	}
	g.Go(func() (err error) {
		rs.maps, err = list(ctx, configMaps, managedBy+"="+managedByUs+","+recordLabel)
		return err
	})
	return rs, g.Wait()
}

// Load is Cluster.Load at that moment.
func (rs *RecordSet) Load(ctx context.Context, ref flux.Ref) (*Record, error) {
	if rs.live == nil || rs.maps == nil {
		return rs.c.Load(ctx, ref)
	}
	cm := rs.maps[flux.Ref{Namespace: ref.Namespace, Name: recordPrefix + ref.Name}]
	return newRecord(ref, rs.live[ref], cm)
}

// Roots are the Kustomizations in the cluster that no other one there owns.
func (rs *RecordSet) Roots() []flux.Ref {
	var roots []flux.Ref
	for ref, u := range rs.live {
		owner := flux.Ref{Namespace: u.GetLabels()[flux.OwnerNamespaceLabel], Name: u.GetLabels()[flux.OwnerNameLabel]}
		if rs.live[owner] == nil || owner == ref {
			roots = append(roots, ref)
		}
	}
	slices.SortFunc(roots, func(a, b flux.Ref) int { return strings.Compare(a.String(), b.String()) })
	return roots
}
