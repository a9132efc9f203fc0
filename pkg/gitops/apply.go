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
// became of it, and so is everything that was written. Once ctx is done nothing
// more is begun; what has begun is ended and recorded.
func (e *Engine) Apply(ctx context.Context, r *Run) SyncReport {
	r.secrets = sync.OnceValues(func() ([]string, error) { return e.secretValues(context.WithoutCancel(ctx), r) })
	tasks := map[*Planned]*task{}
	for _, p := range r.Kustomizations {
		tasks[p] = &task{Planned: p, e: e, r: r, applied: make(chan struct{}), done: make(chan struct{}), live: map[object.ID]*unstructured.Unstructured{}}
	}
	for _, p := range r.Kustomizations {
		e.Events.emit(Event{Kustomization: p.Ref, Type: KustomizationQueued, Message: e.waitsFor(r, p)})
	}
	var wg sync.WaitGroup
	for _, p := range r.Kustomizations {
		t := tasks[p]
		wg.Go(func() {
			start := time.Now()
			t.report = KustomizationReport{Namespace: t.Namespace, Name: t.Name, Path: t.Path(), Revision: t.Revision, Changes: []ChangeReport{}}
			t.run(ctx, tasks)
			t.leaveWord(ctx)
			if !isClosed(t.applied) {
				close(t.applied)
			}
			t.report.Seconds = time.Since(start).Seconds()
			e.Events.emit(Event{Kustomization: t.Ref, Type: KustomizationDone, Report: &t.report})
			close(t.done)
		})
	}
	wg.Wait()
	for _, p := range r.Kustomizations {
		tasks[p].letGo(ctx, tasks)
	}
	e.rememberWritten(r, tasks)
	return e.report(ctx, r, tasks)
}

// report is what has become of a run that has ended.
func (e *Engine) report(ctx context.Context, r *Run, tasks map[*Planned]*task) SyncReport {
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
	if errors.Is(context.Cause(ctx), context.Canceled) {
		report.Result = Interrupted
	}
	return report
}

// waitsFor says whom p waits for, as they are shown: by name alone in the
// namespace of the root.
func (e *Engine) waitsFor(r *Run, p *Planned) string {
	var names []string
	for _, q := range append(slices.Clone(r.before[p]), p.Parent) {
		switch {
		case q == nil || !slices.Contains(r.Kustomizations, q):
		case q.Namespace == e.Options.Root.Namespace:
			names = append(names, q.Name)
		default:
			names = append(names, q.Namespace+"/"+q.Name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return "waiting for " + strings.Join(names, ", ")
}

// stopped says why nothing more is begun, "" while ctx lives.
func stopped(ctx context.Context) string {
	var lost *cluster.LostError
	switch {
	case ctx.Err() == nil:
		return ""
	case errors.As(context.Cause(ctx), &lost):
		return lost.Error()
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return "the time for the run is over"
	}
	return "interrupted"
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
		t.end(StatusSuspended, reasonSuspended, t.suspended()+": "+t.resumedBy(t.e.Cluster.FieldManager)+", kubectl gitops sync --include-suspended applies it all the same")
		return
	}
	if why := t.await(ctx, tasks); why != "" {
		t.skip(ctx, why)
		return
	}
	start := time.Now()
	if err := t.prepare(ctx, tasks); err != nil {
		t.fail(ctx, reasonFailed, err)
		return
	}
	if len(t.Problems) > 0 && !t.setAside() {
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
	if len(t.Problems) > 0 {
		t.fail(ctx, t.reason, fmt.Errorf("%s left out, the rest is written; nothing was pruned", count(len(t.Problems), "problem")))
		return
	}
	if err := t.prune(ctx, tasks); err != nil {
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

// setAside takes the objects that are refused out of what is written, where the
// user asked to go on without them and every problem is that of one object.
func (t *task) setAside() bool {
	if !t.e.Options.KeepGoing {
		return false
	}
	for _, p := range t.Problems {
		if p.Object == "" || p.Object == t.Ref.String() {
			return false
		}
	}
	for i := range t.Changes {
		c := &t.Changes[i]
		for _, p := range t.Problems {
			if p.Object == c.ID.String() || c.ID.Namespace != "" && p.Object == "namespace/"+c.ID.Namespace {
				c.Action, c.Reason, c.Pending = plan.Skip, "refused", ""
			}
		}
	}
	return true
}

// await waits for the parent to be written and for what must be ready. It
// returns why t cannot go on, "" if it can.
func (t *task) await(ctx context.Context, tasks map[*Planned]*task) string {
	if parent := tasks[t.Parent]; parent != nil {
		t.waiting("its parent " + parent.Name)
		select {
		case <-parent.applied:
		case <-ctx.Done():
			return stopped(ctx)
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
			return stopped(ctx)
		}
		if !slices.Contains(required, p.Ref) {
			continue
		}
		if expr, ok := t.ready[p.Ref]; ok {
			if why := t.readyByExpr(ctx, expr, p.Ref); why != "" {
				return why
			}
			continue // in place of what follows, as in Flux
		}
		if dep.report.Status == StatusReady {
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
		if expr, ok := t.ready[d]; ok {
			if why := t.readyByExpr(ctx, expr, d); why != "" {
				return why
			}
			continue
		}
		rec, err := t.e.Cluster.Load(ctx, d)
		if err != nil {
			return fmt.Sprintf("dependency %s: %s", d.Name, err)
		}
		if !readyBefore(rec) || rec.Live != nil && rec.Status.ObservedGeneration != rec.Live.GetGeneration() {
			return fmt.Sprintf("dependency %s is not ready in the cluster", d.Name)
		}
	}
	return ""
}

func (t *task) waiting(what string) { t.e.progress(t.Ref, "waiting for "+t.unseen(what)) }

// prepare asks the server about what could not be asked in the plan, because
// its kind or its namespace was to be made by another Kustomization of the run.
func (t *task) prepare(ctx context.Context, tasks map[*Planned]*task) error {
	var wait []schema.GroupVersionKind
	var ask []*plan.Change
	for i := range t.Changes {
		c := &t.Changes[i]
		if c.Pending == "" || t.ownPending(c) {
			continue
		}
		ask = append(ask, c)
		// A kind whose maker failed does not come: to ask says so.
		if maker := tasks[t.r.definition(t.Planned, c.ID.GroupKind()).maker()]; c.Pending == pendingKind && maker != nil && isClosed(maker.applied) && maker.written {
			wait = append(wait, c.Object.GroupVersionKind())
		}
	}
	if len(ask) == 0 {
		return nil
	}
	t.e.progress(t.Ref, "asking the server about "+count(len(ask), "object"))
	if err := t.cluster.AwaitKinds(ctx, wait, definitionsTimeout); err != nil && !cluster.IsNoKind(err) {
		return err
	}
	return t.ask(ctx, ask)
}

// ownPending reports whether c waits for something that t itself makes.
func (t *task) ownPending(c *plan.Change) bool {
	if c.Pending == pendingKind {
		return t.r.definition(t.Planned, c.ID.GroupKind()).maker() == t.Planned
	}
	return t.r.space(t.Planned, c.ID.Namespace) == t.Planned || t.r.definition(t.Planned, c.ID.GroupKind()).maker() == t.Planned
}

// ask dry-runs changes that were pending. Refusals become Problems.
func (t *task) ask(ctx context.Context, changes []*plan.Change) error {
	problems := make([][]Problem, len(changes))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(t.e.concurrency())
	for i, c := range changes {
		g.Go(func() error {
			c.Pending = ""
			if _, err := t.cluster.Resolve(c.Object.GroupVersionKind()); err != nil {
				if cluster.IsNoKind(err) {
					problems[i] = []Problem{noKind(*c.Object, nil)}
					return nil
				}
				return err
			}
			if ns := c.ID.Namespace; ns != "" {
				presence, err := t.cluster.HasNamespace(gctx, ns)
				if err != nil {
					return err
				}
				if presence != cluster.Present {
					if presence == cluster.Leaving {
						t.r.leaves(gctx, t.cluster.Self(), spaceAt{t.site(), ns})
					}
					problems[i] = []Problem{t.e.noNamespace(t.r, t.Planned, ns, presence)}
					return nil
				}
			}
			var err error
			if problems[i], err = t.e.decide(gctx, t.Planned, c, nil); err == nil && len(problems[i]) == 0 {
				problems[i], err = t.e.checkOwner(gctx, t.r, t.Planned, c)
			}
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
