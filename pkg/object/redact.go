package object

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Redact takes the values of a Secret, of the fields that an object marks as
// sensitive, and of those at paths, out of a message about it: servers and parsers
// quote what they refuse. An object whose kind is itself sealed is treated as a
// Secret.
func Redact(u *unstructured.Unstructured, msg string, paths ...[]string) string {
	if u == nil {
		return msg
	}
	return replace(msg, dataValues(u, paths...))
}

// dataValues are the values that are not to be shown, as far as u itself says, and
// paths.
func dataValues(u *unstructured.Unstructured, paths ...[]string) []string {
	paths = append(slices.Clone(paths), SensitivePaths(u)...)
	if IsSecret(u.GroupVersionKind().GroupKind()) || strings.HasPrefix(u.GetKind(), "ENC[") {
		paths = append(paths, []string{"data"}, []string{"stringData"})
	}
	var values []string
	var walk func(v any, paths [][]string)
	walk = func(v any, paths [][]string) {
		if len(paths) == 0 {
			return
		}
		if slices.ContainsFunc(paths, func(p []string) bool { return len(p) == 0 }) {
			values = appendScalars(values, v)
			return
		}
		switch v := v.(type) {
		case map[string]any:
			for k, e := range v {
				walk(e, below(paths, k))
			}
		case []any:
			for i, e := range v {
				walk(e, below(paths, strconv.Itoa(i)))
			}
		}
	}
	walk(u.Object, paths)
	return values
}

func replace(msg string, values []string) string {
	// Longest first, so that a value that holds another is taken out whole.
	slices.SortFunc(values, func(a, b string) int { return len(b) - len(a) })
	for _, v := range values {
		msg = strings.ReplaceAll(msg, v, "***")
	}
	return msg
}

// shortest is the length in bytes below which a value is no secret, and taking
// it out would leave other texts unreadable.
const shortest = 4

// SecretValues are the values of a Secret, or those that an object marks as
// sensitive, and each of their lines, for Mask.
func SecretValues(u *unstructured.Unstructured) []string {
	var out []string
	for _, v := range dataValues(u) {
		for _, s := range append(strings.Split(v, "\n"), v) {
			if s = strings.TrimSpace(s); len(s) >= shortest {
				out = append(out, s)
			}
		}
	}
	return out
}

// Mask takes the values of Secrets out of a text that is not about them, such as
// a line of a log.
func Mask(text string, values []string) string { return replace(text, slices.Clone(values)) }

func appendScalars(values []string, v any) []string {
	switch v := v.(type) {
	case string:
		if v = strings.TrimSpace(v); v == "" {
			return values
		}
		values = append(values, v)
		if plain, err := base64.StdEncoding.DecodeString(v); err == nil && len(plain) > 0 {
			values = append(values, string(plain))
		}
	case map[string]any:
		for _, e := range v {
			values = appendScalars(values, e)
		}
	case []any:
		for _, e := range v {
			values = appendScalars(values, e)
		}
	case nil, bool:
	default:
		// A password of digits that nobody quoted is a number in YAML.
		values = append(values, fmt.Sprint(v))
	}
	return values
}
