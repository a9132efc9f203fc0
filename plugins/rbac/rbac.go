// Package rbac is kubectl gitops rbac: the least that an account must be allowed
// to do.
package rbac

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/gitops"
)

// Options are the flags of rbac.
type Options struct {
	cli.Source
	cli.Output
	gitops.Options

	readOnly   bool
	account    string
	components string

	serviceAccount flux.Ref
}

// New is the command.
func New(env *cli.Env) *cobra.Command { return newCommand(env, run) }

func newCommand(env *cli.Env, runF func(context.Context, *cobra.Command, *cli.Env, *Options) error) *cobra.Command {
	o := &Options{}
	c := &cobra.Command{
		Use:   "rbac",
		Short: "Print the least Roles with which a ServiceAccount can sync",
		Long: `Print the least ClusterRole, Roles and bindings with which a ServiceAccount can
sync what the repository says, or with --read-only diff it: for a CronJob, or a
job of CI. They are for the objects that the repository and the inventory have
now, each by its name; print them again when there are new ones.

It asks the cluster what a sync would do, so that it is to be run by somebody who
may see all of it. Nothing is written.

Exit codes: 0 printed · 2 could not start, or the repository has problems.`,
		Example: `  # let a ServiceAccount sync, and nothing else
  %[1]s --path clusters/vps | kubectl apply --server-side -f -

  # let the pull requests' job diff
  %[1]s --path clusters/vps --read-only --service-account ci/diff

  # what would be allowed anew
  %[1]s --path clusters/vps | kubectl diff --server-side -f -`,
		Args: cli.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := o.complete(c, env); err != nil {
				return err
			}
			return runF(c.Context(), c, env, o)
		},
	}
	f := c.Flags()
	o.Source.AddFlags(f)
	o.Output.AddFormats(f, "yaml", "json")
	f.BoolVar(&o.readOnly, "read-only", false, "For a diff: nothing may be written.")
	f.StringVar(&o.account, "service-account", "", "Who is to be allowed, [NAMESPACE/]NAME. Default: gitops-sync, or gitops-diff, in the namespace of the root.")
	f.StringSliceVar(&o.AllowDelete, "allow-delete", nil, "Kinds that it may delete although they take data along, as for sync: "+strings.Join(gitops.ProtectedKinds, ", ")+".")
	f.BoolVar(&o.Force, "force", false, "Let it recreate where a field cannot be changed, as sync --force does.")
	f.BoolVar(&o.IncludeSuspended, "include-suspended", false, "Take suspended Kustomizations too.")
	f.StringVar(&o.components, "flux-components", "auto", "The Flux controllers in a bootstrap repository: auto (only where one runs already), apply, skip.")
	f.StringSliceVar(&o.Allow, "allow", nil, "Codes of checks to override, as errors name them.")
	cli.Choices(f, "allow-delete", gitops.ProtectedKinds...)
	cli.Choices(f, "flux-components", "auto", "apply", "skip")
	cli.Choices(f, "allow", gitops.Overridable...)
	f.BoolVar(&o.IgnoreMAC, "ignore-mac", false, "Decrypt sealed files whose MAC does not match.")
	env.AddKubeFlags(f)
	c.Example = strings.ReplaceAll(c.Example, "%[1]s", env.Command("rbac"))
	return c
}

// complete checks the flags against each other.
func (o *Options) complete(c *cobra.Command, env *cli.Env) (err error) {
	if err := cli.OneOf(c, "flux-components", o.components); err != nil {
		return err
	}
	for _, kind := range o.AllowDelete {
		if !slices.ContainsFunc(gitops.ProtectedKinds, func(k string) bool { return strings.EqualFold(k, kind) }) {
			return cli.Usage(c, "--allow-delete=%s: want of %s", kind, strings.Join(gitops.ProtectedKinds, ", "))
		}
	}
	for _, code := range o.Allow {
		if err := cli.OneOf(c, "allow", code); err != nil {
			return err
		}
	}
	if o.readOnly && (o.Force || len(o.AllowDelete) > 0) {
		return cli.Usage(c, "--read-only deletes nothing: leave out --force and --allow-delete")
	}
	if o.Root, err = cli.Ref(c, env, o.Source.Name); err != nil {
		return err
	}
	o.FluxComponents, o.StrictVars, o.RemoteBases, o.Prune = gitops.ComponentsMode(o.components), true, true, true
	// Whatever the state of the checkout: nothing is applied.
	o.AllowDirty, o.AllowRollback = true, true
	if o.account == "" {
		o.serviceAccount = flux.Ref{Namespace: o.Root.Namespace, Name: "gitops-sync"}
		if o.readOnly {
			o.serviceAccount.Name = "gitops-diff"
		}
		return nil
	}
	o.serviceAccount, err = cli.Ref(c, env, o.account)
	return err
}

func run(ctx context.Context, c *cobra.Command, env *cli.Env, o *Options) error {
	u, err := o.Output.UI(c, env, false)
	if err != nil {
		return err
	}
	defer u.Close()
	e, err := o.Engine(ctx, env, o.Options, flux.FieldManager, true)
	if err != nil {
		return err
	}
	e.Cache = nil // what is recalled is not rendered
	e.Events = u.Sink()
	access, err := e.Access(ctx, o.serviceAccount, o.readOnly)
	if err != nil {
		return err
	}
	if ns, name, ok := strings.Cut(o.GitSecret, "/"); ok {
		access.Add(ns, schema.GroupResource{Resource: "secrets"}, name, "get")
	}
	verb := "sync"
	if o.readOnly {
		verb = "diff"
	}
	comment := []string{fmt.Sprintf("What serviceaccount/%s in %s needs to %s %s at %s.",
		o.serviceAccount.Name, o.serviceAccount.Namespace, verb, e.Options.Path, gitops.ShortRevision(e.Source.Revision))}
	for _, other := range access.Others {
		comment = append(comment, "What is asked for as "+other+" takes rights there, which are not among these.")
	}
	return u.Objects(comment, manifests(access, o.serviceAccount))
}
