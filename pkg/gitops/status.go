package gitops

import (
	"context"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cluster"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
)

// StatusReport is what the cluster remembers of its Kustomizations.
type StatusReport struct {
	APIVersion     string                `json:"apiVersion"`
	Kind           string                `json:"kind"` // StatusReport
	Warnings       []Warning             `json:"warnings"`
	Cluster        ClusterReport         `json:"cluster"`
	Kustomizations []KustomizationStatus `json:"kustomizations"`
}

// KustomizationStatus is what the cluster remembers of one.
type KustomizationStatus struct {
	Namespace     string `json:"namespace"`
	Name          string `json:"name"`
	Ready         string `json:"ready"` // True | False | Unknown
	Suspended     bool   `json:"suspended"`
	SuspendReason string `json:"suspendReason,omitempty"`
	Revision      string `json:"revision"`                    // that was applied last, "" for none
	Attempted     string `json:"attemptedRevision,omitempty"` // where it is another
	Path          string `json:"path,omitempty"`              // as far as the cluster knows it
	Objects       int    `json:"objects"`                     // that it owns
	Applied       string `json:"applied,omitempty"`           // when what it has was applied: RFC 3339, UTC
	By            string `json:"by,omitempty"`                // user@host, or flux
	Reason        string `json:"reason,omitempty"`
	Message       string `json:"message"`
	Record        string `json:"record"` // where this is from: status | configmap
}

// OK reports whether nothing is wrong with it: it is ready, or left alone on
// purpose.
func (k KustomizationStatus) OK() bool { return k.Ready == "True" || k.Suspended }

// Status reads what the cluster remembers: of names, or of all in namespace
// ("" is all of them). A name that it does not know is *Refused.
func Status(ctx context.Context, c *cluster.Cluster, namespace string, names []flux.Ref) (StatusReport, error) {
	report := StatusReport{APIVersion: APIVersion, Kind: "StatusReport", Warnings: []Warning{}, Kustomizations: []KustomizationStatus{},
		Cluster: ClusterReport{Context: c.Context, Server: c.Server}}
	if len(names) == 0 {
		records, err := c.Records(ctx, namespace)
		if apierrors.IsForbidden(err) {
			return report, &Refused{Code: "refused", Msg: err.Error(),
				Fix: "kubectl gitops status NAME, which takes get alone: kubectl gitops rbac --read-only prints the rights; or use --as or --context"}
		}
		if err != nil {
			return report, err
		}
		for _, rec := range records {
			report.Kustomizations = append(report.Kustomizations, statusOf(rec))
		}
		return report, nil
	}
	for _, ref := range names {
		rec, err := Known(ctx, c, ref)
		if err != nil {
			return report, err
		}
		report.Kustomizations = append(report.Kustomizations, statusOf(rec))
	}
	return report, nil
}

// Known is the record of a Kustomization that the cluster knows; *Refused for
// one that it does not.
func Known(ctx context.Context, c *cluster.Cluster, ref flux.Ref) (*cluster.Record, error) {
	rec, err := c.Load(ctx, ref)
	if err != nil {
		return nil, err
	}
	if rec.Live != nil || rec.InConfigMap {
		return rec, nil
	}
	fix := "kubectl gitops status -A lists those that it knows"
	if all, err := c.Records(ctx, ref.Namespace); err == nil && len(all) > 0 {
		var known []string
		for _, r := range all {
			known = append(known, r.Ref.Name)
		}
		fix = "in " + ref.Namespace + " there is: " + some(known, 10)
	}
	return nil, &Refused{Code: "no-such-kustomization", Msg: fmt.Sprintf("cluster %s knows no %s", c.Context, ref), Fix: fix}
}

func statusOf(rec *cluster.Record) KustomizationStatus {
	s := rec.Status
	k := KustomizationStatus{Namespace: rec.Ref.Namespace, Name: rec.Ref.Name, Ready: "Unknown", Revision: s.LastAppliedRevision,
		Objects: len(rec.Inventory), Record: "configmap", Message: "not reconciled yet", Path: rec.Notes[rootPathKey]}
	k.Suspended, k.SuspendReason = rec.Suspended()
	if s.LastAttemptedRevision != s.LastAppliedRevision {
		k.Attempted = s.LastAttemptedRevision
	}
	var at time.Time
	if ready := meta.FindStatusCondition(s.Conditions, readyCondition); ready != nil {
		k.Ready, k.Reason, k.Message, at = string(ready.Status), ready.Reason, ready.Message, ready.LastTransitionTime.Time
	}
	if h := s.History.Latest(); h != nil {
		at = h.LastReconciled.Time
	}
	by, when := applier(rec.Notes[appliedByKey])
	k.By = by
	if rec.Live != nil {
		k.Record = "status"
		if parsed, err := flux.ParseKustomization(object.Object{Unstructured: rec.Live}); err == nil {
			k.Path = parsed.Path()
		}
		if g := s.ObservedGeneration; g > 0 && g < rec.Live.GetGeneration() && k.Ready == string(metav1.ConditionTrue) {
			k.Ready, k.Message = "Unknown", "its spec has changed since it was applied"
		}
		// A controller reconciles again and again; a run of ours only when something is to be done.
		if k.Revision != "" && (by == "" || at.Sub(when) > time.Minute) {
			k.By = "flux"
		}
	}
	if !at.IsZero() {
		k.Applied = at.UTC().Format(time.RFC3339)
	}
	if k.Suspended {
		k.Message = strings.TrimSuffix("suspended: "+k.SuspendReason, ": ") + "; " + k.Message
	}
	return k
}

// applier reads a note of who applied something.
func applier(note string) (by string, at time.Time) {
	parts := strings.Split(note, ", ")
	if len(parts) != 3 {
		return "", at
	}
	at, _ = time.Parse(time.RFC3339, parts[2])
	return parts[0], at
}
