package plugins

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/version"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
)

// completionCommand is cobra's, with a subcommand that teaches kubectl.
func completionCommand(root *cobra.Command, env *cli.Env) {
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		if c.Name() == "completion" {
			c.Short = "Teach a shell, or kubectl, to complete these commands"
			c.Args, c.RunE = cli.Subcommand, func(c *cobra.Command, _ []string) error { return c.Help() }
			for _, shell := range c.Commands() {
				shell.Args = cli.NoArgs
			}
			c.AddCommand(installCommand(env))
		}
	}
}

func installCommand(env *cli.Env) *cobra.Command {
	dir := ""
	c := &cobra.Command{
		Use:   "install",
		Short: "Let kubectl's own completion complete `kubectl gitops`",
		Long: `Let kubectl's own completion complete "kubectl gitops": writes an executable
kubectl_complete-gitops into a directory on PATH, where kubectl (1.26 and later)
looks for it, and one for each plugin that is installed by itself. Their paths are
printed; to take them away again, delete them. The completion of kubectl must be
set up in your shell: kubectl completion --help`,
		Args: cli.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			err := install(c, env, dir)
			if old := olderKubectl(c.Context(), env); err == nil && old != "" {
				fmt.Fprintf(env.ErrOut, "warning: kubectl here is %s, which completes no plugins: that came with v1.26\nhint: %s completion bash --help completes the binary itself\n", old, env.Name)
			}
			return err
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "Directory on PATH to write to. Default: the first on PATH that is below your home directory and can be written.")
	_ = c.MarkFlagDirname("dir")
	return c
}

// olderKubectl is the version of the kubectl on PATH where it is known to be from
// before kubectl asked plugins for completions, "" otherwise.
func olderKubectl(ctx context.Context, env *cli.Env) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	k := exec.CommandContext(ctx, "kubectl", "version", "--client", "-o", "json")
	k.Env = env.Environ
	out, err := k.Output()
	if err != nil {
		return ""
	}
	var v struct {
		ClientVersion struct{ GitVersion string }
	}
	if json.Unmarshal(out, &v) != nil {
		return ""
	}
	at, err := version.ParseSemantic(v.ClientVersion.GitVersion)
	if err != nil || at.Major() == 0 || at.AtLeast(version.MajorMinor(1, 26)) { // 0 where a build does not know
		return ""
	}
	return v.ClientVersion.GitVersion
}

func install(c *cobra.Command, env *cli.Env, dir string) error {
	onPath := filepath.SplitList(env.Getenv("PATH"))
	done := map[string]bool{}
	if dir == "" {
		home := env.Home()
		for _, d := range onPath {
			if home != "" && strings.HasPrefix(d, home+string(filepath.Separator)) && writable(d) {
				dir = d
				break
			}
		}
		if dir == "" {
			return noDirectory{c.CommandPath(), onPath}
		}
	}
	for _, p := range append(installed(env), Installed{Typed: "kubectl gitops", Path: "kubectl-gitops"}) {
		plugin, ok := strings.CutPrefix(strings.TrimSuffix(filepath.Base(p.Path), ".exe"), "kubectl-")
		if !ok {
			continue
		}
		// The binary itself, and not kubectl, which would look for it again.
		name, text := "kubectl_complete-"+plugin, "#!/bin/sh\nexec kubectl-"+plugin+" __complete \"$@\"\n"
		if runtime.GOOS == "windows" {
			name, text = name+".cmd", "@kubectl-"+plugin+" __complete %*\r\n"
		}
		file := filepath.Join(dir, name)
		if done[file] {
			continue
		}
		if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
			return fmt.Errorf("cannot write what kubectl looks for: %w", err)
		}
		done[file] = true
		fmt.Fprintln(env.Out, file)
	}
	for _, d := range onPath {
		if same(d, dir) {
			return nil
		}
	}
	fmt.Fprintf(env.ErrOut, "warning: %s is not on PATH, where kubectl looks\n", dir)
	return nil
}

// noDirectory is that no directory can be taken without asking.
type noDirectory struct {
	command string
	onPath  []string
}

func (noDirectory) Error() string {
	return "no directory on PATH is below your home directory and can be written: name one with --dir"
}

// Hint is the command with the first directory that would do.
func (n noDirectory) Hint() string {
	for _, d := range n.onPath {
		if filepath.IsAbs(d) && writable(d) {
			return n.command + " --dir " + d
		}
	}
	return n.command + " --dir DIR, and then DIR on PATH"
}

// writable tries it: permissions tell only half.
func writable(dir string) bool {
	f, err := os.CreateTemp(dir, ".kubectl-gitops-*")
	if err != nil {
		return false
	}
	return errors.Join(f.Close(), os.Remove(f.Name())) == nil
}

func same(a, b string) bool {
	ai, aErr := os.Stat(a)
	bi, bErr := os.Stat(b)
	return aErr == nil && bErr == nil && os.SameFile(ai, bi)
}
