package gitops

import (
	"context"
	"io/fs"
	"maps"
	"strconv"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/plan"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/secret"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/source"
)

// isSealed reports whether o is a manifest that SOPS has sealed and nobody opened,
// although it was to be.
func isSealed(o *unstructured.Unstructured) bool {
	if o == nil {
		return false
	}
	sops, _ := o.Object["sops"].(map[string]any)
	return sops["mac"] != nil && !staysSealed(o)
}

// giveKey is what to type where a key is missing.
const giveKey = "export SOPS_AGE_KEY_FILE=FILE, or --age-key-file FILE"

// closedError is why there is no data of an object: no key at hand opens it.
type closedError struct{ object object.Object }

func (e *closedError) Error() string {
	return "is sealed in " + e.object.Where() + ", and no key at hand opens it"
}

// Hint is what to type.
func (e *closedError) Hint() string { return giveKey }

// checkSealed refuses, where a cluster is asked, what no key opens and nobody can
// find there: what a generator makes is named after what it holds, and a manifest
// may be sealed to its kind and name.
func (e *Engine) checkSealed(p *Planned) {
	if !e.Options.KeepSealed || e.Cluster == nil || len(p.files.Problems()) == 0 {
		return
	}
	closed := map[string]bool{}
	for _, q := range p.files.Problems() {
		closed[q.Path] = e.mayStaySealed(q)
	}
	unnamed := map[string]bool{}
	var known []object.Object
	for _, o := range p.objects {
		if isSealed(o.Unstructured) && sealedIdentity(o.Unstructured) && closed[o.File] {
			unnamed[o.File] = true
			continue
		}
		known = append(known, o)
		if isSealed(o.Unstructured) || staysSealed(o.Unstructured) || p.closed[o.ID()] {
			continue
		}
		sealed := false
		leaves(o.Object, nil, func(_ []string, text string) { sealed = sealed || object.Sealed(text) })
		if sealed {
			p.problem(reasonBuild, Problem{Code: "sealed-no-key", File: o.File, Line: o.Line, Object: o.ID().String(),
				Message: "is generated from what no key at hand opens", Hint: giveKey})
		}
	}
	p.objects = known
	p.problem(reasonBuild, e.sealedWhole(p, func(s secret.Problem) bool { return unnamed[s.Path] })...)
}

// sealedWhole are the problems of files that may stay sealed, but for what they are
// called: of those of them that count.
func (e *Engine) sealedWhole(p *Planned, of func(secret.Problem) bool) []Problem {
	out := e.sealedProblems(p, func(s secret.Problem) bool { return e.mayStaySealed(s) && of(s) })
	for i := range out {
		out[i].Message += "; its kind or its name is sealed too, so that without a key nobody can tell what it is in the cluster"
	}
	return out
}

// sealedIdentity reports whether a part of what o is called was sealed with it.
func sealedIdentity(o *unstructured.Unstructured) bool {
	return object.Sealed(o.GetAPIVersion()) || object.Sealed(o.GetKind()) || object.Sealed(o.GetName()) || object.Sealed(o.GetNamespace())
}

// sealedVariables are the variables of a sealed Secret or ConfigMap that no key at
// hand opens, for a plan that is only shown: those that the cluster has of it, with
// a warning; where two states of the source are compared each is what it is sealed
// to.
func (e *Engine) sealedVariables(ctx context.Context, r *Run, id object.ID, closed *closedError) (map[string]string, error) {
	if !e.Options.KeepSealed || e.Cluster == nil && e.compared == nil {
		return nil, closed
	}
	if e.Cluster == nil {
		out := map[string]string{}
		for _, field := range []string{"data", "stringData"} {
			m, _, _ := unstructured.NestedStringMap(closed.object.Object, field)
			maps.Copy(out, m)
		}
		return out, nil
	}
	live, err := e.lookUp(ctx, id)
	if err != nil {
		return nil, nameless(err)
	}
	if live == nil {
		return nil, closed
	}
	r.warn(e, Warning{Code: "sealed-variables", File: closed.object.File, Line: closed.object.Line, Object: id.String(),
		Message: "no key at hand opens it: the variables that it gives are taken as the cluster has them", Hint: closed.Hint()})
	return decodeData(live), nil
}

// leaves calls f for each text in v, with its path.
func leaves(v any, at []string, f func(at []string, text string)) {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			leaves(e, append(at[:len(at):len(at)], k), f)
		}
	case []any:
		for i, e := range v {
			leaves(e, append(at[:len(at):len(at)], strconv.Itoa(i)), f)
		}
	case string:
		f(at, v)
	}
}

// set puts a value at a path that is there.
func set(v any, at []string, value any) {
	for i, step := range at {
		last := i == len(at)-1
		switch m := v.(type) {
		case map[string]any:
			if last {
				m[step] = value
				return
			}
			v = m[step]
		case []any:
			n, err := strconv.Atoi(step)
			if err != nil || n >= len(m) {
				return
			}
			if last {
				m[n] = value
				return
			}
			v = m[n]
		default:
			return
		}
	}
}

// at is the value at a path, nil for none.
func at(v any, path []string) any {
	for _, step := range path {
		switch m := v.(type) {
		case map[string]any:
			v = m[step]
		case []any:
			n, err := strconv.Atoi(step)
			if err != nil || n >= len(m) {
				return nil
			}
			v = m[n]
		default:
			return nil
		}
	}
	return v
}

// decideSealed decides an object that no key at hand opens, for a plan that is
// only shown. What is in clear is compared with the cluster; what is sealed with
// what was sealed in the revision that the cluster has, ciphertext with ciphertext.
func (e *Engine) decideSealed(ctx context.Context, r *Run, p *Planned, c *plan.Change) error {
	const sealed = "sealed, and no key at hand opens it"
	c.Local = true
	if c.Live == nil {
		var err error
		if c.Live, err = p.cluster.Get(ctx, c.ID, c.Version); err != nil {
			return err
		}
	}
	if c.Live == nil {
		c.Action, c.Reason = plan.Create, "not in the cluster; "+sealed
		return nil
	}
	if reason := plan.SkipReason(c.Object.Unstructured, c.Live); reason != "" {
		c.Action, c.Reason = plan.Skip, reason
		return nil
	}
	was := r.appliedDocument(ctx, e, p, *c.Object)
	desired := c.Object.DeepCopy()
	unstructured.RemoveNestedField(desired.Object, "sops")
	stringData, _ := desired.Object["stringData"].(map[string]any)
	changed := false
	leaves(c.Object.Object, nil, func(path []string, text string) {
		if path[0] == "sops" || !object.Sealed(text) {
			return
		}
		value := any(text)
		place := path
		if stringData != nil && path[0] == "stringData" {
			place = append([]string{"data"}, path[1:]...)
		}
		switch live := at(c.Live.Object, place); {
		case was != nil && at(was, path) != any(text):
			changed = true
		case live != nil:
			value = live
		}
		if place[0] == path[0] {
			set(desired.Object, path, value)
			return
		}
		delete(stringData, path[len(path)-1])
		_ = unstructured.SetNestedField(desired.Object, value, place...)
	})
	if len(stringData) == 0 {
		delete(desired.Object, "stringData")
	}
	c.Result = plan.Predict(desired, c.Live, p.cluster.FieldManager)
	c.Action, c.Reason = p.ignore.Decide(c.Live, c.Result)
	switch {
	case changed:
		c.Reason = "sealed, changed"
	case c.Action != plan.Unchanged:
		c.Reason += "; " + sealed
	case was == nil:
		c.Action, c.Reason = plan.Skip, sealed+": what was applied of it is not known"
	}
	return nil
}

// appliedDocument is what the source had in the place of o, sealed as it was, in
// the revision that the cluster has; nil where that is not known.
func (r *Run) appliedDocument(ctx context.Context, e *Engine, p *Planned, o object.Object) map[string]any {
	commit := ""
	if p.record != nil && p.atHand {
		commit = source.CommitOf(p.record.Status.LastAppliedRevision)
	}
	now, ok := p.rendered.Document(o)
	if commit == "" || !ok {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	snap, known := r.applied[commit]
	if !known {
		var err error
		if snap, err = e.Source.Base(ctx, commit, true); err != nil {
			snap = nil
		}
		r.applied[commit] = snap
	}
	if snap == nil {
		return nil
	}
	data, err := fs.ReadFile(snap.FS, o.File)
	if err != nil {
		return nil
	}
	docs, _ := object.Documents(o.File, data)
	for _, d := range docs {
		var content map[string]any
		if d.Kind == now.Kind && d.Name == now.Name && d.Namespace == now.Namespace && d.Node.Decode(&content) == nil {
			return content
		}
	}
	return nil
}
