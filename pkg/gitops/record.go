package gitops

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cluster"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/plan"
)

// Condition types, as Flux writes them.
const (
	readyCondition       = "Ready"
	reconcilingCondition = "Reconciling"
	healthyCondition     = "Healthy"
)

// recordTimeout bounds the last words of a run that was interrupted.
const recordTimeout = 10 * time.Second

// readyBefore reports whether the cluster's record says Ready.
func readyBefore(rec *cluster.Record) bool {
	return rec != nil && meta.IsStatusConditionTrue(rec.Status.Conditions, readyCondition)
}

// claim stores the union of what is owned and what is about to be, before the
// first write. A plan that writes nothing and owns the same claims nothing.
func (t *task) claim(ctx context.Context) error {
	if err := t.reload(ctx); err != nil {
		return err
	}
	inv := t.Inventory()
	if t.Writes() == 0 && t.sameOwned(inv) {
		return nil
	}
	if err := t.e.holds(ctx); err != nil {
		return err
	}
	t.e.progress(t.Ref, "storing what will be owned")
	union := t.record.Inventory.Union(inv)
	status := t.record.Status
	status.LastAttemptedRevision = t.Revision
	t.condition(&status, reconcilingCondition, metav1.ConditionTrue, reasonProgress, "Reconciliation in progress")
	t.condition(&status, readyCondition, metav1.ConditionUnknown, reasonProgress, "Reconciliation in progress")
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	notes := t.e.notes(t.Planned, true)
	if err := t.e.Cluster.Save(ctx, t.Kustomization, status, union, notes); err != nil {
		return err
	}
	if t.record.Live != nil {
		if err := t.e.Cluster.Note(ctx, t.record.Live, notes); err != nil {
			return err
		}
	}
	t.record.Inventory, t.record.Status, t.record.Notes = union, status, notes
	return nil
}

// reload reads the record again where this run's own parent has written the
// Kustomization since it was read.
func (t *task) reload(ctx context.Context) error {
	if t.Parent == nil {
		return nil
	}
	for _, c := range t.Parent.Changes {
		if c.ID.Name == t.Name && c.ID.Namespace == t.Namespace && flux.IsKustomization(c.ID.GroupKind()) && c.Action.Writes() {
			rec, err := t.e.Cluster.Load(ctx, t.Ref)
			if err != nil {
				return err
			}
			t.record = rec
		}
	}
	return nil
}

// sameOwned reports whether the cluster's record owns exactly inv, in the place
// where it belongs.
func (p *Planned) sameOwned(inv plan.Inventory) bool {
	if p.record.InConfigMap && p.record.Live != nil {
		return false // has still to move to the status
	}
	if p.otherRoot {
		return false // to be remembered from now on
	}
	if p.record.InConfigMap && (p.record.End == nil || !equality.Semantic.DeepEqual(*p.record.End, p.End())) {
		return false // what is to become of it in the end
	}
	return p.record.Inventory.Equal(inv) && (p.record.InConfigMap || p.record.Live != nil)
}

// condition sets a condition on status. Times move only when its state does.
func (t *task) condition(status *kustomizev1.KustomizationStatus, typ string, state metav1.ConditionStatus, reason, message string) {
	c := metav1.Condition{Type: typ, Status: state, Reason: reason, Message: message}
	if t.record.Live != nil {
		c.ObservedGeneration = t.record.Live.GetGeneration()
	}
	conditions := append([]metav1.Condition(nil), status.Conditions...)
	meta.SetStatusCondition(&conditions, c)
	status.Conditions = conditions
}

// succeed stores the final inventory and the outcome, unless both are what the
// cluster remembers already: a run that changed nothing writes nothing.
func (t *task) succeed(ctx context.Context, took time.Duration) error {
	inv := t.Inventory()
	message := "Applied revision: " + t.Revision
	if err := t.reload(ctx); err != nil {
		return err
	}
	if t.record.Live == nil && t.Parent == nil && t.r.Root == t.Planned {
		// The root may have written itself: the status can take the record over.
		rec, err := t.rootRecord(ctx)
		if err != nil {
			return err
		}
		t.record = rec
	}
	if !t.remembered(inv) {
		status := t.record.Status
		status.LastAttemptedRevision = t.Revision
		if !strings.HasSuffix(t.Revision, dirtySuffix) {
			status.LastAppliedRevision = t.Revision
		}
		if t.record.Live != nil {
			status.ObservedGeneration = t.record.Live.GetGeneration()
		}
		t.condition(&status, readyCondition, metav1.ConditionTrue, reasonSucceeded, message)
		meta.RemoveStatusCondition(&status.Conditions, reconcilingCondition)
		if t.Spec.Wait || len(t.Spec.HealthChecks) > 0 {
			t.condition(&status, healthyCondition, metav1.ConditionTrue, "Succeeded", "Health check passed in "+took.Round(time.Millisecond).String())
		} else {
			meta.RemoveStatusCondition(&status.Conditions, healthyCondition)
		}
		if t.digest != "" {
			status.History.Upsert(t.digest, time.Now(), took, reasonSucceeded, map[string]string{"revision": t.Revision})
		}
		if err := t.e.holds(ctx); err != nil {
			return err
		}
		sctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
		defer cancel()
		notes := t.e.notes(t.Planned, false)
		if err := t.e.Cluster.Save(sctx, t.Kustomization, status, inv, notes); err != nil {
			return err
		}
		t.record.Status, t.record.Inventory = status, inv
		if t.record.InConfigMap && t.record.Live != nil {
			if err := t.e.Cluster.Note(sctx, t.record.Live, notes); err != nil {
				return err
			}
			if err := t.e.Cluster.DropConfigMap(sctx, t.Ref); err != nil {
				return err
			}
		}
	}
	t.end(StatusReady, reasonSucceeded, message)
	return nil
}

// letGo stores the inventory of t once more, after the run, where others took
// over objects only after t had ended: those that depend on t. Where this fails
// the next run does it.
func (t *task) letGo(ctx context.Context, tasks map[*Planned]*task) {
	late := false
	for i := range t.Prunes {
		c := &t.Prunes[i]
		if to := tasks[t.moves[c.ID]]; to != nil && to.written && c.Action == plan.Skip && c.Reason != keptByOther {
			c.Reason, late = keptByOther, true
		}
	}
	if !late || t.report.Status != StatusReady || stopped(ctx) != "" || t.e.holds(ctx) != nil {
		return
	}
	sctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	if err := t.e.Cluster.Save(sctx, t.Kustomization, t.record.Status, t.Inventory(), t.e.notes(t.Planned, false)); err != nil {
		t.e.Events.emit(Event{Type: WarningFound, Warning: Warning{Code: "status", Object: t.Ref.String(), Message: "its inventory could not be written: " + err.Error()}})
	}
}

// dirtySuffix marks the revision of a work tree that differs from its commit:
// never recorded as applied.
const dirtySuffix = "-dirty"

func (t *task) rootRecord(ctx context.Context) (*cluster.Record, error) {
	for _, c := range t.Changes {
		if c.ID.Name == t.Name && c.ID.Namespace == t.Namespace && flux.IsKustomization(c.ID.GroupKind()) && c.Action != plan.Skip {
			return t.e.Cluster.Load(ctx, t.Ref)
		}
	}
	return t.record, nil
}

// remembered reports whether the cluster's record already says all that a
// success would write.
func (p *Planned) remembered(inv plan.Inventory) bool {
	s := p.record.Status
	ready := meta.FindStatusCondition(s.Conditions, readyCondition)
	revision := s.LastAppliedRevision
	if strings.HasSuffix(p.Revision, dirtySuffix) {
		revision = s.LastAttemptedRevision
	}
	return p.sameOwned(inv) && ready != nil && ready.Status == metav1.ConditionTrue && revision == p.Revision &&
		meta.FindStatusCondition(s.Conditions, reconcilingCondition) == nil &&
		(p.record.Live == nil || s.ObservedGeneration == p.record.Live.GetGeneration())
}

// fail ends t with what went wrong, and leaves it in the record. What was
// claimed stays owned.
func (t *task) fail(ctx context.Context, reason string, err error) {
	message := t.unseen(err.Error())
	if why := stopped(ctx); why != "" {
		if len(t.report.Changes) > 0 {
			why += " after " + count(len(t.report.Changes), "object")
		}
		var waiting *unready
		if errors.As(err, &waiting) {
			why += ", waiting for " + t.unseen(waiting.first())
		}
		message = why + "; the next run goes on from here"
	}
	t.report.Problems = append(t.report.Problems, t.Problems...)
	if len(t.Problems) == 0 && ctx.Err() == nil {
		t.report.Problems = errorProblems(err)
		for i := range t.report.Problems {
			q := &t.report.Problems[i]
			q.Message, q.Detail = t.unseen(q.Message), t.unseen(q.Detail)
		}
	}
	t.recordFailure(ctx, reason, message)
	t.end(StatusFailed, reason, message)
}

// errorProblems lists what was joined, one by one.
func errorProblems(err error) []Problem {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var out []Problem
		for _, e := range joined.Unwrap() {
			out = append(out, errorProblems(e)...)
		}
		return out
	}
	p := Problem{Code: "failed", Message: err.Error()}
	var no *cluster.Refusal
	if errors.As(err, &no) {
		p.Code, p.Object, p.Message = "refused", no.ID.String(), strings.Join(no.Reasons, "; ")
	}
	var sick *unhealthy
	if errors.As(err, &sick) {
		p.Code, p.Object, p.Message, p.Detail = "unhealthy", sick.id.String(), sick.why, strings.Join(sick.detail, "\n")
	}
	p.Hint = hintOf(err)
	return []Problem{p}
}

// refuse ends t without a write: its problems were known before.
func (t *task) refuse(ctx context.Context) {
	t.report.Problems = t.Problems
	t.report.Written.Objects = len(t.Changes)
	message := t.Problems[0].Message
	if n := len(t.Problems); n > 1 {
		message = fmt.Sprintf("%d problems, nothing written: %s", n, message)
	}
	t.recordFailure(ctx, t.reason, message)
	t.end(StatusFailed, t.reason, message)
}

// skip ends t because of another.
func (t *task) skip(ctx context.Context, why string) {
	if ctx.Err() == nil {
		t.recordFailure(ctx, reasonDependency, why)
	}
	t.report.Problems = t.Problems
	t.end(StatusSkipped, reasonDependency, why)
}

// recordFailure writes Ready=False where the cluster keeps a record of t, if it
// does not say so already. Failing to is no second failure: the report has it.
func (t *task) recordFailure(ctx context.Context, reason, message string) {
	if lost(ctx) {
		return // whoever has the lock keeps the record now
	}
	rctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	if err := t.reload(rctx); err != nil || t.record == nil || t.record.Live == nil && !t.record.InConfigMap {
		return
	}
	old := t.record.Status
	status := old
	if len(message) > 2000 {
		message = strings.ToValidUTF8(message[:2000], "") + "…" // else it would never be what the server has
	}
	t.condition(&status, readyCondition, metav1.ConditionFalse, reason, message)
	was := meta.FindStatusCondition(old.Conditions, readyCondition)
	if was != nil && was.Status == metav1.ConditionFalse && was.Reason == reason && was.Message == message &&
		old.LastAttemptedRevision == t.Revision && meta.FindStatusCondition(old.Conditions, reconcilingCondition) == nil {
		return
	}
	meta.RemoveStatusCondition(&status.Conditions, reconcilingCondition)
	status.LastAttemptedRevision = t.Revision
	if err := t.e.Cluster.SaveOutcome(rctx, t.Ref, status); err != nil {
		t.e.Events.emit(Event{Type: WarningFound, Warning: Warning{Code: "status", Object: t.Ref.String(), Message: "its status could not be written: " + err.Error()}})
	}
}

// end closes the report of t.
func (t *task) end(status, reason, message string) {
	t.report.Status, t.report.Reason, t.report.Message = status, reason, message
	t.report.Written.Objects = len(t.Changes)
	for _, c := range t.report.Changes {
		t.report.Written.Add(c.Action)
	}
	sortChanges(t.report.Changes)
}
