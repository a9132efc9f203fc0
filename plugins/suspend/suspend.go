// Package suspend is kubectl gitops suspend and resume: whether a Kustomization
// is reconciled, by us or by Flux.
package suspend

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/cluster"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/gitops"
)

// New is suspend.
func New(env *cli.Env) *cobra.Command {
	reason := ""
	c := &cobra.Command{
		Use:   "suspend NAME…",
		Short: "Leave Kustomizations alone from now on",
		Long: `Suspend Kustomizations in the cluster: neither sync nor a Flux controller applies,
prunes or removes what they own, until kubectl gitops resume. It is kept in
spec.suspend of Flux's Kustomization, or, where the cluster does not have that
kind, beside the inventory. Git is not changed, and an apply does not undo it.`,
		Example: strings.ReplaceAll(`  %[1]s apps --reason "incident 4711, until the database is back"`, "%[1]s", env.Command("suspend")),
		RunE: func(c *cobra.Command, args []string) error {
			refs, err := refs(c, env, args)
			if err != nil {
				return err
			}
			return suspend(c.Context(), env, refs, reason)
		},
	}
	c.Flags().StringVar(&reason, "reason", "", "Why, for whoever looks: sync and status show it.")
	env.AddKubeFlags(c.Flags())
	return c
}

func refs(c *cobra.Command, env *cli.Env, args []string) ([]flux.Ref, error) {
	if len(args) == 0 {
		return nil, cli.Usage(c, "which Kustomization? kubectl gitops status lists them")
	}
	var refs []flux.Ref
	for _, arg := range args {
		ref, err := cli.Ref(c, env, arg)
		if err != nil {
			return nil, err
		}
		refs = append(refs, ref)
	}
	return refs, nil
}

// known reads the records of all before anything is written to one.
func known(ctx context.Context, k8s *cluster.Cluster, refs []flux.Ref) ([]*cluster.Record, error) {
	var records []*cluster.Record
	for _, ref := range refs {
		rec, err := gitops.Known(ctx, k8s, ref)
		if err != nil {
			return nil, err
		}
		records = append(records, rec)
	}
	return records, nil
}

func suspend(ctx context.Context, env *cli.Env, refs []flux.Ref, reason string) error {
	k8s, err := cluster.Connect(env.Kube, cli.UserAgent())
	if err != nil {
		return err
	}
	k8s.RightsCommand = "kubectl gitops rbac"
	records, err := known(ctx, k8s, refs)
	if err != nil {
		return err
	}
	for _, rec := range records {
		if err := k8s.Suspend(ctx, rec, true, reason); err != nil {
			return err
		}
		fmt.Fprintf(env.Out, "%s suspended\n", rec.Ref)
	}
	return nil
}
