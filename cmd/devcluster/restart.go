package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"

	"github.com/spf13/cobra"

	"github.com/kubectl-gitops/kubectl-gitops/cmd/devcluster/internal/controlplane"
)

func newRestart() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "restart apiserver [--dir DIR]",
		Short: "Kill the API server and start it again",
		Long: `Kill the API server of the control plane that keeps itself in DIR (` + defaultDirHelp + `) and start
it again on the same port, as after a crash. Returns when it serves. The command of up finds its DIR in $DEVCLUSTER.`,
		Example: `  devcluster up -- sh -c 'devcluster restart apiserver --dir "$DEVCLUSTER"'`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 || args[0] != "apiserver" {
				return fmt.Errorf("restart what? %q is not it; only the API server can be restarted: devcluster restart apiserver", args)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := defaultDir(dir)
			if err != nil {
				return err
			}
			err = controlplane.AskForRestart(cmd.Context(), dir)
			if errors.Is(err, controlplane.ErrNotRunning) {
				return fmt.Errorf("nothing runs in %s — start it with: devcluster up%s", dir, dirFlag(dir))
			}
			return err
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "the directory that was given to up")
	return cmd
}

// restarts delivers what AskForRestart sends. To be called before there is a control plane to be asked about: until
// then the signal would end this process.
func restarts() <-chan os.Signal {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, controlplane.RestartSignal)
	return signals
}

// serveRestarts restarts the API server whenever it is asked to, until ctx is done. One that does not come back is
// told; whoever waits for it waits in vain.
func serveRestarts(ctx context.Context, asked <-chan os.Signal, cluster *controlplane.Cluster) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-asked:
			if err := cluster.RestartAPIServer(ctx); err != nil && !errors.Is(err, context.Canceled) {
				fmt.Fprintf(os.Stderr, "devcluster: restart the API server: %v\n", err)
			}
		}
	}
}
