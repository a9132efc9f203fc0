package ui

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/gitops"
)

// What does not fit into a comment is cut between two objects, and counted; no
// block and no section is left open.
func TestMarkdownFitsIntoAComment(t *testing.T) {
	const forge = 65_536 // GitHub's, in characters
	name := func(r flux.Ref) string { return r.Name }
	report := func(kustomizations, objects int, status string) gitops.DiffReport {
		var r gitops.DiffReport
		for i := range kustomizations {
			k := gitops.KustomizationDiffReport{Namespace: "flux-system", Name: fmt.Sprintf("team-%d", i), Status: status}
			for j := range objects {
				if status == gitops.StatusFailed {
					k.Problems = append(k.Problems, gitops.Problem{File: "a.yaml", Line: j, Message: strings.Repeat("m", 200)})
					continue
				}
				k.Changes = append(k.Changes, gitops.DiffChange{Version: "v1", Kind: "ConfigMap", Namespace: "shop", Name: fmt.Sprintf("o%d", j), Action: "create", Diff: "+" + strings.Repeat("x", 200) + "\n"})
			}
			r.Kustomizations = append(r.Kustomizations, k)
		}
		return r
	}
	for title, r := range map[string]gitops.DiffReport{
		"one with many objects": report(1, 1000, gitops.StatusReady),
		"many Kustomizations":   report(2000, 2, gitops.StatusReady),
		"many problems":         report(3, 500, gitops.StatusFailed),
	} {
		t.Run(title, func(t *testing.T) {
			lines := diffMarkdown(r, name)
			text := strings.Join(lines, "\n")
			if n := len([]rune(text)); n > forge {
				t.Errorf("%d characters, a comment holds %d", n, forge)
			}
			if a, b := strings.Count(text, "<details>"), strings.Count(text, "</details>"); a != b || strings.Count(text, "```")%2 != 0 {
				t.Errorf("%d sections begin, %d end; %d fences", a, b, strings.Count(text, "```"))
			}
			all := 0
			for _, k := range r.Kustomizations {
				all += len(k.Changes) + len(k.Problems)
			}
			shown := strings.Count(text, "```diff") + strings.Count(text, "\n- `")
			if want := fmt.Sprintf("\n%d more ", all-shown); shown == 0 || !strings.Contains(text, want) {
				t.Errorf("%d of %d are shown, and it says: %s", shown, all, lines[len(lines)-1])
			}
		})
	}
}
