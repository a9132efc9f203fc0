package object

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Redact takes the values of a Secret out of a message about it: servers and
// parsers quote what they refuse. Objects of other kinds pass unchanged, those
// whose kind is itself sealed are treated as Secrets.
func Redact(u *unstructured.Unstructured, msg string) string {
	if u == nil || !(IsSecret(u.GroupVersionKind().GroupKind()) || strings.HasPrefix(u.GetKind(), "ENC[")) {
		return msg
	}
	var values []string
	for _, field := range []string{"data", "stringData"} {
		m, _ := u.Object[field].(map[string]any)
		for _, v := range m {
			values = appendScalars(values, v)
		}
	}
	// Longest first, so that a value that holds another is taken out whole.
	slices.SortFunc(values, func(a, b string) int { return len(b) - len(a) })
	for _, v := range values {
		msg = strings.ReplaceAll(msg, v, "***")
	}
	return msg
}

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
