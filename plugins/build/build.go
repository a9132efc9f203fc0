// Package build is kubectl gitops build: what Git says, rendered, without a
// cluster.
package build

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/gitops"
)

// Options are the flags of build.
type Options struct {
	cli.Source
	cli.Output
	gitops.Options

	file        string
	values      []string
	showSecrets bool
	looseVars   bool
}

// New is the command.
func New(env *cli.Env) *cobra.Command { return newCommand(env, run) }

func newCommand(env *cli.Env, runF func(context.Context, *cobra.Command, *cli.Env, *Options) error) *cobra.Command {
	o := &Options{}
	c := &cobra.Command{
		Use:   "build [KUSTOMIZATION…]",
		Short: "Render what a repository says, without a cluster",
		Long: `Render the objects that kubectl gitops sync would apply, as YAML in the order of
an apply: the whole tree, or the Kustomizations that are named. No cluster is
asked, and no kubeconfig is needed. The work tree is taken as it is; with --ref
it is the commit.

What postBuild.substituteFrom names comes from Git, sealed Secrets included, and
from --values. Values of Secrets are masked; without a key they come out sealed.

Exit codes: 0 all is rendered · 1 a Kustomization cannot be · 2 could not start.`,
		Example: `  # the whole tree of a cluster
  %[1]s --path clusters/vps

  # one Kustomization, with a variable that only the cluster has
  %[1]s --path clusters/vps apps --values CLUSTER=vps

  # one that is not in the repository
  %[1]s --kustomization-file preview.yaml`,
		RunE: func(c *cobra.Command, args []string) error {
			if err := o.complete(c, env, args); err != nil {
				return err
			}
			return runF(c.Context(), c, env, o)
		},
	}
	f := c.Flags()
	o.Source.AddFlags(f)
	o.Output.AddFlags(f, "name")
	f.StringVar(&o.file, "kustomization-file", "", "Render the Kustomization in this file, which is not in the source.")
	f.StringArrayVar(&o.values, "values", nil, "NAME=VALUE: a variable of postBuild.substituteFrom, in place of what the cluster has. May be repeated.")
	f.BoolVar(&o.showSecrets, "show-secrets", false, "Show the values of Secrets, and whatever else was sealed.")
	f.StringSliceVar(&o.Allow, "allow", nil, "Codes of checks to override, as errors name them.")
	cli.Choices(f, "allow", gitops.Overridable...)
	f.BoolVar(&o.IgnoreMAC, "ignore-mac", false, "Decrypt sealed files whose MAC does not match.")
	f.BoolVar(&o.looseVars, "no-strict-substitute", false, "Let undefined variables of postBuild be empty, as Flux did before 2.9.")
	f.IntVar(&o.Concurrency, "concurrency", 16, "Kustomizations that are rendered at the same time, one a processor at most.")
	f.BoolVar(&o.RemoteBases, "remote-bases", true, "Let a kustomization name bases by URL.")
	env.AddKubeFlags(f)
	c.Example = strings.ReplaceAll(c.Example, "%[1]s", env.Command("build"))
	return c
}

// complete checks the flags against each other; args are Kustomizations.
func (o *Options) complete(c *cobra.Command, env *cli.Env, args []string) error {
	if o.file != "" && (len(args) > 0 || o.Source.Path != "") {
		return cli.Usage(c, "--kustomization-file is the Kustomization to render: it takes no names and no --path")
	}
	if o.Concurrency < 1 {
		return cli.Usage(c, "--concurrency %d: want at least 1", o.Concurrency)
	}
	for _, code := range o.Allow {
		if err := cli.OneOf(c, "allow", code); err != nil {
			return err
		}
	}
	var err error
	if o.Options.Values, err = cli.Values(c, o.values); err != nil {
		return err
	}
	for _, arg := range args {
		ref, err := cli.Ref(c, env, arg)
		if err != nil {
			return err
		}
		o.Names = append(o.Names, ref)
	}
	// What a named one depends on is nothing of it; what no key opens stays sealed.
	o.NoDeps, o.KeepSealed, o.StrictVars = true, true, !o.looseVars
	o.Root, err = cli.Ref(c, env, o.Source.Name)
	return err
}

func run(ctx context.Context, c *cobra.Command, env *cli.Env, o *Options) error {
	u, err := o.Output.UI(c, env, false)
	if err != nil {
		return err
	}
	defer u.Close()
	if o.file != "" {
		data, err := os.ReadFile(o.file)
		if err != nil {
			return fmt.Errorf("--kustomization-file: %w", err)
		}
		if err := o.SetGiven(o.file, data, o.Root.Namespace); err != nil {
			return err
		}
	}
	e, err := o.Offline(ctx, env, o.Options)
	if err != nil {
		return err
	}
	e.Events = u.Sink()
	built, err := e.Build(ctx, o.showSecrets)
	if err != nil {
		return err
	}
	printed := u.Build(built)
	for _, b := range built {
		if len(b.Problems) > 0 {
			return cli.Exit{Code: cli.ExitNo}
		}
	}
	return printed
}
