package plan

import (
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
)

func entry(name string) Entry {
	return Entry{ID: object.ID{Kind: "ConfigMap", Namespace: "n", Name: name}, Version: "v1"}
}

// The claim holds all that was owned and all that will be: whatever happens
// between it and the final inventory, nothing is orphaned.
func TestInventoryAlgebra(t *testing.T) {
	old := Inventory{entry("a"), entry("b")}
	now := Inventory{{ID: entry("b").ID, Version: "v2"}, entry("c")}
	claim := old.Union(now)
	for _, e := range slices.Concat(old, now) {
		if !claim.Has(e.ID) {
			t.Errorf("the claim lacks %s", e)
		}
	}
	if len(claim) != 3 {
		t.Errorf("claim %v", claim)
	}
	if stale := old.Minus(now); len(stale) != 1 || stale[0] != entry("a") {
		t.Errorf("stale %v: an object that only changed its version is not stale", stale)
	}
	back, err := ReadInventory(claim.Refs())
	if err != nil || !back.Equal(claim) {
		t.Errorf("%v read back as %v (%v)", claim, back, err)
	}
	if refs := (Inventory)(nil).Refs(); refs == nil {
		t.Error("an empty inventory must be written as such, not as null")
	}
}

func live(labels map[string]string, data string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "data": map[string]any{"v": data}, "status": map[string]any{"x": data}}}
	u.SetLabels(labels)
	u.SetResourceVersion(data)
	return u
}

func TestDecideIsFluxDriftRule(t *testing.T) {
	a := map[string]string{"a": "1"}
	sameButStatus := live(a, "1")
	sameButStatus.Object["status"] = map[string]any{"x": "other"}
	sameButStatus.SetResourceVersion("9")
	annotated := live(a, "1")
	annotated.SetAnnotations(map[string]string{"x": "y"})
	for name, c := range map[string]struct {
		live, result *unstructured.Unstructured
		want         Action
	}{
		"absent":              {nil, live(a, "1"), Create},
		"equal":               {live(a, "1"), live(a, "1"), Unchanged},
		"status only":         {live(a, "1"), sameButStatus, Unchanged},
		"labels":              {live(nil, "1"), live(a, "1"), Configure},
		"annotations":         {live(a, "1"), annotated, Configure},
		"fields":              {live(a, "1"), live(a, "2"), Configure},
		"nil and no labels":   {live(nil, "1"), live(map[string]string{}, "1"), Unchanged},
		"a field that is new": {live(a, "1"), func() *unstructured.Unstructured { u := live(a, "1"); u.Object["immutable"] = true; return u }(), Configure},
	} {
		if got, why := Decide(c.live, c.result); got != c.want || (got == Configure) && why == "" {
			t.Errorf("%s: %s (%s), want %s", name, got, why, c.want)
		}
	}
}

func TestMarksThatKeepObjects(t *testing.T) {
	owner := flux.Ref{Namespace: "flux-system", Name: "apps"}
	owned := map[string]string{flux.OwnerNameLabel: "apps", flux.OwnerNamespaceLabel: "flux-system"}
	with := func(key, value string) *unstructured.Unstructured {
		u := live(owned, "1")
		u.SetAnnotations(map[string]string{key: value})
		return u
	}
	for name, u := range map[string]*unstructured.Unstructured{
		"prune disabled":      with(flux.PruneKey, "disabled"),
		"in any case":         with(flux.PruneKey, "Disabled"),
		"reconcile disabled":  with(flux.ReconcileKey, "disabled"),
		"ssa ignore":          with(flux.SSAKey, "Ignore"),
		"another's":           live(map[string]string{flux.OwnerNameLabel: "other", flux.OwnerNamespaceLabel: "flux-system"}, "1"),
		"another namespace's": live(map[string]string{flux.OwnerNameLabel: "apps", flux.OwnerNamespaceLabel: "x"}, "1"),
		"nobody's":            live(nil, "1"),
	} {
		if KeepReason(u, owner) == "" {
			t.Errorf("%s: would be deleted", name)
		}
	}
	if why := KeepReason(live(owned, "1"), owner); why != "" {
		t.Errorf("its own object is kept: %s", why)
	}
	desired := live(nil, "1")
	if SkipReason(desired, with(flux.ReconcileKey, "disabled")) == "" || SkipReason(with(flux.SSAKey, "ignore"), nil) == "" {
		t.Error("reconcile: disabled and ssa: Ignore skip")
	}
	if why := SkipReason(desired, live(owned, "1")); why != "" {
		t.Errorf("an object without a mark is left alone: %s", why)
	}
	once := with(flux.SSAKey, "IfNotPresent")
	if SkipReason(once, nil) != "" || SkipReason(once, desired) == "" {
		t.Error("ssa: IfNotPresent skips what exists, and only that")
	}
}

func TestActionsHaveTheirPast(t *testing.T) {
	for a, want := range map[Action]string{Create: "created", Configure: "configured", Recreate: "recreated", Delete: "deleted", Unchanged: "unchanged", Skip: "skipped"} {
		if got := a.Done(); got != want {
			t.Errorf("%s: %s, want %s", a, got, want)
		}
	}
}
