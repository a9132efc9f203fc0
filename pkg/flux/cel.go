package flux

import (
	"context"
	"fmt"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/fluxcd/pkg/runtime/cel"
	celgo "github.com/google/cel-go/cel"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
)

// HealthRules are spec.healthCheckExprs, compiled by Flux's own code (RFC-0009).
// The zero value has none.
type HealthRules struct {
	// By group and kind; without a kind for all of the group that has no rule of
	// its own. The version does not count.
	by map[schema.GroupKind]healthRule
}

type healthRule struct {
	*cel.StatusEvaluator
	path string // spec.healthCheckExprs[0]
}

// HealthRules compiles spec.healthCheckExprs. What does not compile is an
// *InvalidError, which Flux calls InvalidCELExpression.
func (k Kustomization) HealthRules() (HealthRules, error) {
	rules := HealthRules{by: map[schema.GroupKind]healthRule{}}
	var wrong []FieldError
	for i, check := range k.Spec.HealthCheckExprs {
		path := fmt.Sprintf("spec.healthCheckExprs[%d]", i)
		gk := schema.FromAPIVersionAndKind(check.APIVersion, check.Kind).GroupKind()
		if first, twice := rules.by[gk]; twice {
			wrong = append(wrong, FieldError{Path: path, Msg: "is for the same kind as " + first.path, Fix: "keep one of the two"})
			continue
		}
		// One by one, to tell which does not compile.
		bad := false
		for _, e := range []struct{ field, expr string }{{"current", check.Current}, {"inProgress", check.InProgress}, {"failed", check.Failed}} {
			if e.expr == "" {
				continue
			}
			if _, err := cel.NewExpression(e.expr); err != nil {
				bad = true
				wrong = append(wrong, FieldError{Path: path + "." + e.field, Msg: err.Error(), Fix: "the language is CEL: https://cel.dev"})
			}
		}
		if bad {
			continue
		}
		evaluator, err := cel.NewStatusEvaluator(&check.HealthCheckExpressions)
		if err != nil {
			wrong = append(wrong, FieldError{Path: path, Msg: err.Error()})
			continue
		}
		rules.by[gk] = healthRule{evaluator, path}
	}
	if len(wrong) > 0 {
		return HealthRules{}, &InvalidError{k.Ref, wrong}
	}
	return rules, nil
}

// Of computes the health of one live object: by the rule for its kind, else for
// its group, else as object.HealthOf. An expression that fails on what the
// object has is not known to be ready, and may be later.
func (h HealthRules) Of(ctx context.Context, u *unstructured.Unstructured) object.Health {
	gk := u.GroupVersionKind().GroupKind()
	rule, ok := h.by[gk]
	if !ok {
		rule, ok = h.by[schema.GroupKind{Group: gk.Group}]
	}
	if !ok || u.GetDeletionTimestamp() != nil {
		return object.HealthOf(u)
	}
	result, err := rule.Evaluate(ctx, u)
	if err != nil {
		return object.Health{Status: status.UnknownStatus, Message: rule.path + ": " + err.Error()}
	}
	words := map[status.Status]string{status.CurrentStatus: "current", status.FailedStatus: "failed", status.InProgressStatus: "in progress"}
	return object.Health{Status: result.Status, Message: words[result.Status] + " by " + rule.path}
}

// ReadyExpr is a dependsOn[].readyExpr, compiled as kustomize-controller does:
// a boolean of the variables self and dep, the two Kustomizations.
type ReadyExpr struct{ expr *cel.Expression }

// ReadyExprs compiles the readyExpr of every dependency that has one.
func (k Kustomization) ReadyExprs() (map[Ref]ReadyExpr, error) {
	out := map[Ref]ReadyExpr{}
	var wrong []FieldError
	refs := k.DependsOn()
	for i, d := range k.Spec.DependsOn {
		if d.ReadyExpr == "" {
			continue
		}
		e, err := cel.NewExpression(d.ReadyExpr, cel.WithCompile(), cel.WithOutputType(celgo.BoolType), cel.WithStructVariables("self", "dep"))
		if err != nil {
			wrong = append(wrong, FieldError{Path: fmt.Sprintf("spec.dependsOn[%d].readyExpr", i), Msg: err.Error(),
				Fix: "a boolean in CEL, of self and dep: dep.metadata.labels['v'] == self.metadata.labels['v']"})
			continue
		}
		out[refs[i]] = ReadyExpr{e}
	}
	if len(wrong) > 0 {
		return nil, &InvalidError{k.Ref, wrong}
	}
	return out, nil
}

// Ready evaluates e. self and dep are the Kustomizations as the API has them.
func (e ReadyExpr) Ready(ctx context.Context, self, dep map[string]any) (bool, error) {
	return e.expr.EvaluateBoolean(ctx, map[string]any{"self": self, "dep": dep})
}

func (e ReadyExpr) String() string { return e.expr.String() }
