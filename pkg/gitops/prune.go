package gitops

import (
	"context"
	"errors"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/plan"
)

// prune deletes what is owned and no longer declared. All of it is attempted.
func (t *task) prune(ctx context.Context, tasks map[*Planned]*task) error {
	var errs []error
	hanging := map[flux.Ref]bool{}
	for _, p := range t.Removed {
		if err := t.finalize(ctx, p); err != nil {
			errs = append(errs, err)
			hanging[p.Ref] = true
		}
	}
	for i := range t.Prunes {
		c := &t.Prunes[i]
		if flux.IsKustomization(c.ID.GroupKind()) && hanging[flux.Ref{Namespace: c.ID.Namespace, Name: c.ID.Name}] {
			c.Action, c.Reason = plan.Skip, "what it owns is not gone yet" // stays owned: the next run ends it
		}
		if err := ctx.Err(); err != nil {
			return errors.Join(append(errs, err)...)
		}
		if to := tasks[t.moves[c.ID]]; to != nil && isClosed(to.applied) && to.written {
			t.did(c, "skipped", "moved to "+to.Ref.String())
			c.Reason = keptByOther
			continue
		}
		if c.Action == plan.Skip {
			if c.Reason != keptByOther {
				t.did(c, "skipped", c.Reason)
			}
			continue
		}
		if err := t.deleteOne(ctx, t.Planned, c); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// deleteOne deletes the live object of c, if it is still owner's.
func (t *task) deleteOne(ctx context.Context, owner *Planned, c *plan.Change) error {
	if err := t.e.holds(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	t.e.progress(t.Ref, "deleting "+c.ID.String())
	// The plan may be minutes old by now: another Kustomization of this run may
	// have taken the object over since.
	live, err := owner.cluster.Get(ctx, c.ID, c.Version)
	if err == nil && live == nil {
		why := "gone already"
		if c.Live == nil {
			why = "its record" // of a Kustomization, where the cluster does not have the kind
		}
		t.did(c, plan.Delete.Done(), why)
		return nil
	}
	if err == nil {
		if why := plan.KeepReason(live, owner.Ref); why != "" {
			c.Action, c.Reason = plan.Skip, why
			t.did(c, "skipped", why)
			if !plan.Owned(live, owner.Ref) {
				c.Reason = keptByOther // and so no longer in the inventory
			}
			return nil
		}
		err = owner.cluster.Delete(ctx, live)
	}
	if err != nil {
		c.Action, c.Reason = plan.Skip, "could not be deleted" // stays owned
		t.did(c, "failed", err.Error())
		return err
	}
	t.did(c, plan.Delete.Done(), "")
	return nil
}

// finalize ends a Kustomization that Git no longer declares: what it owns, by
// its deletionPolicy, then its record. The Kustomization itself goes with the
// prune of its parent.
func (t *task) finalize(ctx context.Context, p *Planned) error {
	var errs []error
	for _, r := range p.Removed {
		if err := t.finalize(ctx, r); err != nil {
			errs = append(errs, err)
		}
	}
	var gone []*plan.Change
	for i := range p.Prunes {
		c := &p.Prunes[i]
		if c.Action != plan.Delete {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := t.deleteOne(ctx, p, c); err != nil {
			errs = append(errs, err)
			continue
		}
		gone = append(gone, c)
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	if p.Spec.DeletionPolicy == "WaitForTermination" {
		wctx, cancel := context.WithTimeout(ctx, p.Timeout(t.e.Options.Timeout))
		defer cancel()
		for _, c := range gone {
			if c.Live == nil {
				continue
			}
			if err := p.cluster.Gone(wctx, c.Live); err != nil {
				return err
			}
		}
	}
	if p.record.Live != nil {
		if err := t.e.Cluster.RemoveFinalizer(ctx, p.record.Live, fluxFinalizer); err != nil {
			return err
		}
	}
	if p.record.InConfigMap {
		return t.e.Cluster.DropConfigMap(ctx, p.Ref)
	}
	return nil
}

// fluxFinalizer is the one by which a controller prunes a deleted
// Kustomization. We have done that.
const fluxFinalizer = "finalizers.fluxcd.io"
