package image

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/cluster"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/gitops"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/image"
)

// The controllers whose work an update does.
const (
	automationController = "image-automation-controller"
	reflectorController  = "image-reflector-controller"
)

// clusterAsked reports whether an update is to know a cluster: for the sync that
// follows, or because the command line names one.
func clusterAsked(c *cobra.Command, o *updateOptions) bool {
	return o.sync || slices.ContainsFunc([]string{"context", "kubeconfig", "cluster", "server"}, c.Flags().Changed)
}

// knowCluster looks at the cluster: whether a controller does the same work, and
// which automations it has.
func (u *update) knowCluster(ctx context.Context) (err error) {
	u.live = u.tree.live
	if u.live == nil {
		if u.live, err = u.connect(ctx); err != nil {
			return err
		}
	}
	if err := u.standAside(ctx, u.live.Cluster); err != nil {
		return err
	}
	reflector, err := u.live.Running(ctx, reflectorController)
	if err != nil {
		return err
	}
	u.live.reflector = reflector != cluster.Dead
	if u.tree.live != nil {
		return nil
	}
	for _, kind := range []string{image.AutomationKind, image.PolicyKind, image.RepositoryKind} {
		err := u.live.list(ctx, kind, "")
		if refused := (*cluster.Refusal)(nil); errors.As(err, &refused) {
			u.warn(image.Problem{Code: "image-unread", Message: fmt.Sprintf("%s of the cluster: %s: no status is written", kind, refused), Hint: refused.Fix})
		} else if err != nil {
			return err
		}
	}
	u.secondWriters()
	return nil
}

// standAside refuses to work beside a controller that does the same.
func (u *update) standAside(ctx context.Context, k8s *cluster.Cluster) error {
	if u.o.dryRun || u.o.engine == "local" {
		return nil
	}
	running, err := k8s.Running(ctx, automationController)
	if err != nil {
		return err
	}
	switch running {
	case cluster.Unknown:
		return &gitops.Refused{Code: "flux-unknown",
			Msg: fmt.Sprintf("cannot tell whether a Flux %s commits for cluster %s: this user may not get its lease in flux-system", automationController, k8s.Context),
			Fix: "if none does: --engine local"}
	case cluster.Alive:
		return &gitops.Refused{Code: "flux-running",
			Msg: fmt.Sprintf("a Flux %s commits for cluster %s already, and would race this update", automationController, k8s.Context),
			Fix: "flux reconcile image update NAME; or suspend its automations and use --engine local --include-suspended"}
	}
	return nil
}

// secondWriters names the automations that the cluster has and Git lacks.
func (u *update) secondWriters() {
	for ref, o := range u.live.objects[image.AutomationKind] {
		suspended, _, _ := unstructured.NestedBool(o.Object, "spec", "suspend")
		declared := slices.ContainsFunc(u.tree.Automations, func(a image.Automation) bool { return a.Ref == ref })
		if !declared && !suspended {
			u.warn(image.Problem{Code: "image-second-writer", Object: image.Declared{Ref: ref, Kind: image.AutomationKind}.String(),
				Message: "is in the cluster and not in " + u.where + ": it is a second writer of what it names, once a controller runs",
				Hint:    "kubectl -n " + ref.Namespace + " delete imageupdateautomation " + ref.Name + ", or commit it"})
		}
	}
}

// suspendedLive reports whether somebody has suspended an automation in the
// cluster.
func (u *update) suspendedLive(ref image.Ref) bool {
	if u.live == nil || u.live.objects[image.AutomationKind][ref] == nil {
		return false
	}
	suspended, _, _ := unstructured.NestedBool(u.live.objects[image.AutomationKind][ref].Object, "spec", "suspend")
	return suspended
}

// goOn syncs the cluster with what was updated, or was so already.
func (u *update) goOn(ctx context.Context) error {
	url, branch := "", u.branch
	switch {
	case u.up != nil:
		url = u.up.URL
	case len(u.groups) == 0: // its branch cannot be read: there is nothing to sync with
		return u.end()
	default:
		url, branch = u.groups[0].up.URL, u.groups[0].base.Branch
	}
	if !u.asObject { // people read first what was pushed
		err := u.end()
		code := u.syncAfter(ctx, url, branch)
		if exit := (cli.Exit{}); errors.As(err, &exit) && code == cli.ExitOK {
			return err
		}
		return cli.Exit{Code: code}
	}
	code := u.syncAfter(ctx, url, branch)
	if err := u.end(); code == cli.ExitOK || err != nil && !errors.As(err, new(cli.Exit)) {
		return err
	}
	return cli.Exit{Code: code}
}

// syncAfter reconciles the cluster with what the source is now.
func (u *update) syncAfter(ctx context.Context, url, branch string) (code int) {
	args := []string{"--source", url, "--ref", branch}
	add := func(flag, value string) {
		if value != "" {
			args = append(args, "--"+flag, value)
		}
	}
	add("path", u.o.syncPath)
	add("age-key-file", u.o.AgeKeyFile)
	add("git-username", u.o.GitUsername)
	add("git-token-file", u.o.GitTokenFile)
	add("git-ssh-key", u.o.GitSSHKey)
	add("git-known-hosts", u.o.GitKnownHosts)
	if u.up == nil && !u.auth.Given() {
		add("git-secret", u.gitSecret)
	} else {
		add("git-secret", u.o.GitSecret)
	}
	add("color", u.o.Color)
	add("progress", u.o.Progress)
	add("engine", u.o.engine)
	for range u.o.Verbose {
		args = append(args, "-v")
	}
	env := *u.env
	env.Name = strings.TrimSuffix(env.Name, " image")
	var object bytes.Buffer
	if u.asObject {
		env.Out = &object
		args = append(args, "-o", "json")
	}
	code = cli.Execute(ctx, u.o.newSync(&env), &env, args)
	if object.Len() > 0 {
		u.report.Sync = json.RawMessage(object.Bytes())
	}
	return code
}
