// kubectl-gitops-diff shows what a sync would change.
package main

import (
	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
	"github.com/kubectl-gitops/kubectl-gitops/plugins/diff"
)

func main() { cli.Main(diff.New) }
