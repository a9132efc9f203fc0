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

// What only the schema of Flux's CustomResourceDefinition refuses is refused where no
// cluster has it: each alone, by its path.
func TestWhatTheSchemaRefuses(t *testing.T) {
	const source = "sourceRef: {kind: GitRepository, name: g}, "
	for spec, want := range map[string]string{
		source + "deletionPolicy: delete":                                                                `spec.deletionPolicy: is "delete"`,
		"sourceRef: {kind: Git, name: g}":                                                                `spec.sourceRef.kind: is "Git"`,
		"sourceRef: {name: g}":                                                                           "spec.sourceRef.kind: is missing",
		"sourceRef: {kind: GitRepository}":                                                               "spec.sourceRef.name: is missing",
		source + "buildMetadata: [originals]":                                                            `spec.buildMetadata[0]: is "originals"`,
		source + "decryption: {provider: age}":                                                           `spec.decryption.provider: is "age"`,
		source + "decryption: {}":                                                                        "spec.decryption.provider: is missing",
		source + "postBuild: {substituteStrategy: Never}":                                                `spec.postBuild.substituteStrategy: is "Never"`,
		source + "postBuild: {substituteFrom: [{kind: Secrets, name: a}]}":                               `spec.postBuild.substituteFrom[0].kind: is "Secrets"`,
		source + "postBuild: {substituteFrom: [{kind: Secret, name: a}, {kind: Secret}]}":                "spec.postBuild.substituteFrom[1]: needs kind and name",
		source + "postBuild: {substituteFrom: [{name: a}]}":                                              "spec.postBuild.substituteFrom[0]: needs kind and name",
		source + "dependsOn: [{name: a}, {namespace: b}]":                                                "spec.dependsOn[1].name: is missing",
		source + "healthChecks: [{name: a}]":                                                             "spec.healthChecks[0]: needs kind and name",
		source + "healthChecks: [{kind: Deployment}]":                                                    "spec.healthChecks[0]: needs kind and name",
		source + "kubeConfig: {}":                                                                        "spec.kubeConfig: needs secretRef or configMapRef",
		source + "kubeConfig: {secretRef: {name: a}, configMapRef: {name: b}}":                           "spec.kubeConfig: needs secretRef or configMapRef",
		source + "timeout: -1m":                                                                          "spec.timeout: -1m0s is negative",
		source + "retryInterval: -1s":                                                                    "spec.retryInterval: -1s is negative",
		source + "targetNamespace: " + strings.Repeat("n", 64):                                           "spec.targetNamespace: is longer than 63 characters",
		source + "deletionPolicy: Orphan, buildMetadata: [originAnnotations], timeout: 0s":               "",
		source + "decryption: {provider: sops}, kubeConfig: {secretRef: {name: a}}":                      "",
		source + "postBuild: {substituteStrategy: Always, substituteFrom: [{kind: ConfigMap, name: a}]}": "",
		source + "dependsOn: [{name: a}], healthChecks: [{kind: Job, name: a}], targetNamespace: " + strings.Repeat("n", 63): "",
	} {
		_, err := parse(t, "apiVersion: "+KustomizeGroup+"/v1\nkind: Kustomization\nmetadata: {name: a, namespace: b}\nspec: {prune: true, "+spec+"}\n")
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", spec, err)
		case want != "" && (err == nil || len(Invalid(err)) != 1 || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want %s", spec, err, want)
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
