package rbac

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/gitops"
)

// manifests are the objects that allow what access lists, in an order in which
// they can be applied: namespaces that are missing, the account, what it may do.
func manifests(access *gitops.Access, account flux.Ref) []runtime.Object {
	var out []runtime.Object
	for _, ns := range access.Missing {
		out = append(out, &corev1.Namespace{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"}, ObjectMeta: metav1.ObjectMeta{Name: ns}})
	}
	out = append(out, &corev1.ServiceAccount{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"},
		ObjectMeta: metav1.ObjectMeta{Namespace: account.Namespace, Name: account.Name},
	})
	to := []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: account.Namespace, Name: account.Name}}
	of := func(kind, namespace string) (metav1.TypeMeta, metav1.ObjectMeta, rbacv1.RoleRef, metav1.TypeMeta) {
		name := account.Name
		if namespace == "" {
			name += "-" + account.Namespace // there is one of a name in a cluster
		}
		version := rbacv1.SchemeGroupVersion.String()
		return metav1.TypeMeta{APIVersion: version, Kind: kind}, metav1.ObjectMeta{Namespace: namespace, Name: name},
			rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: kind, Name: name}, metav1.TypeMeta{APIVersion: version, Kind: kind + "Binding"}
	}
	if rules := access.Rules(""); len(rules) > 0 {
		kind, meta, ref, binding := of("ClusterRole", "")
		out = append(out, &rbacv1.ClusterRole{TypeMeta: kind, ObjectMeta: meta, Rules: rules},
			&rbacv1.ClusterRoleBinding{TypeMeta: binding, ObjectMeta: meta, RoleRef: ref, Subjects: to})
	}
	for _, ns := range access.Namespaces() {
		rules := access.Rules(ns)
		if len(rules) == 0 {
			continue // the ClusterRole has them all
		}
		kind, meta, ref, binding := of("Role", ns)
		out = append(out, &rbacv1.Role{TypeMeta: kind, ObjectMeta: meta, Rules: rules},
			&rbacv1.RoleBinding{TypeMeta: binding, ObjectMeta: meta, RoleRef: ref, Subjects: slices.Clone(to)})
	}
	return out
}
