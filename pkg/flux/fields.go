package flux

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
)

// FieldError is what is wrong with one field of a Flux object.
type FieldError struct {
	Path string // as the server writes it: spec.dependsOn[0].name
	Msg  string
	Fix  string
}

func (e FieldError) Error() string { return e.Path + ": " + e.Msg }

// Hint is what to write instead, "" where nothing is near.
func (e FieldError) Hint() string { return e.Fix }

// InvalidError is an object with fields that cannot be what they are.
type InvalidError struct {
	Ref    Ref
	Fields []FieldError
}

func (e *InvalidError) Error() string {
	texts := make([]string, len(e.Fields))
	for i, f := range e.Fields {
		texts[i] = f.Error()
	}
	return e.Ref.String() + ": " + strings.Join(texts, "; ")
}

var unmarshaler = reflect.TypeFor[json.Unmarshaler]()

// checkFields holds v, decoded JSON, to the Go type t of Flux's API: a field of
// another type than the API's is wrong, one that the API does not have is
// unknown. All of them are found, where a decoder stops at the first.
func checkFields(v any, t reflect.Type, path string) (wrong, unknown []FieldError) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if v == nil {
		return nil, nil // null is the same as absent
	}
	is := func(want string) []FieldError {
		return []FieldError{{Path: path, Msg: fmt.Sprintf("is %s, want %s", kindOf(v), want)}}
	}
	if reflect.PointerTo(t).Implements(unmarshaler) {
		data, err := json.Marshal(v)
		if err == nil {
			err = json.Unmarshal(data, reflect.New(t).Interface())
		}
		switch {
		case err == nil:
			return nil, nil
		case t == reflect.TypeFor[metav1.Duration]():
			return []FieldError{{Path: path, Msg: fmt.Sprintf("%v is not a duration", v), Fix: "write it with its unit: 10m, 1h30m"}}, nil
		}
		return []FieldError{{Path: path, Msg: err.Error()}}, nil
	}
	switch t.Kind() {
	case reflect.Struct:
		m, ok := v.(map[string]any)
		if !ok {
			return is("a mapping"), nil
		}
		fields := object.JSONFields(t)
		for _, name := range slices.Sorted(mapKeys(m)) {
			ft, ok := fields[name]
			if !ok {
				unknown = append(unknown, FieldError{Path: path + "." + name, Msg: "is not a field of it", Fix: nearestName(name, fields)})
				continue
			}
			w, u := checkFields(m[name], ft, path+"."+name)
			wrong, unknown = append(wrong, w...), append(unknown, u...)
		}
	case reflect.Slice:
		list, ok := v.([]any)
		if !ok {
			return is("a list"), nil
		}
		for i, e := range list {
			w, u := checkFields(e, t.Elem(), fmt.Sprintf("%s[%d]", path, i))
			wrong, unknown = append(wrong, w...), append(unknown, u...)
		}
	case reflect.Map:
		m, ok := v.(map[string]any)
		if !ok {
			return is("a mapping"), nil
		}
		for _, name := range slices.Sorted(mapKeys(m)) {
			w, u := checkFields(m[name], t.Elem(), path+"."+name)
			wrong, unknown = append(wrong, w...), append(unknown, u...)
		}
	case reflect.String:
		if _, ok := v.(string); !ok {
			return is("a string"), nil
		}
	case reflect.Bool:
		if _, ok := v.(bool); !ok {
			return is("true or false"), nil
		}
	default:
		switch v.(type) {
		case int, int64, uint64, float64:
		default:
			return is("a number"), nil
		}
	}
	return wrong, unknown
}

func mapKeys(m map[string]any) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// kindOf names a type of JSON in words of YAML, with the value where it is short.
func kindOf(v any) string {
	switch v := v.(type) {
	case map[string]any:
		return "a mapping"
	case []any:
		return "a list"
	case bool:
		return fmt.Sprintf("the boolean %t", v)
	case string:
		if len(v) > 40 {
			return "a string"
		}
		return fmt.Sprintf("the string %q", v)
	}
	return fmt.Sprintf("the number %v", v)
}

func nearestName(name string, fields map[string]reflect.Type) string {
	best, at := "", 3
	for f := range fields {
		if d := object.Distance(strings.ToLower(name), strings.ToLower(f)); d < at && d < len(name)/2+1 || d == at && f < best {
			best, at = f, d
		}
	}
	if best == "" {
		return ""
	}
	return "did you mean " + best + "?"
}

// check finds what the schema of Flux's CustomResourceDefinition refuses and a
// Go type does not know: where the cluster does not have Flux's kinds, nobody
// else would look.
func (k Kustomization) check() []FieldError {
	var out []FieldError
	add := func(path, msg, fix string) { out = append(out, FieldError{path, msg, fix}) }
	oneOf := func(path, value string, allowed ...string) {
		if value != "" && !slices.Contains(allowed, value) {
			add(path, fmt.Sprintf("is %q", value), "one of: "+strings.Join(allowed, ", "))
		}
	}
	s := k.Spec
	oneOf("spec.deletionPolicy", s.DeletionPolicy, kustomizev1.DeletionPolicyMirrorPrune, kustomizev1.DeletionPolicyDelete,
		kustomizev1.DeletionPolicyWaitForTermination, kustomizev1.DeletionPolicyOrphan)
	oneOf("spec.sourceRef.kind", s.SourceRef.Kind, sourcev1.GitRepositoryKind, sourcev1.OCIRepositoryKind, sourcev1.BucketKind, sourcev1.ExternalArtifactKind)
	if s.SourceRef.Kind == "" {
		add("spec.sourceRef.kind", "is missing", "sourceRef: {kind: GitRepository, name: flux-system}")
	}
	if s.SourceRef.Name == "" {
		add("spec.sourceRef.name", "is missing", "sourceRef: {kind: GitRepository, name: flux-system}")
	}
	for i, b := range s.BuildMetadata {
		oneOf(fmt.Sprintf("spec.buildMetadata[%d]", i), string(b), string(kustomizev1.BuildMetadataOriginAnnotations), string(kustomizev1.BuildMetadataTransformerAnnotations))
	}
	if d := s.Decryption; d != nil {
		oneOf("spec.decryption.provider", d.Provider, "sops")
		if d.Provider == "" {
			add("spec.decryption.provider", "is missing", "provider: sops")
		}
	}
	if p := s.PostBuild; p != nil {
		oneOf("spec.postBuild.substituteStrategy", string(p.SubstituteStrategy), string(kustomizev1.SubstituteStrategyWithVariables), string(kustomizev1.SubstituteStrategyAlways))
		for i, r := range p.SubstituteFrom {
			path := fmt.Sprintf("spec.postBuild.substituteFrom[%d]", i)
			oneOf(path+".kind", r.Kind, "ConfigMap", "Secret")
			if r.Kind == "" || r.Name == "" {
				add(path, "needs kind and name", "kind: ConfigMap, name: NAME")
			}
		}
	}
	for i, d := range s.DependsOn {
		if d.Name == "" {
			add(fmt.Sprintf("spec.dependsOn[%d].name", i), "is missing", "")
		}
	}
	for i, h := range s.HealthChecks {
		if h.Kind == "" || h.Name == "" {
			add(fmt.Sprintf("spec.healthChecks[%d]", i), "needs kind and name", "")
		}
	}
	if c := s.KubeConfig; c != nil && (c.SecretRef == nil) == (c.ConfigMapRef == nil) {
		add("spec.kubeConfig", "needs secretRef or configMapRef, one of the two", "")
	}
	for path, d := range map[string]*metav1.Duration{"spec.timeout": s.Timeout, "spec.retryInterval": s.RetryInterval} {
		if d != nil && d.Duration < 0 {
			add(path, d.Duration.String()+" is negative", time.Duration(-d.Duration).String())
		}
	}
	if len(s.TargetNamespace) > 63 {
		add("spec.targetNamespace", "is longer than 63 characters", "")
	}
	slices.SortStableFunc(out, func(a, b FieldError) int { return strings.Compare(a.Path, b.Path) })
	return out
}

// Invalid takes err apart: the fields at fault where it is an *InvalidError,
// else one without a path.
func Invalid(err error) []FieldError {
	var invalid *InvalidError
	if errors.As(err, &invalid) {
		return invalid.Fields
	}
	return []FieldError{{Path: "spec", Msg: err.Error()}}
}

// typeError is err, of decoding JSON, in words of YAML.
func typeError(err error) string {
	var t *json.UnmarshalTypeError
	if errors.As(err, &t) {
		return fmt.Sprintf("%s: is a %s, want %s", t.Field, t.Value, t.Type)
	}
	return strings.TrimPrefix(err.Error(), "json: ")
}
