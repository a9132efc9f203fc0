package suspend

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/gitops"
)

// NewResume is resume.
func NewResume(env *cli.Env) *cobra.Command {
	o := &cli.Plan{}
	dryRun := false
	c := &cobra.Command{
		Use:   "resume NAME…",
		Short: "Reconcile Kustomizations again, saying first what that would change",
		Long: `Resume Kustomizations that were suspended in the cluster. What has changed in the
repository meanwhile is shown first, as kubectl gitops sync --dry-run would; then
they are resumed, and the next sync, or a Flux controller at once, applies it.`,
		Example: strings.ReplaceAll(`  # what would come, and nothing else
  %[1]s apps --dry-run

  %[1]s apps`, "%[1]s", env.Command("resume")),
		RunE: func(c *cobra.Command, args []string) error {
			if _, err := refs(c, env, args); err != nil {
				return err
			}
			if err := o.Complete(c, env, args); err != nil {
				return err
			}
			return resume(c.Context(), c, env, o, dryRun)
		},
	}
	f := c.Flags()
	o.AddFlags(f, env)
	f.BoolVar(&dryRun, "dry-run", false, "Say what it would change, and do not resume.")
	return c
}

func resume(ctx context.Context, c *cobra.Command, env *cli.Env, o *cli.Plan, dryRun bool) error {
	o.NoDeps, o.IncludeSuspended = true, true
	o.ChangeRoot, o.AllowRollback, o.Adopt, o.AllowDirty = true, true, true, true // nothing is applied here
	u, err := o.Output.UI(c, env, dryRun)
	if err != nil {
		return err
	}
	defer u.Close()
	e, err := o.Engine(ctx, env, false)
	if err != nil {
		return err
	}
	records, err := known(ctx, e.Cluster, o.Names)
	if err != nil {
		return err
	}
	var asleep []flux.Ref
	for _, rec := range records {
		suspended, _ := rec.Suspended()
		switch {
		case rec.SuspendedByGit(e.Cluster.FieldManager):
			return &gitops.Refused{Code: "suspended-in-git", Msg: fmt.Sprintf("%s is suspended by what Git declares", rec.Ref),
				Fix: "take spec.suspend out of its file, commit, and sync"}
		case suspended:
			asleep = append(asleep, rec.Ref)
		default:
			fmt.Fprintf(env.ErrOut, "%s is not suspended\n", rec.Ref)
		}
	}
	if len(asleep) == 0 {
		if o.Format != "text" {
			return u.Sync(gitops.SyncReport{Revision: e.Source.Revision, Result: gitops.Succeeded, DryRun: true,
				Cluster: gitops.ClusterReport{Context: e.Cluster.Context, Server: e.Cluster.Server}, Root: e.Options.Path})
		}
		return nil
	}
	e.Options.Names = asleep
	e.Events = u.Sink()
	plan, err := e.Plan(ctx)
	if err != nil {
		return err
	}
	if err := u.Sync(e.Preview(plan)); err != nil {
		return err
	}
	if dryRun {
		return nil
	}
	for _, rec := range records {
		if suspended, _ := rec.Suspended(); !suspended {
			continue
		}
		if err := e.Cluster.Suspend(ctx, rec, false, ""); err != nil {
			return err
		}
		fmt.Fprintf(env.ErrOut, "%s resumed: the next sync, or a Flux controller, applies this\n", rec.Ref)
	}
	return nil
}
