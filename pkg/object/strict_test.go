package object

import (
	"os"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// The real repository put 27 entries of env under envFrom; a typed decode
// turned them into 27 empty objects.
func TestNormalizeFindsMisplacedEntries(t *testing.T) {
	data, err := os.ReadFile("testdata/misplaced.yaml")
	if err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal(data, &u.Object); err != nil {
		t.Fatal(err)
	}
	errs := Normalize(u)
	if len(errs) != 2 {
		t.Fatalf("got %d errors, want 2: %v", len(errs), errs)
	}
	for i, want := range []string{
		"spec.replica is not a field; did you mean replicas?",
		"spec.template.spec.containers[0].envFrom[1].name is not a field, nor are those of 2 more entries to envFrom[3]: 3 entries of envFrom are misplaced; did you mean env?",
	} {
		if got := errs[i].Error(); got != want {
			t.Errorf("error %d:\n got %s\nwant %s", i, got, want)
		}
	}
	if n, _, _ := unstructured.NestedSlice(u.Object, "spec", "template", "spec", "containers"); len(n[0].(map[string]any)["envFrom"].([]any)) != 4 {
		t.Error("the object was changed although fields are unknown")
	}
}

func TestDistanceCountsSlips(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"apps", "apps", 0}, {"apps", "app", 1}, {"apps", "aps", 1}, {"apps", "epps", 1}, {"apps", "apsp", 1}, {"infra", "infar", 1}, {"kitten", "sitting", 3}} {
		if got := Distance(c.a, c.b); got != c.want || Distance(c.b, c.a) != c.want {
			t.Errorf("%q to %q: %d, want %d", c.a, c.b, got, c.want)
		}
	}
}
