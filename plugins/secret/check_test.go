package secret

import (
	"os"
	"strings"
	"testing"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/secret"
)

// A rule's name is what people search for, and skip.
func TestEveryRuleIsDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/secret.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range secret.CheckRules {
		if !strings.Contains(string(doc), "| `"+rule+"` |") {
			t.Errorf("docs/secret.md does not explain %s", rule)
		}
	}
}
