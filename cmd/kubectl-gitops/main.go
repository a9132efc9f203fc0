// kubectl-gitops is every plugin in one binary.
package main

import (
	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
	"github.com/kubectl-gitops/kubectl-gitops/plugins"
)

func main() { cli.Main(plugins.Umbrella) }
