package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/kubectl-gitops/kubectl-gitops/cmd/devcluster/internal/controlplane"
)

func newStatus() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "status [--dir DIR]",
		Short: "Show the control plane in the background",
		Long: `Show the control plane that keeps itself in DIR (` + defaultDirHelp + `): where it serves,
its processes with the memory that each holds, and its versions. The exit code is 1 when it does not run or is not ready.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := defaultDir(dir)
			if err != nil {
				return err
			}
			state, err := controlplane.ReadState(dir)
			switch {
			case errors.Is(err, controlplane.ErrNotRunning):
				log := controlplane.FailureLog(dir)
				if _, err := os.Stat(log); err == nil {
					return fmt.Errorf("nothing runs in %s any more; %s says why — start it anew with: devcluster up%s", dir, log, dirFlag(dir))
				}
				return fmt.Errorf("nothing runs in %s — start it with: devcluster up%s", dir, dirFlag(dir))
			case errors.Is(err, controlplane.ErrStarting):
				return fmt.Errorf("the devcluster in %s is starting", dir)
			case err != nil:
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), 5*time.Second)
			defer cancel()
			notReady := state.Ready(ctx)
			if err := printStatus(cmd.OutOrStdout(), state, notReady); err != nil {
				return err
			}
			if notReady != nil {
				return exitCode(1)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "the directory that was given to up")
	return cmd
}

func printStatus(out io.Writer, s controlplane.State, notReady error) error {
	ready := "yes, " + time.Since(s.Started).Round(time.Second).String() + " after its start"
	if notReady != nil {
		ready = "no: " + notReady.Error()
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "server\t%s\nready\t%s\ndirectory\t%s\nkubeconfig\t%s\ncomponents\t%s\nnodes\t%d\npid\t%d\n",
		s.Server, ready, s.Dir, s.Kubeconfig, s.Components, len(s.Nodes), s.PID)
	fmt.Fprintf(w, "versions\t%s\n", formatVersions(s.Versions))
	fmt.Fprintf(w, "\nPROCESS\tPID\tMEMORY\tLOG\n")
	for _, p := range s.Processes {
		memory := "gone"
		if bytes, ok := p.ResidentSize(); ok {
			memory = fmt.Sprintf("%d MiB", bytes>>20)
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\n", p.Name, p.PID, memory, p.Log)
	}
	if total, ok := s.TotalSize(); ok {
		fmt.Fprintf(w, "total\t\t%d MiB\t(what they share counted once)\n", total>>20)
	}
	return w.Flush()
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the versions of the components",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), formatVersions(versions()))
			return err
		},
	}
}

// versions returns the version of each component as go.mod has it.
func versions() map[string]string {
	components := map[string]string{
		"k8s.io/kubernetes":         "kubernetes",
		"go.etcd.io/etcd/server/v3": "etcd",
		"sigs.k8s.io/kwok":          "kwok",
	}
	found := map[string]string{}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, module := range info.Deps {
			if name, ok := components[module.Path]; ok {
				found[name] = module.Version
			}
		}
	}
	return found
}

func formatVersions(versions map[string]string) string {
	var parts []string
	for name, version := range versions {
		parts = append(parts, name+" "+version)
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

// dirFlag is what to add to a command line to reach dir.
func dirFlag(dir string) string {
	if standard, err := defaultDir(""); err == nil && standard == dir {
		return ""
	}
	return " --dir " + shellQuote(dir)
}

// shellQuote returns text as one word of a POSIX shell.
func shellQuote(text string) string {
	safe := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-=:,+@%", r)
	}
	if text != "" && strings.IndexFunc(text, func(r rune) bool { return !safe(r) }) < 0 {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
