package cluster

import (
	"encoding/json"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
)

// PasswordFields are the fields that the server's schema of a kind calls passwords,
// as object.PasswordPaths has them. It is one request for each version of a group,
// once, and one more for the first; whoever may log in may ask. A server that does
// not publish schemas has none.
func (c *Cluster) PasswordFields(gvk schema.GroupVersionKind) ([][]string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	gv := gvk.GroupVersion()
	if c.schemas == nil {
		c.schemas = map[schema.GroupVersion]map[string]map[string]any{}
	}
	if _, known := c.schemas[gv]; !known {
		all, err := c.readSchemas(gv)
		if err != nil {
			return nil, fmt.Errorf("the schemas of %s: %w", gv, err)
		}
		c.schemas[gv] = all
	}
	for _, s := range c.schemas[gv] {
		kinds, _ := s["x-kubernetes-group-version-kind"].([]any)
		if slices.ContainsFunc(kinds, func(k any) bool {
			m, _ := k.(map[string]any)
			return m["group"] == gvk.Group && m["version"] == gvk.Version && m["kind"] == gvk.Kind
		}) {
			return object.PasswordPaths(s), nil
		}
	}
	return nil, nil
}

// passwordsOf are the fields of u, of a custom kind, that its schema calls passwords.
func (c *Cluster) passwordsOf(u *unstructured.Unstructured) [][]string {
	if u == nil || scheme.Scheme.Recognizes(u.GroupVersionKind()) {
		return nil
	}
	paths, _ := c.PasswordFields(u.GroupVersionKind()) // what the server refused is told all the same
	return paths
}

// readSchemas are the schemas that the server publishes of a version of a group, by
// their names.
func (c *Cluster) readSchemas(gv schema.GroupVersion) (map[string]map[string]any, error) {
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
	err = json.Unmarshal(data, &doc)
	return doc.Components.Schemas, err
}
