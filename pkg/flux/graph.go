package flux

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
)

// GraphError is an order that Git itself makes impossible: decided before
// anything is written.
type GraphError struct {
	// Refs are the Kustomizations at fault, a cycle in its order.
	Refs []Ref
	// Where is the file:line of the dependsOn at fault, "" if unknown.
	Where string
	Msg   string
	Fix   string
}

func (e *GraphError) Error() string {
	if e.Where != "" {
		return e.Where + ": " + e.Msg
	}
	return e.Msg
}

// Hint is what to do about it.
func (e *GraphError) Hint() string { return e.Fix }

// CheckOrder finds every missing dependency and every cycle of dependsOn among
// ks. elsewhere tells of a name that Git does not declare whether it exists
// all the same (in the cluster). The errors come in the order of ks.
func CheckOrder(ks []Kustomization, elsewhere func(Ref) bool) []*GraphError {
	byRef := make(map[Ref]Kustomization, len(ks))
	for _, k := range ks {
		byRef[k.Ref] = k
	}
	var errs []*GraphError
	for _, k := range ks {
		for _, d := range k.DependsOn() {
			if _, ok := byRef[d]; ok || elsewhere(d) {
				continue
			}
			fix := "declare it, or take it out of dependsOn"
			if near := nearest(d, ks); near != "" {
				fix = fmt.Sprintf("did you mean %s?", near)
			}
			errs = append(errs, &GraphError{
				Refs:  []Ref{k.Ref},
				Where: k.Object.Where(),
				Msg:   fmt.Sprintf("%s depends on %s, which nothing declares", k.Ref, d),
				Fix:   fix,
			})
		}
	}
	return append(errs, cycles(ks, byRef)...)
}

func cycles(ks []Kustomization, byRef map[Ref]Kustomization) []*GraphError {
	var errs []*GraphError
	const (
		open = iota + 1
		done
	)
	state := map[Ref]int{}
	var stack []Ref
	var visit func(Ref)
	visit = func(r Ref) {
		k, ok := byRef[r]
		if !ok || state[r] == done {
			return
		}
		if state[r] == open {
			cycle := slices.Clone(stack[slices.Index(stack, r):])
			names := make([]string, 0, len(cycle)+1)
			for _, c := range append(cycle, r) {
				names = append(names, c.Name)
			}
			errs = append(errs, &GraphError{
				Refs:  cycle,
				Where: k.Object.Where(),
				Msg:   "dependsOn goes round in a circle: " + strings.Join(names, " → "),
				Fix:   "take one of these out of the dependsOn of another",
			})
			return
		}
		state[r] = open
		stack = append(stack, r)
		for _, d := range k.DependsOn() {
			visit(d)
		}
		stack = stack[:len(stack)-1]
		state[r] = done
	}
	for _, k := range ks {
		visit(k.Ref)
	}
	return errs
}

// nearest is the declared name that d was probably meant to be: the same name
// elsewhere, or one a few letters away.
func nearest(d Ref, ks []Kustomization) string {
	best, at := "", 3
	for _, k := range ks {
		if k.Name == d.Name {
			return fmt.Sprintf("%s (namespace %s)", k.Name, k.Namespace)
		}
		if n := object.Distance(d.Name, k.Name); n < at && n < len(d.Name) {
			best, at = k.Name, n
		}
	}
	return best
}
