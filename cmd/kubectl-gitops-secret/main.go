// kubectl-gitops-secret seals, opens and rotates the secrets of a repository.
package main

import (
	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
	"github.com/kubectl-gitops/kubectl-gitops/plugins/secret"
)

func main() { cli.Main(secret.New) }
