// kubectl-gitops-resume reconciles Kustomizations again, saying first what that would change.
package main

import (
	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
	"github.com/kubectl-gitops/kubectl-gitops/plugins/suspend"
)

func main() { cli.Main(suspend.NewResume) }
