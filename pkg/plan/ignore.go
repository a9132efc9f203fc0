package plan

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/fluxcd/pkg/ssa"
	"github.com/fluxcd/pkg/ssa/jsondiff"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/value"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
)

// Ignore are the drift rules of a Kustomization (spec.ignore), compiled: fields
// that others may set without a sync setting them back. nil has none.
type Ignore []ignoreRule

type ignoreRule struct {
	selector *jsondiff.SelectorRegex // nil matches every object
	paths    [][]string              // JSON pointers, unescaped
}

// CompileIgnore compiles the rules of k. What does not compile is a
// *flux.InvalidError.
func CompileIgnore(k flux.Kustomization) (Ignore, error) {
	var out Ignore
	var wrong []flux.FieldError
	for i, rule := range k.Spec.Ignore {
		at := fmt.Sprintf("spec.ignore[%d]", i)
		compiled := ignoreRule{}
		if t := rule.Target; t != nil {
			selector, err := jsondiff.NewSelectorRegex(&jsondiff.Selector{Group: t.Group, Version: t.Version, Kind: t.Kind,
				Name: t.Name, Namespace: t.Namespace, LabelSelector: t.LabelSelector, AnnotationSelector: t.AnnotationSelector})
			if err != nil {
				wrong = append(wrong, flux.FieldError{Path: at + ".target", Msg: err.Error()})
			}
			compiled.selector = selector
		}
		for j, p := range rule.Paths {
			if !strings.HasPrefix(p, "/") || p == "/" {
				wrong = append(wrong, flux.FieldError{Path: fmt.Sprintf("%s.paths[%d]", at, j), Msg: fmt.Sprintf("%q is not a JSON pointer to a field", p), Fix: "as in /spec/replicas"})
				continue
			}
			steps := strings.Split(p[1:], "/")
			for n, s := range steps {
				steps[n] = strings.ReplaceAll(strings.ReplaceAll(s, "~1", "/"), "~0", "~")
			}
			compiled.paths = append(compiled.paths, steps)
		}
		out = append(out, compiled)
	}
	if len(wrong) > 0 {
		return nil, &flux.InvalidError{Ref: k.Ref, Fields: wrong}
	}
	return out, nil
}

// pathsFor are the ignored fields of u.
func (ig Ignore) pathsFor(u *unstructured.Unstructured) [][]string {
	var out [][]string
	for _, r := range ig {
		if r.selector.MatchUnstructured(u) {
			out = append(out, r.paths...)
		}
	}
	return out
}

// Decide is Decide without the fields that are ignored.
func (ig Ignore) Decide(live, result *unstructured.Unstructured) (Action, string) {
	if live == nil {
		return Decide(live, result)
	}
	paths := ig.pathsFor(result)
	if len(paths) == 0 {
		return Decide(live, result)
	}
	live, result = live.DeepCopy(), result.DeepCopy()
	for _, p := range paths {
		removeAt(live.Object, p)
		removeAt(result.Object, p)
	}
	return Decide(live, result)
}

// Payload is what to apply instead of desired, where it would set back an
// ignored field that has drifted: a field that another apply owns is left out,
// any other is given the value that the cluster has (Flux's rule: computeDriftedPaths).
// nil where nothing ignored has drifted.
func (ig Ignore) Payload(desired, live, result *unstructured.Unstructured, manager string) *unstructured.Unstructured {
	var out *unstructured.Unstructured
	for _, p := range ig.pathsFor(result) {
		have, inLive := valueAt(live.Object, p)
		want, inResult := valueAt(result.Object, p)
		if inLive == inResult && equality.Semantic.DeepEqual(have, want) {
			continue
		}
		if out == nil {
			out = desired.DeepCopy()
		}
		if !inLive || ownedByOther(live, p, manager) {
			removeAt(out.Object, p)
			continue
		}
		setAt(out.Object, p, have)
	}
	return out
}

// ownedByOther reports whether an apply of another manager owns the field at p.
func ownedByOther(live *unstructured.Unstructured, p []string, manager string) bool {
	for _, e := range live.GetManagedFields() {
		if e.Manager == manager || e.Operation != metav1.ManagedFieldsOperationApply || e.Subresource != "" || e.FieldsV1 == nil {
			continue
		}
		if set, err := ssa.FieldsToSet(*e.FieldsV1); err == nil && holds(&set, live.Object, p) {
			return true
		}
	}
	return false
}

// holds reports whether set has the field at p of v: an index of a list is
// looked up by the key of its item.
func holds(set *fieldpath.Set, v any, p []string) bool {
	name := p[0]
	var next any
	var matches func(fieldpath.PathElement) bool
	switch v := v.(type) {
	case map[string]any:
		next = v[name]
		matches = func(e fieldpath.PathElement) bool { return e.FieldName != nil && *e.FieldName == name }
	case []any:
		i, err := strconv.Atoi(name)
		if err != nil || i < 0 || i >= len(v) {
			return false
		}
		next = v[i]
		item, _ := v[i].(map[string]any)
		matches = func(e fieldpath.PathElement) bool {
			if e.Key == nil {
				return e.Index != nil && *e.Index == i || e.Value != nil && equality.Semantic.DeepEqual((*e.Value).Unstructured(), v[i])
			}
			return !slices.ContainsFunc(*e.Key, func(f value.Field) bool { return !equality.Semantic.DeepEqual(item[f.Name], f.Value.Unstructured()) })
		}
	default:
		return false
	}
	found := false
	if len(p) == 1 {
		set.Members.Iterate(func(e fieldpath.PathElement) { found = found || matches(e) })
		set.Children.Iterate(func(e fieldpath.PathElement) { found = found || matches(e) })
		return found
	}
	set.Children.Iterate(func(e fieldpath.PathElement) {
		if child, ok := set.Children.Get(e); ok && matches(e) {
			found = found || holds(child, next, p[1:])
		}
	})
	return found
}

func valueAt(v any, p []string) (any, bool) {
	for _, name := range p {
		switch in := v.(type) {
		case map[string]any:
			next, ok := in[name]
			if !ok {
				return nil, false
			}
			v = next
		case []any:
			i, err := strconv.Atoi(name)
			if err != nil || i < 0 || i >= len(in) {
				return nil, false
			}
			v = in[i]
		default:
			return nil, false
		}
	}
	return v, true
}

// removeAt takes the field at p out, if it is there.
func removeAt(root map[string]any, p []string) {
	parent, ok := valueAt(root, p[:len(p)-1])
	last := p[len(p)-1]
	switch in := parent.(type) {
	case map[string]any:
		delete(in, last)
	case []any:
		if i, err := strconv.Atoi(last); ok && err == nil && i >= 0 && i < len(in) {
			setAt(root, p[:len(p)-1], slices.Delete(slices.Clone(in), i, i+1))
		}
	}
}

// setAt sets the field at p where what it is in is there.
func setAt(root map[string]any, p []string, to any) {
	parent, _ := valueAt(root, p[:len(p)-1])
	last := p[len(p)-1]
	switch in := parent.(type) {
	case map[string]any:
		in[last] = to
	case []any:
		if i, err := strconv.Atoi(last); err == nil && i >= 0 && i < len(in) {
			in[i] = to
		}
	}
}
