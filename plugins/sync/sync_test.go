package sync

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/gitops"
)

// parse runs the command line and returns the options that the run would get.
func parse(args ...string) (o *Options, err error) {
	env := &cli.Env{Name: "kubectl gitops sync", Kube: genericclioptions.NewConfigFlags(true)}
	c := newCommand(env, func(_ context.Context, _ *cobra.Command, _ *cli.Env, got *Options) error { o = got; return nil })
	c.SetArgs(args)
	c.SilenceErrors, c.SilenceUsage = true, true
	err = c.Execute()
	return o, err
}

func TestFlags(t *testing.T) {
	run := func(args ...string) *Options {
		t.Helper()
		o, err := parse(args...)
		if err != nil || o == nil {
			t.Fatalf("%v: %v", args, err)
		}
		return o
	}

	o := run()
	if o.Wait != gitops.WaitAll || !o.Prune || o.AllowPrune != -1 || o.Timeout != 5*time.Minute || !o.StrictVars ||
		o.FluxComponents != gitops.ComponentsAuto || o.dryRun != "none" || o.Root != (flux.Ref{Namespace: "flux-system", Name: "flux-system"}) {
		t.Errorf("the defaults: %+v", o)
	}
	o = run("-n", "ops", "--name", "cluster", "apps", "other/infra", "--dry-run", "--wait=spec", "--allow-delete", "Namespace,persistentvolume", "--no-strict-substitute")
	if o.Root != (flux.Ref{Namespace: "ops", Name: "cluster"}) || o.dryRun != "server" || o.Wait != gitops.WaitSpec || o.StrictVars || len(o.AllowDelete) != 2 {
		t.Errorf("%+v", o)
	}
	if want := []flux.Ref{{Namespace: "ops", Name: "apps"}, {Namespace: "other", Name: "infra"}}; len(o.Names) != 2 || o.Names[0] != want[0] || o.Names[1] != want[1] {
		t.Errorf("names %v, want %v", o.Names, want)
	}
}

func TestFlagsThatCannotBeMeant(t *testing.T) {
	for want, args := range map[string][]string{
		"--wait=no: want one of true, spec, false":       {"--wait=no"},
		"--dry-run=x: want one of server, client, none":  {"--dry-run=x"},
		"--dry-run=client asks the server for no dry":    {"--dry-run=client", "--verify=server"},
		"--engine=x: want one of auto, local, flux":      {"--engine=x"},
		"--suspend is for --engine local":                {"--suspend"},
		"--flux-components=x: want one of auto, apply":   {"--flux-components=x"},
		"--allow-prune -2: want the number of deletions": {"--allow-prune=-2"},
		"--allow=typo: want one of image-bare-tag":       {"--allow=typo"},
		"--allow-delete=PVC: want of Namespace":          {"--allow-delete=PVC"},
		"--field-manager is empty":                       {"--field-manager="},
		"--concurrency 0: want at least 1":               {"--concurrency=0"},
		"a timeout cannot be negative or zero":           {"--timeout=0s"},
		`"a/b/c" is not NAME or NAMESPACE/NAME`:          {"a/b/c"},
		`"/b" is not NAME or NAMESPACE/NAME`:             {"/b"},
		"unknown flag: --nope":                           {"--nope"},
	} {
		if _, err := parse(args...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", args, err, want)
		}
	}
}
