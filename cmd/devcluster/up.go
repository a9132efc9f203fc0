package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kubectl-gitops/kubectl-gitops/cmd/devcluster/internal/controlplane"
)

// upFlags are the flags that `up` and its background half share.
type upFlags struct {
	dir          string
	components   string
	nodes        int
	ignoreMemory bool
}

func (f *upFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.dir, "dir", "", "keep everything in this directory, a new or an empty one")
	cmd.Flags().StringVar(&f.components, "components", string(controlplane.All), "what to start: all, or apiserver (with etcd; no controllers, no pods)")
	cmd.Flags().IntVar(&f.nodes, "nodes", 1, "how many nodes to simulate")
	cmd.Flags().BoolVar(&f.ignoreMemory, "ignore-memory", false, "start although too little memory is available")
}

// options checks the flags.
func (f *upFlags) options() (controlplane.Options, error) {
	set, err := controlplane.ParseSet(f.components)
	if err != nil {
		return controlplane.Options{}, err
	}
	if f.nodes < 0 || f.nodes > 1000 {
		return controlplane.Options{}, fmt.Errorf("--nodes %d is not between 0 and 1000", f.nodes)
	}
	executable, err := os.Executable()
	if err != nil {
		return controlplane.Options{}, err
	}
	return controlplane.Options{
		Dir:          f.dir,
		Components:   set,
		Nodes:        f.nodes,
		Executable:   executable,
		IgnoreMemory: f.ignoreMemory,
		Versions:     versions(),
	}, nil
}

func newUp() *cobra.Command {
	var flags upFlags
	cmd := &cobra.Command{
		Use:   "up [--dir DIR] [-- COMMAND [ARGUMENTS]]",
		Short: "Start a control plane, for a command or in the background",
		Long: `Start a control plane, and return or go on when it can be used.

With a COMMAND: run it with KUBECONFIG and KUBECACHEDIR set, DEVCLUSTER set to the directory, and PATH beginning with a
directory that has kubectl and with the one of devcluster itself; then stop everything and exit with its exit code.
Everything is in a temporary directory and goes with it. With --dir DIR it is in DIR, where DIR/logs stays.

Without a COMMAND: start in the background and print what to export. DIR is
` + defaultDirHelp + ` unless --dir is given; 'devcluster down' stops it and removes it all.

The kubeconfig has three contexts: devcluster (cluster-admin), and devcluster-nobody and devcluster-viewer, whose users
'nobody' and 'viewer' may do nothing until a RoleBinding says so.`,
		Example: `  devcluster up -- kubectl get nodes
  devcluster up --components apiserver -- go test ./...
  eval "$(devcluster up)"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			dash := cmd.ArgsLenAtDash()
			if len(args) > 0 && dash != 0 {
				return fmt.Errorf("%q is not a flag of up — to run it as a command: devcluster up -- %s", args[0], args[0])
			}
			if dash == 0 && len(args) == 0 {
				return errors.New("no command after -- (leave -- out to start in the background)")
			}
			if len(args) == 0 {
				return upInBackground(cmd, flags)
			}
			return upWithCommand(cmd, flags, args)
		},
	}
	flags.register(cmd)
	return cmd
}

// upWithCommand keeps a control plane as long as the command runs.
func upWithCommand(cmd *cobra.Command, flags upFlags, command []string) error {
	opts, err := flags.options()
	if err != nil {
		return err
	}
	asked := restarts()
	cluster, err := controlplane.Start(cmd.Context(), opts)
	if err != nil {
		return err
	}
	state := cluster.State
	go serveRestarts(cmd.Context(), asked, cluster)
	fmt.Fprintf(cmd.ErrOrStderr(), "devcluster: ready in %s at %s\n", state.Took.Round(100*time.Millisecond), state.Server)

	err = useCluster(state, cluster.Bin, filepath.Dir(opts.Executable))
	if err == nil {
		err = runCommand(cmd.Context(), command, cluster.Failed())
	}
	var failed *controlplane.ExitError
	keepLogs := errors.As(err, &failed) || !cluster.Temporary()
	if stopErr := cluster.Stop(keepLogs); stopErr != nil {
		fmt.Fprintf(cmd.ErrOrStderr(), "devcluster: %v\n", stopErr)
	}
	return err
}

// useCluster sets this process's environment, which the command inherits.
func useCluster(state controlplane.State, pathPrefix ...string) error {
	path := strings.Join(append(pathPrefix, os.Getenv("PATH")), string(os.PathListSeparator))
	for _, variable := range append(state.Environment(), "PATH="+path) {
		name, value, _ := strings.Cut(variable, "=")
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	return nil
}
