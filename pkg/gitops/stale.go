package gitops

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/plan"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/render"
)

// planPrunes decides what becomes of the objects that are owned and no longer
// declared.
func (e *Engine) planPrunes(ctx context.Context, r *Run, live liveObjects) error {
	desired := map[objectAt]*Planned{}
	for _, p := range r.Kustomizations {
		for _, c := range p.Changes {
			desired[objectAt{p.site(), c.ID}] = p
		}
	}
	for _, p := range r.Kustomizations {
		if p.record == nil || p.Suspended || len(p.Problems) > 0 {
			continue
		}
		if err := e.planPrune(ctx, r, p, desired, live); err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) planPrune(ctx context.Context, r *Run, p *Planned, desired map[objectAt]*Planned, live liveObjects) error {
	var declared plan.Inventory
	for _, c := range p.Changes {
		declared = append(declared, c.Entry())
	}
	for _, stale := range p.record.Inventory.Minus(declared).Reversed() {
		c := plan.Change{ID: stale.ID, Version: stale.Version, Action: plan.Skip}
		u := live.of(p, stale)
		if u == nil {
			// The LIST sees what carries an owner's labels; what lost them, or may
			// not be listed, is asked for by name.
			var err error
			if u, err = p.cluster.Get(ctx, stale.ID, stale.Version); err != nil {
				return err
			}
		}
		c.Live = u
		isKustomization := flux.IsKustomization(stale.ID.GroupKind()) && !e.away(p)
		declarer := desired[objectAt{p.site(), stale.ID}]
		switch {
		case slices.Contains(p.LeftOut, stale.ID):
			c.Reason = "a part of Flux itself"
		case declarer != nil && (u == nil || !plan.Owned(u, p.Ref)):
			c.Reason = keptByOther
		case declarer != nil:
			c.Reason = "moves to " + declarer.Ref.String()
			if p.moves == nil {
				p.moves = map[object.ID]*Planned{}
			}
			p.moves[stale.ID] = declarer
		case !p.Spec.Prune:
			c.Reason = "spec.prune is false"
		case !e.Options.Prune:
			c.Reason = "--prune=false"
		case u == nil && !isKustomization:
			continue // gone already
		case u != nil && plan.KeepReason(u, p.Ref) != "":
			c.Reason = plan.KeepReason(u, p.Ref)
			if !plan.Owned(u, p.Ref) {
				c.Reason = keptByOther
			}
		default:
			if c.Reason = e.elsewhere(ctx, r, p, stale.ID); c.Reason == "" {
				c.Action, c.Reason = plan.Delete, "no longer declared"
			}
		}
		if isKustomization && c.Action == plan.Delete {
			removed, err := e.planRemoval(ctx, r, flux.Ref{Namespace: stale.ID.Namespace, Name: stale.ID.Name}, desired)
			if err != nil {
				return err
			}
			switch {
			case removed == nil && u == nil:
				continue // gone, with its record
			case removed != nil && removed.Suspended:
				c.Action, c.Reason = plan.Skip, "suspended"
			case removed != nil && len(removed.Problems) > 0:
				c.Action, c.Reason = plan.Skip, removed.Problems[0].Message // stays owned: what it owns cannot be reached
			case removed != nil:
				p.Removed = append(p.Removed, removed)
			}
			if u == nil && c.Action == plan.Delete {
				c.Reason = "no longer declared; only its record is to go"
			}
		}
		p.Prunes = append(p.Prunes, c)
	}
	return nil
}

// elsewhere tells of an object that nothing in the run declares, why it is not to be
// deleted all the same: a Kustomization that the user's names leave out declares it,
// or one that does not render may, or owns it as well. "" for none of them.
func (e *Engine) elsewhere(ctx context.Context, r *Run, p *Planned, id object.ID) string {
	for _, q := range r.declaredAll {
		switch {
		case q == p || q.Suspended || q.site() != p.site():
		case q.rendered == nil && q.recalled == nil:
			if q.mayDeclare(ctx, id) {
				return fmt.Sprintf("may move to %s, which does not render", q.Ref)
			}
			// Without q's files nobody knows what is new in them; what it has claimed is known.
			if q.snapshot == nil && q.record != nil && q.record.Inventory.Has(id) {
				return fmt.Sprintf("%s owns it too, whose source cannot be read now", q.Ref)
			}
		case !slices.Contains(r.Kustomizations, q) && q.declares(id):
			return fmt.Sprintf("moves to %s, which is not a part of this run", q.Ref)
		}
	}
	return ""
}

// declares reports whether q renders id, of which it may not know that it is
// cluster-scoped.
func (p *Planned) declares(id object.ID) bool {
	same := func(own object.ID) bool { return own == id || id.Namespace == "" && own.Unscoped() == id }
	for own := range p.sums {
		if same(own) {
			return true
		}
	}
	return slices.ContainsFunc(p.objects, func(o object.Object) bool { return same(o.ID()) })
}

// mayDeclare reports whether what q names in its source has the name of id in it.
func (p *Planned) mayDeclare(ctx context.Context, id object.ID) bool {
	if p.snapshot == nil {
		return false
	}
	if p.reach == nil {
		p.reach = render.Survey(ctx, render.Request{FS: p.snapshot.FS, Kustomization: p.Kustomization})
	}
	return p.reach.Declares(id.Name)
}

// planRemoval plans the end of a Kustomization that Git no longer declares, by
// its deletionPolicy: what it owns goes first, Kustomizations among it included.
// nil means that the cluster remembers nothing of it.
func (e *Engine) planRemoval(ctx context.Context, r *Run, ref flux.Ref, desired map[objectAt]*Planned) (*Planned, error) {
	rec, err := r.records.Load(ctx, ref)
	if err != nil {
		return nil, err
	}
	if rec.Live == nil && !rec.InConfigMap {
		return nil, nil
	}
	p := &Planned{Kustomization: flux.Kustomization{Ref: ref}, cluster: e.Cluster, record: rec}
	p.Spec.Prune = true
	if rec.End != nil {
		p.Kustomization = rec.End.Kustomization(ref)
	}
	if rec.Live != nil {
		if p.Kustomization, err = flux.ParseKustomization(object.Object{Unstructured: rec.Live}); err != nil {
			p.invalid("invalid-kustomization", reasonBuild, err)
			return p, nil
		}
	}
	p.Suspended, _ = rec.Suspended()
	if p.Suspended || !deletes(p.Kustomization) {
		return p, nil
	}
	if e.place(ctx, r, p); len(p.Problems) > 0 {
		return p, nil
	}
	if name := p.Spec.ServiceAccountName; name != "" && p.Spec.KubeConfig == nil {
		found, err := e.Cluster.HasServiceAccount(ctx, p.Namespace, name)
		if err != nil {
			return nil, err
		}
		if !found {
			// As Flux: a tenant that was taken apart must not hang for ever.
			r.warn(e, Warning{Code: "orphans", Object: ref.String(),
				Message: fmt.Sprintf("%s that it owns will stay without an owner: serviceaccount/%s in %s, as which they would be deleted, is gone", count(len(rec.Inventory), "object"), name, p.Namespace),
				Hint:    fmt.Sprintf("kubectl get all,cm,secret -A -l %s=%s,%s=%s", flux.OwnerNameLabel, ref.Name, flux.OwnerNamespaceLabel, ref.Namespace)})
			return p, nil
		}
	}
	p.Spec.Prune = true // what its deletionPolicy says of its end is what counts now
	return p, e.planPrune(ctx, r, p, desired, nil)
}

// suspended says so, with the reason that somebody gave.
func (p *Planned) suspended() string {
	if _, reason := p.record.Suspended(); reason != "" {
		return "suspended (" + reason + ")"
	}
	return "suspended"
}

// resumedBy is what ends that p is suspended: a command where somebody did it in
// the cluster, and a commit where Git says so.
func (p *Planned) resumedBy(fieldManager string) string {
	if p.record.SuspendedByHand(fieldManager) {
		name := p.Name
		if p.Namespace != defaultRoot {
			name = p.Namespace + "/" + name
		}
		return "kubectl gitops resume " + name + " ends that"
	}
	return cmp.Or(p.Object.Where(), "Git") + " says so (spec.suspend)"
}

// deletes reports whether the end of k is the end of what it owns.
func deletes(k flux.Kustomization) bool {
	switch k.Spec.DeletionPolicy {
	case "Orphan":
		return false
	case "Delete", "WaitForTermination":
		return true
	}
	return k.Spec.Prune // MirrorPrune
}
