package secret

import (
	"os"
	"testing"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
)

const testMain = "KUBECTL_GITOPS_SECRET_TEST"

// TestMain is the command itself where a test, or the command, starts it so.
func TestMain(m *testing.M) {
	if os.Getenv(testMain) != "" || len(os.Args) > 1 && os.Args[1] == "guard" {
		cli.Main(New)
	}
	os.Exit(m.Run())
}
