package cli

import "testing"

// Help follows the name that the user typed, in all of its shapes.
func TestTypedName(t *testing.T) {
	for argv0, want := range map[string]string{
		"/usr/local/bin/kubectl-gitops":       "kubectl gitops",
		"kubectl-gitops-sync":                 "kubectl gitops sync",
		"kubectl-gitops_sync":                 "kubectl gitops-sync",
		"/home/a/.fluxcd/plugins/flux-gitops": "flux gitops",
		"kubectl-gitops-sync.exe":             "kubectl gitops sync",
		"gitops":                              "gitops",
	} {
		if got := TypedName(argv0); got != want {
			t.Errorf("%s: %q, want %q", argv0, got, want)
		}
	}
	for name, want := range map[string]string{"kubectl gitops": "kubectl gitops sync", "kubectl gitops sync": "kubectl gitops sync", "kubectl gitops-sync": "kubectl gitops-sync"} {
		if got := (&Env{Name: name}).Command("sync"); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestGetenvTakesTheLast(t *testing.T) {
	e := &Env{Environ: []string{"A=1", "AB=2", "A=3"}}
	if got := e.Getenv("A"); got != "3" {
		t.Errorf("got %q", got)
	}
	if got := e.Getenv("B"); got != "" {
		t.Errorf("got %q", got)
	}
}
