// Package diff is kubectl gitops diff: what a sync would change.
package diff

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/gitops"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/ui"
)

// Options are the flags of diff.
type Options struct {
	cli.Plan

	base        string
	exact       bool
	values      []string
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

With --base it is what a branch, or a pull request, changes: what the work tree
declares against what the commit did at which it left the base, both rendered
here. No cluster is asked then, and no kubeconfig or key is needed.

KUBECTL_EXTERNAL_DIFF names another program to show the differences with, as for
kubectl diff; values of Secrets are masked in what it is given.

Exit codes: 0 no difference · 1 differences · 2 an error.`,
		Example: `  # what the edits in the work tree would do
  %[1]s --path clusters/vps

  # what a pull request changes, for a comment, without a cluster
  %[1]s --path clusters/vps --base origin/main -o markdown`,
		RunE: func(c *cobra.Command, args []string) error {
			if err := o.Complete(c, env, args); err != nil {
				return err
			}
			if err := o.complete(c); err != nil {
				return err
			}
			o.Guess = true
			o.KeepSealed = true
			// What is not committed, or not the cluster's yet, is what one wants to see.
			o.AllowDirty, o.ChangeRoot, o.AllowRollback, o.Adopt = true, true, true, true
			return run(c.Context(), c, env, o)
		},
	}
	f := c.Flags()
	o.Plan.AddFlags(f, env, "name", "markdown")
	f.StringVar(&o.base, "base", "", "Compare with what was declared where HEAD left this branch, tag or commit; no cluster is asked.")
	f.BoolVar(&o.exact, "base-exact", false, "Compare with what --base names itself.")
	f.StringArrayVar(&o.values, "values", nil, "With --base, NAME=VALUE: a variable of postBuild.substituteFrom that only the cluster has. May be repeated.")
	f.BoolVar(&o.showSecrets, "show-secrets", false, "Show the values of Secrets, and whatever else is sealed or marked as sensitive.")
	f.BoolVar(&o.exitCode, "exit-code", true, "Exit with 1 where there are differences.")
	c.Example = strings.ReplaceAll(c.Example, "%[1]s", env.Command("diff"))
	return c
}

// complete checks the flags of a comparison.
func (o *Options) complete(c *cobra.Command) error {
	if o.base == "" {
		for _, name := range []string{"base-exact", "values"} {
			if c.Flags().Changed(name) {
				return cli.Usage(c, "--%s is for a comparison: it needs --base", name)
			}
		}
		return nil
	}
	for _, name := range []string{"verify", "prune", "force", "field-manager", "flux-components"} {
		if c.Flags().Changed(name) {
			return cli.Usage(c, "--%s is for a cluster, and with --base none is asked", name)
		}
	}
	var err error
	if o.Values, err = cli.Values(c, o.values); err != nil {
		return err
	}
	o.NoDeps = true
	return nil
}

// report is the plan, or the comparison.
func report(ctx context.Context, env *cli.Env, u *ui.UI, o *Options) (gitops.DiffReport, error) {
	if o.base != "" {
		e, err := o.Offline(ctx, env, o.Plan.Options)
		if err != nil {
			return gitops.DiffReport{}, err
		}
		base, err := e.Source.Base(ctx, o.base, o.exact)
		if err != nil {
			return gitops.DiffReport{}, err
		}
		e.Events = u.Sink()
		return e.Compare(ctx, base, o.showSecrets)
	}
	e, err := o.Engine(ctx, env, true)
	if err != nil {
		return gitops.DiffReport{}, err
	}
	e.Events = u.Sink()
	plan, err := e.Plan(ctx)
	if err != nil {
		return gitops.DiffReport{}, err
	}
	return e.Diff(ctx, plan, o.showSecrets)
}

func run(ctx context.Context, c *cobra.Command, env *cli.Env, o *Options) error {
	u, err := o.Output.UI(c, env, false)
	if err != nil {
		return err
	}
	defer u.Close()
	report, err := report(ctx, env, u, o)
	if err != nil {
		return err
	}
	if env.Getenv(externalVar) != "" && o.Format == "text" {
		if err := runExternal(ctx, env, u, report); err != nil {
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
