package cluster

import (
	"context"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const admissionGroup = "admissionregistration.k8s.io"

// Mutators are the webhooks and policies that may change an object on its way
// into the cluster: of the kinds under them only the server can say what an
// apply would store.
type Mutators struct {
	all       bool
	resources map[string]bool // plural names
}

// Touch reports whether one of them may change objects of r. Groups, versions,
// selectors and conditions do not count: a webhook for one version is called
// for the others of the kind too, and what a condition says may change.
func (m *Mutators) Touch(r Resource) bool {
	return m == nil || m.all || m.resources[r.Resource]
}

// Mutators reads them. Where they may not be read, every kind counts as under
// one.
func (c *Cluster) Mutators(ctx context.Context) (*Mutators, error) {
	m := &Mutators{resources: map[string]bool{}}
	for _, kind := range []string{"MutatingWebhookConfiguration", "MutatingAdmissionPolicy"} {
		r, err := c.Resolve(schema.GroupVersionKind{Group: admissionGroup, Kind: kind})
		if IsNoKind(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		list, err := c.at(r, "").List(ctx, metav1.ListOptions{})
		switch {
		case apierrors.IsForbidden(err):
			m.all = true
			continue
		case apierrors.IsNotFound(err):
			continue // discovery is older than the server
		case err != nil:
			return nil, c.unreachable(err)
		}
		for i := range list.Items {
			m.add(&list.Items[i])
		}
	}
	return m, nil
}

func (m *Mutators) add(u *unstructured.Unstructured) {
	webhooks, _, _ := unstructured.NestedSlice(u.Object, "webhooks")
	for _, w := range webhooks {
		w, _ := w.(map[string]any)
		m.addRules(w["rules"])
	}
	rules, _, _ := unstructured.NestedSlice(u.Object, "spec", "matchConstraints", "resourceRules")
	m.addRules(rules)
}

func (m *Mutators) addRules(rules any) {
	list, _ := rules.([]any)
	for _, rule := range list {
		rule, _ := rule.(map[string]any)
		operations, _, _ := unstructured.NestedStringSlice(rule, "operations")
		for _, o := range operations {
			if o != "UPDATE" && o != "*" && o != "CREATE" {
				continue
			}
			resources, _, _ := unstructured.NestedStringSlice(rule, "resources")
			for _, r := range resources {
				name, _, _ := strings.Cut(r, "/")
				m.all = m.all || name == "*"
				m.resources[name] = true
			}
		}
	}
}
