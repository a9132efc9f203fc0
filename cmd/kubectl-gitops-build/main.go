// kubectl-gitops-build renders what a repository says, without a cluster.
package main

import (
	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
	"github.com/kubectl-gitops/kubectl-gitops/plugins/build"
)

func main() { cli.Main(build.New) }
