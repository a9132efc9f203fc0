package plan

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Predict is what a server-side apply of desired by manager would probably make
// of live, for those who may not ask the server. It merges by what the managed
// fields of all managers tell of each field; where they tell nothing, a map is
// merged and a list replaced. Defaults and admission of the server are not
// known here: a field that live has and desired has not stays as it is.
func Predict(desired, live *unstructured.Unstructured, manager string) *unstructured.Unstructured {
	own, _ := applied(live, manager)
	shape, others := map[string]any{}, map[string]any{}
	metadata, _ := live.Object["metadata"].(map[string]any)
	entries, _ := metadata["managedFields"].([]any)
	for _, e := range entries {
		e, _ := e.(map[string]any)
		fields, _ := e["fieldsV1"].(map[string]any)
		overlay(shape, fields)
		if e["manager"] != manager || e["operation"] != string(metav1.ManagedFieldsOperationApply) {
			overlay(others, fields)
		}
	}
	out := live.DeepCopy()
	for field, want := range desired.Object {
		if field == "apiVersion" || field == "kind" {
			continue
		}
		if field == "metadata" {
			want = named(want)
		}
		key := "f:" + field
		if v := merge(nodeOf(own, key), nodeOf(others, key), nodeOf(shape, key), want, out.Object[field], field); v != nil {
			out.Object[field] = v
		}
	}
	for key := range own {
		name, _ := strings.CutPrefix(key, "f:")
		if _, declared := desired.Object[name]; !declared && others[key] == nil {
			delete(out.Object, name)
		}
	}
	return out
}

// overlay adds the fields of b to a.
func overlay(a, b map[string]any) {
	for k, v := range b {
		child, ok := v.(map[string]any)
		if !ok {
			continue
		}
		have, ok := a[k].(map[string]any)
		if !ok {
			have = map[string]any{}
			a[k] = have
		}
		overlay(have, child)
	}
}

func nodeOf(tree map[string]any, key string) map[string]any {
	node, _ := tree[key].(map[string]any)
	return node
}

// merge is the value of one field after the apply; nil where it sets none.
func merge(own, others, shape map[string]any, want, have any, path string) any {
	switch want := want.(type) {
	case nil:
		return have
	case map[string]any:
		had, ok := have.(map[string]any)
		if !ok || shape != nil && isLeaf(shape) && len(want) > 0 && !alike(want, had, path) {
			return want
		}
		out := maps.Clone(had)
		for name, v := range want {
			key := "f:" + name
			if v := merge(nodeOf(own, key), nodeOf(others, key), nodeOf(shape, key), v, had[name], path+"."+name); v != nil {
				out[name] = v
			}
		}
		for key := range own {
			name, field := strings.CutPrefix(key, "f:")
			if _, declared := want[name]; field && !declared && others[key] == nil {
				delete(out, name)
			}
		}
		return out
	case []any:
		had, ok := have.([]any)
		switch {
		case !ok && len(want) == 0:
			return nil
		case ok && alike(want, had, path):
			return had
		case !ok || shape == nil || isLeaf(shape):
			return want
		}
		return mergeList(own, others, shape, want, had, path)
	case string:
		if want == "" && have == nil {
			return nil
		}
	}
	if alike(want, have, path) {
		return have
	}
	return want
}

// mergeList merges the entries of a keyed list or a set: those of both keep
// their place, new ones go to the end.
func mergeList(own, others, shape map[string]any, want, have []any, path string) any {
	var keys []string
	node := map[string]string{} // identity -> key in the trees
	for key := range shape {
		if text, keyed := strings.CutPrefix(key, "k:"); keyed {
			var fields map[string]any
			if json.Unmarshal([]byte(text), &fields) != nil {
				return want
			}
			keys = slices.Sorted(maps.Keys(fields))
			if id, ok := keyOf(fields, keys); ok {
				node[id] = key
			}
		} else if text, scalar := strings.CutPrefix(key, "v:"); scalar {
			var v any
			if json.Unmarshal([]byte(text), &v) == nil {
				id, _ := scalarOf(v)
				node[id] = key
			}
		} else if key != "." {
			return want
		}
	}
	wanted := map[string]any{}
	for _, w := range want {
		id, ok := identify(w, keys)
		if _, twice := wanted[id]; !ok || twice {
			return want
		}
		wanted[id] = w
	}
	var out []any
	for _, h := range have {
		id, ok := identify(h, keys)
		if !ok {
			return want
		}
		key := node[id]
		w, declared := wanted[id]
		switch {
		case declared:
			out = append(out, merge(nodeOf(own, key), nodeOf(others, key), nodeOf(shape, key), w, h, path))
			delete(wanted, id)
		case own[key] == nil || others[key] != nil:
			out = append(out, h)
		}
	}
	for _, w := range want {
		if id, _ := identify(w, keys); wanted[id] != nil {
			out = append(out, w)
		}
	}
	return out
}

// defaulted are the fields that servers add to entries of lists that are taken
// whole: subjects of a binding, claim templates.
var defaulted = []string{"apiGroup", "apiVersion", "kind", "status", "volumeMode", "protocol", "scope", "matchPolicy"}

// alike reports whether have is want as a server would store it: quantities in
// another notation, empty fields left out, defaults added.
func alike(want, have any, path string) bool {
	switch want := want.(type) {
	case map[string]any:
		have, ok := have.(map[string]any)
		if !ok {
			return false
		}
		for k, v := range want {
			if v != nil && v != "" && !alike(v, have[k], path+"."+k) {
				return false
			}
		}
		for k := range have {
			if _, ok := want[k]; !ok && !slices.Contains(defaulted, k) {
				return false
			}
		}
		return true
	case []any:
		have, ok := have.([]any)
		if !ok || len(want) != len(have) {
			return false
		}
		for i := range want {
			if !alike(want[i], have[i], path) {
				return false
			}
		}
		return true
	}
	return same(want, have) || isQuantity(path) && sameQuantity(want, have)
}

// isQuantity tells the fields that hold quantities by their names.
func isQuantity(path string) bool {
	parts := strings.Split(path, ".")
	for i, p := range parts {
		switch p {
		case "limits", "requests", "hard", "capacity":
			return i > 0
		}
	}
	return parts[len(parts)-1] == "sizeLimit"
}

func sameQuantity(a, b any) bool {
	x, okX := a.(string)
	y, okY := b.(string)
	if !okX || !okY {
		return false
	}
	p, errX := resource.ParseQuantity(x)
	q, errY := resource.ParseQuantity(y)
	return errX == nil && errY == nil && p.Cmp(q) == 0
}
