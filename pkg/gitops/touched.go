package gitops

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/render"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/source"
)

// comparison is a run of each of two states of a source. The base is discovered
// first: what declares no Kustomizations is spared there. Then the state at hand:
// what cannot differ is what it is in the base. What was spared is rendered when
// somebody needs it: a Kustomization that does differ, or its variables.
type comparison struct {
	here, base *Engine
	was        *Run       // of the base
	roots      []*Planned // of it, also those that another took the place of

	differ map[[2]*source.Snapshot][]string // files, between two artifacts
	err    error
}

func newComparison(here *Engine, base *source.Snapshot) *comparison {
	c := &comparison{here: here, differ: map[[2]*source.Snapshot][]string{}}
	c.base = &Engine{Source: base, Keys: here.Keys, Auth: here.Auth, Registries: here.Registries, SourceCache: here.SourceCache, Options: here.Options, compared: c}
	c.base.Options.Names = nil
	c.base.Events = func(ev Event) {
		if ev.Type == Progress {
			ev.Message += " at " + ShortRevision(base.Revision)
			here.Events.emit(ev)
		}
	}
	here.compared, here.Cache = c, nil
	return c
}

// spared is a Kustomization that is not rendered yet.
type spared struct {
	reach *render.Reach // nil for a source that is not at hand
}

// declares reports whether the Kustomization may declare the object id.
func (s *spared) declares(id object.ID) bool {
	return s != nil && !flux.IsFluxGroup(id.Group) && s.reach != nil && s.reach.Declares(id.Name)
}

func (c *comparison) wanted(ref flux.Ref) bool {
	names := c.here.Options.Names
	return len(names) == 0 || slices.Contains(names, ref)
}

func (c *comparison) find(r *Run, ref flux.Ref) *Planned {
	for _, p := range r.Kustomizations {
		if p.Ref == ref {
			return p
		}
	}
	return nil
}

// spare decides that p need not be rendered now. If it has to be, its source is
// there then, or why it is not is among its problems.
func (c *comparison) spare(ctx context.Context, e *Engine, r *Run, p *Planned) bool {
	switch {
	case e == c.base && p.Parent == nil:
		c.roots = append(c.roots, p)
	case e == c.base:
		if c.postpone(ctx, p) {
			return true
		}
	default:
		if p.twin = c.twinOf(ctx, r, p); p.twin != nil {
			p.share(p.twin)
			return true
		}
		if p.Parent != nil && !c.wanted(p.Ref) && c.postpone(ctx, p) {
			return true
		}
	}
	c.fetch(ctx, e, r, p)
	return p.snapshot == nil
}

// postpone spares p if no Kustomizations can be found by it.
func (c *comparison) postpone(ctx context.Context, p *Planned) bool {
	s := &spared{}
	if p.snapshot != nil {
		if s.reach = c.reach(ctx, p); s.reach.DeclaresGroup(flux.KustomizeGroup) || s.reach.DeclaresGroup(flux.SourceGroup) {
			return false
		}
	}
	p.spared = s
	return true
}

func (c *comparison) reach(ctx context.Context, p *Planned) *render.Reach {
	return render.Survey(ctx, render.Request{FS: p.snapshot.FS, Kustomization: p.Kustomization})
}

// need renders what was spared, on the side of e.
func (c *comparison) need(ctx context.Context, e *Engine, r *Run, p *Planned) {
	if p.spared == nil {
		return
	}
	p.spared = nil
	if p.twin != nil {
		c.need(ctx, c.base, c.was, p.twin)
		p.share(p.twin)
		return
	}
	if c.fetch(ctx, e, r, p); p.snapshot == nil {
		return
	}
	e.gather(ctx, r, p)
	e.renderPrepared(ctx, p)
	p.finish()
}

// fetch brings the source of p where that was put off.
func (c *comparison) fetch(ctx context.Context, e *Engine, r *Run, p *Planned) {
	if p.snapshot != nil || len(p.Problems) > 0 {
		return
	}
	kind, ref := p.SourceRef()
	p.take(e.artifact(ctx, r, p.Ref, sourceID(kind, ref), nil))
}

// share makes p what twin is.
func (p *Planned) share(twin *Planned) {
	p.spared, p.files, p.rendered, p.objects, p.digest = twin.spared, twin.files, twin.rendered, twin.objects, twin.digest
	p.keys, p.variables, p.hidden, p.Problems = twin.keys, twin.variables, twin.hidden, twin.Problems
}

// twinOf is what p is in the base, if the two cannot differ; else nil.
func (c *comparison) twinOf(ctx context.Context, r *Run, p *Planned) *Planned {
	candidates := c.was.Kustomizations
	if p.Parent == nil {
		candidates = c.roots
	}
	for _, twin := range candidates {
		if twin.Ref == p.Ref && renderedFrom(twin) == renderedFrom(p) && !c.touched(ctx, r, p, twin) {
			return twin
		}
	}
	return nil
}

// renderedFrom is what the spec of p says of its rendering.
func renderedFrom(p *Planned) string {
	s := p.Spec
	kind, ref := p.SourceRef()
	text, err := json.Marshal([]any{p.Path(), kind, ref, s.TargetNamespace, s.NamePrefix, s.NameSuffix, s.Patches, s.Images, s.Components, s.IgnoreMissingComponents,
		s.BuildMetadata, s.CommonMetadata, s.PostBuild, s.Decryption, s.KubeConfig, p.PatchesStrategicMerge, p.PatchesJSON6902})
	if err != nil {
		return err.Error() // of a patch that is no JSON: the same on both sides
	}
	return string(text)
}

// touched reports whether p may render to something else than twin, of the same
// spec: by its files, its source, or what its variables and keys come from.
func (c *comparison) touched(ctx context.Context, r *Run, p, twin *Planned) bool {
	switch {
	case p.snapshot == nil && twin.snapshot == nil:
		if kind, ref := p.SourceRef(); !c.sameSource(ctx, r, sourceID(kind, ref), nil) {
			return true
		}
	case p.snapshot == nil || twin.snapshot == nil:
		return true
	default:
		if changed := c.changed(ctx, p.snapshot, twin.snapshot); len(changed) > 0 && c.reach(ctx, p).Touches(changed) {
			return true
		}
	}
	var ids []object.ID
	if d := p.Spec.Decryption; d != nil && d.SecretRef != nil {
		ids = append(ids, object.ID{Kind: "Secret", Namespace: p.Namespace, Name: d.SecretRef.Name})
	}
	if p.Spec.PostBuild != nil {
		for _, ref := range p.Spec.PostBuild.SubstituteFrom {
			ids = append(ids, object.ID{Kind: ref.Kind, Namespace: p.Namespace, Name: ref.Name})
		}
	}
	return slices.ContainsFunc(ids, func(id object.ID) bool { return !c.sameObject(ctx, r, id) })
}

// changed lists the files that differ; where that cannot be told, all do.
func (c *comparison) changed(ctx context.Context, a, b *source.Snapshot) []string {
	key := [2]*source.Snapshot{a, b}
	if known, ok := c.differ[key]; ok {
		return known
	}
	changed, err := a.Changed(ctx, b)
	if err != nil && c.err == nil {
		c.err = err
	}
	c.differ[key] = changed
	return changed
}

// sameObject reports whether the sides agree on an object, rendered by nobody or
// by who cannot differ. Of the others those that may declare it are rendered.
func (c *comparison) sameObject(ctx context.Context, here *Run, id object.ID) bool {
	declared := func(e *Engine, r *Run, skip func(*Planned) bool) (o object.Object, ok bool) {
		for _, p := range r.Kustomizations {
			if e.away(p) || skip(p) {
				continue
			}
			if p.spared.declares(id) {
				c.need(ctx, e, r, p)
			}
			for _, o := range p.objects {
				if o.ID() == id {
					return o, true
				}
			}
		}
		return o, false
	}
	now, isNow := declared(c.here, here, func(p *Planned) bool { return p.twin != nil })
	before, wasBefore := declared(c.base, c.was, func(p *Planned) bool {
		twin := c.find(here, p.Ref)
		return twin != nil && twin.twin == p
	})
	if !isNow || !wasBefore {
		return isNow == wasBefore
	}
	return equality.Semantic.DeepEqual(withoutMetadata(now), withoutMetadata(before))
}

func withoutMetadata(o object.Object) map[string]any {
	out := map[string]any{}
	for k, v := range o.Object {
		if k != "metadata" {
			out[k] = v
		}
	}
	return out
}

// sameSource reports whether a source that is not at hand, and those that it
// includes, are declared alike on both sides. What is behind a branch or a tag is
// taken for the same then: a pull request does not move it.
func (c *comparison) sameSource(ctx context.Context, here *Run, id object.ID, within []object.ID) bool {
	now, isNow := c.here.declared(ctx, here, id)
	before, wasBefore := c.base.declared(ctx, c.was, id)
	if !isNow || !wasBefore {
		return isNow == wasBefore
	}
	if !equality.Semantic.DeepEqual(withoutMetadata(now), withoutMetadata(before)) {
		return false
	}
	git, err := flux.ParseGitRepository(now)
	if id.Kind != sourcev1.GitRepositoryKind || err != nil || slices.Contains(within, id) {
		return true
	}
	for _, i := range git.Spec.Include {
		if !c.sameSource(ctx, here, sourceID(id.Kind, flux.Ref{Namespace: id.Namespace, Name: i.GitRepositoryRef.Name}), append(within, id)) {
			return false
		}
	}
	return true
}

// atHand reports whether a source is the repository at hand by another name.
func (c *comparison) atHand(ctx context.Context, e *Engine, r *Run, id object.ID) bool {
	o, ok := e.declared(ctx, r, id)
	if !ok || id.Kind != sourcev1.GitRepositoryKind {
		return false
	}
	git, err := flux.ParseGitRepository(o)
	return err == nil && strings.TrimSpace(git.Spec.URL) != "" && e.Source.Is(git.Spec.URL) && len(git.Spec.Include) == 0
}
