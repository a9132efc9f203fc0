package plan

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fluxcd/pkg/ssa"
	"github.com/rogpeppe/go-internal/diff"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/yaml"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
)

// lastApplied is kubectl's copy of an object, values of Secrets included.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// Texts are a change as YAML, before and after, of what a person cares for: no
// managed fields, no status, nothing that only a server sets. Either is empty
// where the object does not exist. What is secret is masked unless show says
// otherwise; that it differs stays visible (object.Conceal).
func (c Change) Texts(show bool) (before, after string) {
	old, now := clean(c.Live), c.after()
	if c.Action == Create {
		old = nil
	}
	if !show {
		object.Conceal(asObject(old), asObject(now), c.Secrets, c.Passwords)
	}
	return text(old), text(now)
}

func asObject(m map[string]any) *unstructured.Unstructured {
	if m == nil {
		return nil
	}
	return &unstructured.Unstructured{Object: m}
}

// Unified is the change as a unified diff, "" where nothing is to be seen.
func (c Change) Unified(show bool) string {
	before, after := c.Texts(show)
	to := "git/" + c.ID.Short()
	if c.Object != nil && c.Object.File != "" {
		to = c.Object.File
	}
	from := c.Was
	if from == "" {
		from = "cluster/" + c.ID.Short()
	}
	out := string(diff.Diff(from, []byte(before), to, []byte(after)))
	_, hunks, _ := strings.Cut(out, "\n") // its first line repeats the names
	return hunks
}

// after is what the cluster would have, nil for nothing.
func (c Change) after() map[string]any {
	switch {
	case c.Action == Delete:
		return nil
	case c.Action == Create || c.Action == Recreate || c.Result == nil:
		// What is new is shown as Git has it, without what the server would add.
		if c.Object == nil {
			return nil
		}
		return clean(c.Object.Unstructured)
	}
	m := clean(c.Result)
	if c.Cleanup != nil {
		for _, path := range c.Forfeited {
			unstructured.RemoveNestedField(m, path...)
		}
		forget(m, lastApplied)
	}
	return m
}

func clean(u *unstructured.Unstructured) map[string]any {
	if u == nil {
		return nil
	}
	m := u.DeepCopy().Object
	delete(m, "status")
	for _, f := range []string{"managedFields", "resourceVersion", "uid", "generation", "creationTimestamp", "selfLink"} {
		unstructured.RemoveNestedField(m, "metadata", f)
	}
	return m
}

func forget(m map[string]any, annotation string) {
	a, _, _ := unstructured.NestedMap(m, "metadata", "annotations")
	delete(a, annotation)
	if len(a) == 0 {
		unstructured.RemoveNestedField(m, "metadata", "annotations")
		return
	}
	_ = unstructured.SetNestedMap(m, a, "metadata", "annotations") // it was one: cannot fail
}

func text(m map[string]any) string {
	if m == nil {
		return ""
	}
	data, err := yaml.Marshal(m)
	if err != nil {
		return ""
	}
	return string(data)
}

// ofNamespaces are the fields that the server sets in every namespace, whoever else
// owns them.
var ofNamespaces = [][]string{{"metadata", "labels", corev1.LabelMetadataName}, {"spec", "finalizers"}}

// Forfeit finds the fields that go when the managers in taken are taken over:
// those that they alone own and that the apply does not set. Fields inside of
// lists are left out, since a path of names cannot tell them, and so are those that
// the server gives every namespace.
func Forfeit(live, result *unstructured.Unstructured, manager string, taken func(metav1.ManagedFieldsEntry) bool) [][]string {
	theirs := &fieldpath.Set{}
	for _, e := range live.GetManagedFields() {
		if e.FieldsV1 != nil && taken(e) {
			if s, err := ssa.FieldsToSet(*e.FieldsV1); err == nil {
				theirs = theirs.Union(&s)
			}
		}
	}
	kept := &fieldpath.Set{}
	for _, e := range result.GetManagedFields() {
		if e.FieldsV1 == nil || e.Subresource != "" {
			continue
		}
		if e.Manager == manager && e.Operation == metav1.ManagedFieldsOperationApply || !taken(e) {
			if s, err := ssa.FieldsToSet(*e.FieldsV1); err == nil {
				kept = kept.Union(&s)
			}
		}
	}
	var out [][]string
	theirs.Difference(kept).Leaves().Iterate(func(p fieldpath.Path) {
		if names := fieldNames(p); names != nil && !(object.IsNamespace(live.GroupVersionKind().GroupKind()) && slices.ContainsFunc(ofNamespaces, func(f []string) bool { return slices.Equal(f, names) })) {
			out = append(out, names)
		}
	})
	return out
}

// fieldNames is p as names, nil where it goes through a list.
func fieldNames(p fieldpath.Path) []string {
	var names []string
	for _, step := range p {
		if step.FieldName == nil {
			return nil
		}
		names = append(names, *step.FieldName)
	}
	return names
}

// Touched tells who last wrote a field of live that the change would set back,
// and when: the first question at 3 a.m. It is "" where nobody but owner did. What
// the server dates not, which is a scale, comes before all that it dates.
func (c Change) Touched(owner string) (manager string, at time.Time) {
	if c.Live == nil || c.Result == nil || c.Action != Configure {
		return "", time.Time{}
	}
	changed := differing(nil, body(c.Live), body(c.Result))
	for _, f := range []string{"labels", "annotations"} {
		changed = append(changed, differing([]string{"metadata", f}, nested(c.Live, f), nested(c.Result, f))...)
	}
	for _, e := range c.Live.GetManagedFields() {
		var when time.Time
		if e.Time != nil {
			when = e.Time.Time
		}
		if e.Manager == owner || e.FieldsV1 == nil || e.Subresource == "status" || manager != "" && !when.After(at) {
			continue
		}
		set, err := ssa.FieldsToSet(*e.FieldsV1)
		if err != nil {
			continue
		}
		// The leaves: an atomic map is owned whole, an ordinary one key by key.
		set.Leaves().Iterate(func(p fieldpath.Path) {
			if slices.ContainsFunc(changed, func(names []string) bool { return overlap(p, names) }) {
				manager, at = e.Manager, when
			}
		})
	}
	return manager, at
}

func nested(u *unstructured.Unstructured, field string) map[string]any {
	m, _, _ := unstructured.NestedMap(u.Object, "metadata", field)
	return m
}

// differing lists the paths at which a and b differ, as far as names lead.
func differing(at []string, a, b map[string]any) [][]string {
	var out [][]string
	keys := maps.Clone(a)
	if keys == nil {
		keys = map[string]any{}
	}
	maps.Copy(keys, b)
	for k := range keys {
		x, y := a[k], b[k]
		if equality.Semantic.DeepEqual(x, y) {
			continue
		}
		path := append(slices.Clone(at), k)
		mx, okx := x.(map[string]any)
		my, oky := y.(map[string]any)
		if okx && oky {
			out = append(out, differing(path, mx, my)...)
			continue
		}
		out = append(out, path)
	}
	return out
}

// overlap reports whether one of the two is the other, or lies below it.
func overlap(p fieldpath.Path, names []string) bool {
	for i := range min(len(p), len(names)) {
		if p[i].FieldName == nil || *p[i].FieldName != names[i] {
			return false
		}
	}
	return true
}
