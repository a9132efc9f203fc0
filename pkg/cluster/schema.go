package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
)

// PasswordFields are the fields that the server's schema of a kind calls passwords,
// as object.PasswordPaths has them. It is one request for each version of a group,
// once, and one more for the first; whoever may log in may ask. Of a kind that is not
// published, or not yet, it is that of its CustomResourceDefinition, by one GET.
func (c *Cluster) PasswordFields(ctx context.Context, gvk schema.GroupVersionKind) ([][]string, error) {
	published, known, err := c.publishedSchema(gvk)
	if err != nil || known {
		return object.PasswordPaths(published), err
	}
	// What is served but not published is a kind that is new, or one of an aggregated server.
	r, err := c.Resolve(gvk)
	if err != nil {
		return nil, nil // not served: nobody has a schema of it
	}
	defined, err := c.definedSchema(ctx, r)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	gv := gvk.GroupVersion()
	if c.schemas[gv] == nil {
		c.schemas[gv] = map[schema.GroupVersionKind]map[string]any{}
	}
	c.schemas[gv][gvk] = defined
	return object.PasswordPaths(defined), nil
}

// publishedSchema is the schema of a kind as the server publishes it.
func (c *Cluster) publishedSchema(gvk schema.GroupVersionKind) (s map[string]any, known bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	gv := gvk.GroupVersion()
	if c.schemas == nil {
		c.schemas = map[schema.GroupVersion]map[schema.GroupVersionKind]map[string]any{}
	}
	if _, asked := c.schemas[gv]; !asked {
		all, err := c.readSchemas(gv)
		if err != nil {
			return nil, false, fmt.Errorf("the schemas of %s: %w", gv, err)
		}
		c.schemas[gv] = all
	}
	s, known = c.schemas[gv][gvk]
	return s, known, nil
}

var crds = Resource{schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}, "CustomResourceDefinition", false}

// definedSchema is that of the CustomResourceDefinition of a kind, nil where it has
// none: the server publishes a new one some moments after it serves the kind.
func (c *Cluster) definedSchema(ctx context.Context, r Resource) (map[string]any, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	crd, err := c.at(crds, "").Get(ctx, r.Resource+"."+r.Group, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("the schema of %s.%s: %w", r.Resource, r.Group, err)
	}
	versions, _, _ := unstructured.NestedSlice(crd.Object, "spec", "versions")
	for _, v := range versions {
		if m, _ := v.(map[string]any); m["name"] == r.Version {
			s, _, _ := unstructured.NestedMap(m, "schema", "openAPIV3Schema")
			return s, nil
		}
	}
	return nil, nil
}

// passwordsOf are the fields of u, of a custom kind, that its schema calls passwords.
func (c *Cluster) passwordsOf(ctx context.Context, u *unstructured.Unstructured) ([][]string, error) {
	if u == nil || scheme.Scheme.Recognizes(u.GroupVersionKind()) {
		return nil, nil
	}
	return c.PasswordFields(ctx, u.GroupVersionKind())
}

// readSchemas are the schemas that the server publishes of a version of a group.
func (c *Cluster) readSchemas(gv schema.GroupVersion) (map[schema.GroupVersionKind]map[string]any, error) {
	paths, err := c.discovery.OpenAPIV3().Paths()
	if err != nil {
		return nil, err
	}
	at, ok := paths["apis/"+gv.String()]
	if !ok {
		return nil, nil
	}
	data, err := at.Schema(runtime.ContentTypeJSON)
	if err != nil {
		return nil, err
	}
	var doc struct {
		Components struct {
			Schemas map[string]map[string]any `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		return nil, err
	}
	out := map[schema.GroupVersionKind]map[string]any{}
	for _, s := range doc.Components.Schemas {
		kinds, _ := s["x-kubernetes-group-version-kind"].([]any)
		for _, k := range kinds {
			m, _ := k.(map[string]any)
			group, _ := m["group"].(string)
			version, _ := m["version"].(string)
			kind, _ := m["kind"].(string)
			out[schema.GroupVersionKind{Group: group, Version: version, Kind: kind}] = s
		}
	}
	return out, nil
}
