package plan

import (
	"maps"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
)

// Action is what is to be done to one object.
type Action string

// The actions of a plan. A report of what was done uses the past tense (Done).
const (
	Create    Action = "create"
	Configure Action = "configure"
	Recreate  Action = "recreate"
	Delete    Action = "delete"
	Unchanged Action = "unchanged"
	Skip      Action = "skip"
)

// Done is the word for an action that was carried out, as reports have it.
func (a Action) Done() string {
	switch a {
	case Create, Configure, Recreate, Delete:
		return string(a) + map[bool]string{true: "d", false: "ed"}[a[len(a)-1] == 'e']
	case Skip:
		return "skipped"
	}
	return string(a)
}

// Writes reports whether the action changes the cluster.
func (a Action) Writes() bool { return a != Unchanged && a != Skip }

// Change is the decision for one object, with what it rests on.
type Change struct {
	ID      object.ID
	Version string
	Action  Action
	// Reason says why, for people: "labels differ", "moved to kustomization/b".
	Reason string

	// Object is what the source declares; nil for a Delete.
	Object *object.Object
	// Live is what the cluster has; nil where there is nothing.
	Live *unstructured.Unstructured
	// Result is what the server said it would store (a dry-run), or what it would
	// probably; nil for a Delete, a Skip, what cannot be asked yet, and what is
	// proved to be in sync.
	Result *unstructured.Unstructured
	// Local says that the change was decided without asking the server: proved, or
	// where it may not be asked predicted.
	Local bool
	// Settled says that Live, of which only the metadata is there, is ready.
	Settled bool
	// Payload is what is applied where it is not Object: an ignored field that has
	// drifted is not set back. Otherwise nil.
	Payload *unstructured.Unstructured
	// Pending is what must be made first by this very run before the server
	// can be asked: a kind or a namespace; "" otherwise.
	Pending string
	// Cleanup is a JSON patch to send before the apply, which hands over what
	// kubectl owned; nil where there is nothing to hand over.
	Cleanup []byte
	// Forfeited are the fields that go with it: kubectl set them, Git has not.
	Forfeited [][]string
	// Secrets are values that are not to be shown, wherever in the object they
	// stand (see object.Secrets).
	Secrets []string
	// Passwords are paths of fields that are not to be shown either.
	Passwords [][]string
	// Was names what Live is, in a diff; "" for the object in the cluster.
	Was string
}

// Apply is what is sent to the server to carry the change out.
func (c Change) Apply() *unstructured.Unstructured {
	if c.Payload != nil {
		return c.Payload
	}
	return c.Object.Unstructured
}

// Entry is the inventory entry of the changed object.
func (c Change) Entry() Entry { return Entry{ID: c.ID, Version: c.Version} }

// Decide compares what the cluster has with what the server would store. The
// rule is Flux's drift rule: labels, annotations, or anything but metadata and
// status differs. live is nil for an object that does not exist.
func Decide(live, result *unstructured.Unstructured) (Action, string) {
	switch {
	case live == nil:
		return Create, "not in the cluster"
	case !equality.Semantic.DeepEqual(live.GetLabels(), result.GetLabels()):
		return Configure, "labels differ"
	case !equality.Semantic.DeepEqual(live.GetAnnotations(), result.GetAnnotations()):
		return Configure, "annotations differ"
	case !equality.Semantic.DeepEqual(body(live), body(result)):
		return Configure, "fields differ"
	}
	return Unchanged, ""
}

// DecideSealed is Decide for two states of what is declared. What is sealed is
// compared as it was committed, but for SOPS's own notes on it.
func DecideSealed(before, now *unstructured.Unstructured) (Action, string) {
	sealed := false
	var sides [2]*unstructured.Unstructured
	for i, u := range []*unstructured.Unstructured{before, now} {
		sides[i] = u
		if sops, _ := u.Object["sops"].(map[string]any); sops["mac"] != nil {
			sealed = true
			bare := *u
			bare.Object = maps.Clone(u.Object)
			delete(bare.Object, "sops")
			sides[i] = &bare
		}
	}
	action, reason := Decide(sides[0], sides[1])
	if sealed && reason == "fields differ" {
		reason = "fields differ; sealed, and no key at hand opens it"
	}
	return action, reason
}

func body(u *unstructured.Unstructured) map[string]any {
	m := make(map[string]any, len(u.Object))
	for k, v := range u.Object {
		if k != "metadata" && k != "status" {
			m[k] = v
		}
	}
	return m
}

// SkipReason tells why an object is left alone: a label or an annotation that
// Flux honors, on the desired or on the live object. "" means that it is not.
func SkipReason(desired, live *unstructured.Unstructured) string {
	for _, u := range []*unstructured.Unstructured{desired, live} {
		switch {
		case u == nil:
		case flux.Marked(u, flux.ReconcileKey, "disabled"):
			return flux.ReconcileKey + ": disabled"
		case flux.Marked(u, flux.SSAKey, "Ignore"):
			return flux.SSAKey + ": Ignore"
		}
	}
	if live != nil && flux.Marked(desired, flux.SSAKey, "IfNotPresent") {
		return flux.SSAKey + ": IfNotPresent"
	}
	return ""
}

// Owned reports whether live carries both labels of owner.
func Owned(live *unstructured.Unstructured, owner flux.Ref) bool {
	labels := live.GetLabels()
	return labels[flux.OwnerNameLabel] == owner.Name && labels[flux.OwnerNamespaceLabel] == owner.Namespace
}

// KeepReason tells why a stale object is not deleted: another owner has taken
// it over, or it says so itself. "" means that it goes. The rules are those of
// Flux's garbage collection: both owner labels must be the owner's.
func KeepReason(live *unstructured.Unstructured, owner flux.Ref) string {
	labels := live.GetLabels()
	switch {
	case !Owned(live, owner):
		if labels[flux.OwnerNameLabel] == "" {
			return "no longer carries the labels of its owner"
		}
		return "taken over by " + flux.Ref{Namespace: labels[flux.OwnerNamespaceLabel], Name: labels[flux.OwnerNameLabel]}.String()
	case flux.Marked(live, flux.PruneKey, "disabled"):
		return flux.PruneKey + ": disabled"
	case flux.Marked(live, flux.ReconcileKey, "disabled"):
		return flux.ReconcileKey + ": disabled"
	case flux.Marked(live, flux.SSAKey, "Ignore"):
		return flux.SSAKey + ": Ignore"
	}
	return ""
}
