package secret

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/secret"
)

// newTextconv is what git diff runs for each version of a sealed file: what it
// holds goes through a pipe. What does not open is shown as it is.
func newTextconv(env *cli.Env) *cobra.Command {
	return &cobra.Command{
		Use:    "textconv FILE",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			data, err := os.ReadFile(args[0])
			if err != nil {
				return err
			}
			if secret.IsSealed(args[0], data) {
				keys, err := secret.Find(secret.FindOptions{Getenv: env.Getenv})
				if err != nil {
					return err
				}
				plain, _, err := keys.Decrypt(args[0], data, secret.DecryptOptions{KeepLayout: true})
				if err == nil {
					data = plain
				} else {
					say(env, err, "shown as it is sealed")
				}
			}
			_, err = env.Out.Write(data)
			return err
		},
	}
}

// newMergeDriver is what git merge runs for a sealed file that both sides changed:
// BASE OURS THEIRS MARKERSIZE PATH. The result goes into OURS, sealed. Where the
// sides cannot be merged OURS stays as it is, and Git notes a conflict, as it does
// for a binary file: markers in clear must not get into the work tree.
func newMergeDriver(env *cli.Env) *cobra.Command {
	return &cobra.Command{
		Use:    "merge-driver BASE OURS THEIRS MARKERSIZE PATH",
		Hidden: true,
		Args:   cobra.ExactArgs(5),
		RunE: func(c *cobra.Command, args []string) error {
			var versions [3][]byte
			for i := range versions {
				var err error
				if versions[i], err = os.ReadFile(args[i]); err != nil {
					return err
				}
			}
			base, ours, theirs, path := versions[0], versions[1], versions[2], args[4]
			if !secret.IsSealed(path, ours) && !secret.IsSealed(path, theirs) {
				return mergeText(c, env, args)
			}
			keys, err := secret.Find(secret.FindOptions{Getenv: env.Getenv})
			if err != nil {
				return err
			}
			merged, err := keys.Merge(path, base, ours, theirs)
			switch {
			case errors.Is(err, secret.ErrConflict):
				say(env, err, "it is left as ours, sealed")
				fmt.Fprintf(env.ErrOut, "  hint: git cat-file --textconv :3:%s shows theirs; take that with git checkout --theirs -- %[1]s, or write of it what is wanted with %s; then git add %[1]s\n",
					path, examples(env, "%[1]s edit ")+path)
				return cli.Exit{Code: cli.ExitNo}
			case err != nil:
				say(env, err, "merged as it is sealed")
				return mergeText(c, env, args)
			}
			info, err := os.Stat(args[1])
			if err != nil {
				return err
			}
			return os.WriteFile(args[1], merged, info.Mode().Perm())
		},
	}
}

// mergeText merges the lines of the files as they are, as Git would without us.
func mergeText(c *cobra.Command, env *cli.Env, args []string) error {
	merge := exec.CommandContext(c.Context(), "git", "merge-file", "--marker-size="+args[3], "-L", "ours", "-L", "base", "-L", "theirs", args[1], args[0], args[2])
	merge.Stderr = env.ErrOut
	err := merge.Run()
	if exit := new(exec.ExitError); errors.As(err, &exit) && exit.ExitCode() > 0 && exit.ExitCode() < 128 {
		return cli.Exit{Code: cli.ExitNo} // that many conflicts
	}
	return err
}

// say says why a file is not opened to Git's user.
func say(env *cli.Env, err error, outcome string) {
	fmt.Fprintf(env.ErrOut, "%s: %s: %s\n", strings.TrimSpace(examples(env, "%[1]s")), err, outcome)
}
