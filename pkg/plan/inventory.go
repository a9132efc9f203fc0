// Package plan decides what a reconcile will do to each object and says why.
// Values only: what was rendered and what was observed go in, changes come out.
package plan

import (
	"fmt"
	"slices"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
)

// Entry is one object that a Kustomization owns, and the version it was
// written in.
type Entry struct {
	ID      object.ID
	Version string // v1, not apps/v1
}

// Inventory is what a Kustomization owns, in the order it was written.
type Inventory []Entry

// ReadInventory reads entries as Flux writes them to status.inventory.
func ReadInventory(refs []kustomizev1.ResourceRef) (Inventory, error) {
	inv := make(Inventory, 0, len(refs))
	for _, r := range refs {
		id, err := object.ParseInventoryID(r.ID)
		if err != nil {
			return nil, err
		}
		inv = append(inv, Entry{ID: id, Version: r.Version})
	}
	return inv, nil
}

// Refs is the inventory as Flux writes it; never nil, so that an empty one is
// written as such.
func (inv Inventory) Refs() []kustomizev1.ResourceRef {
	refs := make([]kustomizev1.ResourceRef, 0, len(inv))
	for _, e := range inv {
		refs = append(refs, kustomizev1.ResourceRef{ID: e.ID.InventoryID(), Version: e.Version})
	}
	return refs
}

// Has reports whether id is owned, in whatever version.
func (inv Inventory) Has(id object.ID) bool {
	return slices.ContainsFunc(inv, func(e Entry) bool { return e.ID == id })
}

// Union is inv followed by what other has beyond it. It is the claim that is
// stored before the first write: whatever happens next, nothing is orphaned.
func (inv Inventory) Union(other Inventory) Inventory {
	out := slices.Clone(inv)
	seen := inv.ids()
	for _, e := range other {
		if !seen[e.ID] {
			seen[e.ID] = true
			out = append(out, e)
		}
	}
	return out
}

// Minus is what inv has and other has not. Versions are not compared: an
// object that only changed its version is the same object.
func (inv Inventory) Minus(other Inventory) Inventory {
	var out Inventory
	drop := other.ids()
	for _, e := range inv {
		if !drop[e.ID] {
			out = append(out, e)
		}
	}
	return out
}

// Equal compares entries, versions and order.
func (inv Inventory) Equal(other Inventory) bool { return slices.Equal(inv, other) }

func (inv Inventory) ids() map[object.ID]bool {
	m := make(map[object.ID]bool, len(inv))
	for _, e := range inv {
		m[e.ID] = true
	}
	return m
}

// Reversed is the order of a prune: last written, first deleted.
func (inv Inventory) Reversed() Inventory {
	out := slices.Clone(inv)
	slices.SortStableFunc(out, func(a, b Entry) int { return object.Compare(b.ID, a.ID) })
	return out
}

func (e Entry) String() string { return fmt.Sprintf("%s (%s)", e.ID, e.Version) }
