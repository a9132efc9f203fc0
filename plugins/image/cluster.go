package image

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

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

// live are Flux's objects in the cluster, by kind and name.
type live struct {
	*cluster.Cluster
	objects   map[string]map[image.Ref]*unstructured.Unstructured
	reflector bool // an image-reflector-controller is alive, and scans itself
}

// connect looks at the cluster: whether a controller does the same work, and
// which automations it has.
func (u *update) connect(ctx context.Context) error {
	k8s, err := cluster.Connect(u.env.Kube, cli.UserAgent())
	if err != nil {
		return err
	}
	if err := k8s.Reach(ctx); err != nil {
		return err
	}
	u.report.Cluster = &gitops.ClusterReport{Context: k8s.Context, Server: k8s.Server}
	u.ui.Sink()(gitops.Event{Type: gitops.RunStarted, Message: fmt.Sprintf("cluster: %s (%s)", k8s.Context, k8s.Server)})
	if err := u.standAside(ctx, k8s); err != nil {
		return err
	}
	u.live = &live{Cluster: k8s, objects: map[string]map[image.Ref]*unstructured.Unstructured{}}
	reflector, err := k8s.Running(ctx, reflectorController)
	if err != nil {
		return err
	}
	u.live.reflector = reflector != cluster.Dead
	for _, kind := range []string{image.AutomationKind, image.PolicyKind, image.RepositoryKind} {
		found, err := k8s.List(ctx, schema.GroupKind{Group: image.Group, Kind: kind}, "")
		if refused := (*cluster.Refusal)(nil); errors.As(err, &refused) {
			u.warn(image.Problem{Code: "image-unread", Message: fmt.Sprintf("%s of the cluster: %s: no status is written", kind, refused)})
			continue
		}
		if err != nil {
			return err
		}
		u.live.objects[kind] = map[image.Ref]*unstructured.Unstructured{}
		for _, o := range found {
			u.live.objects[kind][image.Ref{Namespace: o.GetNamespace(), Name: o.GetName()}] = o
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

// record writes what was done into the status of Flux's objects, as its
// controllers would have. What cannot be written there is a warning: it is done.
func (u *update) record(ctx context.Context, began time.Time) {
	if u.live == nil || u.o.dryRun || u.o.noPush || u.o.repair {
		return
	}
	set := func(o *unstructured.Unstructured, controller string, fields map[string]any, ready metav1.Condition) {
		if err := u.live.SetStatus(ctx, o, controller, fields, ready); err != nil {
			u.warn(image.Problem{Code: "image-status", Message: "the status is not written: " + err.Error()})
		}
	}
	for _, a := range u.ran {
		o := u.live.objects[image.AutomationKind][a.Ref]
		if o == nil {
			continue
		}
		report := u.report.Automations[a.at]
		fields := map[string]any{"lastAutomationRunTime": began.UTC().Format(time.RFC3339)}
		ready := metav1.Condition{Status: metav1.ConditionTrue, Reason: "Succeeded", Message: "repository up-to-date"}
		if report.Status == "failed" {
			ready = metav1.Condition{Status: metav1.ConditionFalse, Reason: "UpdateFailed", Message: report.Message}
		} else {
			fields["observedSourceRevision"] = a.revision
			policies := map[string]any{}
			for ref, i := range u.choices(a) {
				policies[ref.Name] = latest(i)
			}
			fields["observedPolicies"] = policies
		}
		if a.pushed != "" {
			fields["lastPushCommit"], fields["lastPushTime"] = a.pushed, time.Now().UTC().Format(time.RFC3339)
		}
		set(o, automationController, fields, ready)
	}
	if u.live.reflector {
		return
	}
	scanned := map[image.Ref]bool{}
	for _, d := range u.chosen {
		if o := u.live.objects[image.PolicyKind][d.policy.Ref]; o != nil && d.repository.Name != "" && d.suspended == "" {
			fields, ready := policyStatus(o, d)
			set(o, reflectorController, fields, ready)
		}
		o := u.live.objects[image.RepositoryKind][d.repository.Ref]
		if o == nil || scanned[d.repository.Ref] || len(d.tags) == 0 {
			continue
		}
		scanned[d.repository.Ref] = true
		tags := d.repository.Included(d.tags)
		slices.SortFunc(tags, func(a, b string) int { return strings.Compare(b, a) })
		set(o, reflectorController, map[string]any{"lastScanResult": map[string]any{
			"tagCount": len(tags), "scanTime": began.UTC().Format(time.RFC3339), "latestTags": tags[:min(10, len(tags))]}},
			metav1.Condition{Status: metav1.ConditionTrue, Reason: "Succeeded", Message: fmt.Sprintf("successful scan: found %d tags", len(tags))})
	}
}

func latest(i image.Image) map[string]any {
	out := map[string]any{"name": i.Name, "tag": i.Tag}
	if i.Digest != "" {
		out["digest"] = i.Digest
	}
	return out
}

// policyStatus is what a policy has chosen, and what before.
func policyStatus(o *unstructured.Unstructured, d decision) (map[string]any, metav1.Condition) {
	if d.image.Tag == "" {
		message := "nothing is chosen"
		if len(d.problems) > 0 {
			message = d.problems[0].Message
		}
		return map[string]any{}, metav1.Condition{Status: metav1.ConditionFalse, Reason: "Failure", Message: message}
	}
	fields := map[string]any{"latestRef": latest(d.image)}
	message := fmt.Sprintf("Latest image tag for %s resolved to %s", d.image.Name, d.image.Tag)
	if d.image.Digest != "" {
		message += " with digest " + d.image.Digest
	}
	if before, ok, _ := unstructured.NestedMap(o.Object, "status", "latestRef"); ok && (before["tag"] != d.image.Tag || before["name"] != d.image.Name) {
		fields["observedPreviousRef"] = before
		message += fmt.Sprintf(" (previously %s:%s)", before["name"], before["tag"])
	}
	if strings.HasSuffix(o.GetAPIVersion(), "/v1beta1") {
		fields["latestImage"] = d.image.Name + ":" + d.image.Tag
	}
	return fields, metav1.Condition{Status: metav1.ConditionTrue, Reason: "Succeeded", Message: message}
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
	add("git-secret", u.o.GitSecret)
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
