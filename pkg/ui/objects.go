package ui

import (
	"bytes"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

// Objects writes objects to stdout: YAML documents below a comment, or a List in
// JSON.
func (u *UI) Objects(comment []string, objects []runtime.Object) error {
	u.drain()
	u.mu.Lock()
	defer u.mu.Unlock()
	u.erase()
	u.releaseWarnings()
	u.run = newRun()
	var out bytes.Buffer
	for _, line := range comment {
		fmt.Fprintf(&out, "# %s\n", cleanLine(line))
	}
	items := []any{}
	for _, o := range objects {
		m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
		if err != nil {
			return err
		}
		unstructured.RemoveNestedField(m, "metadata", "creationTimestamp")
		for _, unset := range []string{"spec", "status"} {
			if sub, ok := m[unset].(map[string]any); ok && len(sub) == 0 {
				delete(m, unset)
			}
		}
		items = append(items, m)
		text, err := yaml.Marshal(m)
		if err != nil {
			return err
		}
		fmt.Fprintf(&out, "---\n%s", text)
	}
	if u.o.Output == "json" {
		text, err := asList(items)
		if err != nil {
			return err
		}
		out.Reset()
		out.Write(text)
	}
	u.out.write(out.String())
	return u.out.err()
}
