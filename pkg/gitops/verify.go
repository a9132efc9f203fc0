package gitops

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cluster"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/plan"
)

// VerifyMode tells when the server is asked what an apply would store.
type VerifyMode string

// The values of --verify. In each of them what is written is dry-run first.
const (
	VerifyAuto   VerifyMode = "auto"   // where it cannot be proved here that an object is in sync
	VerifyServer VerifyMode = "server" // for every object
	VerifyLocal  VerifyMode = "local"  // never to learn that an object is in sync; its fields are compared
)

// kindLists are the kinds to be listed in each cluster, with the namespaces that
// they are expected in. A LIST is asked as oneself, for all who are impersonated
// there.
type kindLists map[*cluster.Cluster]map[cluster.Resource]map[string]bool

func (l kindLists) add(p *Planned, r cluster.Resource, namespace string) {
	c := p.cluster.Self()
	if l[c] == nil {
		l[c] = map[cluster.Resource]map[string]bool{}
	}
	if l[c][r] == nil {
		l[c][r] = map[string]bool{}
	}
	l[c][r][namespace] = true
}

func (l kindLists) scopes(c *cluster.Cluster) []cluster.Scope {
	var out []cluster.Scope
	for _, r := range slices.SortedFunc(maps.Keys(l[c]), func(a, b cluster.Resource) int { return strings.Compare(a.String(), b.String()) }) {
		out = append(out, cluster.Scope{Resource: r, Namespaces: slices.Sorted(maps.Keys(l[c][r]))})
	}
	return out
}

// liveObjects is what was seen in each cluster.
type liveObjects map[*cluster.Cluster]*observed

// observed is what was seen in one cluster.
type observed struct {
	objects  map[plan.Entry]*unstructured.Unstructured
	metadata map[plan.Entry]*metav1.PartialObjectMetadata // nil where objects has all
	denied   []cluster.Denied
	mutators *cluster.Mutators
}

func (l liveObjects) in(p *Planned) *observed {
	if o := l[p.cluster.Self()]; o != nil {
		return o
	}
	return &observed{}
}

func (l liveObjects) of(p *Planned, e plan.Entry) *unstructured.Unstructured {
	return l.in(p).objects[e]
}

// read lists what is live of the kinds in lists. Where an earlier run has left
// verdicts, metadata alone comes first, and then the kinds in which something is
// not known. Where listing is not allowed, the objects that are declared are read
// by name.
func (e *Engine) read(ctx context.Context, r *Run, lists kindLists) error {
	r.live = liveObjects{}
	for c := range lists {
		r.live[c] = &observed{}
	}
	full := lists
	if e.Options.Verify != VerifyServer {
		g, gctx := errgroup.WithContext(ctx)
		for c, o := range r.live {
			g.Go(func() (err error) {
				o.mutators, err = c.Mutators(gctx)
				return err
			})
			if c == e.Cluster && !e.verdicts.Empty() {
				g.Go(func() (err error) {
					o.metadata, _, err = c.OwnedMetadata(gctx, lists.scopes(c)) // who is denied is told below
					return err
				})
			}
		}
		if err := g.Wait(); err != nil {
			return err
		}
		var err error
		if full, err = e.unknown(ctx, r, lists); err != nil {
			return err
		}
	}
	for c := range full {
		o := r.live[c]
		var err error
		if o.objects, o.denied, err = c.Owned(ctx, full.scopes(c)); err != nil {
			return err
		}
		if err := e.readDenied(ctx, r, c, o); err != nil {
			return err
		}
	}
	return nil
}

// unknown decides what earlier runs know, and returns the kinds to be read in
// full for the rest. What was recalled and is not all in sync is rendered.
func (e *Engine) unknown(ctx context.Context, r *Run, lists kindLists) (kindLists, error) {
	full := kindLists{}
	var doubtful []*Planned
	for _, p := range r.Kustomizations {
		if !p.Suspended && !e.known(p, r.live.in(p), full) && p.recalled != nil {
			doubtful = append(doubtful, p)
		}
	}
	if err := e.anew(ctx, r, doubtful, lists, full); err != nil {
		return nil, err
	}
	for _, p := range r.Kustomizations {
		if p.owesPrunes() {
			e.staleKinds(p, full)
		}
	}
	return full, nil
}

// anew renders ps, which were recalled, after all, and decides again what earlier
// runs know of them.
func (e *Engine) anew(ctx context.Context, r *Run, ps []*Planned, lists, full kindLists) error {
	if err := e.resolveAnew(ctx, r, ps, lists); err != nil {
		return err
	}
	for _, p := range ps {
		e.checkNamespaces(r, p)
		e.sumUp(p)
		e.known(p, r.live.in(p), full)
	}
	return nil
}

// overtaken reports whether something of p has changed between the look at the
// metadata and the one at the objects: what was recalled of it no longer serves.
func (e *Engine) overtaken(r *Run, p *Planned) bool {
	return slices.ContainsFunc(p.Changes, func(c plan.Change) bool {
		full := r.live.of(p, c.Entry())
		return full != nil && c.Live != nil && full.GetResourceVersion() != c.Live.GetResourceVersion()
	})
}

// stillKnown keeps the change of an object of which an earlier run knows that it
// is in sync. full is its present state, where that was read.
func (e *Engine) stillKnown(c *plan.Change, full *unstructured.Unstructured) bool {
	if c.Action != plan.Unchanged || !c.Local {
		return false
	}
	if full == nil {
		return true
	}
	if full.GetResourceVersion() != c.Live.GetResourceVersion() {
		c.Action, c.Local, c.Settled = "", false, false // it has changed just now
		return false
	}
	c.Live, c.Settled = full, false
	if object.HealthOf(full).Ready() {
		e.verdicts.Add(e.ready(stateOf(full)))
	}
	return true
}

// readDenied reads the objects of r that no LIST could have found.
func (e *Engine) readDenied(ctx context.Context, r *Run, c *cluster.Cluster, o *observed) error {
	if len(o.denied) == 0 {
		return nil
	}
	denied := map[cluster.Denied]int{}
	for _, d := range o.denied {
		denied[d] = 0
	}
	var mu sync.Mutex
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(e.concurrency())
	for _, p := range r.Kustomizations {
		if p.cluster.Self() != c || p.Suspended {
			continue
		}
		for i := range p.Changes {
			change := &p.Changes[i]
			res, err := p.cluster.Resolve(change.ID.GroupKind().WithVersion(change.Version))
			if err != nil || change.Action == plan.Skip || change.Pending != "" {
				continue
			}
			d := cluster.Denied{Resource: res, Namespace: change.ID.Namespace}
			if _, ok := denied[d]; !ok {
				continue
			}
			denied[d]++
			g.Go(func() error {
				u, err := p.cluster.Get(gctx, change.ID, change.Version)
				if u == nil || apierrors.IsForbidden(err) {
					if apierrors.IsForbidden(err) {
						err = nil // the dry run tells
					}
					return err
				}
				mu.Lock()
				defer mu.Unlock()
				o.objects[change.Entry()] = u
				return err
			})
		}
	}
	if err := g.Wait(); err != nil {
		return err
	}
	objects, kinds := 0, map[cluster.Resource]bool{}
	for d, n := range denied {
		if n > 0 {
			objects, kinds[d.Resource] = objects+n, true
		}
	}
	if objects > 0 {
		r.warn(e, Warning{Code: "not-listed",
			Message: fmt.Sprintf("%s of %s read one by one: this user may not list them", count(objects, "object"), count(len(kinds), "kind")),
			Hint:    "allow the verb list, to save a request an object"})
	}
	return nil
}

// proved reports whether c's object is in sync for sure, without a request.
func (e *Engine) proved(p *Planned, c *plan.Change, o *observed) bool {
	// Whoever is impersonated must be allowed to: the server tells that only.
	if e.Options.Verify == VerifyServer || o == nil || c.Live == nil || p.cluster.Impersonated != "" {
		return false
	}
	res, err := p.cluster.Resolve(c.Object.GroupVersionKind())
	if err != nil || o.mutators.Touch(res) {
		return false
	}
	return plan.InSync(c.Object.Unstructured, c.Live, p.cluster.FieldManager) == "" && e.handsOver(p, c) == nil
}

// handsOver is the patch by which the fields of others become ours before an
// apply, nil for none.
func (e *Engine) handsOver(p *Planned, c *plan.Change) []byte {
	if flux.Marked(c.Object, flux.SSAKey, "Merge") || flux.Marked(c.Live, flux.SSAKey, "Merge") || e.suspendedByHand(c.Live) {
		return nil
	}
	patch, err := p.cluster.Cleanup(c.Live)
	if err != nil {
		return []byte(err.Error()) // the server's answer decides
	}
	return patch
}

// predict decides c by what its fields tell, as a server would probably store
// them. false where that is more than a guess may decide.
func (e *Engine) predict(ctx context.Context, p *Planned, c *plan.Change) ([]Problem, error) {
	if c.Live == nil {
		var err error
		if c.Live, err = p.cluster.Get(ctx, c.ID, c.Version); err != nil {
			return refused(p, c, err)
		}
	}
	if reason := plan.SkipReason(c.Object.Unstructured, c.Live); reason != "" {
		c.Action, c.Reason = plan.Skip, reason
		return nil, nil
	}
	c.Local = true
	if c.Live == nil {
		c.Action, c.Reason = plan.Create, "not in the cluster"
		return nil, nil
	}
	c.Result = plan.Predict(c.Object.Unstructured, c.Live, p.cluster.FieldManager)
	c.Action, c.Reason = p.ignore.Decide(c.Live, c.Result)
	if u := p.ignore.Payload(c.Object.Unstructured, c.Live, c.Result, p.cluster.FieldManager); u != nil {
		c.Result = plan.Predict(u, c.Live, p.cluster.FieldManager)
	}
	if c.Cleanup = e.handsOver(p, c); c.Cleanup != nil {
		c.Forfeited = plan.Forfeit(c.Live, c.Result, p.cluster.FieldManager, p.cluster.TakesOver)
		if c.Action == plan.Unchanged {
			c.Action, c.Reason = plan.Configure, "takes over the fields that kubectl owns"
		}
	}
	return nil, nil
}

// tellGuessed warns of what the server did not verify.
func (e *Engine) tellGuessed(r *Run) {
	if e.Options.Verify == VerifyLocal {
		return // was asked for
	}
	n := 0
	for _, p := range r.Kustomizations {
		for _, c := range p.Changes {
			if c.Local && c.Action != plan.Unchanged && !isSealed(c.Object.Unstructured) && !p.closed[c.ID] {
				n++
			}
		}
	}
	if n > 0 {
		r.warn(e, Warning{Code: "not-verified",
			Message: fmt.Sprintf("%s compared here only: this user may not ask the server what an apply would store", count(n, "object")),
			Hint:    "the verb patch is what a dry run needs"})
	}
}
