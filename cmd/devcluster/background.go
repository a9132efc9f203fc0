package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/kubectl-gitops/kubectl-gitops/cmd/devcluster/internal/controlplane"
)

const defaultDirHelp = "$XDG_STATE_HOME/devcluster (~/.local/state/devcluster)"

// defaultDir is where the control plane in the background is kept unless --dir says otherwise.
func defaultDir(dir string) (string, error) {
	if dir != "" {
		return filepath.Abs(dir)
	}
	if state := os.Getenv("XDG_STATE_HOME"); state != "" {
		return filepath.Join(state, "devcluster"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("no directory to keep the control plane in: %w — give one with --dir", err)
	}
	return filepath.Join(home, ".local", "state", "devcluster"), nil
}

// readyLine is what `supervise` prints on stdout once the control plane can be used. Every line before it is for the user.
const readyLine = "ready"

// upInBackground starts `supervise` in a session of its own and returns once that says that it is ready.
func upInBackground(cmd *cobra.Command, flags upFlags) error {
	dir, err := defaultDir(flags.dir)
	if err != nil {
		return err
	}
	flags.dir = dir
	opts, err := flags.options()
	if err != nil {
		return err
	}
	output, input, err := os.Pipe()
	if err != nil {
		return err
	}
	child := exec.Command(opts.Executable, "supervise", "--dir="+dir, "--components="+flags.components,
		"--nodes="+strconv.Itoa(flags.nodes), "--ignore-memory="+strconv.FormatBool(flags.ignoreMemory))
	child.Stdout, child.Stderr = input, input
	controlplane.Detach(child)
	err = child.Start()
	if err := errors.Join(err, input.Close()); err != nil {
		return err
	}
	stop := context.AfterFunc(cmd.Context(), func() { _ = child.Process.Signal(syscall.SIGTERM) })
	defer stop()

	for lines := bufio.NewScanner(output); lines.Scan(); {
		if lines.Text() == readyLine {
			return printUse(cmd, dir)
		}
		fmt.Fprintln(cmd.ErrOrStderr(), lines.Text())
	}
	_ = child.Wait()
	if cmd.Context().Err() != nil {
		return cmd.Context().Err()
	}
	return exitCode(1)
}

// printUse prints on stdout what a shell can evaluate.
func printUse(cmd *cobra.Command, dir string) error {
	state, err := controlplane.ReadState(dir)
	if err != nil {
		return err
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "devcluster: ready in %s at %s; stop it with: devcluster down%s\n",
		state.Took.Round(100*time.Millisecond), state.Server, dirFlag(dir))
	for _, variable := range state.Environment() {
		fmt.Fprintf(cmd.OutOrStdout(), "export %s\n", shellQuote(variable))
	}
	return nil
}

// newSupervise is the background half of `up`: it owns the components and ends them when it is told to.
func newSupervise() *cobra.Command {
	var flags upFlags
	cmd := &cobra.Command{
		Use:    "supervise",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			opts, err := flags.options()
			if err != nil {
				return err
			}
			asked := restarts()
			cluster, err := controlplane.Start(cmd.Context(), opts)
			if err != nil {
				return err
			}
			go serveRestarts(cmd.Context(), asked, cluster)
			fmt.Fprintln(cmd.OutOrStdout(), readyLine)
			select {
			case <-cmd.Context().Done():
				return cluster.Stop(false)
			case p := <-cluster.Failed():
				// Nobody listens any more, so the reason goes where `status` finds it.
				failure := &controlplane.ExitError{Process: p}
				log := controlplane.FailureLog(cluster.Dir())
				return errors.Join(os.WriteFile(log, []byte(failure.Error()+"\n"), 0o600), cluster.Stop(true))
			}
		},
	}
	flags.register(cmd)
	return cmd
}

func newDown() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "down [--dir DIR]",
		Short: "Stop the control plane in the background and remove it",
		Long:  "Stop the control plane that keeps itself in DIR (" + defaultDirHelp + "), and remove what it left there, logs included.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := defaultDir(dir)
			if err != nil {
				return err
			}
			pid, err := controlplane.Owner(dir)
			if err != nil {
				return err
			}
			if pid == 0 {
				fmt.Fprintf(cmd.ErrOrStderr(), "devcluster: nothing runs in %s\n", dir)
			} else if err := stopOwner(cmd.Context(), dir, pid); err != nil {
				return err
			}
			return controlplane.RemoveLeftovers(dir)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "the directory that was given to up")
	return cmd
}

// stopOwner asks the process that owns dir to end, and kills it when it has not after grace and a little.
func stopOwner(ctx context.Context, dir string, pid int) error {
	process, err := os.FindProcess(pid)
	if err != nil {
		return err
	}
	if err := process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("cannot stop process %d, which owns %s: %w", pid, dir, err)
	}
	killAfter := time.Now().Add(grace + 2*time.Second)
	for {
		if now, err := controlplane.Owner(dir); err != nil || now == 0 {
			return err
		}
		if time.Now().After(killAfter) {
			_ = process.Kill()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}
