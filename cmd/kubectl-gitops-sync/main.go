// kubectl-gitops-sync makes a cluster what a Git repository says, once.
package main

import (
	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
	"github.com/kubectl-gitops/kubectl-gitops/plugins/sync"
)

func main() { cli.Main(sync.New) }
