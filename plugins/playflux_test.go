package plugins

import (
	"context"
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
)

// playFlux plays what source-controller and kustomize-controller show to others
// until the script ends: playflux BAREREPOSITORY. The Lease is renewed; a request
// (reconcile.fluxcd.io/requestedAt) is first under way, then handled, with main
// of the repository as the revision, as fluxcd/pkg/runtime and the controllers'
// reconcilers write it. A Kustomization with the label play=fail fails. One with
// another play does, the first time, what real ones were seen to do: "finalizer" adds
// the finalizer and nothing else, "conflict" could not write its progress, "cache" has
// not seen the new artifact, "dependency" not that what it depends on is ready,
// "another" is asked for by somebody else, and "taken" loses the request. Nothing is
// applied.
func playFlux(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: playflux BAREREPOSITORY")
	}
	config, err := clientcmd.BuildConfigFromFlags("", ts.Getenv("KUBECONFIG"))
	ts.Check(err)
	client, err := dynamic.NewForConfig(config)
	ts.Check(err)
	ts.Defer(play(client, ts.MkAbs(args[0])))
}

// play begins what playFlux does.
func play(client dynamic.Interface, repository string) (stop func()) {
	release := keepLease(client)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		played := map[string]bool{}
		for ctx.Err() == nil {
			out, err := exec.CommandContext(ctx, "git", "-C", repository, "rev-parse", "refs/heads/main").Output()
			if err == nil {
				playOnce(ctx, client, "main@sha1:"+strings.TrimSpace(string(out)), played)
			}
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
		}
	}()
	return func() { cancel(); <-ended; release() }
}

// keepLease renews the Lease of kustomize-controller's leader until release is
// called, which leaves nobody as its holder.
func keepLease(client dynamic.Interface) (release func()) {
	hold := func(ctx context.Context, holder string) {
		lease := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
			"metadata": map[string]any{"namespace": "flux-system", "name": "kustomize-controller-leader-election"},
			"spec": map[string]any{"holderIdentity": holder, "leaseDurationSeconds": int64(35),
				"renewTime": time.Now().UTC().Format("2006-01-02T15:04:05.000000Z")}}}
		_, _ = client.Resource(schema.GroupVersionResource{Group: "coordination.k8s.io", Version: "v1", Resource: "leases"}).Namespace("flux-system").
			Apply(ctx, lease.GetName(), lease, metav1.ApplyOptions{FieldManager: "player", Force: true})
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	hold(ctx, "controller")
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			select {
			case <-ctx.Done():
			case <-time.After(2 * time.Second):
				hold(ctx, "controller")
			}
		}
	}()
	return func() { cancel(); <-ended; hold(context.Background(), "") }
}

// playOnce looks at all objects once. played are those whose first time is over.
func playOnce(ctx context.Context, client dynamic.Interface, revision string, played map[string]bool) {
	for resource, group := range map[string]string{"gitrepositories": flux.SourceGroup, "kustomizations": flux.KustomizeGroup} {
		gvr := schema.GroupVersionResource{Group: group, Version: "v1", Resource: resource}
		list, err := client.Resource(gvr).List(ctx, metav1.ListOptions{})
		if err != nil {
			continue
		}
		for _, u := range list.Items {
			at := u.GetAnnotations()[flux.RequestKey]
			handled, _, _ := unstructured.NestedString(u.Object, "status", "lastHandledReconcileAt")
			suspended, _, _ := unstructured.NestedBool(u.Object, "spec", "suspend")
			if at == "" || at == handled || suspended {
				continue
			}
			now := time.Now().UTC().Format(time.RFC3339)
			condition := func(typ, status, reason, message string) any {
				return map[string]any{"type": typ, "status": status, "reason": reason, "message": message, "lastTransitionTime": now, "observedGeneration": u.GetGeneration()}
			}
			if u.GetLabels()["play"] == "finalizer" && len(u.GetFinalizers()) == 0 {
				patch(ctx, client, gvr, u.GetNamespace(), u.GetName(), "", map[string]any{"metadata": map[string]any{"finalizers": []string{"finalizers.fluxcd.io"}}})
				patch(ctx, client, gvr, u.GetNamespace(), u.GetName(), "status", map[string]any{"status": map[string]any{"lastHandledReconcileAt": at}})
				continue
			}
			if !underWay(u) {
				patch(ctx, client, gvr, u.GetNamespace(), u.GetName(), "status", map[string]any{"status": map[string]any{"conditions": []any{
					condition("Reconciling", "True", "Progressing", "Running health checks"), condition("Ready", "Unknown", "Progressing", "Running health checks")}}})
				continue
			}
			// The conditions are there a moment before the rest.
			status := map[string]any{"lastHandledReconcileAt": at, "observedGeneration": u.GetGeneration()}
			var conditions []any
			first := ""
			if name := u.GetNamespace() + "/" + u.GetName(); !played[name] {
				first, played[name] = u.GetLabels()["play"], true
			}
			switch {
			case first == "conflict":
				delete(status, "observedGeneration")
				conditions = []any{condition("Ready", "Unknown", "Progressing", "Reconciliation in progress"), condition("Reconciling", "True", "Progressing", "Reconciliation in progress")}
			case first == "dependency":
				delete(status, "observedGeneration")
				conditions = []any{condition("Ready", "False", "DependencyNotReady", "dependency 'flux-system/a' revision is not up to date")}
			case first == "cache":
				conditions = []any{condition("Ready", "True", "ReconciliationSucceeded", "Applied revision: main@sha1:old")}
				status["lastAppliedRevision"] = "main@sha1:old"
			case first == "another":
				patch(ctx, client, gvr, u.GetNamespace(), u.GetName(), "", map[string]any{"metadata": map[string]any{"annotations": map[string]any{flux.RequestKey: "another"}}})
				continue
			case first == "taken":
				patch(ctx, client, gvr, u.GetNamespace(), u.GetName(), "", map[string]any{"metadata": map[string]any{"annotations": map[string]any{flux.RequestKey: nil}}})
				continue
			case resource == "gitrepositories":
				status["artifact"] = map[string]any{"revision": revision, "path": "p", "url": "http://localhost/p", "lastUpdateTime": now, "digest": "sha256:" + strings.Repeat("0", 64)}
				conditions = []any{condition("Ready", "True", "Succeeded", "stored artifact for revision '"+revision+"'")}
			case u.GetLabels()["play"] == "fail":
				delete(status, "observedGeneration")
				status["lastAttemptedRevision"] = revision
				message := "timeout waiting for: [Deployment/shop/web status: 'InProgress']"
				conditions = []any{condition("Ready", "False", "HealthCheckFailed", message), condition("Reconciling", "True", "ProgressingWithRetry", message)}
			default:
				status["lastAppliedRevision"], status["lastAttemptedRevision"] = revision, revision
				conditions = []any{condition("Ready", "True", "ReconciliationSucceeded", "Applied revision: "+revision)}
			}
			patch(ctx, client, gvr, u.GetNamespace(), u.GetName(), "status", map[string]any{"status": map[string]any{"conditions": conditions}})
			patch(ctx, client, gvr, u.GetNamespace(), u.GetName(), "status", map[string]any{"status": status})
		}
	}
}

// underWay reports whether u is being reconciled.
func underWay(u unstructured.Unstructured) bool {
	conditions, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	return slices.ContainsFunc(conditions, func(c any) bool {
		m, _ := c.(map[string]any)
		return m["type"] == "Ready" && m["status"] == "Unknown"
	})
}

// patch sends a merge patch; what fails is tried again when the player comes by.
func patch(ctx context.Context, client dynamic.Interface, gvr schema.GroupVersionResource, ns, name, subresource string, body map[string]any) {
	data, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	var sub []string
	if subresource != "" {
		sub = []string{subresource}
	}
	_, _ = client.Resource(gvr).Namespace(ns).Patch(ctx, name, types.MergePatchType, data, metav1.PatchOptions{FieldManager: "player"}, sub...)
}
