// Package sync is kubectl gitops sync: a full reconcile, once.
package sync

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/cluster"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/gitops"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/ui"
)

// Options are the flags of sync.
type Options struct {
	cli.Plan

	wait        string
	engine      string
	dryRun      string
	runTimeout  time.Duration
	lockTimeout time.Duration
	suspend     bool
	beside      bool // a Flux controller is alive
	lost        bool // another run took the lock in mid-run
	interactive bool
}

// New is the command.
func New(env *cli.Env) *cobra.Command { return newCommand(env, run) }

func newCommand(env *cli.Env, runF func(context.Context, *cobra.Command, *cli.Env, *Options) error) *cobra.Command {
	o := &Options{}
	c := &cobra.Command{
		Use:     "sync [KUSTOMIZATION…]",
		Aliases: []string{"reconcile"},
		Short:   "Make a cluster what a Git repository says, once",
		Long: `Reconcile a cluster with a repository, once: fetch, render the Flux Kustomizations
in the order of their dependencies, decrypt, apply with server-side apply, prune,
wait until healthy, record. No controller is needed.

Names limit the run to those Kustomizations and what they depend on.

Exit codes: 0 all ready · 1 something failed or is not ready · 2 could not or would
not start · 3 another run holds the root · 130 interrupted.`,
		Example: `  # the repository around the current directory, onto the current context
  %[1]s --path clusters/vps

  # a branch of a remote repository, one Kustomization and what it depends on
  %[1]s --source ssh://git@example.com/team/gitops --ref main --path clusters/vps apps

  # what would change, as the server sees it
  %[1]s --path clusters/vps --dry-run`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if err := o.complete(c, env, args); err != nil {
				return err
			}
			return runF(c.Context(), c, env, o)
		},
	}
	f := c.Flags()
	o.Plan.AddFlags(f, env)
	f.StringVar(&o.wait, "wait", "true", "What to wait for: true (all that is declared), spec (what spec.wait and spec.healthChecks name), false.")
	f.DurationVar(&o.Timeout, "timeout", 5*time.Minute, "How long each Kustomization may take to become healthy where spec.timeout is absent.")
	f.DurationVar(&o.runTimeout, "run-timeout", 0, "How long the whole run may take; 0 is for ever.")
	f.IntVar(&o.AllowPrune, "allow-prune", -1, "Let this many deletions of the whole run pass, where they are most of what is owned.")
	f.StringSliceVar(&o.AllowDelete, "allow-delete", nil, "Kinds that may be deleted although they take data along: Namespace, CustomResourceDefinition, PersistentVolume, PersistentVolumeClaim.")
	f.BoolVar(&o.ChangeRoot, "change-root", false, "Let the cluster have another root, source or path, than the one that it remembers.")
	f.BoolVar(&o.AllowRollback, "allow-rollback", false, "Apply a revision that does not come after the one that the cluster has.")
	f.BoolVar(&o.Adopt, "adopt", false, "Take over objects that another owner has marked: another Kustomization, Helm, Argo CD, kapp, kluctl.")
	f.BoolVar(&o.AllowDirty, "allow-dirty", false, "Apply the work tree although it differs from its commit; never recorded as applied.")
	f.BoolVar(&o.KeepGoing, "keep-going", false, "Where the server refuses some objects, write the others all the same; nothing is pruned then.")
	f.StringVar(&o.engine, "engine", "auto", "Who reconciles: auto (a live Flux controller, else this process), local (this process), flux (the controller).")
	f.BoolVar(&o.suspend, "suspend", false, "With --engine local beside a live Flux controller: suspend what is written first, and leave it so.")
	f.StringVar(&o.dryRun, "dry-run", "none", "server: ask the server what would change, and write nothing; client: only read from it, and compare here; none.")
	f.Lookup("dry-run").NoOptDefVal = "server"
	cli.Choices(f, "wait", "true", "spec", "false")
	cli.Choices(f, "allow-delete", gitops.ProtectedKinds...)
	cli.Choices(f, "engine", "auto", "local", "flux")
	cli.Choices(f, "dry-run", "server", "client", "none")
	f.DurationVar(&o.lockTimeout, "lock-timeout", time.Minute, "How long to wait for another run of the same root to end; 0 does not wait.")
	f.BoolVar(&o.interactive, "interactive", false, "Show the plan and ask, on a terminal.")
	c.Example = strings.ReplaceAll(c.Example, "%[1]s", env.Command("sync"))
	return c
}

// complete checks the flags against each other.
func (o *Options) complete(c *cobra.Command, env *cli.Env, args []string) error {
	for _, check := range [][2]string{{"wait", o.wait}, {"engine", o.engine}, {"dry-run", o.dryRun}} {
		if err := cli.OneOf(c, check[0], check[1]); err != nil {
			return err
		}
	}
	if o.suspend && o.engine != "local" {
		return cli.Usage(c, "--suspend is for --engine local: a controller does not reconcile what is suspended")
	}
	o.Wait = gitops.WaitMode(o.wait)
	if o.AllowPrune < -1 {
		return cli.Usage(c, "--allow-prune %d: want the number of deletions to allow", o.AllowPrune)
	}
	for _, kind := range o.AllowDelete {
		if !slices.ContainsFunc(gitops.ProtectedKinds, func(k string) bool { return strings.EqualFold(k, kind) }) {
			return cli.Usage(c, "--allow-delete=%s: want of %s", kind, strings.Join(gitops.ProtectedKinds, ", "))
		}
	}
	if o.Timeout <= 0 || o.runTimeout < 0 || o.lockTimeout < 0 {
		return cli.Usage(c, "a timeout cannot be negative or zero")
	}
	if err := o.Complete(c, env, args); err != nil || o.dryRun != "client" {
		return err
	}
	if c.Flags().Changed("verify") && o.Verify != gitops.VerifyLocal {
		return cli.Usage(c, "--dry-run=client asks the server for no dry run, and --verify=%s does", o.Verify)
	}
	o.Verify, o.Guess = gitops.VerifyLocal, true
	return nil
}

func run(ctx context.Context, c *cobra.Command, env *cli.Env, o *Options) error {
	if o.runTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.runTimeout)
		defer cancel()
	}
	u, err := o.Output.UI(c, env, o.dryRun != "none")
	if err != nil {
		return err
	}
	defer u.Close()
	e, err := o.Engine(ctx, env, o.AllowDirty)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil {
		return o.outOfTime()
	}
	if err != nil {
		return err
	}
	e.Events = u.Sink()
	if o.dryRun != "none" {
		return o.preview(ctx, u, e)
	}
	by := o.reconcile
	if delegates, err := o.delegates(ctx, e); err != nil {
		return err
	} else if delegates {
		by = o.delegate
	}
	report, err := by(ctx, c, env, u, e)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil {
		return o.outOfTime()
	}
	if err != nil {
		return err
	}
	// What was written is written, whether its report could be printed or not:
	// the exit code comes from the result.
	printed := u.Sync(report)
	switch {
	case report.Result == gitops.Interrupted:
		return cli.Exit{Code: cli.ExitInterrupted}
	case report.Result == gitops.Failed && o.lost:
		return cli.Exit{Code: cli.ExitBusy}
	case report.Result == gitops.Failed:
		return cli.Exit{Code: cli.ExitNo}
	}
	return printed
}

// preview prints what a run would do.
func (o *Options) preview(ctx context.Context, u *ui.UI, e *gitops.Engine) error {
	plan, err := guarded(ctx, e)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil {
		return o.outOfTime()
	}
	if err != nil {
		return err
	}
	report := e.Preview(plan)
	if err := u.Sync(report); err != nil {
		return err
	}
	if report.Result != gitops.Succeeded {
		return cli.Exit{Code: cli.ExitUsage} // as diff: an error is more than a difference
	}
	if plan.Writes() > 0 {
		return cli.Exit{Code: cli.ExitNo}
	}
	return nil
}

// reconcile plans, asks where that is wanted, and carries the plan out while no
// other run can. What another run wrote since the plan was begun is planned for
// again, under the lock, and asked about again.
func (o *Options) reconcile(ctx context.Context, c *cobra.Command, env *cli.Env, u *ui.UI, e *gitops.Engine) (gitops.SyncReport, error) {
	plan, err := o.approved(ctx, c, env, u, e)
	if err != nil {
		return gitops.SyncReport{}, err
	}
	locked, err := e.Lock(ctx, plan, o.lockTimeout)
	if err != nil {
		return gitops.SyncReport{}, err
	}
	defer locked.Release()
	if locked.Moved {
		if plan, err = o.approved(locked.Context, c, env, u, e); err != nil {
			return gitops.SyncReport{}, err
		}
	}
	if err := o.stepAside(locked.Context, e, plan); err != nil {
		return gitops.SyncReport{}, err
	}
	report := e.Apply(locked.Context, plan)
	var lost *cluster.LostError
	o.lost = errors.As(context.Cause(locked.Context), &lost)
	return report, nil
}

// approved is a plan that the guards, and with --interactive the user, let pass.
func (o *Options) approved(ctx context.Context, c *cobra.Command, env *cli.Env, u *ui.UI, e *gitops.Engine) (*gitops.Run, error) {
	plan, err := guarded(ctx, e)
	if err != nil || !o.interactive {
		return plan, err
	}
	preview, err := o.Output.UI(c, env, true)
	if err != nil {
		return nil, err
	}
	defer preview.Close()
	resume := u.Pause()
	defer resume()
	return plan, cli.Confirm(env, func() error { return preview.Sync(e.Preview(plan)) }, "apply this?")
}

func guarded(ctx context.Context, e *gitops.Engine) (*gitops.Run, error) {
	plan, err := e.Plan(ctx)
	if err != nil {
		return nil, err
	}
	return plan, e.Guard(plan)
}

// outOfTime is a run that ended before it wrote anything.
func (o *Options) outOfTime() error {
	return &gitops.Refused{Code: "run-timeout",
		Msg: fmt.Sprintf("--run-timeout %s was over before the plan was made; nothing was written", o.runTimeout),
		Fix: "give it more time, or look for what is slow with -v"}
}

// delegates tells whether a live Flux controller is to do the work: with auto it
// does where one is alive, since two writers would undo each other's work.
func (o *Options) delegates(ctx context.Context, e *gitops.Engine) (bool, error) {
	running, err := e.Cluster.FluxRunning(ctx)
	if err != nil {
		return false, err
	}
	o.beside = running != cluster.Dead
	switch {
	case o.engine == "local" || o.engine == "auto" && running == cluster.Dead:
		return false, nil
	case o.engine == "flux" && running == cluster.Dead:
		return false, &gitops.Refused{Code: "flux-not-running",
			Msg: fmt.Sprintf("no Flux kustomize-controller is alive in cluster %s: nobody renews lease/kustomize-controller-leader-election in flux-system", e.Cluster.Context),
			Fix: "leave --engine out, and the work is done from here"}
	case o.engine == "auto" && running == cluster.Unknown:
		return false, &gitops.Refused{Code: "flux-unknown",
			Msg: fmt.Sprintf("cannot tell whether a Flux controller reconciles cluster %s: this user may not get lease/kustomize-controller-leader-election in flux-system", e.Cluster.Context),
			Fix: "if none does: --engine local"}
	}
	return true, nil
}

// delegate has the live Flux controller carry out what is planned.
func (o *Options) delegate(ctx context.Context, c *cobra.Command, env *cli.Env, u *ui.UI, e *gitops.Engine) (gitops.SyncReport, error) {
	plan, err := o.approved(ctx, c, env, u, e)
	if err != nil {
		return gitops.SyncReport{}, err
	}
	if err := e.CheckPushed(ctx, plan); err != nil {
		return gitops.SyncReport{}, err
	}
	return e.Delegate(ctx, plan), nil
}

// stepAside keeps a live controller away from what is about to be written.
func (o *Options) stepAside(ctx context.Context, e *gitops.Engine, plan *gitops.Run) error {
	if !o.beside {
		return nil
	}
	if o.suspend {
		return e.Suspend(ctx, plan)
	}
	refs := e.NeedSuspended(plan)
	if len(refs) == 0 {
		return nil
	}
	var names []string
	for _, r := range refs {
		names = append(names, r.Name)
	}
	return &gitops.Refused{Code: "flux-running",
		Msg: fmt.Sprintf("a Flux kustomize-controller reconciles %s in cluster %s, and would undo or repeat this run", strings.Join(names, ", "), e.Cluster.Context),
		Fix: "leave --engine out, and the controller is asked to do it; or --suspend, which suspends them first and leaves them so"}
}
