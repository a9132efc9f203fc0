// Package diff is kubectl gitops diff: what a sync would change.
package diff

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
)

// Options are the flags of diff.
type Options struct {
	cli.Plan

	showSecrets bool
	exitCode    bool
}

// New is the command.
func New(env *cli.Env) *cobra.Command {
	o := &Options{}
	c := &cobra.Command{
		Use:   "diff [KUSTOMIZATION…]",
		Short: "Show what a sync would change",
		Long: `Show what kubectl gitops sync would change: its plan, printed. The work tree is
taken as it is, edits included; with --ref it is the commit. The server is asked
by dry runs, and nothing is written. For what drifted it says who set it last.

KUBECTL_EXTERNAL_DIFF names another program to show the differences with, as for
kubectl diff; values of Secrets are masked in what it is given.

Exit codes: 0 no difference · 1 differences · 2 an error.`,
		Example: `  # what the edits in the work tree would do
  %[1]s --path clusters/vps

  # for a pull request
  %[1]s --path clusters/vps -o markdown`,
		RunE: func(c *cobra.Command, args []string) error {
			if err := o.Complete(c, env, args); err != nil {
				return err
			}
			o.Guess = true
			// What is not committed, or not the cluster's yet, is what one wants to see.
			o.AllowDirty, o.ChangeRoot, o.AllowRollback, o.Adopt = true, true, true, true
			return run(c.Context(), c, env, o)
		},
	}
	f := c.Flags()
	o.Plan.AddFlags(f, env, "name", "markdown")
	f.BoolVar(&o.showSecrets, "show-secrets", false, "Show the values of Secrets.")
	f.BoolVar(&o.exitCode, "exit-code", true, "Exit with 1 where there are differences.")
	c.Example = strings.ReplaceAll(c.Example, "%[1]s", env.Command("diff"))
	return c
}

func run(ctx context.Context, c *cobra.Command, env *cli.Env, o *Options) error {
	u, err := o.Output.UI(c, env, false)
	if err != nil {
		return err
	}
	defer u.Close()
	e, err := o.Engine(ctx, env, true)
	if err != nil {
		return err
	}
	e.Events = u.Sink()
	plan, err := e.Plan(ctx)
	if err != nil {
		return err
	}
	report := e.Diff(plan, o.showSecrets)
	if env.Getenv("KUBECTL_EXTERNAL_DIFF") != "" && o.Format == "text" {
		if err := runExternal(env, u, report); err != nil {
			return err
		}
	} else if err := u.Diff(report); err != nil {
		return err
	}
	switch {
	case report.Failed():
		return cli.Exit{Code: cli.ExitUsage}
	case report.Changes() > 0 && o.exitCode:
		return cli.Exit{Code: cli.ExitNo}
	}
	return nil
}
