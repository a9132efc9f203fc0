package gitops

import (
	"context"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
)

// next chooses whom to render: all that need nothing of another first, at the same
// time; then, one after the other, those whose source and values have been rendered
// already, so that both come from Git wherever Git has them. What is chosen does not
// depend on how many are rendered at the same time.
func (e *Engine) next(r *Run, queue []*Planned) (wave, rest []*Planned) {
	found := -1
	for i, p := range queue {
		needs, missing := e.needs(r, p)
		switch {
		case !needs:
			wave = append(wave, p)
			continue
		case !missing && found < 0:
			found = len(rest)
		}
		rest = append(rest, queue[i])
	}
	if len(wave) > 0 {
		return wave, rest
	}
	found = max(found, 0)
	return []*Planned{rest[found]}, append(rest[:found:found], rest[found+1:]...)
}

// needs reports whether p is rendered from more than its files, its spec and keys:
// from what another Kustomization may declare. missing says that none has yet.
func (e *Engine) needs(r *Run, p *Planned) (needs, missing bool) {
	kind, ref := p.SourceRef()
	if rootKind, rootRef := r.Root.SourceRef(); kind != rootKind || ref != rootRef {
		needs, missing = true, !e.isDeclared(r, sourceID(kind, ref))
	}
	if p.Spec.KubeConfig != nil {
		needs = true
	}
	if p.Spec.PostBuild != nil {
		for _, ref := range p.Spec.PostBuild.SubstituteFrom {
			needs = true
			missing = missing || !e.isDeclared(r, object.ID{Kind: ref.Kind, Namespace: p.Namespace, Name: ref.Name})
		}
	}
	return needs, missing
}

// renderWave loads and renders Kustomizations that do not need each other: the
// rendering itself, which is the work, of several at the same time.
func (e *Engine) renderWave(ctx context.Context, r *Run, wave []*Planned) error {
	var render []*Planned
	for _, p := range wave {
		if err := e.load(ctx, r, p); err != nil {
			return err
		}
		if p.renders() {
			e.prepare(ctx, r, p)
			render = append(render, p)
		}
	}
	e.atOnce(render, func(p *Planned) {
		e.renderPrepared(ctx, p)
		p.finish()
	})
	for i, p := range render {
		d := p.Spec.Decryption
		if d == nil || d.SecretRef == nil {
			continue
		}
		id := object.ID{Kind: "Secret", Namespace: p.Namespace, Name: d.SecretRef.Name}
		if slices.ContainsFunc(render[:i], func(q *Planned) bool { return e.provides(q, id) }) {
			// It was looked for too early.
			p.Problems, p.reason, p.objects, p.rendered, p.recalled, p.sums, p.digest = nil, "", nil, nil, nil, nil, ""
			e.render(ctx, r, p)
			p.finish()
		}
	}
	return nil
}

// renders reports whether p is to be rendered, once it is loaded.
func (p *Planned) renders() bool { return !p.Suspended && len(p.Problems) == 0 }

// atOnce calls do for each of ps, for as many at the same time as there are cores
// for, and no more than requests may be under way.
func (e *Engine) atOnce(ps []*Planned, do func(*Planned)) {
	var g errgroup.Group
	g.SetLimit(min(e.concurrency(), runtime.GOMAXPROCS(0)))
	for _, p := range ps {
		g.Go(func() error {
			do(p)
			return nil
		})
	}
	_ = g.Wait() // what is wrong with one is in its Problems
}
