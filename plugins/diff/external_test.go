package diff

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/gitops"
)

// What is compared with a base is named by whoever wrote it, a stranger's pull
// request maybe: its file stays in the directory that it is written to.
func TestFilesStayInTheirDirectory(t *testing.T) {
	for _, name := range []string{"web", "../../../../tmp/evil", `..\..\evil`, "system:node", "a/b", "..", ""} {
		c := gitops.DiffChange{Version: "v1", Kind: "ConfigMap", Namespace: "../" + name, Name: name}
		if at := filepath.Join("/dir", fileName(c)); filepath.Dir(at) != "/dir" {
			t.Errorf("%q is at %s", name, at)
		}
	}
	// kubectl's own name for it
	if got := fileName(gitops.DiffChange{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "ClusterRole", Name: "system:node"}); got != "rbac.authorization.k8s.io.v1.ClusterRole..system-node" {
		t.Error(got)
	}
}

// KUBECTL_EXTERNAL_DIFF is read as kubectl reads it (k8s.io/kubectl, DiffProgram).
func TestExternalProgramAsForKubectl(t *testing.T) {
	for words, want := range map[string][]string{
		"diff":                              {"diff", "A", "B"},
		"diff -N -r":                        {"diff", "A", "B", "-N", "-r"},
		"dyff between --omit-header":        {"dyff", "A", "B", "between", "--omit-header"},
		"diff --color=always":               {"diff", "A", "B", "--color=always"},
		"diff  -u ; rm -rf / $(x) 'quoted'": {"diff", "A", "B", "-u", "rm", "-rf"},
	} {
		if got := externalDiff(t.Context(), words, "A", "B").Args; !slices.Equal(got, want) {
			t.Errorf("%q is %q, want %q", words, got, want)
		}
	}
}
