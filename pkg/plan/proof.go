package plan

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Doubt is why an object could not be proved to be in sync without asking the
// server: "spec.replicas differs". "" is the proof.
type Doubt string

// InSync proves, without a request, that a server-side apply of desired by
// manager would change nothing of live, or says what stands in the way. Live is
// the whole object as a GET in desired's version gives it, managed fields
// included.
//
// The proof rests on what the server itself wrote down: the field set of
// manager's last apply is a tree that says of each field whether it is merged
// (it has children: f:name of a map, k:{…} of a keyed list, v:… of a set) or
// taken whole (a leaf). An apply removes what that tree has and desired has not,
// and sets what desired has. So where desired has exactly the tree's fields,
// each with the value that live has, in the same order, it does neither. No
// schema is needed: a field of which the tree says nothing is a doubt.
//
// It holds where nothing but the apply itself changes what is stored: the caller
// keeps kinds under a mutating webhook or policy out. A doubt is no difference:
// quantities in another notation, defaults inside of what is taken whole and
// defaulted keys of lists are the same to a server, and doubts here.
func InSync(desired, live *unstructured.Unstructured, manager string) Doubt {
	if desired.GetAPIVersion() != live.GetAPIVersion() || desired.GetKind() != live.GetKind() {
		return "another version"
	}
	if live.GetDeletionTimestamp() != nil {
		return "is being deleted"
	}
	if desired.GetGenerateName() != "" {
		return "metadata.generateName"
	}
	if _, aggregated := desired.Object["aggregationRule"]; aggregated {
		// Its rules are dropped by the apply and come back from a controller.
		return "aggregationRule"
	}
	tree, doubt := applied(live, manager)
	if doubt != "" {
		return doubt
	}
	p := proof{desired.GroupVersionKind().GroupKind()}
	for _, field := range slices.Sorted(maps.Keys(desired.Object)) {
		if field == "apiVersion" || field == "kind" {
			continue
		}
		want, have := desired.Object[field], live.Object[field]
		if field == "metadata" {
			want, have = named(want), named(have)
		}
		node, ok := tree["f:"+field].(map[string]any)
		if !ok {
			return doubtAt(field, "is not a field of the last apply")
		}
		if doubt := p.covers(node, want, have, nil, field); doubt != "" {
			return doubt
		}
	}
	return missing(tree, desired.Object, "")
}

// named is metadata without what is the object's name rather than its content.
func named(metadata any) any {
	m, ok := metadata.(map[string]any)
	if !ok {
		return metadata
	}
	m = maps.Clone(m)
	delete(m, "name")
	delete(m, "namespace")
	return m
}

// applied is the field set of manager's applies to live, in the server's
// notation.
func applied(live *unstructured.Unstructured, manager string) (map[string]any, Doubt) {
	metadata, _ := live.Object["metadata"].(map[string]any)
	entries, _ := metadata["managedFields"].([]any)
	var tree map[string]any
	for _, e := range entries {
		e, ok := e.(map[string]any)
		if !ok || e["manager"] != manager || e["operation"] != string(metav1.ManagedFieldsOperationApply) {
			continue
		}
		if sub, _ := e["subresource"].(string); sub != "" {
			continue
		}
		fields, ok := e["fieldsV1"].(map[string]any)
		switch {
		case tree != nil:
			return nil, "was applied in two versions"
		case e["apiVersion"] != live.GetAPIVersion():
			return nil, "was last applied in another version"
		case !ok:
			return nil, "its managed fields cannot be read"
		}
		tree = fields
	}
	if tree == nil {
		return nil, Doubt("was never applied by " + manager)
	}
	return tree, ""
}

// doubtAt is a doubt about a field.
func doubtAt(path, why string) Doubt { return Doubt(strings.TrimPrefix(path, ".") + " " + why) }

// proof is of one object.
type proof struct{ kind schema.GroupKind }

// covers compares one field: node is what the last apply had there, in the map
// of live that the field is in.
func (p proof) covers(node map[string]any, want, have any, in map[string]any, path string) Doubt {
	if want == nil {
		return doubtAt(path, "is null")
	}
	if isLeaf(node) {
		switch {
		case have == nil:
			return doubtAt(path, "is not in the cluster")
		case !same(want, have) && !p.defaults(want, have, in, path):
			return doubtAt(path, "differs")
		}
		return ""
	}
	switch want := want.(type) {
	case map[string]any:
		have, ok := have.(map[string]any)
		if !ok {
			return doubtAt(path, "is not in the cluster")
		}
		for _, name := range slices.Sorted(maps.Keys(want)) {
			child, ok := node["f:"+name].(map[string]any)
			if !ok {
				return doubtAt(path+"."+name, "is not a field of the last apply")
			}
			if doubt := p.covers(child, want[name], have[name], have, path+"."+name); doubt != "" {
				return doubt
			}
		}
		return missing(node, want, path)
	case []any:
		have, ok := have.([]any)
		if !ok {
			return doubtAt(path, "is not in the cluster")
		}
		return p.coversList(node, want, have, path)
	}
	return doubtAt(path, "has another type")
}

// defaults knows the values that every object of a built-in kind gets when it is
// taken through its typed form, as Flux does it and we do, and what a server
// makes of them.
func (p proof) defaults(want, have any, in map[string]any, path string) bool {
	switch p.kind {
	case schema.GroupKind{Group: "apps", Kind: "Deployment"}:
		return path == "spec.strategy" && emptyMap(want) // merged field by field: an empty one changes none
	case schema.GroupKind{Group: "apps", Kind: "StatefulSet"}, schema.GroupKind{Group: "apps", Kind: "DaemonSet"}:
		return path == "spec.updateStrategy" && emptyMap(want)
	case schema.GroupKind{Kind: "Service"}:
		return strings.HasPrefix(path, "spec.ports[") && strings.HasSuffix(path, "].targetPort") &&
			want == int64(0) && same(have, in["port"])
	}
	return false
}

func emptyMap(v any) bool {
	m, ok := v.(map[string]any)
	return ok && len(m) == 0
}

// missing finds a field that the last apply had and want has not: this apply
// would remove it.
func missing(node, want map[string]any, path string) Doubt {
	for _, key := range slices.Sorted(maps.Keys(node)) {
		name, isField := strings.CutPrefix(key, "f:")
		if key == "." {
			continue
		}
		if _, ok := want[name]; !isField || !ok {
			return doubtAt(path+"."+name, "was applied before and is no longer declared")
		}
	}
	return ""
}

// isLeaf tells a field that is taken whole from one that is merged.
func isLeaf(node map[string]any) bool {
	_, self := node["."]
	return len(node) == 0 || self && len(node) == 1
}

// coversList compares a list that is merged: by the keys of its entries (k:) or
// as a set of scalars (v:).
func (p proof) coversList(node map[string]any, want, have []any, path string) Doubt {
	entries := make(map[string]map[string]any, len(node))
	var keys []string // names of the keys: the same for all entries
	for key, child := range node {
		child, ok := child.(map[string]any)
		switch {
		case key == ".":
			continue
		case !ok:
			return doubtAt(path, "has managed fields that cannot be read")
		}
		var id string
		if text, keyed := strings.CutPrefix(key, "k:"); keyed {
			var fields map[string]any
			if json.Unmarshal([]byte(text), &fields) != nil {
				return doubtAt(path, "has managed fields that cannot be read")
			}
			names := slices.Sorted(maps.Keys(fields))
			if keys == nil {
				keys = names
			}
			if !slices.Equal(keys, names) || len(names) == 0 {
				return doubtAt(path, "has entries with different keys")
			}
			id, ok = keyOf(fields, keys)
		} else if text, scalar := strings.CutPrefix(key, "v:"); scalar {
			var v any
			if keys != nil || json.Unmarshal([]byte(text), &v) != nil {
				return doubtAt(path, "has managed fields that cannot be read")
			}
			id, ok = scalarOf(v)
		} else {
			ok = false
		}
		if !ok {
			return doubtAt(path, "is a list of a kind that is not compared here")
		}
		entries[id] = child
	}
	if len(entries) != len(want) {
		return doubtAt(path, "has entries more or less than the last apply")
	}
	index := make(map[string]int, len(have))
	for i, entry := range have {
		id, ok := identify(entry, keys)
		if _, twice := index[id]; !ok || twice {
			return doubtAt(path, "has entries that cannot be told apart")
		}
		index[id] = i
	}
	last := -1
	for i, entry := range want {
		at := fmt.Sprintf("%s[%d]", path, i)
		id, ok := identify(entry, keys)
		child, applied := entries[id]
		j, live := index[id]
		switch {
		case !ok || !applied:
			return doubtAt(at, "is not an entry of the last apply")
		case !live:
			return doubtAt(at, "is not in the cluster")
		case j <= last:
			return doubtAt(at, "stands in another order") // an entry twice does, too
		}
		last = j
		if keys == nil {
			continue
		}
		if doubt := p.covers(child, entry, have[j], nil, at); doubt != "" {
			return doubt
		}
	}
	return ""
}

// identify is what tells an entry from the others of its list; keys is nil for
// a set of scalars.
func identify(entry any, keys []string) (string, bool) {
	if keys == nil {
		return scalarOf(entry)
	}
	m, ok := entry.(map[string]any)
	if !ok {
		return "", false
	}
	return keyOf(m, keys)
}

func keyOf(m map[string]any, keys []string) (string, bool) {
	var b strings.Builder
	for _, k := range keys {
		v, ok := scalarOf(m[k])
		if !ok {
			return "", false
		}
		fmt.Fprintf(&b, "%d:%s", len(v), v)
	}
	return b.String(), true
}

// scalarOf is a scalar with its type: the number 80 is not the text "80".
func scalarOf(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return "s" + v, true
	case bool:
		return fmt.Sprint("b", v), true
	case int64, float64, int:
		return fmt.Sprint("n", v), true
	}
	return "", false
}

// same compares values as they were decoded from JSON. A null in either is
// never the same: a server takes it for an absence.
func same(a, b any) bool { return !hasNull(a) && reflect.DeepEqual(a, b) }

func hasNull(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case map[string]any:
		for _, e := range v {
			if hasNull(e) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(v, hasNull)
	}
	return false
}
