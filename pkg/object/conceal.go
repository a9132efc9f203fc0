package object

import (
	"encoding/base64"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// SensitiveKey is the annotation of an object that names fields whose values are
// not to be shown: JSON pointers or dotted paths, apart by commas, spaces or
// lines. "*" stands for any key or index; what is below a path is hidden too.
const SensitiveKey = "kubectl-gitops.dev/sensitive"

// lastApplied is kubectl's copy of an object, all values included.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// Words that stand for what is not shown; the first two are kubectl diff's.
const (
	hidden        = "***"
	hiddenBefore  = "*** (before)"
	hiddenAfter   = "*** (after)"
	sealedText    = "sealed"
	sealedChanged = "sealed, changed"
)

// sealedValue is what SOPS makes of a value.
var sealedValue = regexp.MustCompile(`^"?ENC\[[A-Z0-9_]+,data:`)

// sealedFile is a whole SOPS file, as a generator takes it that no key opens.
var sealedFile = regexp.MustCompile(`(?m)^\s*"?sops"?:|^sops_mac=`)

// Sealed reports whether text is what SOPS made of a value, or a whole file of
// SOPS's; either also in base64, as in a Secret.
func Sealed(text string) bool {
	if sealedValue.MatchString(text) {
		return true
	}
	plain, err := base64.StdEncoding.DecodeString(text)
	return err == nil && (sealedValue.Match(plain) || sealedFile.Match(plain))
}

// SensitivePaths are the paths that u's annotation names, in steps.
func SensitivePaths(u *unstructured.Unstructured) [][]string {
	var out [][]string
	for _, p := range strings.FieldsFunc(u.GetAnnotations()[SensitiveKey], func(r rune) bool { return strings.ContainsRune(", \t\r\n", r) }) {
		var steps []string
		if rest, pointer := strings.CutPrefix(p, "/"); pointer {
			for s := range strings.SplitSeq(rest, "/") {
				steps = append(steps, strings.NewReplacer("~1", "/", "~0", "~").Replace(s))
			}
		} else {
			steps = strings.FieldsFunc(strings.ReplaceAll(p, "[", "."), func(r rune) bool { return r == '.' || r == ']' })
		}
		if len(steps) > 0 {
			out = append(out, steps)
		}
	}
	return out
}

// Conceal takes out of two states of an object what is not to be shown: the
// values of a Secret, of the fields that either names as sensitive, of those at
// paths, and secrets wherever they stand. That such a value differs stays visible.
// What is still sealed reads "sealed". Either may be nil; both are changed in place.
func Conceal(before, after *unstructured.Unstructured, secrets []string, paths [][]string) {
	conceal(concealer{paths: slices.Clone(paths)}, before, after, secrets)
}

// ConcealOne is Conceal of one object, but for what is still sealed: that stays as
// it is.
func ConcealOne(u *unstructured.Unstructured, secrets []string, paths [][]string) {
	conceal(concealer{paths: slices.Clone(paths), keepSealed: true}, nil, u, secrets)
}

func conceal(c concealer, before, after *unstructured.Unstructured, secrets []string) {
	for _, s := range secrets {
		if len(s) >= Within {
			c.parts = append(c.parts, s)
		} else {
			c.whole = append(c.whole, s)
		}
	}
	// Longest first, so that a value that holds another is taken out whole.
	slices.SortFunc(c.parts, func(a, b string) int { return len(b) - len(a) })
	for _, u := range []*unstructured.Unstructured{before, after} {
		if u == nil {
			continue
		}
		unstructured.RemoveNestedField(u.Object, "metadata", "annotations", lastApplied)
		if a, there, _ := unstructured.NestedMap(u.Object, "metadata", "annotations"); there && len(a) == 0 {
			unstructured.RemoveNestedField(u.Object, "metadata", "annotations")
		}
		if sops, _ := u.Object["sops"].(map[string]any); sops["mac"] != nil && !c.keepSealed {
			delete(u.Object, "sops") // SOPS's own
		}
		c.paths = append(c.paths, SensitivePaths(u)...)
		if IsSecret(u.GroupVersionKind().GroupKind()) || Sealed(u.GetKind()) {
			c.paths = append(c.paths, []string{"data"}, []string{"stringData"})
		}
	}
	a, b := contents(before), contents(after)
	for _, k := range union(a, b) {
		switch k {
		case "apiVersion", "kind": // what an object is, and its name, is said of it anyway
		case "metadata":
			ma, _ := a[k].(map[string]any)
			mb, _ := b[k].(map[string]any)
			for _, k := range union(ma, mb) {
				if k != "name" && k != "namespace" {
					c.entry(ma, mb, k, below(below(c.paths, "metadata"), k))
				}
			}
		default:
			c.entry(a, b, k, below(c.paths, k))
		}
	}
}

// Within is the length in bytes from which a secret is looked for inside of other
// texts too.
const Within = 6

type concealer struct {
	paths        [][]string
	parts, whole []string
	keepSealed   bool
}

func contents(u *unstructured.Unstructured) map[string]any {
	if u == nil {
		return nil
	}
	return u.Object
}

func union(a, b map[string]any) []string {
	keys := slices.Collect(maps.Keys(a))
	for k := range b {
		if _, both := a[k]; !both {
			keys = append(keys, k)
		}
	}
	return keys
}

// entry conceals one key of two maps, of which either may lack it; paths are those
// below it.
func (c *concealer) entry(a, b map[string]any, k string, paths [][]string) {
	x, inA := a[k]
	y, inB := b[k]
	x, y = c.values(x, y, inA, inB, paths)
	if inA {
		a[k] = x
	}
	if inB {
		b[k] = y
	}
}

// below are the rests of the paths that lead through step. An empty one is at its
// end.
func below(paths [][]string, step string) [][]string {
	var out [][]string
	for _, p := range paths {
		switch {
		case len(p) == 0:
			out = append(out, p)
		case p[0] == step || p[0] == "*":
			out = append(out, p[1:])
		}
	}
	return out
}

// values conceals two values at one place; inA and inB say which of the two there
// is.
func (c *concealer) values(x, y any, inA, inB bool, paths [][]string) (any, any) {
	mx, xIsMap := x.(map[string]any)
	my, yIsMap := y.(map[string]any)
	lx, xIsList := x.([]any)
	ly, yIsList := y.([]any)
	switch {
	case (xIsMap || !inA) && (yIsMap || !inB):
		for _, k := range union(mx, my) {
			c.entry(mx, my, k, below(paths, k))
		}
		return x, y
	case (xIsList || !inA) && (yIsList || !inB):
		c.lists(lx, ly, paths)
		return x, y
	case inA && inB && (xIsMap || xIsList || yIsMap || yIsList): // of different kinds
		x, _ = c.values(x, nil, true, false, paths)
		_, y = c.values(nil, y, false, true, paths)
		return x, y
	}
	return c.scalars(x, y, inA, inB, paths)
}

func (c *concealer) scalars(x, y any, inA, inB bool, paths [][]string) (any, any) {
	differ := inA && inB && !equality.Semantic.DeepEqual(x, y)
	tx, ty := fmt.Sprint(x), fmt.Sprint(y)
	sx, sy := inA && Sealed(tx), inB && Sealed(ty)
	if c.keepSealed && (sx || sy) {
		return x, y
	}
	if sx && (sy || !inB) || sy && !inA {
		if differ {
			return sealedText, sealedChanged
		}
		return sealedText, sealedText
	}
	if sy && inA { // nobody knows what it is now
		return hidden, sealedChanged
	}
	whole := slices.ContainsFunc(paths, func(p []string) bool { return len(p) == 0 }) || sx || sy
	cx, cy := c.text(tx), c.text(ty)
	if !whole && (!inA || cx == tx) && (!inB || cy == ty) {
		return x, y
	}
	if !whole && (!inA || cx != tx) && (!inB || cy != ty) {
		if cx == cy && differ {
			return cx + " (before)", cy + " (after)"
		}
		return cx, cy
	}
	if differ {
		return hiddenBefore, hiddenAfter
	}
	return hidden, hidden
}

// text is s without the secrets in it.
func (c *concealer) text(s string) string {
	if slices.Contains(c.whole, s) {
		return hidden
	}
	for _, secret := range c.parts {
		s = strings.ReplaceAll(s, secret, hidden)
	}
	return s
}

// lists conceals two lists: elements that have names by them, others by their
// place.
func (c *concealer) lists(x, y []any, paths [][]string) {
	name := func(v any) string {
		m, _ := v.(map[string]any)
		s, _ := m["name"].(string)
		return s
	}
	taken := map[int]bool{}
	match := func(i int) int {
		if n := name(x[i]); n != "" {
			return slices.IndexFunc(y, func(v any) bool { return name(v) == n })
		}
		if i < len(y) && name(y[i]) == "" {
			return i
		}
		return -1
	}
	for i := range x {
		in := below(paths, strconv.Itoa(i))
		if j := match(i); j >= 0 && !taken[j] {
			taken[j] = true
			x[i], y[j] = c.values(x[i], y[j], true, true, append(in, below(paths, strconv.Itoa(j))...))
			continue
		}
		x[i], _ = c.values(x[i], nil, true, false, in)
	}
	for j := range y {
		if !taken[j] {
			_, y[j] = c.values(nil, y[j], false, true, below(paths, strconv.Itoa(j)))
		}
	}
}

// Secrets are the forms in which a value may stand in an object: as it is, in
// base64 and out of it, and line by line.
func Secrets(values ...string) []string {
	seen := map[string]bool{}
	var out []string
	add := func(s string) {
		if s = strings.TrimSpace(s); s != "" && !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	for _, v := range values {
		add(v)
		add(base64.StdEncoding.EncodeToString([]byte(v)))
		if plain, err := base64.StdEncoding.DecodeString(v); err == nil && printable(string(plain)) {
			add(string(plain))
			v = string(plain)
		}
		if strings.Contains(v, "\n") {
			for line := range strings.Lines(v) {
				if line = strings.TrimSpace(line); len(line) >= longLine {
					add(line)
				}
			}
		}
	}
	return out
}

// longLine is the length in bytes from which a line of a secret is one itself.
const longLine = 8

func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r == '\uFFFD' || r < ' ' && r != '\n' && r != '\t' && r != '\r' })
}
