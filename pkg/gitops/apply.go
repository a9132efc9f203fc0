package gitops

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cluster"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/plan"
)

const (
	// definitionsTimeout is how long CRDs, namespaces and classes may take to be
	// usable (Flux waits as long).
	definitionsTimeout = time.Minute
	// writeTimeout bounds one request that writes: it is not cut short by a
	// Ctrl-C, so that what became of it is always known.
	writeTimeout = time.Minute
)

// task is a Kustomization while it is carried out.
type task struct {
	*Planned
	e *Engine
	r *Run

	applied chan struct{} // closed when its objects are written, or never will be
	done    chan struct{} // closed when it has ended
	written bool          // its objects were written; valid once applied is closed
	report  KustomizationReport

	mu   sync.Mutex
	live map[object.ID]*unstructured.Unstructured // what the server answered last
}

// Apply carries out the plan. Every Kustomization is in the report, whatever
// became of it, and so is everything that was written. The error is not nil
// only where the report is not the whole truth.
func (e *Engine) Apply(ctx context.Context, r *Run) SyncReport {
	tasks := map[*Planned]*task{}
	for _, p := range r.Kustomizations {
		tasks[p] = &task{Planned: p, e: e, r: r, applied: make(chan struct{}), done: make(chan struct{}), live: map[object.ID]*unstructured.Unstructured{}}
	}
	for _, p := range r.Kustomizations {
		e.Events.emit(Event{Kustomization: p.Ref, Type: KustomizationQueued})
	}
	var wg sync.WaitGroup
	for _, p := range r.Kustomizations {
		t := tasks[p]
		wg.Go(func() {
			start := time.Now()
			t.report = KustomizationReport{Namespace: t.Namespace, Name: t.Name, Path: t.Path(), Revision: t.Revision, Changes: []ChangeReport{}}
			t.run(ctx, tasks)
			if !isClosed(t.applied) {
				close(t.applied)
			}
			t.report.Seconds = time.Since(start).Seconds()
			e.Events.emit(Event{Kustomization: t.Ref, Type: KustomizationDone, Report: &t.report})
			close(t.done)
		})
	}
	wg.Wait()
	report := e.newReport(r)
	for _, p := range r.Kustomizations {
		report.Kustomizations = append(report.Kustomizations, tasks[p].report)
	}
	report.Result = Succeeded
	for _, k := range report.Kustomizations {
		if k.Status == StatusFailed || k.Status == StatusSkipped {
			report.Result = Failed
		}
	}
	if ctx.Err() != nil {
		report.Result = Interrupted
	}
	return report
}

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// run is the whole order of one Kustomization's reconcile, top to bottom.
func (t *task) run(ctx context.Context, tasks map[*Planned]*task) {
	if t.Suspended {
		t.end(StatusSuspended, reasonSuspended, "suspended: kubectl gitops sync --include-suspended applies it all the same")
		return
	}
	if why := t.await(ctx, tasks); why != "" {
		t.skip(ctx, why)
		return
	}
	start := time.Now()
	if err := t.prepare(ctx); err != nil {
		t.fail(ctx, reasonFailed, err)
		return
	}
	if len(t.Problems) > 0 {
		t.refuse(ctx)
		return
	}
	if err := t.claim(ctx); err != nil {
		t.fail(ctx, reasonFailed, err)
		return
	}
	for _, stage := range object.Stages {
		if err := t.write(ctx, stage); err != nil {
			t.fail(ctx, reasonFailed, err)
			return
		}
	}
	t.written = true
	close(t.applied)
	if err := t.prune(ctx); err != nil {
		t.fail(ctx, reasonPrune, err)
		return
	}
	if err := t.waitHealthy(ctx, tasks); err != nil {
		t.fail(ctx, reasonHealth, err)
		return
	}
	if err := t.succeed(ctx, time.Since(start)); err != nil {
		t.fail(ctx, reasonFailed, err)
	}
}

// await waits for the parent to be written and for what must be ready. It
// returns why t cannot go on, "" if it can.
func (t *task) await(ctx context.Context, tasks map[*Planned]*task) string {
	if parent := tasks[t.Parent]; parent != nil {
		t.waiting("its parent " + parent.Name)
		select {
		case <-parent.applied:
		case <-ctx.Done():
			return "interrupted"
		}
		if !parent.written && !parent.Suspended {
			return fmt.Sprintf("its parent %s was not applied", parent.Name)
		}
	}
	required := t.DependsOn()
	for _, p := range t.r.before[t.Planned] {
		dep := tasks[p]
		t.waiting(p.Name)
		select {
		case <-dep.done:
		case <-ctx.Done():
			return "interrupted"
		}
		if !slices.Contains(required, p.Ref) || dep.report.Status == StatusReady {
			continue
		}
		if dep.Suspended && readyBefore(dep.record) {
			continue
		}
		why := "is not ready"
		if dep.Suspended {
			why = "is suspended and not ready"
		}
		return fmt.Sprintf("dependency %s %s", p.Name, why)
	}
	for _, d := range required {
		if slices.ContainsFunc(t.r.Kustomizations, func(p *Planned) bool { return p.Ref == d }) || t.e.Options.NoDeps {
			continue
		}
		rec, err := t.e.Cluster.Load(ctx, d)
		if err != nil {
			return fmt.Sprintf("dependency %s: %s", d.Name, err)
		}
		if !readyBefore(rec) {
			return fmt.Sprintf("dependency %s is not ready in the cluster", d.Name)
		}
	}
	return ""
}

func (t *task) waiting(what string) { t.e.progress(t.Ref, "waiting for "+what) }

// prepare asks the server about what could not be asked in the plan, because
// its kind or its namespace was to be made by another Kustomization of the run.
func (t *task) prepare(ctx context.Context) error {
	var wait []schema.GroupVersionKind
	var ask []*plan.Change
	for i := range t.Changes {
		c := &t.Changes[i]
		if c.Pending == "" || t.ownPending(c) {
			continue
		}
		ask = append(ask, c)
		if c.Pending == pendingKind {
			wait = append(wait, c.Object.GroupVersionKind())
		}
	}
	if len(ask) == 0 {
		return nil
	}
	t.e.progress(t.Ref, "asking the server about "+count(len(ask), "object"))
	if err := t.e.Cluster.AwaitKinds(ctx, wait, definitionsTimeout); err != nil && !cluster.IsNoKind(err) {
		return err
	}
	return t.ask(ctx, ask)
}

// ownPending reports whether c waits for something that t itself makes.
func (t *task) ownPending(c *plan.Change) bool {
	if c.Pending == pendingKind {
		return t.r.crds[c.ID.GroupKind()].by == t.Planned
	}
	return t.r.spaces[c.ID.Namespace] == t.Planned || t.r.crds[c.ID.GroupKind()] != nil && t.r.crds[c.ID.GroupKind()].by == t.Planned
}

// ask dry-runs changes that were pending. Refusals become Problems.
func (t *task) ask(ctx context.Context, changes []*plan.Change) error {
	problems := make([][]Problem, len(changes))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(concurrency)
	for i, c := range changes {
		g.Go(func() error {
			c.Pending = ""
			if _, err := t.e.Cluster.Resolve(c.Object.GroupVersionKind()); err != nil {
				if cluster.IsNoKind(err) {
					problems[i] = []Problem{noKind(*c.Object, nil)}
					return nil
				}
				return err
			}
			if ns := c.ID.Namespace; ns != "" {
				ok, err := t.e.Cluster.HasNamespace(gctx, ns)
				if err != nil {
					return err
				}
				if !ok {
					problems[i] = []Problem{t.e.noNamespace(t.Planned, ns)}
					return nil
				}
			}
			var err error
			problems[i], err = t.e.decide(gctx, t.r, t.Planned, c)
			return err
		})
	}
	err := g.Wait()
	for _, ps := range problems {
		for _, p := range ps {
			if !slices.Contains(t.Problems, p) {
				t.problem(reasonFailed, p)
			}
		}
	}
	return err
}

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
	g.SetLimit(concurrency)
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
			action, err := string(c.Action), error(nil)
			if c.Action.Writes() {
				t.e.progress(t.Ref, "writing "+c.ID.String())
				err = t.writeOne(ctx, c)
			}
			action = c.Action.Done()
			message := c.Reason
			if err != nil {
				action, message = "failed", err.Error()
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
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	if c.Action == plan.Recreate {
		if err := t.e.Cluster.Delete(ctx, c.Live); err != nil {
			return err
		}
		if err := t.e.Cluster.Gone(ctx, c.Live); err != nil {
			return fmt.Errorf("%s: deleted to be recreated, and not gone: %w", c.ID, err)
		}
	} else if c.Cleanup != nil {
		if err := t.e.Cluster.HandOver(ctx, c.Live, c.Cleanup); err != nil {
			return err
		}
	}
	u, err := t.e.Cluster.Apply(ctx, c.Object.Unstructured)
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
				if d.by == t.Planned && crdOf(c.Object) == kind {
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
		return err
	}
	return t.e.Cluster.AwaitKinds(ctx, kinds, definitionsTimeout)
}

func crdOf(o *object.Object) schema.GroupKind {
	group, _, _ := unstructured.NestedString(o.Object, "spec", "group")
	kind, _, _ := unstructured.NestedString(o.Object, "spec", "names", "kind")
	return schema.GroupKind{Group: group, Kind: kind}
}

// prune deletes what is owned and no longer declared. All of it is attempted.
func (t *task) prune(ctx context.Context) error {
	var errs []error
	for _, p := range t.Removed {
		if err := t.finalize(ctx, p); err != nil {
			errs = append(errs, err)
		}
	}
	for i := range t.Prunes {
		c := &t.Prunes[i]
		if err := ctx.Err(); err != nil {
			return errors.Join(append(errs, err)...)
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
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	t.e.progress(t.Ref, "deleting "+c.ID.String())
	// The plan may be minutes old by now: another Kustomization of this run may
	// have taken the object over since.
	live, err := t.e.Cluster.Get(ctx, c.ID, c.Version)
	if err == nil && live == nil {
		t.did(c, plan.Delete.Done(), "gone already")
		return nil
	}
	if err == nil {
		if why := plan.KeepReason(live, owner.Ref); why != "" {
			c.Action, c.Reason = plan.Skip, why
			t.did(c, "skipped", why)
			return nil
		}
		err = t.e.Cluster.Delete(ctx, live)
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
			if err := t.e.Cluster.Gone(wctx, c.Live); err != nil {
				return fmt.Errorf("%s: still there: %w", c.ID, err)
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
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			return fmt.Errorf("timeout after %s", timeout)
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
			if p.Ref == ref && p.Parent == t.Planned && !t.r.reaches(p, t.Planned) || p.Ref == ref && p.Parent == t.Planned && !slices.Contains(p.DependsOn(), t.Ref) {
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
		case !all || c.Action == plan.Skip:
		case flux.IsKustomization(gk):
			// Only where the spec asks for it: else a child's trouble is its own.
			if t.Spec.Wait {
				child(flux.Ref{Namespace: c.ID.Namespace, Name: c.ID.Name})
			}
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

// waitFor returns when all entries and named are ready and all children have
// ended well; at the first that has failed; or with ctx's error and what was
// still missing.
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
		} else if c.Live != nil && !c.Action.Writes() {
			state[c.ID] = object.HealthOf(c.Live)
		}
	}
	t.mu.Unlock()
	unready := func() (waiting []string, failed error) {
		for _, e := range slices.Concat(entries, named) {
			h := state[e.ID]
			if h.Failed() {
				return nil, fmt.Errorf("%s failed: %s", e.ID, h.Message)
			}
			if !h.Ready() {
				waiting = append(waiting, e.ID.String()+": "+h.Message)
			}
		}
		return waiting, nil
	}
	waiting, failed := unready()
	if failed != nil {
		return failed
	}
	if len(waiting) > 0 {
		wctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		var mu sync.Mutex
		finished := errors.New("finished")
		err := t.e.Cluster.Watch(wctx, t.Ref, t.pick(entries, state), named, func(id object.ID, u *unstructured.Unstructured) {
			mu.Lock()
			defer mu.Unlock()
			if u == nil {
				state[id] = object.Health{Status: "NotFound", Message: "was deleted by somebody"}
			} else {
				state[id] = object.HealthOf(u)
			}
			waiting, failed = unready()
			switch {
			case failed != nil:
				cancel(failed)
			case len(waiting) == 0:
				cancel(finished)
			default:
				t.waiting(some(waiting, 1))
			}
		})
		mu.Lock()
		defer mu.Unlock()
		switch {
		case errors.Is(err, finished):
		case ctx.Err() != nil:
			return fmt.Errorf("not ready: %s: %w", strings.Join(waiting, ", "), ctx.Err())
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
			return fmt.Errorf("not ready: %s: %w", c.Ref, ctx.Err())
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
