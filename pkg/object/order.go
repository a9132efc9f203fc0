package object

import (
	"cmp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Stage is a step of an apply: all of one stage is written, and where the
// stage says so is ready, before the next begins. Order and stages are those
// of Flux's apply: definitions, classes, the rest.
type Stage int

const (
	// Definitions are CustomResourceDefinitions, Namespaces and ClusterRoles.
	Definitions Stage = iota
	// Classes are kinds whose name ends in Class (StorageClass, IngressClass…).
	Classes
	// Resources are all other kinds.
	Resources
)

// Stages lists them in the order of an apply.
var Stages = []Stage{Definitions, Classes, Resources}

func (s Stage) String() string {
	return [...]string{"definitions", "classes", "resources"}[s]
}

// StageOf tells the stage of a kind.
func StageOf(gk schema.GroupKind) Stage {
	switch {
	case IsCRD(gk), IsNamespace(gk), gk.Group == rbacGroup && gk.Kind == "ClusterRole":
		return Definitions
	case strings.HasSuffix(gk.Kind, "Class"):
		return Classes
	}
	return Resources
}

// IsCRD reports whether gk is CustomResourceDefinition.
func IsCRD(gk schema.GroupKind) bool {
	return gk.Group == "apiextensions.k8s.io" && gk.Kind == "CustomResourceDefinition"
}

// IsNamespace reports whether gk is the core Namespace.
func IsNamespace(gk schema.GroupKind) bool { return gk.Group == "" && gk.Kind == "Namespace" }

// IsSecret reports whether gk is the core Secret.
func IsSecret(gk schema.GroupKind) bool { return gk.Group == "" && gk.Kind == "Secret" }

// first and last are the kinds that Flux's sort puts at either end; it looks
// at the kind's name alone, and so does this.
var first = []string{
	"CustomResourceDefinition", "Namespace", "ClusterRole",
	"ClusterClass", "RuntimeClass", "PriorityClass", "StorageClass",
	"VolumeSnapshotClass", "IngressClass", "GatewayClass",
	"ClusterRoleBinding", "ResourceQuota", "ServiceAccount", "Role", "RoleBinding",
	"ConfigMap", "Secret", "Service", "LimitRange", "Deployment", "StatefulSet",
	"CronJob", "PodDisruptionBudget",
}

var last = []string{"MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"}

func rank(kind string) int {
	if i := slices.Index(first, kind); i >= 0 {
		return i - len(first)
	}
	return 1 + slices.Index(last, kind) // 0 for all others
}

// Compare orders objects as they are applied; a prune goes the other way.
func Compare(a, b ID) int {
	return cmp.Or(
		cmp.Compare(rank(a.Kind), rank(b.Kind)),
		cmp.Compare(a.Group, b.Group),
		cmp.Compare(a.Kind, b.Kind),
		cmp.Compare(a.Namespace, b.Namespace),
		cmp.Compare(a.Name, b.Name),
	)
}
