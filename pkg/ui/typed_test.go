package ui

import "testing"

func TestTyped(t *testing.T) {
	const hint = "kubectl gitops sync --force, or kubectl gitops secret check; else kubectl gitops sync"
	for name, want := range map[string]string{
		"":                    hint,
		"kubectl gitops":      hint,
		"kubectl gitops sync": hint,
		"kubectl gitops-sync": "kubectl gitops-sync --force, or kubectl gitops secret check; else kubectl gitops-sync",
		"flux gitops":         "flux gitops sync --force, or flux gitops secret check; else flux gitops sync",
		"flux gitops sync":    "flux gitops sync --force, or flux gitops secret check; else flux gitops sync",
		"gitops":              "gitops sync --force, or gitops secret check; else gitops sync",
	} {
		if got := Typed(name, hint); got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
}
