package gitops

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cluster"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/plan"
)

// defaultConcurrency bounds the requests of one round.
const defaultConcurrency = 16

func (e *Engine) concurrency() int {
	if n := e.Options.Concurrency; n > 0 {
		return n
	}
	return defaultConcurrency
}

// keptByOther is why a stale object stays although its owner lets it go.
const keptByOther = "owned by another now"

// pendingKind is what a change waits for whose kind the run itself defines.
const pendingKind = "its kind"

// definition is a kind that the run itself defines.
type definition struct {
	by       *Planned
	versions []string // served ones
	resource string   // plural
	cluster  bool     // cluster-scoped
}

// maker is who defines the kind, nil for nobody.
func (d *definition) maker() *Planned {
	if d == nil {
		return nil
	}
	return d.by
}

// observe looks at the cluster. What kubectl's discovery cache says of its
// kinds may be old: where that shows, it is asked anew, once.
func (e *Engine) observe(ctx context.Context, r *Run) error {
	known := map[*Planned][]Problem{}
	running := map[site]cluster.Life{}
	for _, p := range r.Kustomizations {
		if _, asked := running[p.site()]; !asked {
			life, err := p.cluster.Self().FluxRunning(ctx)
			if err != nil {
				return err
			}
			running[p.site()] = life
		}
		e.leaveOut(r, p, running[p.site()] != cluster.Dead)
		known[p] = slices.Clone(p.Problems)
	}
	r.index()
	err := e.compare(ctx, r)
	if errors.Is(err, cluster.ErrStale) {
		e.Cluster.Forget()
		for _, p := range r.Kustomizations {
			if e.away(p) {
				p.cluster.Forget()
			}
			p.Changes, p.Prunes, p.Removed, p.Problems = nil, nil, nil, known[p]
		}
		err = e.compare(ctx, r)
	}
	return err
}

// compare compares what is declared with what the cluster has: which kinds and
// namespaces there are, what is live, and what the server would store.
func (e *Engine) compare(ctx context.Context, r *Run) error {
	lists := kindLists{}
	for _, p := range r.Kustomizations {
		if err := e.resolve(ctx, r, p, lists); err != nil {
			return err
		}
	}
	e.checkOwners(r)
	if err := e.meet(ctx, r); err != nil {
		return err
	}
	var needed []*Planned
	for _, p := range r.Kustomizations {
		if p.recalled != nil && (e.lacksNamespace(r, p) || p.owesPrunes()) {
			needed = append(needed, p)
		}
	}
	if err := e.resolveAnew(ctx, r, needed, lists); err != nil {
		return err
	}
	for _, p := range r.Kustomizations {
		e.checkNamespaces(r, p)
		e.sumUp(p)
		e.staleKinds(p, lists)
	}
	kinds := 0
	for c := range lists {
		kinds += len(lists[c])
	}
	e.progress(r.Root.Ref, fmt.Sprintf("reading %s from the cluster", count(kinds, "kind")))
	if err := e.read(ctx, r, lists); err != nil {
		return err
	}
	var overtaken []*Planned
	for _, p := range r.Kustomizations {
		if p.recalled != nil && e.overtaken(r, p) {
			overtaken = append(overtaken, p)
		}
	}
	if err := e.anew(ctx, r, overtaken, kindLists{}, kindLists{}); err != nil {
		return err
	}
	e.progress(r.Root.Ref, "comparing with the cluster")
	if err := e.decideAll(ctx, r); err != nil {
		return err
	}
	e.tellGuessed(r)
	if err := e.planPrunes(ctx, r, r.live); err != nil {
		return err
	}
	return e.checkReferences(ctx, r)
}

// meet learns which cluster this is, and which of the namespaces are there.
func (e *Engine) meet(ctx context.Context, r *Run) error {
	g, gctx := errgroup.WithContext(ctx)
	if e.Cache != nil && e.verdicts == nil && e.Options.Verify != VerifyServer {
		g.Go(func() error {
			e.verdicts = e.Cache.Verdicts(e.Cluster.ID(gctx))
			return nil
		})
	}
	g.Go(func() (err error) {
		r.present, err = e.namespaces(gctx, r)
		return err
	})
	return g.Wait()
}

// resolveAnew resolves ps after all from what they render to now, rather than from
// what an earlier run kept.
func (e *Engine) resolveAnew(ctx context.Context, r *Run, ps []*Planned, lists kindLists) error {
	e.forget(ctx, r, ps...)
	for _, p := range ps {
		if err := e.resolve(ctx, r, p, lists); err != nil {
			return err
		}
	}
	return nil
}

// owesPrunes reports whether p owns what it no longer declares.
func (p *Planned) owesPrunes() bool {
	return p.record != nil && len(p.record.Inventory.Minus(p.Inventory())) > 0
}

// index notes which kinds and namespaces the run makes, and by whom.
func (r *Run) index() {
	r.crds, r.spaces = map[kindAt]*definition{}, map[spaceAt]*Planned{}
	for _, p := range r.Kustomizations {
		for id := range p.sums { // of what is recalled
			if object.IsNamespace(id.GroupKind()) {
				r.spaces[spaceAt{p.site(), id.Name}] = p
			}
		}
		for _, o := range p.objects {
			switch gk := o.GroupVersionKind().GroupKind(); {
			case object.IsNamespace(gk):
				r.spaces[spaceAt{p.site(), o.GetName()}] = p
			case object.IsCRD(gk):
				group, _, _ := unstructured.NestedString(o.Object, "spec", "group")
				kind, _, _ := unstructured.NestedString(o.Object, "spec", "names", "kind")
				scope, _, _ := unstructured.NestedString(o.Object, "spec", "scope")
				plural, _, _ := unstructured.NestedString(o.Object, "spec", "names", "plural")
				d := &definition{by: p, resource: plural, cluster: scope == "Cluster"}
				versions, _, _ := unstructured.NestedSlice(o.Object, "spec", "versions")
				for _, v := range versions {
					if v, ok := v.(map[string]any); ok && v["served"] == true {
						name, _ := v["name"].(string)
						d.versions = append(d.versions, name)
					}
				}
				r.crds[kindAt{p.site(), schema.GroupKind{Group: group, Kind: kind}}] = d
			}
		}
	}
}

// resolve finds each object's place on the server, and turns the objects of p
// into changes in the order of an apply. What has no place is a problem, a
// skip (Flux's own kinds) or pending (a kind that the run defines).
func (e *Engine) resolve(ctx context.Context, r *Run, p *Planned, lists kindLists) error {
	if p.recalled != nil {
		ok, err := e.resolveRecalled(r, p, lists)
		if ok || err != nil {
			return err
		}
		e.forget(ctx, r, p)
	}
	first := map[plan.Entry]object.Object{}
	for i := range p.objects {
		o := p.objects[i]
		gvk := o.GroupVersionKind()
		c := plan.Change{ID: o.ID(), Version: gvk.Version, Object: &p.objects[i]}
		res, err := p.cluster.Resolve(gvk)
		namespaced := res.Namespaced
		var none *cluster.NoKindError
		switch {
		case err == nil:
			lists.add(p, res, c.ID.Namespace)
		case !errors.As(err, &none):
			return err
		default:
			served := none.Served
			d := r.definition(p, gvk.GroupKind())
			if d != nil {
				served = d.versions
			}
			fluxKind := flux.IsFluxGroup(gvk.Group)
			switch {
			case d == nil && len(served) == 0 && fluxKind:
				c.Action, c.Reason = plan.Skip, "the cluster does not have Flux's kinds"
				namespaced = true
			case d != nil && slices.Contains(served, gvk.Version):
				c.Pending, namespaced = pendingKind, !d.cluster
			case len(served) > 0 && fluxKind:
				e.convert(r, &c, served)
				switch res, err = p.cluster.Resolve(c.Object.GroupVersionKind()); {
				case err == nil:
					lists.add(p, res, c.ID.Namespace)
					namespaced = res.Namespaced
				case d != nil && errors.As(err, &none):
					c.Pending, namespaced = pendingKind, !d.cluster
				default:
					return err
				}
			default:
				p.problem(reasonFailed, noKind(o, served))
				continue
			}
		}
		if !namespaced && c.ID.Namespace != "" {
			r.warn(e, Warning{Code: "namespace-on-cluster-kind", File: o.File, Line: o.Line, Object: c.ID.Unscoped().String(),
				Message: fmt.Sprintf("%s is cluster-scoped, its namespace %s means nothing", gvk.Kind, c.ID.Namespace)})
			c.ID = c.ID.Unscoped()
			o.SetNamespace("")
		}
		if namespaced && c.ID.Namespace == "" && c.Action != plan.Skip {
			p.problem(reasonFailed, Problem{Code: "no-namespace", File: o.File, Line: o.Line, Object: c.ID.String(),
				Message: "has no namespace, and its kind needs one", Hint: "set metadata.namespace, the kustomization's namespace or spec.targetNamespace"})
			continue
		}
		if was, twice := first[c.Entry()]; twice {
			if equality.Semantic.DeepEqual(was.Object, o.Object) {
				continue // a base that is in two namespaces brings it along twice: it is one
			}
			twin := Problem{Code: "build", File: o.File, Line: o.Line, Object: c.ID.String(),
				Message: fmt.Sprintf("is declared twice: %s and %s", was.Where(), o.Where()), Hint: "take one of the two out, or rename it"}
			if !namespaced { // which kustomize did not know
				twin.Message += "; its kind is cluster-scoped, where a namespace makes no difference"
			}
			p.problem(reasonBuild, twin)
			continue
		}
		first[c.Entry()] = o
		p.Changes = append(p.Changes, c)
	}
	p.sortChanges()
	return nil
}

func (p *Planned) sortChanges() {
	slices.SortStableFunc(p.Changes, func(a, b plan.Change) int {
		if s, t := object.StageOf(a.ID.GroupKind()), object.StageOf(b.ID.GroupKind()); s != t {
			return int(s - t)
		}
		return object.Compare(a.ID, b.ID)
	})
}

// checkOwners warns of an object that two Kustomizations declare, or one in two
// versions: each run, and
// a controller all the time, would hand it back and forth between them.
func (e *Engine) checkOwners(r *Run) {
	type owned struct {
		by *Planned
		at string
	}
	first := map[objectAt]owned{}
	for _, p := range r.Kustomizations {
		for _, c := range p.Changes {
			was, twice := first[objectAt{p.site(), c.ID}]
			if !twice {
				first[objectAt{p.site(), c.ID}] = owned{p, c.Object.Where()}
				continue
			}
			if was.by == p {
				r.warn(e, Warning{Code: "two-owners", File: c.Object.File, Line: c.Object.Line, Object: c.ID.String(),
					Message: fmt.Sprintf("%s declares it in another version too (%s): each sets the other back", p.Ref, was.at),
					Hint:    "take one of the two out"})
				continue
			}
			r.warn(e, Warning{Code: "two-owners", File: c.Object.File, Line: c.Object.Line, Object: c.ID.String(),
				Message: fmt.Sprintf("%s and %s (%s) both declare it: each takes it from the other", p.Ref, was.by.Ref, was.at),
				Hint:    "take it out of one of the two"})
		}
	}
}

// convert writes a Flux object in a version that the cluster serves: all
// versions of Flux's API have the same fields.
func (e *Engine) convert(r *Run, c *plan.Change, served []string) {
	o := c.Object
	from := o.GetAPIVersion()
	c.Version = flux.Served(c.Version, served)
	flux.Convert(o.Unstructured, c.Version)
	r.warn(e, Warning{Code: "flux-version", File: o.File, Line: o.Line, Object: c.ID.String(),
		Message: fmt.Sprintf("%s is no longer served; applied as %s", from, o.GetAPIVersion()),
		Hint:    "flux migrate -f ."})
}

func noKind(o object.Object, served []string) Problem {
	p := Problem{Code: "no-kind", File: o.File, Line: o.Line, Object: o.ID().String()}
	gvk := o.GroupVersionKind()
	if len(served) > 0 {
		p.Message = fmt.Sprintf("%s is served as %s, not %s", gvk.Kind, strings.Join(served, ", "), gvk.Version)
		p.Hint = "change its apiVersion"
		return p
	}
	p.Message = fmt.Sprintf("nobody defines the kind %s of %s: neither the cluster nor this repository has its CustomResourceDefinition", gvk.Kind, gvk.GroupVersion())
	p.Hint = "install what brings it, or add its CRD to a Kustomization that this one depends on"
	return p
}

// namespaces looks which of the namespaces that r needs exist.
func (e *Engine) namespaces(ctx context.Context, r *Run) (map[spaceAt]cluster.Presence, error) {
	names := map[site]map[string]bool{}
	at := map[site]*cluster.Cluster{}
	for _, p := range r.Kustomizations {
		at[p.site()] = p.cluster.Self()
		if names[p.site()] == nil {
			names[p.site()] = map[string]bool{}
		}
		for _, c := range p.Changes {
			if c.ID.Namespace != "" && c.Action != plan.Skip {
				names[p.site()][c.ID.Namespace] = true
			}
		}
	}
	out := map[spaceAt]cluster.Presence{}
	for site, c := range at {
		found, err := c.Namespaces(ctx, slices.Sorted(maps.Keys(names[site])))
		if err != nil {
			return nil, err
		}
		for name, presence := range found {
			out[spaceAt{site, name}] = presence
			if presence == cluster.Leaving {
				r.leaves(ctx, c, spaceAt{site, name})
			}
		}
	}
	return out, nil
}

// leaves notes what keeps a namespace that is being deleted.
func (r *Run) leaves(ctx context.Context, c *cluster.Cluster, at spaceAt) {
	why := c.HoldsNamespace(ctx, at.name)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.leaving == nil {
		r.leaving = map[spaceAt]string{}
	}
	r.leaving[at] = why
}

// lacksNamespace reports whether something of p is in a namespace that does not
// exist.
func (e *Engine) lacksNamespace(r *Run, p *Planned) bool {
	return slices.ContainsFunc(p.Changes, func(c plan.Change) bool {
		return c.ID.Namespace != "" && c.Action != plan.Skip && r.present[spaceAt{p.site(), c.ID.Namespace}] != cluster.Present
	})
}

// checkNamespaces finds the namespaces of p that nobody makes, and marks what
// waits for those that the run makes.
func (e *Engine) checkNamespaces(r *Run, p *Planned) {
	told := map[string]bool{}
	for i := range p.Changes {
		c := &p.Changes[i]
		ns := c.ID.Namespace
		found := r.present[spaceAt{p.site(), ns}]
		switch {
		case ns == "" || found == cluster.Present || c.Action == plan.Skip:
		case r.space(p, ns) != nil && found == cluster.Absent:
			if c.Pending == "" {
				c.Pending = "namespace " + ns
			}
		case !told[ns]:
			told[ns] = true
			p.problem(reasonFailed, e.noNamespace(r, p, ns, found))
		}
	}
}

func (e *Engine) noNamespace(r *Run, p *Planned, ns string, presence cluster.Presence) Problem {
	var names []string
	problem := Problem{Code: "no-namespace", Object: "namespace/" + ns,
		Hint: fmt.Sprintf("kubectl create namespace %s, or add a Namespace to this repository", ns)}
	for _, c := range p.Changes {
		if c.ID.Namespace != ns {
			continue
		}
		names = append(names, c.ID.Short())
		if problem.File == "" && c.Object.File != "" {
			problem.File, problem.Line = p.rendered.NamespaceLine(c.Object.File)
		}
	}
	if problem.File == "" && p.Spec.TargetNamespace == ns {
		problem.File, problem.Line = p.Object.File, p.Object.Line
	}
	problem.Message = fmt.Sprintf("namespace %s does not exist and nobody makes it; %s would be in it", ns, some(names, 3))
	if presence == cluster.Leaving {
		problem.Code = "namespace-terminating"
		problem.Message = fmt.Sprintf("namespace %s is being deleted; %s would be in it", ns, some(names, 3))
		r.mu.Lock()
		if held := r.leaving[spaceAt{p.site(), ns}]; held != "" {
			problem.Message += ". What holds it: " + held
		}
		r.mu.Unlock()
		problem.Hint = fmt.Sprintf("wait until it is gone (kubectl wait --for=delete namespace/%s), then run again", ns)
	}
	return problem
}

// staleKinds adds the kinds of what p owns and no longer declares.
func (e *Engine) staleKinds(p *Planned, lists kindLists) {
	if p.record == nil {
		return
	}
	for _, s := range p.record.Inventory {
		if res, err := p.cluster.Resolve(schema.GroupVersionKind{Group: s.ID.Group, Version: s.Version, Kind: s.ID.Kind}); err == nil {
			lists.add(p, res, s.ID.Namespace)
		}
	}
}
