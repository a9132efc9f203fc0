package secret_test

import (
	"testing"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/secret"
)

// What a person wrote around the list stays as it is.
func TestAddResource(t *testing.T) {
	for title, c := range map[string]struct{ before, after string }{
		"empty file":     {"", "resources:\n- db.yaml\n"},
		"no resources":   {"namespace: x # kept", "namespace: x # kept\nresources:\n- db.yaml\n"},
		"nothing listed": {"resources:\nnamespace: x\n", "resources:\n- db.yaml\nnamespace: x\n"},
		"a list": {
			"# top\nresources:\n  - a.yaml # why\n  # - off.yaml\n\nimages: []\n",
			"# top\nresources:\n  - a.yaml # why\n  - db.yaml\n  # - off.yaml\n\nimages: []\n",
		},
		"at the left":       {"resources:\n- a.yaml\n- b\nnamespace: x\n", "resources:\n- a.yaml\n- b\n- db.yaml\nnamespace: x\n"},
		"in brackets":       {"resources: [a.yaml, b.yaml] # ours\n", "resources: [a.yaml, b.yaml, \"db.yaml\"] # ours\n"},
		"in empty brackets": {"resources: []\n", "resources: [\"db.yaml\"]\n"},
		"windows":           {"resources:\r\n- a.yaml\r\n", "resources:\r\n- a.yaml\r\n- db.yaml\r\n"},
		"there already":     {"resources: [./db.yaml]\n", "resources: [./db.yaml]\n"},
		"last line open":    {"resources:\n- a.yaml", "resources:\n- a.yaml\n- db.yaml\n"},
	} {
		t.Run(title, func(t *testing.T) {
			got, err := secret.AddResource([]byte(c.before), "db.yaml")
			if err != nil || string(got) != c.after {
				t.Errorf("got %v\n%s", err, got)
			}
		})
	}
	for title, text := range map[string]string{
		"a mapping":    "resources: {a: b}\n",
		"braces":       "{resources: [a]}\n",
		"a list":       "- a\n",
		"two":          "a: b\n---\nc: d\n",
		"no YAML":      "a: [\n",
		"an alias":     "x: &l [a]\nresources: *l\n",
		"stands twice": "resources: [a]\nresources: [b]\n",
	} {
		t.Run(title, func(t *testing.T) {
			if got, err := secret.AddResource([]byte(text), "db.yaml"); err == nil {
				t.Errorf("got %s", got)
			}
		})
	}
}
