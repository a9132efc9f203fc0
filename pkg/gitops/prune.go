package gitops

import (
	"context"
	"errors"
	"fmt"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/plan"
)

// prune deletes what is owned and no longer declared. All of it is attempted.
func (t *task) prune(ctx context.Context, tasks map[*Planned]*task) error {
	var errs []error
	hanging := map[flux.Ref]bool{}
	for _, p := range t.Removed {
		ended, err := t.finalize(ctx, p, tasks)
		if err != nil {
			errs = append(errs, err)
		}
		hanging[p.Ref] = !ended
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
		t.did(c, "failed", t.unseen(err.Error()))
		return err
	}
	t.did(c, plan.Delete.Done(), "")
	return nil
}

// finalize ends a Kustomization that Git no longer declares: what it owns, by
// its deletionPolicy, then its record. The Kustomization itself goes with the
// prune of its parent. One that has not ended stays owned, and keeps its record.
func (t *task) finalize(ctx context.Context, p *Planned, tasks map[*Planned]*task) (ended bool, err error) {
	var errs []error
	ended = true
	for _, r := range p.Removed {
		gone, err := t.finalize(ctx, r, tasks)
		if err != nil {
			errs = append(errs, err)
		}
		ended = ended && gone
	}
	var gone []*plan.Change
	for i := range p.Prunes {
		c := &p.Prunes[i]
		if c.Action != plan.Delete {
			continue
		}
		if err := ctx.Err(); err != nil {
			return false, err
		}
		if err := t.deleteOne(ctx, p, c); err != nil {
			errs = append(errs, err)
			continue
		}
		gone = append(gone, c)
	}
	if len(errs) > 0 {
		return false, errors.Join(errs...)
	}
	if !ended || !t.handedOver(ctx, p, tasks) {
		return false, nil
	}
	if p.Spec.DeletionPolicy == "WaitForTermination" {
		wctx, cancel := context.WithTimeout(ctx, p.Timeout(t.e.Options.Timeout))
		defer cancel()
		for _, c := range gone {
			if c.Live == nil {
				continue
			}
			if err := p.cluster.Gone(wctx, c.Live); err != nil {
				return false, err
			}
		}
	}
	if err := t.e.holds(ctx); err != nil {
		return false, err
	}
	if p.record.Live != nil {
		if err := t.e.Cluster.RemoveFinalizer(ctx, p.record.Live, fluxFinalizer); err != nil {
			return false, err
		}
	}
	if p.record.InConfigMap {
		if err := t.e.Cluster.DropConfigMap(ctx, p.Ref); err != nil {
			return false, err
		}
	}
	return true, nil
}

// handedOver reports whether all that moves from p, which is being removed, to
// other Kustomizations of the run has been written there, and waits for those
// that are still to come. Until then the labels say that p owns it: without p's
// record nobody would delete it once the new owner's write had failed.
func (t *task) handedOver(ctx context.Context, p *Planned, tasks map[*Planned]*task) bool {
	ctx, cancel := context.WithTimeout(ctx, p.Timeout(t.e.Options.Timeout))
	defer cancel()
	for _, q := range p.moves {
		to := tasks[q]
		if to == nil || t.r.awaits(q, t.Planned) && !isClosed(to.applied) {
			return false // it waits for t to end: the next run sees to it
		}
		if !isClosed(to.applied) {
			t.waiting(fmt.Sprintf("%s to take over from %s", q.Name, p.Name))
		}
		select {
		case <-to.applied:
		case <-ctx.Done():
			return false
		}
		if !to.written {
			return false
		}
	}
	return true
}

// fluxFinalizer is the one by which a controller prunes a deleted
// Kustomization. We have done that.
const fluxFinalizer = "finalizers.fluxcd.io"
