package object

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/fluxcd/pkg/ssa/normalize"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
)

// FieldError is a field that its kind does not have: the server would refuse
// it, and a typed decode would drop it silently.
type FieldError struct {
	// Path is the first such field, as the server writes paths:
	// spec.template.spec.containers[0].envFrom[1].name.
	Path string
	// Entries is how many entries of one list are at fault, counted from that of
	// Path; 0 for a field that is not in a list's entry.
	Entries int
	// Last is the index of the last such entry.
	Last int
	// Meant is a field that would take what stands there; "" if none is near.
	Meant string
}

func (e FieldError) Error() string {
	msg := e.Path + " is not a field"
	if e.Entries > 1 {
		list := e.Path[:strings.LastIndexByte(e.Path, '[')]
		msg += fmt.Sprintf(", nor are those of %d more entries to %s[%d]: %d entries of %s are misplaced",
			e.Entries-1, list[strings.LastIndexByte(list, '.')+1:], e.Last, e.Entries, list[strings.LastIndexByte(list, '.')+1:])
	}
	if e.Meant != "" {
		msg += fmt.Sprintf("; did you mean %s?", e.Meant)
	}
	return msg
}

// Normalize brings u to the form that Flux applies (stringData becomes data,
// ports get their protocol, defaults of the typed form are written out), and
// takes out what only a server sets. The typed round trip is done only where
// it loses nothing: the fields that it would drop are returned instead.
func Normalize(u *unstructured.Unstructured) []FieldError {
	for _, f := range []string{"resourceVersion", "uid", "generation", "managedFields", "selfLink", "creationTimestamp"} {
		unstructured.RemoveNestedField(u.Object, "metadata", f)
	}
	gk := u.GroupVersionKind().GroupKind()
	if !IsCRD(gk) {
		unstructured.RemoveNestedField(u.Object, "status")
	}
	if rules, _, _ := unstructured.NestedSlice(u.Object, "rules"); len(rules) == 0 && u.Object["aggregationRule"] != nil && gk.Group == rbacGroup {
		// Its rules are a controller's, and an apply of none takes them away.
		unstructured.RemoveNestedField(u.Object, "rules")
	}
	typed, err := scheme.Scheme.New(u.GroupVersionKind())
	if err != nil {
		return nil // not a kind of Kubernetes itself: the server knows
	}
	err = runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(u.Object, typed, true)
	if strict, ok := runtime.AsStrictDecodingError(err); ok {
		return fieldErrors(strict.Errors(), reflect.TypeOf(typed))
	}
	if err != nil || gk.Group == rbacGroup && (gk.Kind == "Role" || gk.Kind == "ClusterRole") {
		// A wrong type: the server says it better. Roles: the round trip would
		// reset the rules of an aggregated one.
		return nil
	}
	if err := normalize.Unstructured(u); err != nil {
		return nil
	}
	unstructured.RemoveNestedField(u.Object, "metadata", "creationTimestamp")
	return nil
}

var (
	unknownField = regexp.MustCompile(`unknown field "([^"]+)"`)
	listEntry    = regexp.MustCompile(`^(.*)\[(\d+)\]\.([^.\[\]]+)$`)
)

// fieldErrors folds the entries of one list into one error.
func fieldErrors(errs []error, root reflect.Type) []FieldError {
	type list struct {
		first  string
		lowest int
		index  []int
		fields []string
	}
	lists := map[string]*list{}
	var order []string
	var out []FieldError
	for _, err := range errs {
		m := unknownField.FindStringSubmatch(err.Error())
		if m == nil {
			out = append(out, FieldError{Path: err.Error()})
			continue
		}
		path := m[1]
		e := listEntry.FindStringSubmatch(path)
		if e == nil {
			out = append(out, FieldError{Path: path, Meant: nearestField(root, path)})
			continue
		}
		i, _ := strconv.Atoi(e[2])
		l := lists[e[1]]
		if l == nil {
			l = &list{first: path, lowest: i}
			lists[e[1]] = l
			order = append(order, e[1])
		}
		if i < l.lowest {
			l.first, l.lowest = path, i
		}
		if !slices.Contains(l.index, i) {
			l.index = append(l.index, i)
		}
		if !slices.Contains(l.fields, e[3]) {
			l.fields = append(l.fields, e[3])
		}
	}
	for _, path := range order {
		l := lists[path]
		fe := FieldError{Path: l.first, Entries: len(l.index), Last: slices.Max(l.index), Meant: siblingList(root, path, l.fields)}
		if fe.Meant == "" && len(l.fields) == 1 {
			fe.Meant = nearestField(root, l.first)
		}
		out = append(out, fe)
	}
	slices.SortStableFunc(out, func(a, b FieldError) int { return strings.Compare(a.Path, b.Path) })
	return out
}

// typeAt walks the Go type of a built-in kind along a path of JSON names.
func typeAt(t reflect.Type, path []string) reflect.Type {
	for _, step := range path {
		for t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		if _, err := strconv.Atoi(step); err == nil && t.Kind() == reflect.Slice {
			t = t.Elem()
			continue
		}
		switch t.Kind() {
		case reflect.Map:
			t = t.Elem()
		case reflect.Struct:
			f, ok := JSONFields(t)[step]
			if !ok {
				return nil
			}
			t = f
		default:
			return nil
		}
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}

// JSONFields are the fields of a struct by their JSON names, inlined ones too.
func JSONFields(t reflect.Type) map[string]reflect.Type {
	out := map[string]reflect.Type{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && (name == "" || strings.Contains(opts, "inline")) && f.Type.Kind() == reflect.Struct {
			for n, ft := range JSONFields(f.Type) {
				out[n] = ft
			}
			continue
		}
		if name != "" && name != "-" {
			out[name] = f.Type
		}
	}
	return out
}

// siblingList is the list beside path whose entries have all of fields: the
// place where somebody's entries were meant to stand.
func siblingList(root reflect.Type, path string, fields []string) string {
	s := steps(path)
	parent := typeAt(root, s[:len(s)-1])
	if parent == nil || parent.Kind() != reflect.Struct {
		return ""
	}
	var found []string
	for name, t := range JSONFields(parent) {
		if name == s[len(s)-1] || t.Kind() != reflect.Slice {
			continue
		}
		e := t.Elem()
		if e.Kind() != reflect.Struct {
			continue
		}
		have := JSONFields(e)
		if !slices.ContainsFunc(fields, func(f string) bool { _, ok := have[f]; return !ok }) {
			found = append(found, name)
		}
	}
	if len(found) != 1 {
		return "" // ambiguous advice is worse than none
	}
	return found[0]
}

// nearestField is a field of the same struct that differs in case or by a slip.
func nearestField(root reflect.Type, path string) string {
	s := steps(path)
	parent := typeAt(root, s[:len(s)-1])
	if parent == nil || parent.Kind() != reflect.Struct {
		return ""
	}
	last := s[len(s)-1]
	best, at := "", 3
	for name := range JSONFields(parent) {
		if d := Distance(strings.ToLower(last), strings.ToLower(name)); d < at && d < len(last)/2+1 || d == at && name < best {
			best, at = name, d
		}
	}
	return best
}

// Distance counts, in bytes, the slips of the keyboard that lie between two names:
// letters to change, add, take out or swap with the next one.
func Distance(a, b string) int {
	before, row, next := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		next[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			next[j+1] = min(row[j+1]+1, next[j]+1, row[j]+cost)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				next[j+1] = min(next[j+1], before[j-1]+1)
			}
		}
		before, row, next = row, next, before
	}
	return row[len(b)]
}
