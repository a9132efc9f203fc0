// kubectl-gitops-image tells which tags image policies choose, and why.
package main

import (
	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
	"github.com/kubectl-gitops/kubectl-gitops/plugins/image"
)

func main() { cli.Main(image.New) }
