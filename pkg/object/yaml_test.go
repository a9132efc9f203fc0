package object

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const twoDocuments = `# a comment
apiVersion: v1
kind: ConfigMap
metadata:
  name: a
---
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: b, namespace: shop}
spec:
  containers:
  - name: x
    env:
    - name: A
    - name: B
      value: 1
`

func TestDocumentsKnowTheirLines(t *testing.T) {
	docs, err := Documents("f.yaml", []byte(twoDocuments))
	if err != nil || len(docs) != 2 {
		t.Fatalf("%d documents, %v", len(docs), err)
	}
	d := docs[1]
	if d.Line != 8 || d.Kind != "Deployment" || d.Name != "b" || d.Namespace != "shop" {
		t.Errorf("second document: %+v", d)
	}
	for path, want := range map[string]int{
		"spec.containers[0].env[1].value":  17,
		"spec.containers[0].env[1].nope":   16, // the nearest that exists
		"spec.containers[0].env[9].name":   14,
		"metadata.name":                    10,
		"nothing.at.all":                   8,
		"spec.containers[0].name":          13,
		"spec.containers[0].env[0].name.x": 15,
	} {
		if got := LineOf(d.Node, path); got != want {
			t.Errorf("%s: line %d, want %d", path, got, want)
		}
	}
}

func TestSyntaxErrorsNameFileAndLine(t *testing.T) {
	_, err := Documents("dir/f.yaml", []byte("a: b\nc: d\n  e: f\n"))
	var syntax *SyntaxError
	if !errors.As(err, &syntax) || syntax.File != "dir/f.yaml" || syntax.Line != 3 || !strings.HasPrefix(err.Error(), "dir/f.yaml:3: not valid YAML: ") {
		t.Errorf("got %v", err)
	}
}

// The usual reasons are told by their name, and not by what the parser stumbles over.
func TestSyntaxErrorsAreExplained(t *testing.T) {
	for data, want := range map[string]string{
		"a: b: c\n": "f:1: not valid YAML: mapping values are not allowed in this context",
		"a:\n<<<<<<< HEAD\n  b: c\n=======\n  b: d\n>>>>>>> feature\n": "f:2: not valid YAML: a merge conflict was left in it",
		"a:\n\tb: c\n":           "f:2: not valid YAML: the line is indented with a tab, and YAML takes spaces only",
		"a:\n  \tb: c\n  d: e\n": "f:2: not valid YAML: the line is indented with a tab, and YAML takes spaces only",
		"a: b\nc: caf\xe9\n":     "f:2: not valid YAML: it is not encoded in UTF-8",
		"a: b\nc: x\x01\n":       "f:2: not valid YAML: a control character is in it",
	} {
		if _, err := Documents("f", []byte(data)); err == nil || err.Error() != want {
			t.Errorf("%q: got %v, want %s", data, err, want)
		}
	}
	// In a text, a mark of a merge is one more line.
	if _, err := Documents("f", []byte("a: |\n  <<<<<<< HEAD\n")); err != nil {
		t.Error(err)
	}
}

func TestBadKey(t *testing.T) {
	for data, want := range map[string]string{
		"a: b\nc: {d: e}\n":                                  "",
		"a: b\nc: d\na: e\n":                                 "3: the key a is there twice: in line 1, too",
		"l:\n- {a: b}\n- a: b\n  a: c\n":                     "4: the key a is there twice: in line 3, too",
		"a: b\nimage: {{ .Values.tag }}\n":                   "2: a key is a mapping; {{ … }} is a template, which nobody fills in here",
		"? [a, b]\n: c\n":                                    "1: a key is a list",
		"a: &x {b: c}\nd:\n  <<: *x\n  e: f\ng:\n  <<: *x\n": "",
	} {
		docs, err := Documents("f", []byte(data))
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if line, what := BadKey(docs[0].Node); what != "" {
			got = fmt.Sprintf("%d: %s", line, what)
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", data, got, want)
		}
	}
}

func FuzzDocuments(f *testing.F) {
	f.Add([]byte(twoDocuments))
	f.Add([]byte("a: *b\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		docs, _ := Documents("f", data)
		for _, d := range docs {
			LineOf(d.Node, "spec.a[0].b")
			BadKey(d.Node)
		}
	})
}

// A server quotes what it refuses; the values of a Secret never get out.
func TestRedactTakesSecretsOut(t *testing.T) {
	secret := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Secret",
		"data":       map[string]any{"a": "aHVudGVyMg==", "n": int64(12345)},
		"stringData": map[string]any{"b": "swordfish"},
	}}
	got := Redact(secret, `cannot use "hunter2", aHVudGVyMg==, 12345 or "swordfish" for key b`)
	if got != `cannot use "***", ***, *** or "***" for key b` {
		t.Errorf("got %s", got)
	}
	other := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "data": map[string]any{"a": "x"}}}
	if got := Redact(other, "x"); got != "x" {
		t.Errorf("a ConfigMap was redacted: %s", got)
	}
}

// stringData becomes data, what only a server sets goes, and a role's rules stay.
func TestNormalizeIsLossless(t *testing.T) {
	secret := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Secret",
		"metadata":   map[string]any{"name": "s", "uid": "u", "resourceVersion": "1", "managedFields": []any{}},
		"stringData": map[string]any{"a": "hunter2"},
		"status":     map[string]any{},
	}}
	if errs := Normalize(secret); errs != nil {
		t.Fatal(errs)
	}
	data, _, _ := unstructured.NestedString(secret.Object, "data", "a")
	if data != "aHVudGVyMg==" || secret.Object["stringData"] != nil || secret.GetUID() != "" || secret.GetResourceVersion() != "" {
		t.Errorf("got %v", secret.Object)
	}
	for _, rules := range []any{nil, []any{}} {
		role := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": map[string]any{"name": "r"},
			"aggregationRule": map[string]any{}, "rules": rules}}
		// To apply none would take away those that a controller has filled in.
		if errs := Normalize(role); errs != nil || len(role.Object) != 4 {
			t.Errorf("an aggregated role: %v %v", errs, role.Object)
		}
	}
	crd := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "example.com/v1", "kind": "Gadget", "spec": map[string]any{"anything": []any{nil, int64(1)}}}}
	if errs := Normalize(crd); errs != nil || len(crd.Object["spec"].(map[string]any)["anything"].([]any)) != 2 {
		t.Errorf("a custom resource was changed: %v %v", errs, crd.Object)
	}
}
