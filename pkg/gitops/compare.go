package gitops

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"slices"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/plan"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/source"
)

// Compare reports what the source at hand changes of what base, an earlier state
// of it, declares: rendered against rendered. No cluster is asked, and Cluster may
// be nil; what no key at hand opens is compared as it was committed. Only what the
// changed files can touch is rendered, and what declares Kustomizations, by which
// they are found. What is wrong with one Kustomization, on either side, is in its
// problems; an error is what stops all.
func (e *Engine) Compare(ctx context.Context, base *source.Snapshot, showSecrets bool) (DiffReport, error) {
	report := DiffReport{APIVersion: APIVersion, Kind: "DiffReport", Revision: e.Source.Revision, Base: base.Revision,
		Root: e.Options.Path, Warnings: []Warning{}, Kustomizations: []KustomizationDiffReport{}}
	e.Events.emit(Event{Type: RunStarted, Message: fmt.Sprintf("base: %s  root: %s  revision: %s", ShortRevision(base.Revision), e.Options.Path, ShortRevision(e.Source.Revision))})
	c := newComparison(e, base)
	here, was := e.newRun(), c.base.newRun()
	c.was = was
	if _, err := fs.Stat(base.FS, e.Options.Path); err == nil { // else all is new
		if err := c.base.discover(ctx, was); err != nil {
			return report, fmt.Errorf("at %s: %w", ShortRevision(base.Revision), err)
		}
	}
	if err := e.discover(ctx, here); err != nil {
		return report, err
	}
	if c.err != nil {
		return report, c.err
	}
	if err := e.checkEmpty(here); err != nil {
		return report, err
	}
	for _, p := range here.Kustomizations {
		if p.twin == nil {
			e.checkSource(here, p)
		}
	}
	e.order(here)
	pairs, err := c.pairs(here)
	if err != nil {
		return report, err
	}
	for _, q := range pairs {
		if q.before != nil && q.unknown == "" && !q.untouched() {
			c.need(ctx, c.base, was, q.before)
		}
		if err := ctx.Err(); err != nil {
			return report, err
		}
	}
	declared := declarers(pairs)
	fields := e.newPasswords(here, was)
	for _, q := range pairs {
		report.Kustomizations = append(report.Kustomizations, c.report(ctx, q, declared, fields, showSecrets))
	}
	report.Warnings = append(report.Warnings, here.Warnings...)
	return report, nil
}

// pair is one Kustomization on both sides; before or now is nil where it is not
// declared.
type pair struct {
	before, now *Planned
	unknown     string // why it is not known what it is on one side
}

// untouched reports whether the two sides cannot differ.
func (q *pair) untouched() bool { return q.now != nil && q.now.twin != nil }

// pairs matches the Kustomizations that the user named, all without names: those
// of now in their order, then those that are no longer declared. What a
// Kustomization that did not render declared there is not known, and no deletion.
func (c *comparison) pairs(here *Run) ([]*pair, error) {
	var out []*pair
	for _, p := range here.Kustomizations {
		q := &pair{now: p, before: c.find(c.was, p.Ref)}
		if q.before == nil {
			q.unknown = c.unknown(c.was, p, "at "+ShortRevision(c.was.Revision))
		}
		out = append(out, q)
	}
	for _, p := range c.was.Kustomizations {
		if c.find(here, p.Ref) == nil {
			out = append(out, &pair{before: p, unknown: c.unknown(here, p, "here")})
		}
	}
	for _, name := range c.here.Options.Names {
		if !slices.ContainsFunc(out, func(q *pair) bool { return q.ref() == name }) {
			var known []string
			for _, q := range out {
				known = append(known, q.ref().Name)
			}
			return nil, &Refused{Code: "no-such-kustomization",
				Msg: fmt.Sprintf("%s is declared neither at %s nor at its base", name, c.here.Options.Path), Fix: "one of: " + some(known, 10)}
		}
	}
	return slices.DeleteFunc(out, func(q *pair) bool { return !c.wanted(q.ref()) }), nil
}

func (q *pair) ref() flux.Ref {
	if q.now != nil {
		return q.now.Ref
	}
	return q.before.Ref
}

// unknown says why p, which only the other side has, may be in r all the same: its
// parent, or that one's, does not render there.
func (c *comparison) unknown(r *Run, p *Planned, where string) string {
	for above := p.Parent; above != nil; above = above.Parent {
		if there := c.find(r, above.Ref); there != nil && there.broken() {
			return fmt.Sprintf("%s, which declares it, does not render %s: whether it is there is not known", above.Ref, where)
		}
	}
	return ""
}

// broken reports whether what p declares is not known.
func (p *Planned) broken() bool {
	if p.rendered == nil && p.spared == nil {
		return true
	}
	// An unknown field keeps from an apply, and not from a comparison.
	return slices.ContainsFunc(p.Problems, func(q Problem) bool { return q.Code != unknownField })
}

// declarer is an object with who declares it.
type declarer struct {
	p *Planned
	o object.Object
}

// sides are all objects of the pairs that are compared.
type sides struct{ before, now map[objectAt]declarer }

func declarers(pairs []*pair) sides {
	s := sides{map[objectAt]declarer{}, map[objectAt]declarer{}}
	for _, q := range pairs {
		if q.untouched() {
			continue
		}
		s.add(s.before, q.before)
		s.add(s.now, q.now)
	}
	return s
}

func (s sides) add(to map[objectAt]declarer, p *Planned) {
	if p == nil || p.broken() {
		return
	}
	for _, o := range p.objects {
		to[p.at(o.ID())] = declarer{p, o}
	}
}

// at is where an object of p is: Kustomizations for other clusters are apart.
func (p *Planned) at(id object.ID) objectAt {
	if k := p.Spec.KubeConfig; k != nil {
		name := ""
		if k.SecretRef != nil {
			name = k.SecretRef.Name
		} else if k.ConfigMapRef != nil {
			name = k.ConfigMapRef.Name
		}
		return objectAt{site(p.Namespace + "/" + name), id}
	}
	return objectAt{"", id}
}

// report is what becomes of one Kustomization.
func (c *comparison) report(ctx context.Context, q *pair, s sides, fields *passwords, showSecrets bool) KustomizationDiffReport {
	p := q.now
	if p == nil {
		p = q.before
	}
	k := KustomizationDiffReport{Namespace: p.Namespace, Name: p.Name, Path: p.Path(), Status: StatusReady, Changes: []DiffChange{}}
	if q.untouched() {
		k.Status = StatusUntouched
		return k
	}
	if q.unknown != "" {
		k.Problems = append(k.Problems, Problem{Code: "compare", Object: p.Ref.String(), Message: q.unknown, Hint: "correct what does not render"})
	}
	if q.now != nil {
		k.Problems = append(k.Problems, q.now.Problems...)
	}
	if q.before != nil && q.unknown == "" && q.before.broken() {
		for _, problem := range q.before.Problems {
			problem.Message = "at " + ShortRevision(c.was.Revision) + ": " + problem.Message
			k.Problems = append(k.Problems, problem)
		}
	}
	switch {
	case len(k.Problems) > 0:
		k.Status, k.Message = StatusFailed, k.Problems[0].Message
		return k
	case p.Spec.Suspend:
		k.Message = "suspended"
	}
	for _, change := range c.changes(q, s) {
		for _, d := range []declarer{s.before[p.at(change.ID)], s.now[p.at(change.ID)]} {
			if d.p != nil {
				change.Secrets = append(change.Secrets, d.p.secrets(d.o)...)
			}
		}
		if change.Action.Writes() {
			change.Passwords = fields.of(ctx, p, change.ID.GroupKind().WithVersion(change.Version))
		}
		k.Changes = append(k.Changes, diffChange(&change, showSecrets))
	}
	return k
}

// changes compares the objects of one Kustomization.
func (c *comparison) changes(q *pair, s sides) []plan.Change {
	var out []plan.Change
	if q.now != nil {
		for _, o := range q.now.objects {
			was, there := s.before[q.now.at(o.ID())]
			change := plan.Change{ID: o.ID(), Version: o.GroupVersionKind().Version, Object: &o, Local: true, Action: plan.Create, Reason: "not in the base", Was: "base/" + o.ID().Short()}
			if there {
				change.Live, change.Result, change.Was = was.o.Unstructured, o.Unstructured, atBase(was.o)
				change.Action, change.Reason = plan.DecideSealed(was.o.Unstructured, o.Unstructured)
				if was.p.Ref != q.now.Ref {
					change.Action, change.Reason = plan.Configure, "moved from "+was.p.Ref.String()
				}
			}
			out = append(out, change)
		}
	}
	slices.SortStableFunc(out, func(a, b plan.Change) int { return object.Compare(a.ID, b.ID) })
	if q.before == nil {
		return out
	}
	var gone []plan.Change
	for _, o := range q.before.objects {
		if _, stays := s.now[q.before.at(o.ID())]; stays {
			continue
		}
		change := plan.Change{ID: o.ID(), Version: o.GroupVersionKind().Version, Live: o.Unstructured, Local: true, Was: atBase(o)}
		change.Action, change.Reason = plan.Delete, "no longer declared"
		switch why := plan.KeepReason(o.Unstructured, q.before.Ref); {
		case q.now == nil && !deletes(q.before.Kustomization):
			change.Action, change.Reason = plan.Skip, "stays: its Kustomization goes without it"
		case q.now != nil && !q.now.Spec.Prune:
			change.Action, change.Reason = plan.Skip, "spec.prune is false"
		case why != "":
			change.Action, change.Reason = plan.Skip, why
		}
		gone = append(gone, change)
	}
	slices.SortStableFunc(gone, func(a, b plan.Change) int { return object.Compare(b.ID, a.ID) })
	return append(out, gone...)
}

// atBase names what a diff begins with.
func atBase(o object.Object) string { return "base/" + cmp.Or(o.File, o.ID().Short()) }
