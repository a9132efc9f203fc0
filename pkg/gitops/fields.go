package gitops

import (
	"context"
	"fmt"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/plan"
)

// unknownField is the code of a field that the API does not have.
const unknownField = "unknown-field"

// checkFields tells what is wrong with the fields of p, each at its line. wrong
// is what reading it said. A field that its version of the API does not have is
// a slip, which Flux would drop without a word; in a version that is newer than
// what is known here it may be right.
func (e *Engine) checkFields(r *Run, p *Planned, wrong error) {
	if wrong != nil {
		p.invalid("invalid-kustomization", reasonBuild, wrong)
		p.Spec.DependsOn = nil // nothing is to be waited for
	}
	for _, f := range p.Unknown {
		q := p.fieldProblem(unknownField, f.Path, "is not a field of a Kustomization "+p.Object.GroupVersionKind().Version)
		q.Hint = f.Fix
		if p.Newer() || e.allowed(unknownField) {
			q.Message += "; it is ignored"
			r.warn(e, Warning(q))
			continue
		}
		if q.Hint == "" {
			q.Hint = "take it out; where a newer Flux has it: --allow " + unknownField
		}
		p.problem(reasonBuild, q)
	}
}

// compile compiles what is code in the spec of p.
func (p *Planned) compile() {
	var err error
	if p.rules, err = p.HealthRules(); err != nil {
		p.invalid("invalid-cel", reasonCEL, err)
	}
	if p.ready, err = p.ReadyExprs(); err != nil {
		p.invalid("invalid-cel", reasonCEL, err)
	}
	if p.ignore, err = plan.CompileIgnore(p.Kustomization); err != nil {
		p.invalid("invalid-kustomization", reasonBuild, err)
	}
}

// invalid turns err into problems, one a field.
func (p *Planned) invalid(code, reason string, err error) {
	for _, f := range flux.Invalid(err) {
		q := p.fieldProblem(code, f.Path, f.Msg)
		q.Hint = f.Fix
		p.problem(reason, q)
	}
}

// readyByExpr tells why a dependency is not ready by its readyExpr, "" if it is.
func (t *task) readyByExpr(ctx context.Context, expr flux.ReadyExpr, ref flux.Ref) string {
	self, err := t.asObject(ctx, t.Ref)
	if err != nil {
		return fmt.Sprintf("dependency %s: %s", ref.Name, err)
	}
	dep, err := t.asObject(ctx, ref)
	if err != nil {
		return fmt.Sprintf("dependency %s: %s", ref.Name, err)
	}
	ready, err := expr.Ready(ctx, self, dep)
	switch {
	case err != nil:
		return fmt.Sprintf("dependency %s: its readyExpr: %s", ref.Name, err)
	case !ready:
		return fmt.Sprintf("dependency %s is not ready by its readyExpr: %s", ref.Name, expr)
	}
	return ""
}

// asObject is a Kustomization as CEL sees it: as the API has it, in v1. Where the
// cluster does not have the kind it is put together from Git and the record.
func (t *task) asObject(ctx context.Context, ref flux.Ref) (map[string]any, error) {
	rec, err := t.e.Cluster.Load(ctx, ref)
	if err != nil {
		return nil, err
	}
	k := kustomizev1.Kustomization{}
	if rec.Live != nil {
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(rec.Live.Object, &k); err != nil {
			return nil, fmt.Errorf("%s: %w", ref, err)
		}
	} else {
		k.Name, k.Namespace = ref.Name, ref.Namespace
		for _, p := range t.r.Kustomizations {
			if p.Ref != ref {
				continue
			}
			k.Spec = p.Spec
			if p.Object.Unstructured != nil {
				k.Labels, k.Annotations = p.Object.GetLabels(), p.Object.GetAnnotations()
			}
		}
	}
	k.APIVersion, k.Kind = kustomizev1.GroupVersion.String(), kustomizev1.KustomizationKind
	k.Status = rec.Status
	return runtime.DefaultUnstructuredConverter.ToUnstructured(&k)
}
