package gitops

import (
	"context"
	"fmt"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/plan"
)

// checkOwner refuses to take an object from another owner: from then on the two
// would set it back, and prune it, against each other. What moves between the
// Kustomizations of this repository may.
func (e *Engine) checkOwner(ctx context.Context, r *Run, p *Planned, c *plan.Change) ([]Problem, error) {
	if c.Live == nil || !c.Action.Writes() {
		return nil, nil
	}
	owner, ok := plan.OtherOwner(c.Object.Unstructured, c.Live, p.Ref)
	if !ok {
		return nil, nil
	}
	if owner.Ref != (flux.Ref{}) {
		if ours, err := e.declares(ctx, r, owner.Ref); err != nil || ours {
			return nil, err
		}
	}
	if e.Options.Adopt {
		c.Reason = "adopted from " + owner.Name
		return nil, nil
	}
	return []Problem{{Code: "foreign-owner", File: c.Object.File, Line: c.Object.Line, Object: c.ID.String(),
		Message: fmt.Sprintf("belongs to %s, and would be taken from it", owner.Name),
		Hint:    "let the other let go of it first, or take it out of this repository; --adopt takes it over all the same"}}, nil
}

// declares reports whether ref is a Kustomization of this repository, or was
// one: it is in the inventory of one that is, or was.
func (e *Engine) declares(ctx context.Context, r *Run, ref flux.Ref) (bool, error) {
	var queue []plan.Inventory
	seen := map[flux.Ref]bool{}
	for _, p := range r.declaredAll {
		if p.Ref == ref {
			return true, nil
		}
		seen[p.Ref] = true
		if p.record != nil {
			queue = append(queue, p.record.Inventory)
		}
	}
	for len(queue) > 0 {
		for _, entry := range queue[0] {
			was := flux.Ref{Namespace: entry.ID.Namespace, Name: entry.ID.Name}
			if !flux.IsKustomization(entry.ID.GroupKind()) || seen[was] {
				continue
			}
			if was == ref {
				return true, nil
			}
			seen[was] = true
			rec, err := r.records.Load(ctx, was)
			if err != nil {
				return false, err
			}
			queue = append(queue, rec.Inventory)
		}
		queue = queue[1:]
	}
	return false, nil
}
