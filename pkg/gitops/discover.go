package gitops

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cluster"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/render"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/secret"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/source"
)

// Reasons, as Flux writes them to the Ready condition.
const (
	reasonArtifact   = "ArtifactFailed"
	reasonBuild      = "BuildFailed"
	reasonCEL        = "InvalidCELExpression"
	reasonDependency = "DependencyNotReady"
	reasonFailed     = "ReconciliationFailed"
	reasonHealth     = "HealthCheckFailed"
	reasonProgress   = "Progressing"
	reasonPrune      = "PruneFailed"
	reasonSucceeded  = "ReconciliationSucceeded"
	reasonSuspended  = "Suspended"
)

// discover renders the root and, in turn, every Kustomization that what is
// rendered declares.
func (e *Engine) discover(ctx context.Context, r *Run) error {
	root, err := e.findRoot(ctx, r)
	if err != nil {
		return err
	}
	r.Root = root
	r.Kustomizations = []*Planned{root}
	if e.Cluster != nil {
		e.lookAtLock(ctx, r)
		// What another run may have written before that is in what is read from here on.
		if r.records, err = e.Cluster.RecordSet(ctx); err != nil {
			return err
		}
		if root.record, err = r.records.Load(ctx, root.Ref); err != nil {
			return err
		}
		if err := e.checkRoot(ctx, r); err != nil {
			return err
		}
		if err := e.checkForward(ctx, r, root); err != nil {
			return err
		}
	}
	root.finish()
	seen := map[flux.Ref]*Planned{root.Ref: root}
	queue := e.children(r, root, seen)
	for len(queue) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		var wave []*Planned
		wave, queue = e.next(r, queue)
		if err := e.renderWave(ctx, r, wave); err != nil {
			return err
		}
		for _, p := range wave {
			queue = append(queue, e.children(r, p, seen)...)
		}
	}
	e.tellOtherRoots(r, seen)
	return nil
}

// isDeclared reports whether declared would find it.
func (e *Engine) isDeclared(r *Run, id object.ID) bool {
	return slices.ContainsFunc(r.Kustomizations, func(p *Planned) bool { return e.provides(p, id) })
}

// provides reports whether p renders an object for the cluster at hand.
func (e *Engine) provides(p *Planned, id object.ID) bool {
	if e.away(p) {
		return false
	}
	_, recalled := p.sums[id]
	return recalled || p.spared.declares(id) || slices.ContainsFunc(p.objects, func(o object.Object) bool { return o.ID() == id })
}

// declared finds an object that some Kustomization of the run renders for the
// cluster at hand.
func (e *Engine) declared(ctx context.Context, r *Run, id object.ID) (object.Object, bool) {
	for _, p := range r.Kustomizations {
		if e.away(p) {
			continue
		}
		if _, has := p.sums[id]; has && p.recalled != nil {
			e.forget(ctx, r, p)
		}
		if p.spared.declares(id) {
			e.compared.need(ctx, e, r, p)
		}
		for _, o := range p.objects {
			if o.ID() == id {
				return o, true
			}
		}
	}
	return object.Object{}, false
}

// findRoot renders the entry path. Where that declares its own Kustomization,
// as a bootstrapped repository does, that one is the root, spec and all.
func (e *Engine) findRoot(ctx context.Context, r *Run) (*Planned, error) {
	root := &Planned{Kustomization: flux.Kustomization{Ref: e.Options.Root}, cluster: e.Cluster}
	root.Spec = kustomizev1.KustomizationSpec{
		Path: "./" + e.Options.Path, Prune: true,
		SourceRef: kustomizev1.CrossNamespaceSourceReference{Kind: sourcev1.GitRepositoryKind, Name: root.Name, Namespace: root.Namespace},
	}
	var err error
	if r.atHand, err = e.Source.Artifact(source.Content{Submodules: true}); err != nil {
		return nil, err
	}
	root.snapshot, root.Revision, root.atHand = r.atHand, e.Source.Revision, true
	r.Root, r.Kustomizations = root, []*Planned{root}
	e.render(ctx, r, root)
	own, wrong, ok := e.ownRoot(root)
	if !ok && e.clusterRoot != nil {
		own, ok = *e.clusterRoot, true
	}
	if ok {
		root.Spec.SourceRef = own.Spec.SourceRef
	}
	changed, err := e.settleRoot(ctx, r, root)
	if err != nil {
		return nil, err
	}
	if changed {
		*root = Planned{Kustomization: root.Kustomization, cluster: e.Cluster, snapshot: r.atHand, Revision: root.Revision, atHand: true}
		e.render(ctx, r, root)
	}
	if ok {
		declared := &Planned{Kustomization: own, cluster: e.Cluster, origin: root.rendered, snapshot: r.atHand, Revision: e.Source.Revision, atHand: true}
		e.checkFields(r, declared, wrong)
		if err := e.load(ctx, r, declared); err != nil {
			return nil, err
		}
		if declared.Suspended || len(declared.Problems) > 0 {
			return declared, nil
		}
		if plainBuild(own) && len(root.Problems) == 0 && root.recalled == nil {
			declared.files, declared.rendered, declared.objects, declared.digest = root.files, root.rendered, root.objects, root.digest
			declared.twin = root.twin
			return declared, nil
		}
		r.Root, r.Kustomizations = declared, []*Planned{declared}
		e.render(ctx, r, declared)
		return declared, nil
	}
	return root, e.load(ctx, r, root)
}

// plainBuild reports whether k renders as its bare path does.
func plainBuild(k flux.Kustomization) bool {
	s := k.Spec
	return s.TargetNamespace == "" && s.NamePrefix == "" && s.NameSuffix == "" && s.PostBuild == nil && s.Decryption == nil &&
		len(s.Patches) == 0 && len(s.Images) == 0 && len(s.Components) == 0 && len(s.BuildMetadata) == 0 &&
		len(k.PatchesStrategicMerge) == 0 && len(k.PatchesJSON6902) == 0
}

// ownRoot finds the Kustomization among what root renders that is root itself:
// of its name, or the only one of its path and source.
func (e *Engine) ownRoot(root *Planned) (k flux.Kustomization, wrong error, ok bool) {
	type own struct {
		k     flux.Kustomization
		wrong error
	}
	var same []own
	for _, o := range root.objects {
		if !flux.IsKustomization(o.GroupVersionKind().GroupKind()) {
			continue
		}
		k, err := flux.ParseKustomization(o)
		if k.Path() != e.Options.Path {
			continue
		}
		if k.Ref == root.Ref {
			return k, err, true
		}
		same = append(same, own{k, err})
	}
	if len(same) == 1 {
		return same[0].k, same[0].wrong, true
	}
	return flux.Kustomization{}, nil, false
}

// children are the Kustomizations that p declares and nobody has before.
func (e *Engine) children(r *Run, p *Planned, seen map[flux.Ref]*Planned) []*Planned {
	if e.away(p) {
		return nil // a Kustomization there is for whoever reconciles there
	}
	var out []*Planned
	for _, o := range p.objects {
		if !flux.IsKustomization(o.GroupVersionKind().GroupKind()) {
			continue
		}
		k, err := flux.ParseKustomization(o)
		if k.Ref == p.Ref {
			continue
		}
		if first, ok := seen[k.Ref]; ok {
			p.problem(reasonBuild, Problem{
				Code: "declared-twice", File: o.File, Line: o.Line, Object: k.Ref.String(),
				Message: fmt.Sprintf("%s is declared here and in %s (%s)", k.Ref, first.Parent.where(), first.Object.Where()),
				Hint:    "rename one of the two, or take it out",
			})
			continue
		}
		c := &Planned{Kustomization: k, Parent: p, cluster: e.Cluster, origin: p.rendered}
		seen[k.Ref] = c
		e.checkFields(r, c, err)
		r.Kustomizations = append(r.Kustomizations, c)
		out = append(out, c)
	}
	return out
}

func (p *Planned) where() string {
	if p == nil {
		return "the root"
	}
	return p.Ref.String()
}

// load reads what the cluster remembers of p, and resolves its source.
func (e *Engine) load(ctx context.Context, r *Run, p *Planned) error {
	if e.Cluster == nil {
		p.record = &cluster.Record{} // nothing remembers, and nothing is to be written
		if p.Object.Unstructured == nil {
			return nil
		}
		if p.compile(); len(p.Problems) == 0 && p.snapshot == nil {
			e.resolveSource(ctx, r, p)
		}
		return nil
	}
	var err error
	if p.record, err = e.recordOf(ctx, r, p.Ref); err != nil {
		return err
	}
	if err := e.keepSpec(p); err != nil {
		return err
	}
	// What Git itself had suspended, Git resumes.
	p.Suspended = (p.Spec.Suspend || p.record.SuspendedByHand(e.Cluster.FieldManager)) && !e.Options.IncludeSuspended
	if p.Suspended || p.Parent == nil && p.Object.Unstructured == nil {
		return nil
	}
	if p.compile(); len(p.Problems) > 0 {
		return nil // what is wrong with the spec may be where it is
	}
	e.place(ctx, r, p)
	if p.snapshot == nil {
		e.resolveSource(ctx, r, p)
	}
	return nil
}

// keepSpec leaves p the spec that the cluster has, where the user named it and
// wants the content of another ref only.
func (e *Engine) keepSpec(p *Planned) error {
	if !e.Options.KeepSpec || p.record.Live == nil || !slices.Contains(e.Options.Names, p.Ref) {
		return nil
	}
	live, err := flux.ParseKustomization(object.Object{Unstructured: p.record.Live})
	if err != nil {
		return err
	}
	live.Object = p.Object // where it stands, for messages
	p.Kustomization = live
	return nil
}

// recordOf is what the cluster remembers of a Kustomization.
func (e *Engine) recordOf(ctx context.Context, r *Run, ref flux.Ref) (*cluster.Record, error) {
	if r.records == nil {
		return e.Cluster.Load(ctx, ref)
	}
	return r.records.Load(ctx, ref)
}

// render fills p's objects, or its problems; or recalls what an earlier run made
// of the same.
func (e *Engine) render(ctx context.Context, r *Run, p *Planned) {
	e.prepare(ctx, r, p)
	e.renderPrepared(ctx, p)
}

// prepare finds the keys and the values that p is rendered with.
func (e *Engine) prepare(ctx context.Context, r *Run, p *Planned) {
	if e.compared != nil && e.compared.spare(ctx, e, r, p) {
		return
	}
	e.gather(ctx, r, p)
}

func (e *Engine) gather(ctx context.Context, r *Run, p *Planned) {
	p.keys = e.keys(ctx, r, p)
	variables, missing := e.variables(ctx, r, p)
	p.problem(reasonBuild, missing...)
	always := p.Spec.PostBuild != nil && p.Spec.PostBuild.SubstituteStrategy == kustomizev1.SubstituteStrategyAlways
	if len(missing) > 0 || len(variables) == 0 && !always {
		variables = nil
	}
	p.variables = variables
}

// renderPrepared is render of what is prepared. It touches nothing but p, so that
// several may be rendered at the same time.
func (e *Engine) renderPrepared(ctx context.Context, p *Planned) {
	if p.spared != nil || p.twin != nil || p.snapshot == nil {
		return // not, or not now
	}
	if len(p.Problems) > 0 || !e.recall(p) {
		e.progress(p.Ref, "rendering "+p.Path())
		e.build(ctx, p)
	}
}

// build renders p.
func (e *Engine) build(ctx context.Context, p *Planned) {
	files, trace := e.Cache.Trace(p.snapshot.FS)
	p.trace = trace
	p.files = secret.Overlay(files, p.keys, secret.OverlayOptions{
		Configured: p.Spec.Decryption != nil && p.Spec.Decryption.Provider == kustomizev1ProviderSOPS,
		IgnoreMAC:  e.Options.IgnoreMAC,
	})
	result, err := render.Build(ctx, render.Request{
		FS: p.files, Kustomization: p.Kustomization, Links: p.snapshot.Links,
		Variables: p.variables, Strict: e.Options.StrictVars, RemoteBases: e.Options.RemoteBases,
	})
	p.problem(reasonBuild, e.sealedProblems(p, func(s secret.Problem) bool { return !e.mayStaySealed(s) })...)
	if err != nil {
		// kustomize cannot rename what has no kind and no name to be read.
		problems := e.sealedWhole(p, func(s secret.Problem) bool { return s.MetadataSealed })
		if len(problems) == 0 || !errors.Is(err, render.ErrPanicked) {
			problems = buildProblems(p, err)
		}
		p.problem(reasonBuild, problems...)
	}
	if result == nil {
		return
	}
	p.rendered, p.digest = result, result.Digest
	for _, o := range result.Objects {
		// What is still sealed has its file's problem already, or may be so.
		if _, sealed := o.Object["sops"]; !sealed || e.Options.KeepSealed || staysSealed(o.Unstructured) {
			p.objects = append(p.objects, o)
		}
	}
	p.problem(reasonBuild, e.openData(p, p.keys)...)
	e.checkSealed(p)
}

// kustomizev1ProviderSOPS is the one provider that the API allows.
const kustomizev1ProviderSOPS = "sops"

// keys are the keys that may open p's files: those at hand, and those of
// spec.decryption.secretRef, in the cluster or in Git.
func (e *Engine) keys(ctx context.Context, r *Run, p *Planned) *secret.Keyring {
	d := p.Spec.Decryption
	if d == nil || d.SecretRef == nil {
		return e.Keys
	}
	where := fmt.Sprintf("secret/%s in %s", d.SecretRef.Name, p.Namespace)
	data, why := e.data(ctx, r, object.ID{Kind: "Secret", Namespace: p.Namespace, Name: d.SecretRef.Name})
	if why != nil {
		return e.Keys.WithMissing(where, why.Error())
	}
	bytes := make(map[string][]byte, len(data))
	for k, v := range data {
		bytes[k] = []byte(v)
	}
	keys, err := e.Keys.With(where, bytes)
	if err != nil {
		return e.Keys.WithMissing(where, err.Error())
	}
	return keys
}

// sealedProblems are those of p's files that do not open and that of counts.
func (e *Engine) sealedProblems(p *Planned, of func(secret.Problem) bool) []Problem {
	var out []Problem
	told := false
	for _, s := range p.files.Problems() {
		if !of(s) {
			continue
		}
		q := Problem{Code: sealedCode(s), File: s.Path, Message: s.Err.Error(), Hint: s.Hint}
		var key *secret.KeyError
		if errors.As(s.Err, &key) {
			if s.Kind == secret.NoKey {
				q.Hint = giveKey
				if d := p.Spec.Decryption; d != nil && d.SecretRef != nil {
					q.Hint += fmt.Sprintf("; for a key in the cluster: kubectl gitops secret install-key --secret %s/%s --age-key-file FILE", p.Namespace, d.SecretRef.Name)
				}
			}
			if !told {
				// Where keys were looked for is the same for all files: said once.
				told = true
				var places []string
				for _, place := range key.Places {
					places = append(places, place.String())
				}
				q.Message += "; keys were looked for in: " + strings.Join(places, "; ")
			}
		}
		out = append(out, q)
	}
	return out
}

// buildProblems takes apart what render joined.
func buildProblems(p *Planned, err error) []Problem {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var out []Problem
		for _, err := range joined.Unwrap() {
			out = append(out, buildProblems(p, err)...)
		}
		return out
	}
	var re *render.Error
	if errors.As(err, &re) {
		return []Problem{{Code: "build", File: re.File, Line: re.Line, Object: re.Object, Message: re.Msg, Hint: re.Fix}}
	}
	problem := Problem{Code: "build", Message: err.Error(), Hint: hintOf(err)}
	if errors.Is(err, fs.ErrNotExist) && problem.Hint == "" {
		problem.Hint = "commit the file, or take the reference out"
	}
	return []Problem{problem}
}
