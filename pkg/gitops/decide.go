package gitops

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cluster"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/plan"
)

// decideAll decides the change of every object of which that can be told before
// the run begins.
func (e *Engine) decideAll(ctx context.Context, r *Run) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(e.concurrency())
	found := map[*Planned][][]Problem{}
	for _, p := range r.Kustomizations {
		if p.Suspended {
			continue
		}
		problems := make([][]Problem, len(p.Changes))
		found[p] = problems
		for i := range p.Changes {
			c := &p.Changes[i]
			full := r.live.of(p, c.Entry())
			if e.stillKnown(c, full) {
				continue
			}
			c.Live = full
			if c.Live != nil && e.suspendedByHand(c.Live) && c.Object != nil {
				keepSuspended(c.Object.Unstructured)
			}
			if c.Action == plan.Skip {
				continue
			}
			if c.Pending != "" {
				c.Action, c.Reason = plan.Create, "once "+c.Pending+" is made in this run"
				continue
			}
			if broken(p, c.ID) {
				continue // its fields were refused already, with a better word for them
			}
			g.Go(func() error {
				if e.Options.KeepSealed && (isSealed(c.Object.Unstructured) || p.closed[c.ID]) {
					return e.decideSealed(gctx, r, p, c)
				}
				var err error
				if problems[i], err = e.decide(gctx, p, c, r.live.in(p)); err == nil && len(problems[i]) == 0 {
					problems[i], err = e.checkOwner(gctx, r, p, c)
				}
				return err
			})
		}
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for p, problems := range found {
		for _, ps := range problems {
			p.problem(reasonFailed, ps...)
		}
	}
	return nil
}

// broken reports whether an object was refused before the server was asked.
func broken(p *Planned, id object.ID) bool {
	return slices.ContainsFunc(p.Problems, func(q Problem) bool {
		return q.Object == id.String() && q.Code == "unknown-field" ||
			id.Namespace != "" && q.Code == "no-namespace" && q.Object == "namespace/"+id.Namespace
	})
}

// decide fills in the change of one object: by a proof, or by the server's
// answer to a dry run. o is what was seen of the cluster; nil where it has
// changed since, and only the server knows. A refusal is a problem of the
// Kustomization; an error means the cluster cannot be asked.
func (e *Engine) decide(ctx context.Context, p *Planned, c *plan.Change, o *observed) ([]Problem, error) {
	if reason := plan.SkipReason(c.Object.Unstructured, c.Live); reason != "" && c.Live != nil {
		c.Action, c.Reason = plan.Skip, reason
		return nil, nil
	}
	if e.proved(p, c, o) {
		c.Action, c.Reason, c.Local = plan.Unchanged, "", true
		e.remember(p, c, c.Live, o)
		return nil, nil
	}
	if e.Options.Verify == VerifyLocal && (c.Live != nil || e.Options.Guess) {
		problems, err := e.predict(ctx, p, c)
		if err != nil || len(problems) > 0 || e.Options.Guess || !c.Action.Writes() {
			return problems, err
		}
		c.Local, c.Cleanup, c.Forfeited = false, nil, nil // it is to be written: the server has a say
	}
	result, err := p.cluster.DryRun(ctx, c.Object.Unstructured)
	if e.Options.Guess && p.cluster.Impersonated == "" && cluster.MayNot(err) {
		return e.predict(ctx, p, c)
	}
	exists := err == nil && result.GetResourceVersion() != "" || cluster.IsImmutable(err)
	if exists && c.Live == nil {
		// Nobody's, or another's: the labels did not find it.
		var gerr error
		if c.Live, gerr = p.cluster.Get(ctx, c.ID, c.Version); gerr != nil {
			return nil, gerr
		}
	}
	if reason := plan.SkipReason(c.Object.Unstructured, c.Live); reason != "" {
		c.Action, c.Reason = plan.Skip, reason
		return nil, nil
	}
	if cluster.IsImmutable(err) && c.Live != nil && e.mayRecreate(p, c) {
		if err := p.cluster.DryRunCreate(ctx, c.Object.Unstructured); err != nil {
			return refused(p, c, err)
		}
		c.Action, c.Reason = plan.Recreate, "a field that differs cannot be changed in place"
		return nil, nil
	}
	if err != nil {
		return refused(p, c, err)
	}
	c.Result = result
	c.Action, c.Reason = p.ignore.Decide(c.Live, result)
	if c.Live != nil && !flux.Marked(c.Object, flux.SSAKey, "Merge") && !flux.Marked(c.Live, flux.SSAKey, "Merge") && !e.suspendedByHand(c.Live) {
		owned := cluster.Owned(c.Live, c.Result)
		if c.Cleanup, err = p.cluster.Cleanup(owned); err != nil {
			return nil, err
		}
		if c.Cleanup != nil {
			c.Forfeited = plan.Forfeit(owned, c.Result, p.cluster.FieldManager, p.cluster.TakesOver)
		}
		if c.Cleanup != nil && c.Action == plan.Unchanged {
			c.Action, c.Reason = plan.Configure, "takes over the fields that kubectl owns"
		}
	}
	if c.Action == plan.Configure && c.Live != nil {
		if c.Payload = p.ignore.Payload(c.Object.Unstructured, c.Live, result, p.cluster.FieldManager); c.Payload != nil {
			if c.Result, err = p.cluster.DryRun(ctx, c.Payload); err != nil {
				return refused(p, c, err)
			}
		}
	}
	if c.Action == plan.Unchanged {
		e.remember(p, c, c.Live, o)
	}
	return nil, nil
}

// suspendedByHand reports whether live is a Flux object that somebody has
// suspended in the cluster. Taking over what kubectl owns would resume it.
func (e *Engine) suspendedByHand(live *unstructured.Unstructured) bool {
	suspended, _, _ := unstructured.NestedBool(live.Object, "spec", "suspend")
	return suspended && flux.IsFluxGroup(live.GroupVersionKind().Group) && !cluster.Owns(live, e.Cluster.FieldManager, "spec", "suspend")
}

// keepSuspended takes suspend: false out of what is declared, so that to apply it
// does not end what somebody began in the cluster.
func keepSuspended(desired *unstructured.Unstructured) {
	if suspend, set, _ := unstructured.NestedBool(desired.Object, "spec", "suspend"); set && !suspend {
		unstructured.RemoveNestedField(desired.Object, "spec", "suspend")
	}
}

func (e *Engine) mayRecreate(p *Planned, c *plan.Change) bool {
	if contains(ProtectedKinds, c.ID.Kind) {
		return false // they take data along, whatever is forced
	}
	return e.Options.Force || p.Spec.Force || flux.Marked(c.Object, flux.ForceKey, "enabled") ||
		c.Live != nil && flux.Marked(c.Live, flux.ForceKey, "enabled")
}

// refused turns the server's no into problems, one a reason.
func refused(p *Planned, c *plan.Change, err error) ([]Problem, error) {
	var no *cluster.Refusal
	if !errors.As(err, &no) {
		return nil, err
	}
	var out []Problem
	doc, _ := p.rendered.Document(*c.Object)
	hint := no.Fix
	if contains(ProtectedKinds, c.ID.Kind) && cluster.IsImmutable(err) {
		hint = fmt.Sprintf("--force never recreates a %s, which takes data along: put the old value back, or delete it by hand", c.ID.Kind)
	}
	for _, reason := range no.Reasons {
		problem := Problem{Code: "refused", File: c.Object.File, Line: c.Object.Line, Object: c.ID.String(), Message: reason, Hint: hint}
		if path, _, ok := strings.Cut(reason, ": "); ok && doc.Node != nil && !strings.Contains(path, " ") {
			problem.Line = object.LineOf(doc.Node, path)
		}
		out = append(out, problem)
	}
	return out, nil
}
