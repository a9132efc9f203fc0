// kubectl-gitops-rbac prints the least Roles with which a ServiceAccount can sync.
package main

import (
	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
	"github.com/kubectl-gitops/kubectl-gitops/plugins/rbac"
)

func main() { cli.Main(rbac.New) }
