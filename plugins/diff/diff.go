// Package diff is kubectl gitops diff: what a sync would change.
package diff

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/gitops"
)

// Options are the flags of diff.
type Options struct {
	cli.Source
	cli.Output
	gitops.Options

	names        []string
	components   string
	fieldManager string
	showSecrets  bool
	exitCode     bool
	looseVars    bool
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
			o.names = args
			if err := o.complete(c, env); err != nil {
				return err
			}
			return run(c.Context(), c, env, o)
		},
	}
	f := c.Flags()
	o.Source.AddFlags(f)
	o.Output.AddFlags(f, "name", "markdown")
	f.BoolVar(&o.NoDeps, "no-deps", false, "With names: leave out what they depend on.")
	f.BoolVar(&o.Prune, "prune", true, "Show what would be deleted as such, where spec.prune allows it.")
	f.StringSliceVar(&o.Allow, "allow", nil, "Codes of checks to override, as errors name them.")
	f.BoolVar(&o.IncludeSuspended, "include-suspended", false, "Show suspended Kustomizations too.")
	f.BoolVar(&o.Force, "force", false, "Show what cannot be changed in place as recreated.")
	f.StringVar(&o.components, "flux-components", "auto", "The Flux controllers in a bootstrap repository: auto (only where one runs already), apply, skip.")
	f.StringVar(&o.fieldManager, "field-manager", flux.FieldManager, "Field manager of server-side apply; the default is Flux's.")
	f.BoolVar(&o.IgnoreMAC, "ignore-mac", false, "Decrypt sealed files whose MAC does not match.")
	f.BoolVar(&o.looseVars, "no-strict-substitute", false, "Let undefined variables of postBuild be empty, as Flux did before 2.9.")
	f.BoolVar(&o.RemoteBases, "remote-bases", true, "Let a kustomization name bases by URL.")
	f.IntVar(&o.Concurrency, "concurrency", 16, "Requests to the API server under way at once.")
	f.BoolVar(&o.showSecrets, "show-secrets", false, "Show the values of Secrets.")
	f.BoolVar(&o.exitCode, "exit-code", true, "Exit with 1 where there are differences.")
	env.Kube.AddFlags(f)
	name := env.Name
	if !strings.HasSuffix(name, "diff") {
		name += " diff"
	}
	c.Example = strings.ReplaceAll(c.Example, "%[1]s", name)
	return c
}

func (o *Options) complete(c *cobra.Command, env *cli.Env) error {
	if err := cli.OneOf(c, "flux-components", o.components, "auto", "apply", "skip"); err != nil {
		return err
	}
	if o.Concurrency < 1 {
		return cli.Usage(c, "--concurrency %d: want at least 1", o.Concurrency)
	}
	o.FluxComponents, o.StrictVars = gitops.ComponentsMode(o.components), !o.looseVars
	o.AllowDirty = true // what is not committed is what one wants to see
	for _, arg := range o.names {
		ref, err := cli.Ref(c, env, arg)
		if err != nil {
			return err
		}
		o.Names = append(o.Names, ref)
	}
	var err error
	o.Root, err = cli.Ref(c, env, o.Source.Name)
	return err
}

func run(ctx context.Context, c *cobra.Command, env *cli.Env, o *Options) error {
	u, err := o.Output.UI(c, env, false)
	if err != nil {
		return err
	}
	defer u.Close()
	e, err := o.Source.Engine(ctx, env, o.Options, o.fieldManager, true)
	if err != nil {
		return err
	}
	e.Events = u.Sink()
	plan, err := e.Plan(ctx)
	if err != nil {
		return err
	}
	report := e.Diff(plan, o.showSecrets)
	if external := env.Getenv("KUBECTL_EXTERNAL_DIFF"); external != "" && o.Format == "text" {
		if err := runExternal(ctx, env, u, external, report); err != nil {
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
