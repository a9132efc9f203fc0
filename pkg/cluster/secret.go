package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
)

var secrets = Resource{schema.GroupVersionResource{Version: "v1", Resource: "secrets"}, "Secret", true}

// secretManager is the field manager of the decryption Secret.
const secretManager = "gitops-secret"

// Secret is a Secret of the cluster: its data, and the version that this is.
type Secret struct {
	Data    map[string][]byte
	version string
}

// ReadSecret reads a Secret; nil, nil when there is none.
func (c *Cluster) ReadSecret(ctx context.Context, namespace, name string) (*Secret, error) {
	id := object.ID{Kind: "Secret", Namespace: namespace, Name: name}
	u, err := c.at(secrets, namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, c.refusal(ctx, err, "get", secrets, id, nil)
	}
	text, err := json.Marshal(u.Object)
	if err != nil {
		return nil, fmt.Errorf("%s: cannot be read", id)
	}
	var s struct {
		Data map[string][]byte `json:"data"`
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, fmt.Errorf("%s: cannot be read", id)
	}
	return &Secret{Data: s.Data, version: u.GetResourceVersion()}, nil
}

// WriteSecret makes a Secret of the data, and its namespace where that is missing,
// or patches the one that was read: nil removes an entry, all others stay. One that
// was changed, or made, since is a conflict.
func (c *Cluster) WriteSecret(ctx context.Context, namespace, name string, read *Secret, data map[string][]byte) error {
	id := object.ID{Kind: "Secret", Namespace: namespace, Name: name}
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": name, "namespace": namespace}}}
	u.Object["data"] = encoded(data)
	entries := map[string]any{}
	for key, value := range data {
		if entries[key] = nil; value != nil {
			entries[key] = value
		}
	}
	if read != nil {
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"resourceVersion": read.version}, "data": entries})
		if err != nil {
			return fmt.Errorf("%s: cannot be written", id)
		}
		_, err = c.at(secrets, namespace).Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: secretManager})
		if err != nil {
			return c.refusal(ctx, err, "patch", secrets, id, u)
		}
		return nil
	}
	create := func() error {
		_, err := c.at(secrets, namespace).Create(ctx, u, metav1.CreateOptions{FieldManager: secretManager})
		return err
	}
	err := create()
	if apierrors.IsNotFound(err) {
		if err := c.makeNamespace(ctx, namespace); err != nil {
			return err
		}
		err = create()
	}
	if err != nil {
		return c.refusal(ctx, err, "create", secrets, id, u)
	}
	return nil
}

// encoded is data as an unstructured object holds it.
func encoded(data map[string][]byte) map[string]any {
	out := map[string]any{}
	for key, value := range data {
		if value != nil {
			text, _ := json.Marshal(value) // bytes always are: base64
			out[key] = string(text[1 : len(text)-1])
		}
	}
	return out
}

// DecryptionSecrets are the Secrets that Kustomizations in the cluster name in
// spec.decryption.secretRef, each once, in order. A user who may not list them
// gets none.
func (c *Cluster) DecryptionSecrets(ctx context.Context) ([]object.ID, error) {
	r, ok, err := c.kustomizations()
	if err != nil || !ok {
		return nil, err
	}
	l, err := c.dynamic.Resource(r.GroupVersionResource).List(ctx, metav1.ListOptions{})
	if apierrors.IsForbidden(err) {
		return nil, nil
	}
	if err != nil {
		return nil, c.refusal(ctx, err, "list", r, object.ID{Group: r.Group, Kind: r.Kind}, nil)
	}
	var out []object.ID
	for _, u := range l.Items {
		name, _, _ := unstructured.NestedString(u.Object, "spec", "decryption", "secretRef", "name")
		id := object.ID{Kind: "Secret", Namespace: u.GetNamespace(), Name: name}
		if name != "" && !slices.Contains(out, id) {
			out = append(out, id)
		}
	}
	slices.SortFunc(out, func(a, b object.ID) int {
		return slices.Compare([]string{a.Namespace, a.Name}, []string{b.Namespace, b.Name})
	})
	return out, nil
}
