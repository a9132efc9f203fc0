// Package status is kubectl gitops status: what the cluster remembers.
package status

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/cli-runtime/pkg/printers"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/cluster"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/gitops"
)

// watchEvery is how often --watch looks.
const watchEvery = 2 * time.Second

// Options are the flags of status.
type Options struct {
	cli.Output

	names []flux.Ref
	all   bool
	watch bool
}

// New is the command.
func New(env *cli.Env) *cobra.Command {
	o := &Options{}
	c := &cobra.Command{
		Use:   "status [KUSTOMIZATION…]",
		Short: "Show what the cluster has, of which revision, and by whom",
		Long: `Show what the cluster remembers of its Kustomizations: whether they are ready, at
which revision, since when and by whom. It is read from the status of Flux's
Kustomizations, or, where the cluster does not have them, from what sync keeps in
its place. Nothing is compared with a repository: kubectl gitops diff does that.

Exit codes: 0 all ready, or suspended · 1 something is not ready, or there is nothing ·
2 an error.`,
		Example: strings.ReplaceAll(`  # the Kustomizations in flux-system
  %[1]s

  # of all namespaces, with paths and reasons, again at each change
  %[1]s -A -o wide --watch`, "%[1]s", env.Command("status")),
		RunE: func(c *cobra.Command, args []string) error {
			for _, arg := range args {
				ref, err := cli.Ref(c, env, arg)
				if err != nil {
					return err
				}
				o.names = append(o.names, ref)
			}
			if o.all && len(args) > 0 {
				return cli.Usage(c, "-A is for all Kustomizations: leave the names out")
			}
			if structured := o.Format == "json" || o.Format == "yaml"; structured && o.watch {
				return cli.Usage(c, "--watch prints lines: leave -o %s out", o.Format)
			}
			return run(c.Context(), c, env, o)
		},
	}
	f := c.Flags()
	o.Output.AddFlags(f, "wide", "name")
	f.BoolVarP(&o.all, "all-namespaces", "A", false, "The Kustomizations of all namespaces.")
	f.BoolVarP(&o.watch, "watch", "w", false, "Go on, and print what changes.")
	env.AddKubeFlags(f)
	return c
}

func run(ctx context.Context, c *cobra.Command, env *cli.Env, o *Options) error {
	u, err := o.Output.UI(c, env, false)
	if err != nil {
		return err
	}
	defer u.Close()
	k8s, err := cluster.Connect(env.Kube, cli.UserAgent())
	if err != nil {
		return err
	}
	k8s.RightsCommand = "kubectl gitops rbac --read-only"
	namespace := cli.DefaultNamespace
	if ns := *env.Kube.Namespace; ns != "" {
		namespace = ns
	}
	if o.all {
		namespace = ""
	}
	report, err := gitops.Status(ctx, k8s, namespace, o.names)
	if err != nil {
		return err
	}
	if o.Format == "json" || o.Format == "yaml" {
		err = u.Object(report)
	} else {
		err = o.print(env, report.Kustomizations, true)
	}
	if err != nil {
		return err
	}
	if len(report.Kustomizations) == 0 {
		fmt.Fprintf(env.ErrOut, "cluster %s (%s) remembers no Kustomization%s\n", k8s.Context, k8s.Server, in(namespace))
	}
	if o.watch {
		if report, err = o.follow(ctx, env, k8s, namespace, report); err != nil {
			return err
		}
	}
	ok := len(report.Kustomizations) > 0
	for _, k := range report.Kustomizations {
		ok = ok && k.OK()
	}
	if !ok {
		return cli.Exit{Code: cli.ExitNo}
	}
	return nil
}

func in(namespace string) string {
	if namespace == "" {
		return ""
	}
	return " in " + namespace
}

// follow prints what changes until ctx is done, and returns what was last.
func (o *Options) follow(ctx context.Context, env *cli.Env, k8s *cluster.Cluster, namespace string, last gitops.StatusReport) (gitops.StatusReport, error) {
	seen := map[flux.Ref]gitops.KustomizationStatus{}
	for _, k := range last.Kustomizations {
		seen[flux.Ref{Namespace: k.Namespace, Name: k.Name}] = k
	}
	for {
		select {
		case <-ctx.Done():
			return last, ctx.Err()
		case <-time.After(watchEvery):
		}
		report, err := gitops.Status(ctx, k8s, namespace, o.names)
		if err != nil {
			return last, err
		}
		var changed []gitops.KustomizationStatus
		for _, k := range report.Kustomizations {
			ref := flux.Ref{Namespace: k.Namespace, Name: k.Name}
			if !reflect.DeepEqual(seen[ref], k) {
				changed = append(changed, k)
			}
			seen[ref] = k
		}
		if err := o.print(env, changed, false); err != nil {
			return last, err
		}
		last = report
	}
}

// print writes rows as kubectl get does.
func (o *Options) print(env *cli.Env, ks []gitops.KustomizationStatus, headers bool) error {
	if o.Format == "name" {
		for _, k := range ks {
			fmt.Fprintf(env.Out, "kustomization.%s/%s\n", flux.KustomizeGroup, k.Name)
		}
		return nil
	}
	if len(ks) == 0 {
		return nil
	}
	wide := int32(1) // shown with -o wide only
	table := &metav1.Table{ColumnDefinitions: []metav1.TableColumnDefinition{
		{Name: "Name"}, {Name: "Ready"}, {Name: "Revision"}, {Name: "Age"}, {Name: "By"},
		{Name: "Path", Priority: wide}, {Name: "Objects", Priority: wide}, {Name: "Record", Priority: wide}, {Name: "Message"},
	}}
	for _, k := range ks {
		revision, message, name := k.Revision, k.Message, k.Name
		if o.Format != "wide" {
			revision, message = gitops.ShortRevision(revision), gitops.ShortRevision(message)
		}
		if o.all {
			name = k.Namespace + "/" + k.Name
		}
		table.Rows = append(table.Rows, metav1.TableRow{Cells: []any{name, k.Ready, dash(revision), age(k.Applied), dash(k.By), dash(k.Path), k.Objects, k.Record, message}})
	}
	return printers.NewTablePrinter(printers.PrintOptions{NoHeaders: !headers, Wide: o.Format == "wide"}).PrintObj(table, env.Out)
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func age(at string) string {
	t, err := time.Parse(time.RFC3339, at)
	if err != nil {
		return "-"
	}
	return duration.HumanDuration(time.Since(t))
}
