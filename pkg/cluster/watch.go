package cluster

import (
	"context"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/plan"
)

// byName is up to how many objects of one kind are watched one by one rather
// than by their owner's label.
const byName = 3

// scope is one watch: a kind in a namespace, by name or by label.
type scope struct {
	resource  Resource
	namespace string
	field     string // field selector
	label     string // label selector
	ids       []object.ID
}

// Watch calls seen for each of entries with its present state, and again at
// each change, until ctx is done; nil stands for an object that does not
// exist. Calls come one at a time. owner is the Kustomization whose labels the
// objects carry; those without (named by healthChecks) go in others.
// It returns ctx's error, or the first that makes watching useless.
func (c *Cluster) Watch(ctx context.Context, owner flux.Ref, entries, others []plan.Entry, seen func(object.ID, *unstructured.Unstructured)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	wanted := map[object.ID]bool{}
	scopes, err := c.scopes(owner, entries, others, wanted)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	report := func(u *unstructured.Unstructured, exists bool) {
		mu.Lock()
		defer mu.Unlock()
		id := object.IDOf(u)
		if !wanted[id] || ctx.Err() != nil {
			return
		}
		if !exists {
			u = nil
		}
		seen(id, u)
	}
	var wg sync.WaitGroup
	for _, s := range scopes {
		informer := dynamicinformer.NewFilteredDynamicInformer(c.dynamic, s.resource.GroupVersionResource, s.namespace, 0, cache.Indexers{},
			func(o *metav1.ListOptions) { o.FieldSelector, o.LabelSelector = s.field, s.label }).Informer()
		if err := informer.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) {
			if apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) {
				cancel(c.refusal(ctx, err, "watch", s.resource, object.ID{Group: s.resource.Group, Kind: s.resource.Kind, Namespace: s.namespace}, nil))
			}
		}); err != nil {
			return err
		}
		if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    func(o any) { report(o.(*unstructured.Unstructured), true) },
			UpdateFunc: func(_, o any) { report(o.(*unstructured.Unstructured), true) },
			DeleteFunc: func(o any) {
				if gone, ok := o.(cache.DeletedFinalStateUnknown); ok {
					o = gone.Obj
				}
				if u, ok := o.(*unstructured.Unstructured); ok {
					report(u, false)
				}
			},
		}); err != nil {
			return err
		}
		wg.Go(func() { informer.RunWithContext(ctx) })
		wg.Go(func() {
			if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
				return
			}
			for _, id := range s.ids {
				key := id.Name
				if id.Namespace != "" {
					key = id.Namespace + "/" + id.Name
				}
				if _, exists, err := informer.GetStore().GetByKey(key); err == nil && !exists {
					mu.Lock()
					if ctx.Err() == nil {
						seen(id, nil)
					}
					mu.Unlock()
				}
			}
		})
	}
	<-ctx.Done()
	wg.Wait()
	return context.Cause(ctx)
}

func (c *Cluster) scopes(owner flux.Ref, entries, others []plan.Entry, wanted map[object.ID]bool) ([]scope, error) {
	type group struct {
		resource  Resource
		namespace string
	}
	groups := map[group][]object.ID{}
	var order []group
	for _, e := range entries {
		r, err := c.Resolve(schema.GroupVersionKind{Group: e.ID.Group, Version: e.Version, Kind: e.ID.Kind})
		if err != nil {
			return nil, err
		}
		g := group{r, e.ID.Namespace}
		if groups[g] == nil {
			order = append(order, g)
		}
		groups[g] = append(groups[g], e.ID)
		wanted[e.ID] = true
	}
	var scopes []scope
	name := func(r Resource, id object.ID) {
		scopes = append(scopes, scope{resource: r, namespace: id.Namespace, field: fields.OneTermEqualSelector("metadata.name", id.Name).String(), ids: []object.ID{id}})
	}
	for _, g := range order {
		if len(groups[g]) > byName && !c.mayListLess() {
			label := flux.OwnerNameLabel + "=" + owner.Name + "," + flux.OwnerNamespaceLabel + "=" + owner.Namespace
			scopes = append(scopes, scope{resource: g.resource, namespace: g.namespace, label: label, ids: groups[g]})
			continue
		}
		for _, id := range groups[g] {
			name(g.resource, id)
		}
	}
	for _, e := range others {
		r, err := c.Resolve(schema.GroupVersionKind{Group: e.ID.Group, Version: e.Version, Kind: e.ID.Kind})
		if err != nil {
			return nil, err
		}
		wanted[e.ID] = true
		name(r, e.ID)
	}
	return scopes, nil
}
