// Module fluxcli pins Flux's CLI, which installs the plugin in make soak. It is built beside its source, see the Makefile.
module github.com/kubectl-gitops/kubectl-gitops/testdata/fluxcli

go 1.26.0

require github.com/fluxcd/flux2/v2 v2.9.5
