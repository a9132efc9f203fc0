package ui

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"unicode"

	"sigs.k8s.io/yaml"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/gitops"
)

// encode renders a report for scripts. JSON keeps the order of the fields in
// the type; YAML sorts them, as kubectl does. Control characters are escaped in
// both, since this too is looked at on terminals.
func encode(v any, format string) ([]byte, error) {
	switch format {
	case "json":
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		if err := enc.Encode(v); err != nil {
			return nil, err
		}
		return escapeC1(b.Bytes()), nil
	case "yaml":
		return yaml.Marshal(v)
	}
	return nil, fmt.Errorf("output format %q: want json or yaml", format)
}

// escapeC1 escapes what encoding/json leaves as it is: DEL and the C1 controls,
// of which some terminals take U+009B for the start of an escape sequence. In
// JSON they can only stand inside strings.
func escapeC1(b []byte) []byte {
	if bytes.IndexFunc(b, func(r rune) bool { return r >= 0x7f && unicode.IsControl(r) }) < 0 {
		return b
	}
	var out bytes.Buffer
	for _, r := range string(b) {
		if r >= 0x7f && unicode.IsControl(r) {
			fmt.Fprintf(&out, `\u%04x`, r)
		} else {
			out.WriteRune(r)
		}
	}
	return out.Bytes()
}

// normalize is r as scripts are promised it: lists that are never null, times
// to the millisecond. The caller's slices are left alone.
func normalize(r gitops.SyncReport) gitops.SyncReport {
	if r.APIVersion == "" {
		r.APIVersion = gitops.APIVersion
	}
	if r.Kind == "" {
		r.Kind = "SyncReport"
	}
	r.Seconds = milliseconds(r.Seconds)
	if r.Warnings == nil {
		r.Warnings = []gitops.Warning{}
	}
	if r.Kustomizations = slices.Clone(r.Kustomizations); r.Kustomizations == nil {
		r.Kustomizations = []gitops.KustomizationReport{}
	}
	for i := range r.Kustomizations {
		k := &r.Kustomizations[i]
		k.Seconds = milliseconds(k.Seconds)
		if k.Changes == nil {
			k.Changes = []gitops.ChangeReport{}
		}
	}
	return r
}

func milliseconds(s float64) float64 { return math.Round(s*1000) / 1000 }
