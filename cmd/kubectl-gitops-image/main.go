// kubectl-gitops-image tells which image tags policies choose, and why, and
// writes them into Git.
package main

import (
	"github.com/spf13/cobra"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
	"github.com/kubectl-gitops/kubectl-gitops/plugins/image"
	"github.com/kubectl-gitops/kubectl-gitops/plugins/sync"
)

func main() {
	cli.Main(func(env *cli.Env) *cobra.Command { return image.New(env, sync.New) })
}
