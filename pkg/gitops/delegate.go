package gitops

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/plan"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/source"
)

// CheckPushed refuses to ask a live controller for what it cannot see: the
// commit at hand must be what the branch that the root's GitRepository follows
// has at the remote.
func (e *Engine) CheckPushed(ctx context.Context, r *Run) error {
	kind, ref := r.Root.SourceRef()
	if kind != sourcev1.GitRepositoryKind {
		return nil // the revision of its artifact is compared
	}
	id := object.ID{Group: flux.SourceGroup, Kind: kind, Namespace: ref.Namespace, Name: ref.Name}
	live, err := e.Cluster.Get(ctx, id, "v1")
	if err != nil {
		return err
	}
	if live == nil {
		return &Refused{Code: "no-source", Msg: fmt.Sprintf("the Flux controller has no %s to read %s from", id, r.Root.Ref),
			Fix: "flux bootstrap makes it; to reconcile from here: --engine local --suspend"}
	}
	git, err := flux.ParseGitRepository(object.Object{Unstructured: live})
	if err != nil {
		return err
	}
	if e.Source.Unborn() {
		return &Refused{Code: "not-pushed", Msg: fmt.Sprintf("the Flux controller reads %s, and nothing is committed here", git.Spec.URL),
			Fix: "git add . && git commit && git push; to apply the work tree from here: --engine local --suspend"}
	}
	if e.Source.Commit == "" {
		return &Refused{Code: "not-pushed", Msg: fmt.Sprintf("the Flux controller reads %s, and what is at hand is a plain directory", git.Spec.URL),
			Fix: "run this in a checkout of it; to apply the directory from here: --engine local --suspend"}
	}
	branch := "master" // Flux's default
	if s := git.Spec.Reference; s != nil {
		if s.Commit != "" || s.Name != "" || s.SemVer != "" || s.Tag != "" {
			return nil // the revision of its artifact is compared
		}
		if s.Branch != "" {
			branch = s.Branch
		}
	}
	p, err := e.Source.Pushed(ctx, git.Spec.URL, branch)
	if err != nil {
		return err
	}
	fix := "git push; or, to apply it from here: --engine local --suspend"
	switch p.Order {
	case source.Same:
		return nil
	case source.Descendant:
		return &Refused{Code: "not-pushed", Fix: fix,
			Msg: fmt.Sprintf("%s not pushed to %s of %s; the Flux controller will not see %s", count(p.Ahead, "commit"), branch, p.Remote, map[bool]string{true: "it", false: "them"}[p.Ahead == 1])}
	case source.Ancestor:
		return &Refused{Code: "behind", Msg: fmt.Sprintf("%s of %s has %s that your HEAD lacks; the Flux controller would apply them", branch, p.Remote, count(p.Behind, "commit")), Fix: "git pull"}
	case source.Diverged:
		return &Refused{Code: "not-pushed", Fix: "git pull --rebase, then git push",
			Msg: fmt.Sprintf("%s of %s and your HEAD have diverged; the Flux controller will not see %s", branch, p.Remote, count(p.Ahead, "commit"))}
	}
	return &Refused{Code: "not-pushed", Msg: fmt.Sprintf("the Flux controller follows %s of %s: %s", branch, p.Remote, p.Why), Fix: fix}
}

// follower asks the controllers of a run, and watches what they do.
type follower struct {
	e  *Engine
	r  *Run
	at string // what each request says, and the status repeats

	mu      sync.Mutex
	sources map[object.ID]func() (revision string, err error) // each is asked once
}

// Delegate asks the controllers to reconcile what r plans: the sources first,
// then each Kustomization once what it depends on is ready. It writes nothing
// but the requests, and reports as Apply does. Where the controller is ready with
// the revision of the plan, what was to be written is read back.
func (e *Engine) Delegate(ctx context.Context, r *Run) SyncReport {
	f := &follower{e: e, r: r, at: time.Now().UTC().Format(time.RFC3339Nano), sources: map[object.ID]func() (string, error){}}
	tasks := map[*Planned]*task{}
	for _, p := range r.Kustomizations {
		tasks[p] = &task{Planned: p, e: e, r: r, applied: make(chan struct{}), done: make(chan struct{})}
		tasks[p].report = KustomizationReport{Namespace: p.Namespace, Name: p.Name, Path: p.Path(), Revision: p.Revision, Changes: []ChangeReport{}}
		e.Events.emit(Event{Kustomization: p.Ref, Type: KustomizationQueued, Message: e.waitsFor(r, p)})
	}
	var wg sync.WaitGroup
	for _, p := range r.Kustomizations {
		t := tasks[p]
		wg.Go(func() {
			start := time.Now()
			f.follow(ctx, t, tasks)
			t.report.Seconds = time.Since(start).Seconds()
			e.Events.emit(Event{Kustomization: t.Ref, Type: KustomizationDone, Report: &t.report})
			close(t.done)
		})
	}
	wg.Wait()
	return e.report(ctx, r, tasks)
}

// follow is one Kustomization, from what it waits for to what became of it.
func (f *follower) follow(ctx context.Context, t *task, tasks map[*Planned]*task) {
	if t.Suspended {
		t.end(StatusSuspended, reasonSuspended, t.suspended())
		return
	}
	if why := f.await(ctx, t, tasks); why != "" {
		t.end(StatusSkipped, reasonDependency, why)
		return
	}
	revision, err := f.fetch(ctx, t)
	if err != nil {
		t.report.Problems = errorProblems(err)
		t.end(StatusFailed, reasonArtifact, err.Error())
		return
	}
	id := object.ID{Group: flux.KustomizeGroup, Kind: "Kustomization", Namespace: t.Namespace, Name: t.Name}
	s, err := f.request(ctx, t, id, t.Timeout(f.e.Options.Timeout)+f.e.Options.Timeout, func(s outcome) string { return t.stale(s, revision, tasks) })
	switch {
	case err != nil:
		t.report.Problems = errorProblems(err)
		t.end(StatusFailed, reasonFailed, err.Error())
	case !s.ready:
		t.report.Problems = []Problem{{Code: "failed", Object: t.Ref.String(), Message: s.message}}
		t.end(StatusFailed, s.reason, s.message)
	default:
		if s.applied == t.Revision {
			for _, c := range f.readBack(ctx, t.Planned) {
				t.report.Changes = append(t.report.Changes, c)
				if c.Action != "unchanged" {
					f.e.Events.emit(Event{Kustomization: t.Ref, Type: ObjectDone, Change: c})
				}
			}
		} else {
			t.report.Revision = s.applied
			t.r.warn(f.e, Warning{Code: "other-revision", Object: t.Ref.String(),
				Message: fmt.Sprintf("the controller applied %s, which is not %s", ShortRevision(s.applied), ShortRevision(t.Revision))})
		}
		t.end(StatusReady, s.reason, s.message)
	}
}

// readBack reports what became of the objects of p: of those that were planned to be
// written, what the cluster has of them now.
func (f *follower) readBack(ctx context.Context, p *Planned) []ChangeReport {
	var planned []*plan.Change
	var collect func(*Planned)
	collect = func(p *Planned) {
		for i := range p.Changes {
			planned = append(planned, &p.Changes[i])
		}
		for i := range p.Prunes {
			if c := &p.Prunes[i]; c.Action != plan.Skip || c.Reason != keptByOther {
				planned = append(planned, c)
			}
		}
		for _, r := range p.Removed {
			collect(r)
		}
	}
	collect(p)
	out := make([]ChangeReport, len(planned))
	var g errgroup.Group
	g.SetLimit(f.e.concurrency())
	for i, c := range planned {
		g.Go(func() error {
			action, message := c.Action.Done(), c.Reason
			if c.Action.Writes() {
				action, message = f.became(ctx, p, c)
			}
			out[i] = changeReport(c, action, message)
			return nil
		})
	}
	_ = g.Wait() // its functions return nil
	return out
}

// became compares an object with what it was when its change was planned.
func (f *follower) became(ctx context.Context, p *Planned, c *plan.Change) (action, message string) {
	u, err := p.cluster.Self().Get(ctx, c.ID, c.Version)
	switch {
	case err != nil:
		return c.Action.Done(), "as planned; it cannot be read: " + oneLine(err)
	case c.Action == plan.Delete && (u == nil || u.GetDeletionTimestamp() != nil || c.Live != nil && u.GetUID() != c.Live.GetUID()):
		return c.Action.Done(), c.Reason
	case c.Action != plan.Delete && u != nil && (c.Live == nil || u.GetResourceVersion() != c.Live.GetResourceVersion()):
		return c.Action.Done(), c.Reason
	}
	return plan.Skip.Done(), fmt.Sprintf("was to be %s; the controller left it as it was", c.Action.Done())
}

// await waits for the parent, which writes t's spec, and for what must be ready.
// A parent that itself waits for its children's health is not waited for.
func (f *follower) await(ctx context.Context, t *task, tasks map[*Planned]*task) string {
	required := t.DependsOn()
	first := slices.Clone(f.r.before[t.Planned])
	if p := t.Parent; tasks[p] != nil && !p.Spec.Wait && len(p.Spec.HealthChecks) == 0 {
		first = append(first, p)
		required = append(required, p.Ref)
	}
	for _, p := range first {
		t.waiting(p.Name)
		select {
		case <-tasks[p].done:
		case <-ctx.Done():
			return stopped(ctx)
		}
		if got := tasks[p].report.Status; slices.Contains(required, p.Ref) && got != StatusReady && got != StatusSuspended {
			return fmt.Sprintf("dependency %s is not ready", p.Name)
		}
	}
	return ""
}

// fetch has the source of t fetched by its controller, once for all who share it,
// and returns the revision of its artifact.
func (f *follower) fetch(ctx context.Context, t *task) (revision string, err error) {
	kind, ref := t.SourceRef()
	id := object.ID{Group: flux.SourceGroup, Kind: kind, Namespace: ref.Namespace, Name: ref.Name}
	f.mu.Lock()
	once := f.sources[id]
	if once == nil {
		once = sync.OnceValues(func() (string, error) {
			if kind == sourcev1.ExternalArtifactKind { // whoever makes it is asked by nobody
				u, err := f.e.Cluster.Get(ctx, id, "v1")
				if err == nil && u == nil {
					err = fmt.Errorf("%s: the cluster does not have it", id)
				}
				if err != nil {
					return "", err
				}
				return answer(u, "", "").artifact, nil
			}
			s, err := f.request(ctx, t, id, f.e.Options.Timeout, func(outcome) string { return "" })
			if err == nil && !s.ready {
				err = fmt.Errorf("%s: %s", id, s.message)
			}
			return s.artifact, err
		})
		f.sources[id] = once
	}
	f.mu.Unlock()
	return once()
}

// NeedSuspended are the Kustomizations of r that a live controller would
// reconcile beside this run: those that r writes, and the cluster has, or will
// have, without suspending them.
func (e *Engine) NeedSuspended(r *Run) []flux.Ref {
	var refs []flux.Ref
	for _, p := range r.Kustomizations {
		if e.beside(r, p) {
			refs = append(refs, p.Ref)
		}
	}
	return refs
}

func (e *Engine) beside(r *Run, p *Planned) bool {
	if p.Suspended || len(p.Problems) > 0 || !r.hasFlux || p.Writes() == 0 && p.remembered(p.Inventory()) {
		return false
	}
	if p.record.Live == nil {
		return p.Object.Unstructured != nil // it will be made
	}
	suspended, _ := p.record.Suspended()
	return !suspended
}

// Suspend suspends what NeedSuspended names, and leaves it so: in the cluster,
// or, for what this run makes, in what it makes. It tells how to resume.
func (e *Engine) Suspend(ctx context.Context, r *Run) error {
	refs := e.NeedSuspended(r)
	if len(refs) == 0 {
		return nil
	}
	var names []string
	for _, p := range r.Kustomizations {
		if !slices.Contains(refs, p.Ref) {
			continue
		}
		names = append(names, p.Namespace+"/"+p.Name)
		if p.record.Live == nil {
			continue
		}
		if err := e.Cluster.Suspend(ctx, p.record, true, "applied by kubectl gitops sync --engine local beside a live Flux controller"); err != nil {
			return err
		}
		var err error
		if p.record, err = e.Cluster.Load(ctx, p.Ref); err != nil { // its generation has moved
			return err
		}
	}
	for _, p := range r.Kustomizations {
		for i := range p.Changes {
			c := &p.Changes[i]
			if c.Object == nil || !flux.IsKustomization(c.ID.GroupKind()) {
				continue
			}
			keepSuspended(c.Object.Unstructured)
			if c.Live == nil && slices.Contains(refs, flux.Ref{Namespace: c.ID.Namespace, Name: c.ID.Name}) {
				if err := unstructured.SetNestedField(c.Object.Object, true, "spec", "suspend"); err != nil {
					return err
				}
			}
		}
	}
	r.warn(e, Warning{Code: "left-suspended", Message: fmt.Sprintf("%s suspended, and left so: the Flux controller does not reconcile %s", count(len(names), "Kustomization"),
		map[bool]string{true: "it", false: "them"}[len(names) == 1]), Hint: "kubectl gitops resume " + strings.Join(names, " ")})
	return nil
}
