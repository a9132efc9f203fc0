package object

import (
	"math/rand/v2"
	"slices"
	"sort"
	"testing"

	cliobject "github.com/fluxcd/cli-utils/pkg/object"
	"github.com/fluxcd/pkg/ssa"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// The ids of an inventory are those of Flux, byte for byte, both ways.
func TestInventoryIDsAreFlux(t *testing.T) {
	for _, id := range []ID{
		{Kind: "Service", Namespace: "default", Name: "podinfo"},
		{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "web"},
		{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition", Name: "x.example.com"},
		{Group: rbacGroup, Kind: "ClusterRole", Name: "system:auth-delegator"},
		{Group: rbacGroup, Kind: "RoleBinding", Namespace: "kube-system", Name: "system:a:b"},
		{Kind: "Namespace", Name: "shop"},
	} {
		want := cliobject.ObjMetadata{Namespace: id.Namespace, Name: id.Name, GroupKind: schema.GroupKind{Group: id.Group, Kind: id.Kind}}
		if got := id.InventoryID(); got != want.String() {
			t.Errorf("%s: got %q, Flux writes %q", id, got, want.String())
		}
		back, err := ParseInventoryID(want.String())
		if err != nil || back != id {
			t.Errorf("%q: read as %v (%v), want %v", want.String(), back, err, id)
		}
	}
	for _, bad := range []string{"", "a", "a_b", "a_b_c", "_", "a__g_"} {
		if id, err := ParseInventoryID(bad); err == nil {
			t.Errorf("%q: read as %v, want an error", bad, id)
		}
	}
}

// FuzzParseInventoryID holds the parser to what it wrote itself.
func FuzzParseInventoryID(f *testing.F) {
	f.Add("default_podinfo__Service")
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseInventoryID(s)
		if err != nil {
			return
		}
		if again, err := ParseInventoryID(id.InventoryID()); err != nil || again.InventoryID() != id.InventoryID() {
			t.Errorf("%q: read as %+v, written as %q, read as %+v (%v)", s, id, id.InventoryID(), again, err)
		}
	})
}

// The order of an apply is that of Flux, whatever the order of the input.
func TestOrderIsFlux(t *testing.T) {
	kinds := []schema.GroupVersionKind{
		{Version: "v1", Kind: "Pod"}, {Version: "v1", Kind: "Namespace"}, {Version: "v1", Kind: "Secret"}, {Version: "v1", Kind: "ConfigMap"},
		{Group: "apps", Version: "v1", Kind: "Deployment"}, {Group: "apps", Version: "v1", Kind: "DaemonSet"},
		{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"},
		{Group: "admissionregistration.k8s.io", Version: "v1", Kind: "ValidatingWebhookConfiguration"},
		{Group: "admissionregistration.k8s.io", Version: "v1", Kind: "MutatingWebhookConfiguration"},
		{Group: "storage.k8s.io", Version: "v1", Kind: "StorageClass"}, {Group: "snapshot.storage.k8s.io", Version: "v1", Kind: "VolumeSnapshotClass"},
		{Group: "x.io", Version: "v1", Kind: "MyClass"}, {Group: rbacGroup, Version: "v1", Kind: "ClusterRole"},
		{Group: rbacGroup, Version: "v1", Kind: "ClusterRoleBinding"}, {Group: "policy", Version: "v1", Kind: "PodDisruptionBudget"},
		{Group: "a.io", Version: "v1", Kind: "Zebra"}, {Group: "b.io", Version: "v1", Kind: "Ant"}, {Version: "v1", Kind: "LimitRange"},
	}
	var objects []*unstructured.Unstructured
	for _, k := range kinds {
		for _, n := range []string{"b", "a"} {
			u := &unstructured.Unstructured{}
			u.SetGroupVersionKind(k)
			u.SetName(n)
			objects = append(objects, u)
		}
	}
	rand.Shuffle(len(objects), func(i, j int) { objects[i], objects[j] = objects[j], objects[i] })
	theirs := slices.Clone(objects)
	sort.Sort(ssa.SortableUnstructureds(theirs))
	slices.SortFunc(objects, func(a, b *unstructured.Unstructured) int { return Compare(IDOf(a), IDOf(b)) })
	for i := range objects {
		if IDOf(objects[i]) != IDOf(theirs[i]) {
			t.Fatalf("place %d: %s, Flux has %s", i, IDOf(objects[i]), IDOf(theirs[i]))
		}
	}
}

func TestIDsReadAsPeopleTypeThem(t *testing.T) {
	for want, id := range map[string]ID{
		"deployment.apps/web in shop": {Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "web"},
		"namespace/shop":              {Kind: "Namespace", Name: "shop"},
	} {
		if got := id.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
