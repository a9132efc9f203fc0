package flux

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
)

// Every field of the API, however deep, that has a value of another type is named
// by its path, in each version of the API that Git may have.
func TestEveryFieldOfAWrongTypeIsNamed(t *testing.T) {
	paths := map[string]any{}
	wrongValues(reflect.TypeFor[kustomizev1.KustomizationSpec](), "spec", func(v any) any { return map[string]any{"spec": v} }, paths)
	if len(paths) < 60 {
		t.Fatalf("only %d fields: %v", len(paths), paths)
	}
	for path, doc := range paths {
		for _, version := range []string{"v1", "v1beta2", "v1beta1"} {
			m := doc.(map[string]any)
			m["apiVersion"], m["kind"], m["metadata"] = KustomizeGroup+"/"+version, "Kustomization", map[string]any{"name": "a", "namespace": "b"}
			data, err := json.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			u := &unstructured.Unstructured{}
			if err := u.UnmarshalJSON(data); err != nil {
				t.Fatal(err)
			}
			_, err = ParseKustomization(object.Object{Unstructured: u})
			var invalid *InvalidError
			if !errors.As(err, &invalid) {
				t.Errorf("%s of a wrong type in %s: %v", path, version, err)
				continue
			}
			if !strings.Contains(err.Error(), path+": ") {
				t.Errorf("%s of a wrong type in %s is not named: %v", path, version, err)
			}
		}
	}
}

// wrongValues fills out with a document for each field below path, of type typ, in
// which that one has a value of a wrong type. within puts a value in its place.
func wrongValues(typ reflect.Type, path string, within func(any) any, out map[string]any) {
	for typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	if reflect.PointerTo(typ).Implements(unmarshaler) {
		out[path] = within([]any{"x"})
		return
	}
	switch typ.Kind() {
	case reflect.Struct:
		out[path] = within("x")
		for name, field := range object.JSONFields(typ) {
			wrongValues(field, path+"."+name, func(v any) any { return within(map[string]any{name: v}) }, out)
		}
	case reflect.Slice:
		out[path] = within(7)
		wrongValues(typ.Elem(), path+"[0]", func(v any) any { return within([]any{v}) }, out)
	case reflect.Map:
		out[path] = within("x")
		wrongValues(typ.Elem(), path+".x", func(v any) any { return within(map[string]any{"x": v}) }, out)
	case reflect.String:
		out[path] = within(map[string]any{"x": 1})
	default:
		out[path] = within(fmt.Sprintf("not a %s", typ.Kind()))
	}
}
