// Package object holds what is true of a Kubernetes object by itself: its
// identity, its place in the order of an apply, its health, where it stands in
// Git. Values only; nothing here talks to a cluster or to a disk.
package object

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// ID names an object in a cluster whatever the version it is written in.
// Namespace is empty for cluster-scoped kinds.
type ID struct {
	Group     string
	Kind      string
	Namespace string
	Name      string
}

// IDOf is the identity that u states. A namespace on a cluster-scoped kind is
// kept: only who knows the cluster's scopes can drop it (see Unscoped).
func IDOf(u *unstructured.Unstructured) ID {
	gvk := u.GroupVersionKind()
	return ID{Group: gvk.Group, Kind: gvk.Kind, Namespace: u.GetNamespace(), Name: u.GetName()}
}

// Unscoped is id without its namespace.
func (id ID) Unscoped() ID {
	id.Namespace = ""
	return id
}

// GroupKind is the kind of the object.
func (id ID) GroupKind() schema.GroupKind {
	return schema.GroupKind{Group: id.Group, Kind: id.Kind}
}

// Short is the object as kubectl prints it: deployment.apps/web.
func (id ID) Short() string {
	kind := strings.ToLower(id.Kind)
	if id.Group != "" {
		kind += "." + id.Group
	}
	return kind + "/" + id.Name
}

// String names the object the way people say it: deployment.apps/web in shop.
func (id ID) String() string {
	if id.Namespace == "" {
		return id.Short()
	}
	return id.Short() + " in " + id.Namespace
}

// rbacGroup is the one group whose names may hold colons (system:auth-delegator).
const rbacGroup = "rbac.authorization.k8s.io"

// InventoryID is the id of a Flux inventory entry:
// <namespace>_<name>_<group>_<kind>, empty parts kept, and in RBAC names each
// ":" written as "__" (the rule of cli-utils' ObjMetadata.String).
func (id ID) InventoryID() string {
	name := id.Name
	if id.Group == rbacGroup {
		name = strings.ReplaceAll(name, ":", "__")
	}
	return id.Namespace + "_" + name + "_" + id.Group + "_" + id.Kind
}

// ParseInventoryID reads what InventoryID writes.
func ParseInventoryID(s string) (ID, error) {
	bad := func() (ID, error) {
		return ID{}, fmt.Errorf("inventory entry %q: want <namespace>_<name>_<group>_<kind>", s)
	}
	ns, rest, ok := strings.Cut(s, "_")
	if !ok {
		return bad()
	}
	i := strings.LastIndexByte(rest, '_')
	if i < 0 {
		return bad()
	}
	rest, kind := rest[:i], rest[i+1:]
	i = strings.LastIndexByte(rest, '_')
	if i < 0 {
		return bad()
	}
	name, group := rest[:i], rest[i+1:]
	if group == rbacGroup {
		name = strings.ReplaceAll(name, "__", ":")
	}
	if name == "" || kind == "" {
		return bad()
	}
	return ID{Group: group, Kind: kind, Namespace: ns, Name: name}, nil
}

// Object is an object as the source declares it.
type Object struct {
	*unstructured.Unstructured

	// File is the path, from the source's root, of the file that the object
	// came from; "" when kustomize generated it or cannot tell.
	File string
	// Line is the 1-based line of the object's document in File, 0 if unknown.
	Line int
}

// ID is the identity that the object states.
func (o Object) ID() ID { return IDOf(o.Unstructured) }

// Where is "file:line", "file", or "" when it is not known.
func (o Object) Where() string { return Where(o.File, o.Line) }

// Where joins a file and a 1-based line as editors and compilers do.
func Where(file string, line int) string {
	if file == "" || line <= 0 {
		return file
	}
	return fmt.Sprintf("%s:%d", file, line)
}
