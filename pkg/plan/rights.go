package plan

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/component-helpers/auth/rbac/validation"
)

// Rights are what an account must be allowed to do, one verb on one object
// each. The zero value is none.
type Rights struct {
	set  map[right]bool
	urls map[url]bool // of the cluster itself
}

// right is one verb: in a namespace, "" for the cluster scope; on the object of
// a name, "" for all that are and will be.
type right struct{ namespace, group, resource, name, verb string }

// url is one verb on a path that is no resource.
type url struct{ path, verb string }

// Add allows verbs on one object, on all of them where name is "". A
// subresource is a resource named "pods/log".
func (r *Rights) Add(namespace string, resource schema.GroupResource, name string, verbs ...string) {
	if r.set == nil {
		r.set = map[right]bool{}
	}
	for _, verb := range verbs {
		r.set[right{namespace, resource.Group, resource.Resource, name, verb}] = true
	}
}

// Hold allows what rules allow, in a namespace or in the whole cluster: nobody
// may write a Role that allows more than its writer may. What is allowed already
// is not added again. false, and nothing added, where rules have a wildcard.
func (r *Rights) Hold(namespace string, rules []rbacv1.PolicyRule) bool {
	ours := r.Rules("")
	if namespace != "" {
		ours = append(ours, r.Rules(namespace)...)
	}
	_, missing := validation.Covers(ours, rules)
	for _, m := range missing {
		if slices.Contains(slices.Concat(m.APIGroups, m.Resources, m.Verbs), rbacv1.ResourceAll) || slices.ContainsFunc(m.NonResourceURLs, func(u string) bool { return strings.HasSuffix(u, "*") }) {
			return false
		}
	}
	for _, m := range missing { // each has one group, resource, verb, and at most one name
		for _, path := range m.NonResourceURLs {
			if r.urls == nil {
				r.urls = map[url]bool{}
			}
			r.urls[url{path, m.Verbs[0]}] = true
		}
		if len(m.Resources) > 0 {
			r.Add(namespace, schema.GroupResource{Group: m.APIGroups[0], Resource: m.Resources[0]}, strings.Join(m.ResourceNames, ""), m.Verbs...)
		}
	}
	return true
}

// Namespaces are those in which something is to be allowed, sorted.
func (r *Rights) Namespaces() []string {
	found := map[string]bool{}
	for one := range r.set {
		if one.namespace != "" {
			found[one.namespace] = true
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// verbs are in the order in which people write them.
var verbs = []string{"get", "list", "watch", "create", "update", "patch", "delete"}

func compareVerbs(a, b string) int {
	place := func(verb string) int {
		if i := slices.Index(verbs, verb); i >= 0 {
			return i
		}
		return len(verbs)
	}
	return cmp.Or(place(a)-place(b), strings.Compare(a, b))
}

// Rules are those of a Role in namespace, or where that is "" of a ClusterRole:
// no two allow the same.
func (r *Rights) Rules(namespace string) []rbacv1.PolicyRule {
	type object struct{ group, resource, name string }
	type kind struct{ group, resource, verbs string }
	byObject := map[object][]string{}
	for one := range r.set {
		if one.namespace == namespace && !r.covered(one) {
			o := object{one.group, one.resource, one.name}
			byObject[o] = append(byObject[o], one.verb)
		}
	}
	names := map[kind][]string{}
	for o, allowed := range byObject {
		slices.SortFunc(allowed, compareVerbs)
		k := kind{o.group, o.resource, strings.Join(allowed, " ")}
		if o.name == "" {
			k.verbs += " *" // no rule together with those for names
		}
		names[k] = append(names[k], o.name)
	}
	var out []rbacv1.PolicyRule
	for _, k := range slices.SortedFunc(maps.Keys(names), func(a, b kind) int {
		return cmp.Or(strings.Compare(a.group, b.group), strings.Compare(a.resource, b.resource), strings.Compare(a.verbs, b.verbs))
	}) {
		rule := rbacv1.PolicyRule{APIGroups: []string{k.group}, Resources: []string{k.resource}}
		bare, all := strings.CutSuffix(k.verbs, " *")
		rule.Verbs = strings.Fields(bare)
		if !all {
			rule.ResourceNames = slices.Sorted(slices.Values(names[k]))
		}
		out = append(out, rule)
	}
	if namespace != "" {
		return out
	}
	paths := map[string][]string{}
	for u := range r.urls {
		paths[u.verb] = append(paths[u.verb], u.path)
	}
	for _, verb := range slices.Sorted(maps.Keys(paths)) {
		out = append(out, rbacv1.PolicyRule{NonResourceURLs: slices.Sorted(slices.Values(paths[verb])), Verbs: []string{verb}})
	}
	return out
}

// covered reports whether a wider right allows one.
func (r *Rights) covered(one right) bool {
	wider := one
	wider.name = ""
	if one.name != "" && r.set[wider] {
		return true
	}
	if one.namespace == "" {
		return false
	}
	wider.namespace = ""
	everywhere := one
	everywhere.namespace = ""
	return r.set[wider] || r.set[everywhere]
}
