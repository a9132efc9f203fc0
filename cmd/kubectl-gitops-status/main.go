// kubectl-gitops-status shows what the cluster has, of which revision, and by whom.
package main

import (
	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
	"github.com/kubectl-gitops/kubectl-gitops/plugins/status"
)

func main() { cli.Main(status.New) }
