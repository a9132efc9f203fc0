package gitops

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
)

// checkGraph refuses, before anything is written, an order that Git itself
// makes impossible.
func (e *Engine) checkGraph(ctx context.Context, r *Run) error {
	ks := make([]flux.Kustomization, 0, len(r.Kustomizations))
	broken := map[flux.Ref]bool{}
	for _, p := range r.Kustomizations {
		ks = append(ks, p.Kustomization)
		// What a Kustomization that failed to render would have declared is not known.
		broken[p.Ref] = p.rendered == nil && p.recalled == nil
	}
	unknown := false
	for _, b := range broken {
		unknown = unknown || b
	}
	var lookup error
	found := flux.CheckOrder(ks, func(ref flux.Ref) bool {
		if unknown {
			return true // told when its turn comes
		}
		rec, err := r.records.Load(ctx, ref)
		if err != nil {
			lookup = err
			return true
		}
		return rec.Live != nil || rec.InConfigMap
	})
	if lookup != nil {
		return lookup
	}
	var errs []error
	for _, g := range found {
		errs = append(errs, g)
	}
	return errors.Join(errs...)
}

// limit applies the names that the user gave: those, and what they depend on.
func (e *Engine) limit(r *Run) error {
	if len(e.Options.Names) == 0 {
		return nil
	}
	byRef := map[flux.Ref]*Planned{}
	var known []string
	for _, p := range r.Kustomizations {
		byRef[p.Ref] = p
		known = append(known, p.Name)
	}
	wanted := map[*Planned]bool{}
	var want func(*Planned)
	want = func(p *Planned) {
		if wanted[p] {
			return
		}
		wanted[p] = true
		if e.Options.NoDeps {
			return
		}
		for _, d := range p.DependsOn() {
			if dep := byRef[d]; dep != nil {
				want(dep)
			}
		}
	}
	for _, n := range e.Options.Names {
		p := byRef[n]
		if p == nil {
			return &Refused{Code: "no-such-kustomization",
				Msg: fmt.Sprintf("%s is not declared at %s", n, e.Options.Path),
				Fix: "one of: " + strings.Join(known, ", ")}
		}
		want(p)
	}
	r.Kustomizations = slices.DeleteFunc(r.Kustomizations, func(p *Planned) bool { return !wanted[p] })
	return nil
}

// order decides what waits for what: a child for its parent, a Kustomization
// for those in its dependsOn, and, though nobody said so, for the one that
// makes a kind or a namespace that it needs, or takes over an object of its own.
// Then it sorts the run.
func (e *Engine) order(r *Run) {
	r.before = map[*Planned][]*Planned{}
	byRef := map[flux.Ref]*Planned{}
	for _, p := range r.Kustomizations {
		byRef[p.Ref] = p
	}
	for _, p := range r.Kustomizations {
		for _, d := range p.DependsOn() {
			if dep := byRef[d]; dep != nil {
				r.before[p] = append(r.before[p], dep)
			}
		}
	}
	for _, p := range r.Kustomizations {
		for _, c := range p.Changes {
			var maker *Planned
			switch {
			case c.Pending == "":
				continue
			case c.Pending == pendingKind:
				maker = r.definition(p, c.ID.GroupKind()).maker()
			default:
				maker = r.space(p, c.ID.Namespace)
			}
			if maker == nil || maker == p || ancestor(maker, p) || r.reaches(p, maker) {
				continue
			}
			if r.reaches(maker, p) {
				continue // the other way round already: it is told when its turn comes
			}
			r.before[p] = append(r.before[p], maker)
			r.warn(e, Warning{Code: "missing-depends-on", File: p.Object.File, Line: p.Object.Line, Object: p.Ref.String(),
				Message: fmt.Sprintf("needs %s that %s makes, and does not depend on it; applied after it all the same", pendingNoun(c.Pending, c.ID.Kind), maker.Name),
				Hint:    fmt.Sprintf("add dependsOn: [{name: %s}], so that Flux does the same", maker.Name)})
		}
	}
	for _, p := range r.Kustomizations {
		for _, to := range p.moves {
			// The new owner first, so that the old one sees that it is rid of it.
			if !r.reaches(to, p) && !slices.Contains(r.before[p], to) {
				r.before[p] = append(r.before[p], to)
			}
		}
	}
	var sorted []*Planned
	done := map[*Planned]bool{}
	var visit func(*Planned)
	visit = func(p *Planned) {
		if p == nil || done[p] || !slices.Contains(r.Kustomizations, p) {
			return
		}
		done[p] = true
		visit(p.Parent)
		for _, b := range r.before[p] {
			visit(b)
		}
		sorted = append(sorted, p)
	}
	for _, p := range r.Kustomizations {
		visit(p)
	}
	r.Kustomizations = sorted
}

func pendingNoun(pending, kind string) string {
	if pending == pendingKind {
		return "the kind " + kind
	}
	return pending
}

// ancestor reports whether a is p's parent, or that one's, and so on.
func ancestor(a, p *Planned) bool {
	for q := p.Parent; q != nil; q = q.Parent {
		if q == a {
			return true
		}
	}
	return false
}

// reaches reports whether from waits for to, directly or through others.
func (r *Run) reaches(from, to *Planned) bool {
	seen := map[*Planned]bool{}
	var visit func(*Planned) bool
	visit = func(p *Planned) bool {
		if p == nil || seen[p] {
			return false
		}
		if p == to {
			return true
		}
		seen[p] = true
		return visit(p.Parent) || slices.ContainsFunc(r.before[p], visit)
	}
	return visit(from)
}

// awaits reports whether p is not written before done has ended. A child is
// written once its parent is, which may end later.
func (r *Run) awaits(p, done *Planned) bool {
	seen := map[*Planned]bool{}
	var visit func(*Planned) bool
	visit = func(p *Planned) bool {
		if p == nil || p == done || seen[p] {
			return false
		}
		seen[p] = true
		return slices.Contains(r.before[p], done) || visit(p.Parent) || slices.ContainsFunc(r.before[p], visit)
	}
	return visit(p)
}
