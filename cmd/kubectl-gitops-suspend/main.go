// kubectl-gitops-suspend leaves Kustomizations alone from now on.
package main

import (
	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
	"github.com/kubectl-gitops/kubectl-gitops/plugins/suspend"
)

func main() { cli.Main(suspend.New) }
