package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/tools/pager"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/plan"
)

// ErrStale means that a kind is gone that discovery, which kubectl keeps for
// hours, says is there. Forget, and resolve again.
var ErrStale = errors.New("the cluster no longer has a kind that it had")

// Scope is a kind to list: by one LIST, in Namespaces if that is one, else
// everywhere; for those who may not do that, in each of Namespaces.
type Scope struct {
	Resource
	Namespaces []string
}

// in is where one LIST finds all of the scope, "" for everywhere.
func (s Scope) in() string {
	if s.Namespaced && len(s.Namespaces) == 1 {
		return s.Namespaces[0]
	}
	return ""
}

// Denied is what may not be listed: a kind in a namespace, or in all of them.
type Denied struct {
	Resource
	Namespace string
}

// Page sizes. Managed fields make an object some kilobytes; its metadata in
// protobuf is about one.
const (
	objectsPage  = 500
	metadataPage = 2000
)

// Owned lists the objects of the given kinds that carry Flux's owner labels,
// whoever the owner, one LIST a kind and version, in parallel: an object is
// compared in the version that it is written in. What may not be listed is in
// denied: its objects are to be read one by one.
func (c *Cluster) Owned(ctx context.Context, scopes []Scope) (live map[plan.Entry]*unstructured.Unstructured, denied []Denied, err error) {
	live = map[plan.Entry]*unstructured.Unstructured{}
	denied, err = c.eachOwned(ctx, scopes, objectsPage,
		func(ctx context.Context, r Resource, ns string, o metav1.ListOptions) (runtimeObject, error) {
			return c.at(r, ns).List(ctx, o)
		},
		func(_ Resource, o runtimeObject) {
			u := o.(*unstructured.Unstructured)
			live[plan.Entry{ID: object.IDOf(u), Version: u.GroupVersionKind().Version}] = u
		})
	return live, denied, err
}

// OwnedMetadata is Owned, for the metadata alone: a tenth of the bytes.
func (c *Cluster) OwnedMetadata(ctx context.Context, scopes []Scope) (live map[plan.Entry]*metav1.PartialObjectMetadata, denied []Denied, err error) {
	live = map[plan.Entry]*metav1.PartialObjectMetadata{}
	denied, err = c.eachOwned(ctx, scopes, metadataPage,
		func(ctx context.Context, r Resource, ns string, o metav1.ListOptions) (runtimeObject, error) {
			if r.Namespaced && ns != "" {
				return c.metadata.Resource(r.GroupVersionResource).Namespace(ns).List(ctx, o)
			}
			return c.metadata.Resource(r.GroupVersionResource).List(ctx, o)
		},
		func(r Resource, o runtimeObject) {
			m := o.(*metav1.PartialObjectMetadata)
			m.TypeMeta = metav1.TypeMeta{APIVersion: r.GroupVersion().String(), Kind: r.Kind}
			id := object.ID{Group: r.Group, Kind: r.Kind, Namespace: m.Namespace, Name: m.Name}
			live[plan.Entry{ID: id, Version: r.Version}] = m
		})
	return live, denied, err
}

// eachOwned runs the LISTs of Owned in parallel; item is called by one of them
// at a time.
func (c *Cluster) eachOwned(ctx context.Context, scopes []Scope, page int64,
	list func(context.Context, Resource, string, metav1.ListOptions) (runtimeObject, error), item func(Resource, runtimeObject),
) (denied []Denied, err error) {
	var mu sync.Mutex
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(concurrency)
	read := func(r Resource, ns string) error {
		p := pager.New(func(ctx context.Context, o metav1.ListOptions) (runtimeObject, error) { return list(ctx, r, ns, o) })
		p.PageSize = page
		var found []runtimeObject
		err := p.EachListItem(gctx, metav1.ListOptions{LabelSelector: flux.OwnerNameLabel}, func(o runtimeObject) error {
			found = append(found, o)
			return nil
		})
		switch {
		case apierrors.IsNotFound(err):
			return ErrStale
		case err != nil && !apierrors.IsForbidden(err) && !apierrors.IsMethodNotSupported(err):
			return fmt.Errorf("list %s: %w", r.GroupResource(), err)
		}
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			denied = append(denied, Denied{r, ns})
			return nil
		}
		for _, o := range found {
			item(r, o)
		}
		return nil
	}
	run := func() error {
		err := g.Wait()
		if err == nil || errors.Is(err, ErrStale) {
			return err
		}
		return c.unreachable(err)
	}
	for _, s := range scopes {
		if !c.isNarrow(s.Resource) {
			g.Go(func() error { return read(s.Resource, s.in()) })
		}
	}
	if err := run(); err != nil {
		return nil, err
	}
	denied = slices.DeleteFunc(denied, func(d Denied) bool {
		if d.Namespace == "" {
			c.narrow.Store(d.Resource, true)
		}
		return d.Namespace == ""
	})
	g, gctx = errgroup.WithContext(ctx)
	g.SetLimit(concurrency)
	for _, s := range scopes {
		switch {
		case !c.isNarrow(s.Resource):
		case s.Namespaced:
			for _, ns := range s.Namespaces {
				g.Go(func() error { return read(s.Resource, ns) })
			}
		default:
			denied = append(denied, Denied{Resource: s.Resource})
		}
	}
	if err := run(); err != nil {
		return nil, err
	}
	return denied, nil
}

// ID tells this cluster from all others: the UID of its kube-system, or where that
// may not be read its address.
func (c *Cluster) ID(ctx context.Context) string {
	m, err := c.metadata.Resource(namespaces.GroupVersionResource).Get(ctx, metav1.NamespaceSystem, metav1.GetOptions{})
	if err != nil {
		return c.Server
	}
	return string(m.UID)
}

// isNarrow reports whether a kind was found to be one that may not be listed in
// all namespaces.
func (c *Cluster) isNarrow(r Resource) bool {
	_, narrow := c.narrow.Load(r)
	return narrow
}

// mayListLess reports whether some kind was found to be one that may not be listed
// in all namespaces: whoever asks is allowed one object or another, then.
func (c *Cluster) mayListLess() bool {
	less := false
	c.narrow.Range(func(any, any) bool {
		less = true
		return false
	})
	return less
}

// Namespaces tells which of names exist: by GETs, or where they are many by one
// LIST of all.
func (c *Cluster) Namespaces(ctx context.Context, names []string) (map[string]Presence, error) {
	out := make(map[string]Presence, len(names))
	const many = 3
	if len(names) > many {
		p := pager.New(func(ctx context.Context, o metav1.ListOptions) (runtimeObject, error) {
			return c.metadata.Resource(namespaces.GroupVersionResource).List(ctx, o)
		})
		p.PageSize = metadataPage
		err := p.EachListItem(ctx, metav1.ListOptions{}, func(o runtimeObject) error {
			m := o.(*metav1.PartialObjectMetadata)
			out[m.Name] = Present
			if m.DeletionTimestamp != nil {
				out[m.Name] = Leaving
			}
			return nil
		})
		if err == nil || !apierrors.IsForbidden(err) {
			return out, err
		}
		clear(out)
	}
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(concurrency)
	for _, name := range names {
		g.Go(func() error {
			found, err := c.HasNamespace(ctx, name)
			mu.Lock()
			defer mu.Unlock()
			out[name] = found
			return err
		})
	}
	return out, g.Wait()
}
