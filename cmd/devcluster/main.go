// Devcluster is a real Kubernetes control plane on loopback in one binary: etcd, API server, controllers and scheduler
// are the released ones, the kubelet is simulated. See README.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kubectl-gitops/kubectl-gitops/cmd/devcluster/internal/component"
	"github.com/kubectl-gitops/kubectl-gitops/cmd/devcluster/internal/controlplane"
)

func main() { os.Exit(run(os.Args)) }

// run dispatches before cobra sees anything: kubectl and the components parse their own arguments.
func run(args []string) int {
	name := strings.TrimSuffix(filepath.Base(args[0]), ".exe")
	switch {
	case name == "kubectl":
		return component.Run("kubectl", args[1:])
	case len(args) > 1 && args[1] == "kubectl":
		return component.Run("kubectl", args[2:])
	case len(args) > 2 && args[1] == "component":
		controlplane.HoldLifeline()
		return component.Run(args[2], args[3:])
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	// Packages of Kubernetes register flags for the whole process; they are none of these commands'.
	pflag.CommandLine = pflag.NewFlagSet("devcluster", pflag.ContinueOnError)
	root := newRoot()
	root.SetArgs(args[1:])
	err := root.ExecuteContext(ctx)
	var code exitCode
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return int(code)
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "devcluster: interrupted")
		return 130
	}
	fmt.Fprintf(os.Stderr, "devcluster: %v\n", err)
	return 1
}

// exitCode is an error that says nothing more: what there was to say has been said.
type exitCode int

func (c exitCode) Error() string { return fmt.Sprintf("exit code %d", int(c)) }

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "devcluster",
		Short: "A real Kubernetes control plane on loopback, in one binary",
		Long: `A real Kubernetes control plane on loopback, in one binary: etcd, kube-apiserver, kube-controller-manager and
kube-scheduler are the released ones; nodes and pods are simulated by kwok, so a pod becomes Ready without a container.
Nothing is installed and no rights are needed.`,
		Example: `  devcluster up -- kubectl get nodes      # start, run one command, stop
  eval "$(devcluster up)"                 # start in the background and use it
  devcluster status
  devcluster down`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(newUp(), newDown(), newStatus(), newRestart(), newVersion(), newSupervise(), &cobra.Command{
		Use:                "kubectl [ARGUMENTS]",
		Short:              "The kubectl of the control plane's version",
		DisableFlagParsing: true,
		// Never reached; see run. It is here for the help.
		Run: func(*cobra.Command, []string) {},
	})
	return root
}
