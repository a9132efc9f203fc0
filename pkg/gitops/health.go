package gitops

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
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
	err := t.waitFor(wctx, entries, named, children)
	var waiting *unready
	if errors.As(err, &waiting) && ctx.Err() == nil {
		err = waiting.within(timeout)
	}
	if err != nil {
		t.explain(ctx, err)
	}
	return err
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
	objects []*unhealthy
	err     error // the context's
}

func (e *unready) Error() string {
	names := make([]string, len(e.objects))
	for i, o := range e.objects {
		names[i] = o.id.String()
	}
	return "not ready: " + strings.Join(names, ", ")
}
func (e *unready) Unwrap() error { return e.err }

// first is the first of them and why, and how many there are beside it.
func (e *unready) first() string {
	more := ""
	if n := len(e.objects); n > 1 {
		more = fmt.Sprintf(" and %d more", n-1)
	}
	return e.objects[0].id.String() + more + ": " + e.objects[0].why
}

// within is an error for each object.
func (e *unready) within(timeout time.Duration) error {
	errs := make([]error, len(e.objects))
	for i, o := range e.objects {
		o.why = fmt.Sprintf("not ready within %s: %s", timeout, o.why)
		errs[i] = o
	}
	return errors.Join(errs...)
}

// waitFor returns when all entries and named are ready and all children have
// ended well; at the first that has failed; or with *unready when ctx is done.
func (t *task) waitFor(ctx context.Context, entries, named []plan.Entry, children []*task) error {
	state := map[object.ID]object.Health{}
	live := map[object.ID]*unstructured.Unstructured{}
	for _, e := range slices.Concat(entries, named) {
		state[e.ID] = object.Health{Status: status.NotFoundStatus, Message: "does not exist"}
	}
	t.mu.Lock()
	for _, c := range t.Changes {
		if _, ok := state[c.ID]; !ok {
			continue
		}
		u := t.live[c.ID]
		if u == nil && !c.Action.Writes() {
			u = c.Live
		}
		switch {
		case t.live[c.ID] == nil && c.Settled: // of which only the metadata is there
			state[c.ID] = object.Health{Status: status.CurrentStatus}
		case u != nil:
			state[c.ID], live[c.ID] = t.rules.Of(ctx, u), u
		}
	}
	t.mu.Unlock()
	look := func() (waiting *unready, failed error) {
		waiting = &unready{}
		for _, e := range slices.Concat(entries, named) {
			h := state[e.ID]
			if h.Failed() {
				return nil, &unhealthy{id: e.ID, why: "failed: " + h.Message, live: live[e.ID]}
			}
			if !h.Ready() {
				waiting.objects = append(waiting.objects, &unhealthy{id: e.ID, why: h.Message, live: live[e.ID]})
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
			switch {
			case u != nil:
				state[id] = t.rules.Of(ctx, u)
			case goesWhenDone(live[id]):
				state[id] = object.Health{Status: status.CurrentStatus, Message: "has finished and is gone"}
			case live[id] != nil:
				state[id] = object.Health{Status: status.NotFoundStatus, Message: "was deleted by somebody"}
			}
			live[id] = u
			waiting, failed = look()
			switch {
			case failed != nil:
				cancel(failed)
			case len(waiting.objects) == 0:
				cancel(finished)
			default:
				t.waiting(waiting.first())
			}
		})
		mu.Lock()
		defer mu.Unlock()
		switch {
		case errors.Is(err, finished):
		case failed != nil: // also where ctx ended just then
			return failed
		case len(waiting.objects) == 0:
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
			id := object.ID{Group: flux.KustomizeGroup, Kind: "Kustomization", Namespace: c.Namespace, Name: c.Name}
			return &unready{objects: []*unhealthy{{id: id, why: "has not ended"}}, err: ctx.Err()}
		}
	}
	return nil
}

// goesWhenDone reports whether u was a Job that is removed once it has ended:
// that it is gone is no failure.
func goesWhenDone(u *unstructured.Unstructured) bool {
	if u == nil || u.GroupVersionKind().Group != "batch" || u.GetKind() != "Job" {
		return false
	}
	_, ttl, _ := unstructured.NestedFieldNoCopy(u.Object, "spec", "ttlSecondsAfterFinished")
	return ttl
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
