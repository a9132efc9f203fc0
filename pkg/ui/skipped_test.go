package ui

import (
	"strings"
	"testing"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/gitops"
)

// What is skipped each time for the same reason is one line; what is skipped
// for a reason of its own is named.
func TestManySkippedForOneReasonAreOneLine(t *testing.T) {
	k := gitops.KustomizationReport{Written: gitops.WrittenReport{Skipped: 4}}
	for _, name := range []string{"a", "b", "c"} {
		k.Changes = append(k.Changes, gitops.ChangeReport{Kind: "Kustomization", Name: name, Action: "skipped", Message: "no such kind"})
	}
	k.Changes = append(k.Changes, gitops.ChangeReport{Kind: "ConfigMap", Name: "kept", Action: "skipped", Message: "prune: disabled"})
	got := strings.Join(layout{symbols: asciiSymbols}.changes(k), "\n")
	want := "    3 skipped: no such kind (-v lists them)\n    configmap/kept skipped: prune: disabled"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if all := (layout{symbols: asciiSymbols, verbose: true}).changes(k); len(all) != 4 {
		t.Errorf("-v lists %d lines, want 4", len(all))
	}
}
