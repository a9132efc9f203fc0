package gitops

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/plan"
)

// write writes one stage, kind by kind in Flux's order, the objects of a kind
// in parallel, and waits until definitions and classes can be used.
func (t *task) write(ctx context.Context, stage object.Stage) error {
	var changes, pending []*plan.Change
	for i := range t.Changes {
		if c := &t.Changes[i]; object.StageOf(c.ID.GroupKind()) == stage {
			changes = append(changes, c)
			if c.Pending != "" {
				pending = append(pending, c)
			}
		}
	}
	if len(pending) > 0 {
		before := len(t.Problems)
		if err := t.ask(ctx, pending); err != nil {
			return err
		}
		if len(t.Problems) > before {
			return errors.New("the server refuses what comes after the definitions")
		}
	}
	for len(changes) > 0 {
		n := slices.IndexFunc(changes, func(c *plan.Change) bool { return c.ID.GroupKind() != changes[0].ID.GroupKind() })
		if n < 0 {
			n = len(changes)
		}
		if err := t.writeWave(ctx, changes[:n]); err != nil {
			return err
		}
		changes = changes[n:]
	}
	if stage == object.Resources {
		return nil
	}
	return t.settle(ctx, stage)
}

// writeWave writes objects in parallel. The first failure keeps those that
// have not begun from beginning; all that failed is reported.
func (t *task) writeWave(ctx context.Context, changes []*plan.Change) error {
	var mu sync.Mutex
	var errs []error
	var g errgroup.Group
	g.SetLimit(t.e.concurrency())
	for _, c := range changes {
		g.Go(func() error {
			mu.Lock()
			stop := len(errs) > 0
			mu.Unlock()
			if stop {
				return nil
			}
			if err := ctx.Err(); err != nil {
				return nil // between objects is where a Ctrl-C stops
			}
			var err error
			if c.Action.Writes() {
				t.e.progress(t.Ref, "writing "+c.ID.String())
				err = t.writeOne(ctx, c)
			}
			action, message := c.Action.Done(), c.Reason
			if err != nil {
				action, message = "failed", t.unseen(err.Error())
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
			}
			t.did(c, action, message)
			return nil
		})
	}
	_ = g.Wait() // its functions return nil: errs has what failed
	return errors.Join(append(errs, ctx.Err())...)
}

func (t *task) writeOne(ctx context.Context, c *plan.Change) error {
	if err := t.e.holds(ctx); err != nil {
		return err
	}
	wait := ctx
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	if c.Action == plan.Recreate {
		if err := t.cluster.Delete(ctx, c.Live); err != nil {
			return err
		}
		gone, cancel := context.WithTimeout(wait, t.Timeout(t.e.Options.Timeout))
		defer cancel()
		if err := t.cluster.Gone(gone, c.Live); err != nil {
			return fmt.Errorf("deleted to be recreated: %w", err)
		}
	} else if c.Cleanup != nil {
		if err := t.cluster.HandOver(ctx, c.Live, c.Cleanup); err != nil {
			return err
		}
	}
	u, err := t.cluster.Apply(ctx, c.Apply())
	if err != nil {
		return err
	}
	t.mu.Lock()
	t.live[c.ID] = u
	t.mu.Unlock()
	return nil
}

// did reports what became of one object.
func (t *task) did(c *plan.Change, action, message string) {
	cr := changeReport(c, action, message)
	t.mu.Lock()
	t.report.Changes = append(t.report.Changes, cr)
	t.mu.Unlock()
	if action != "unchanged" {
		t.e.Events.emit(Event{Kustomization: t.Ref, Type: ObjectDone, Change: cr})
	}
}

func changeReport(c *plan.Change, action, message string) ChangeReport {
	return ChangeReport{Group: c.ID.Group, Version: c.Version, Kind: c.ID.Kind, Namespace: c.ID.Namespace, Name: c.ID.Name, Action: action, Message: message}
}

// settle waits until what the stage defines can be used: CRDs established and
// served, namespaces active.
func (t *task) settle(ctx context.Context, stage object.Stage) error {
	var entries []plan.Entry
	var kinds []schema.GroupVersionKind
	for i := range t.Changes {
		c := &t.Changes[i]
		gk := c.ID.GroupKind()
		if object.StageOf(gk) != stage || !c.Action.Writes() {
			continue
		}
		entries = append(entries, c.Entry())
		if object.IsCRD(gk) {
			for kind, d := range t.r.crds {
				if d.by == t.Planned && crdOf(c.Object) == kind.GroupKind {
					for _, v := range d.versions {
						kinds = append(kinds, kind.WithVersion(v))
					}
				}
			}
		}
	}
	if len(entries) == 0 {
		return nil
	}
	t.waiting("the " + stage.String())
	sctx, cancel := context.WithTimeout(ctx, definitionsTimeout)
	defer cancel()
	if err := t.waitFor(sctx, entries, nil, nil); err != nil {
		var waiting *unready
		if errors.As(err, &waiting) && ctx.Err() == nil {
			return waiting.within(definitionsTimeout)
		}
		return err
	}
	return t.cluster.AwaitKinds(ctx, kinds, definitionsTimeout)
}

func crdOf(o *object.Object) schema.GroupKind {
	group, _, _ := unstructured.NestedString(o.Object, "spec", "group")
	kind, _, _ := unstructured.NestedString(o.Object, "spec", "names", "kind")
	return schema.GroupKind{Group: group, Kind: kind}
}
