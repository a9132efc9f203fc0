package gitops

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
)

const (
	// followEvery is how often a controller's progress is looked at.
	followEvery = 500 * time.Millisecond
	// askAgain is how long an object stays as it is after a request was handled
	// and nothing came of it, until it is asked for once more.
	askAgain = 5 * time.Second
)

// outcome is what a controller says of an object.
type outcome struct {
	handled         bool // it has seen the request, or a later one
	ended           bool // it has looked at the present spec since, and come to a Ready
	ready           bool
	reason, message string
	applied         string // lastAppliedRevision of a Kustomization
	artifact        string // revision of a source's artifact
}

// request asks for id to be reconciled, and follows that to its end. t is whose
// progress it is. open says why an outcome may not be the last word, "" if it is.
//
// A request is marked as handled when a reconciliation ends, whatever came of it,
// and some end without having done what was asked (kustomize-controller 1.9,
// source-controller 1.9, pkg/runtime 0.110):
//   - the first one of an object only adds the finalizer;
//   - one that fails to write its progress, since its cache has not seen the
//     request yet and each of five attempts is a conflict, leaves Ready at Unknown
//     and comes back after spec.retryInterval;
//   - one whose cache has not seen the source's new artifact yet applies the old one,
//     or finds that there is none, or that its dependencies are ahead of it.
//
// So such an object is asked for again. That is harmless: what it is asked for, it
// has.
func (f *follower) request(ctx context.Context, t *task, id object.ID, timeout time.Duration, open func(outcome) string) (outcome, error) {
	t.e.progress(t.Ref, "asking the Flux controller for "+id.Short())
	at := f.at
	before, err := f.e.Cluster.Request(ctx, id, at)
	switch {
	case err != nil:
		return outcome{}, err
	case before == nil:
		return outcome{}, fmt.Errorf("%s: the cluster does not have it", id)
	}
	was := before.GetAnnotations()[flux.RequestKey]
	// The answer to be had at once would be that of the last reconciliation.
	early := answer(before, "", "").ready && !slices.Contains(before.GetFinalizers(), kustomizev1.KustomizationFinalizer)
	wctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	last := "it has not answered"
	state, since, pause, times := "", time.Now(), askAgain, 1
	for {
		u, err := f.e.Cluster.Get(wctx, id, "v1")
		switch {
		case wctx.Err() != nil:
		case err != nil:
			return outcome{}, err
		case u == nil:
			return outcome{}, fmt.Errorf("%s: the cluster does not have it", id)
		default:
			if suspended, _, _ := unstructured.NestedBool(u.Object, "spec", "suspend"); suspended {
				return outcome{}, fmt.Errorf("%s is suspended: no controller reconciles it", id)
			}
			s := answer(u, at, was)
			why := ""
			if s.ended && times == 1 {
				why = open(s)
			}
			if s.ended && why == "" && !early {
				return s, nil
			}
			if why != "" {
				last = why
			} else if s.message != "" {
				last = s.message
			}
			t.waiting(id.Short() + ": " + last)
			if now := u.GetResourceVersion(); now != state {
				state, since = now, time.Now()
			}
			asked := u.GetAnnotations()[flux.RequestKey]
			lost := asked != at && (asked == "" || asked == was) // somebody took it away
			if early && s.handled || (s.handled || lost) && time.Since(since) > pause {
				if !early {
					times++
					pause *= 2
				}
				early, was, at = false, asked, time.Now().UTC().Format(time.RFC3339Nano)
				if _, err := f.e.Cluster.Request(wctx, id, at); err != nil && wctx.Err() == nil {
					return outcome{}, err
				}
			}
		}
		select {
		case <-wctx.Done():
			if why := stopped(ctx); why != "" {
				return outcome{}, errors.New(why + "; the controller goes on by itself")
			}
			return outcome{}, fmt.Errorf("%s: the controller has not ended within %s: %s", id, timeout, last)
		case <-time.After(followEvery):
		}
	}
}

// answer reads what a controller says of u since the request at, which replaced was.
// Where somebody else has asked after that, their request counts: what was done for
// it began later.
func answer(u *unstructured.Unstructured, at, was string) (s outcome) {
	handled, _, _ := unstructured.NestedString(u.Object, "status", "lastHandledReconcileAt")
	asked := u.GetAnnotations()[flux.RequestKey]
	s.handled = handled == at || asked != "" && asked != was && handled == asked
	s.applied, _, _ = unstructured.NestedString(u.Object, "status", "lastAppliedRevision")
	s.artifact, _, _ = unstructured.NestedString(u.Object, "status", "artifact", "revision")
	observed, _, _ := unstructured.NestedInt64(u.Object, "status", "observedGeneration")
	conditions, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	status := ""
	busy := false
	for _, c := range conditions {
		m, _ := c.(map[string]any)
		switch m["type"] {
		case readyCondition:
			status, _ = m["status"].(string)
			s.reason, _ = m["reason"].(string)
			s.message, _ = m["message"].(string)
		case reconcilingCondition:
			// ProgressingWithRetry is a failure that will be tried again.
			busy = m["status"] == "True" && m["reason"] == reasonProgress
		}
	}
	s.ready = status == "True"
	failed := status == "False" // the generation is not noted then
	s.ended = s.handled && !busy && (failed || s.ready && observed == u.GetGeneration())
	return s
}

// stale says why the outcome of a Kustomization may be one of before its
// controller's cache had what this run has seen in the cluster: revision, of its
// source's artifact, and that its dependencies are ready.
func (t *task) stale(s outcome, revision string, tasks map[*Planned]*task) string {
	switch {
	case s.ready && revision != "" && s.applied != revision:
		return "it is still at " + ShortRevision(s.applied)
	case s.reason == reasonArtifact:
		return s.message
	case s.reason == reasonDependency:
		for _, d := range t.DependsOn() {
			if !slices.ContainsFunc(t.r.Kustomizations, func(p *Planned) bool { return p.Ref == d && tasks[p].report.Status == StatusReady }) {
				return "" // it may be so
			}
		}
		return s.message
	}
	return ""
}
