package gitops

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/plan"
)

// waitHealthy waits for what counts in t's health.
func (t *task) waitHealthy(ctx context.Context, tasks map[*Planned]*task) error {
	entries, named, children := t.healthTargets(tasks)
	if len(entries)+len(named)+len(children) == 0 {
		return nil
	}
	timeout := t.Timeout(t.e.Options.Timeout)
	wctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	start := time.Now()
	if err := t.waitFor(wctx, entries, named, children); err != nil {
		var waiting *unready
		if errors.As(err, &waiting) && ctx.Err() == nil {
			return waiting.within(timeout)
		}
		return fmt.Errorf("%w (after %s)", err, time.Since(start).Round(100*time.Millisecond))
	}
	return nil
}

// healthTargets are the entries that t itself applied, those that healthChecks
// names beside them, and the children whose result counts.
func (t *task) healthTargets(tasks map[*Planned]*task) (entries, named []plan.Entry, children []*task) {
	child := func(ref flux.Ref) {
		for p, c := range tasks {
			// One that itself waits for t cannot be waited for.
			if p.Ref == ref && p.Parent == t.Planned && !t.r.awaits(p, t.Planned) {
				children = append(children, c)
			}
		}
	}
	mode := t.e.Options.Wait
	if mode == WaitNone {
		return nil, nil, nil
	}
	all := mode == WaitAll || t.Spec.Wait
	for i := range t.Changes {
		c := &t.Changes[i]
		gk := c.ID.GroupKind()
		switch {
		case !all:
		case flux.IsKustomization(gk): // reconciled by us, also where its kind is missing
			// Only where the spec asks for it: else a child's trouble is its own.
			if t.Spec.Wait {
				child(flux.Ref{Namespace: c.ID.Namespace, Name: c.ID.Name})
			}
		case c.Action == plan.Skip:
		case flux.IsFluxGroup(gk.Group):
			// Nobody sets the status of these while no controller runs.
		default:
			entries = append(entries, c.Entry())
		}
	}
	if t.Spec.Wait {
		return entries, nil, children // makes healthChecks ignored, as in Flux
	}
	for _, h := range t.Spec.HealthChecks {
		gv, err := schema.ParseGroupVersion(h.APIVersion)
		if err != nil {
			continue
		}
		e := plan.Entry{ID: object.ID{Group: gv.Group, Kind: h.Kind, Namespace: h.Namespace, Name: h.Name}, Version: gv.Version}
		switch {
		case flux.IsKustomization(e.ID.GroupKind()):
			child(flux.Ref{Namespace: h.Namespace, Name: h.Name})
		case flux.IsFluxGroup(gv.Group) || slices.Contains(entries, e):
		default:
			named = append(named, e)
		}
	}
	return entries, named, children
}

// unready is what was still waited for when the time was up.
type unready struct {
	objects []string // "deployment.apps/web in shop", each with its message
	why     []string
	err     error // the context's
}

func (e *unready) Error() string { return "not ready: " + strings.Join(e.objects, ", ") }
func (e *unready) Unwrap() error { return e.err }

// within is an error for each object.
func (e *unready) within(timeout time.Duration) error {
	var errs []error
	for i, o := range e.objects {
		errs = append(errs, fmt.Errorf("%s: not ready within %s: %s", o, timeout, e.why[i]))
	}
	return errors.Join(errs...)
}

// waitFor returns when all entries and named are ready and all children have
// ended well; at the first that has failed; or with *unready when ctx is done.
func (t *task) waitFor(ctx context.Context, entries, named []plan.Entry, children []*task) error {
	state := map[object.ID]object.Health{}
	for _, e := range slices.Concat(entries, named) {
		state[e.ID] = object.Health{Status: "NotFound", Message: "does not exist"}
	}
	t.mu.Lock()
	for _, c := range t.Changes {
		if _, ok := state[c.ID]; !ok {
			continue
		}
		if u := t.live[c.ID]; u != nil {
			state[c.ID] = object.HealthOf(u)
		} else if c.Settled {
			state[c.ID] = object.Health{Status: "Current"}
		} else if c.Live != nil && !c.Action.Writes() {
			state[c.ID] = object.HealthOf(c.Live)
		}
	}
	t.mu.Unlock()
	look := func() (waiting *unready, failed error) {
		waiting = &unready{}
		for _, e := range slices.Concat(entries, named) {
			h := state[e.ID]
			if h.Failed() {
				return nil, fmt.Errorf("%s failed: %s", e.ID, h.Message)
			}
			if !h.Ready() {
				waiting.objects, waiting.why = append(waiting.objects, e.ID.String()), append(waiting.why, h.Message)
			}
		}
		return waiting, nil
	}
	waiting, failed := look()
	if failed != nil {
		return failed
	}
	if len(waiting.objects) > 0 {
		wctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		var mu sync.Mutex
		finished := errors.New("finished")
		err := t.cluster.Watch(wctx, t.Ref, t.pick(entries, state), named, func(id object.ID, u *unstructured.Unstructured) {
			mu.Lock()
			defer mu.Unlock()
			if u == nil {
				state[id] = object.Health{Status: "NotFound", Message: "was deleted by somebody"}
			} else {
				state[id] = object.HealthOf(u)
			}
			waiting, failed = look()
			switch {
			case failed != nil:
				cancel(failed)
			case len(waiting.objects) == 0:
				cancel(finished)
			default:
				more := ""
				if n := len(waiting.objects); n > 1 {
					more = fmt.Sprintf(" and %d more", n-1)
				}
				t.waiting(waiting.objects[0] + more + ": " + waiting.why[0])
			}
		})
		mu.Lock()
		defer mu.Unlock()
		switch {
		case errors.Is(err, finished):
		case ctx.Err() != nil:
			waiting.err = ctx.Err()
			return waiting
		default:
			return err
		}
	}
	for _, c := range children {
		t.waiting(c.Ref.String())
		select {
		case <-c.done:
			if c.report.Status != StatusReady && c.report.Status != StatusSuspended {
				return fmt.Errorf("%s is not ready: %s", c.Ref, c.report.Message)
			}
		case <-ctx.Done():
			return &unready{objects: []string{c.Ref.String()}, why: []string{"has not ended"}, err: ctx.Err()}
		}
	}
	return nil
}

// pick leaves out what is ready already: it is not watched.
func (t *task) pick(entries []plan.Entry, state map[object.ID]object.Health) []plan.Entry {
	var out []plan.Entry
	for _, e := range entries {
		if !state[e.ID].Ready() {
			out = append(out, e)
		}
	}
	return out
}
