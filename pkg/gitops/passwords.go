package gitops

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/source"
)

// passwords are the fields of custom kinds that are passwords by their schema
// (format: password): that of a CustomResourceDefinition in the sources of runs,
// rendered or not, and that of the cluster. They are looked for when something of
// such a kind is shown.
type passwords struct {
	e     *Engine
	runs  []*Run
	files map[schema.GroupVersionKind][][]string // nil before the first look
}

func (e *Engine) newPasswords(runs ...*Run) *passwords { return &passwords{e: e, runs: runs} }

// of are those of objects of a kind that p declares. Once ctx is done some are
// missing, and nothing of the kind must be shown.
func (w *passwords) of(ctx context.Context, p *Planned, gvk schema.GroupVersionKind) [][]string {
	if scheme.Scheme.Recognizes(gvk) || flux.IsFluxGroup(gvk.Group) {
		return nil
	}
	if w.files == nil {
		w.read()
	}
	out := slices.Clone(w.files[gvk])
	if p.cluster == nil {
		return out
	}
	served, err := p.cluster.Self().PasswordFields(ctx, gvk)
	if err != nil && ctx.Err() == nil {
		w.runs[0].warn(w.e, Warning{Code: "schema-unread", Object: p.Ref.String(),
			Message: fmt.Sprintf("%s: fields that it calls passwords are not masked", err), Hint: "mark them with the annotation " + object.SensitiveKey})
	}
	return append(out, served...)
}

func (w *passwords) read() {
	w.files = map[schema.GroupVersionKind][][]string{}
	read := map[*source.Snapshot]bool{}
	for _, r := range w.runs {
		for _, p := range r.Kustomizations {
			if s := p.snapshot; s != nil && !read[s] {
				read[s] = true
				w.readFiles(s.FS)
			}
		}
	}
}

func (w *passwords) readFiles(files fs.FS) {
	_ = fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !slices.Contains([]string{".yaml", ".yml", ".json"}, path.Ext(name)) {
			return nil // what cannot be read defines nothing that could be rendered
		}
		text, err := fs.ReadFile(files, name)
		if err != nil || !bytes.Contains(text, []byte("CustomResourceDefinition")) || !bytes.Contains(text, []byte("password")) {
			return nil
		}
		docs, _ := object.Documents(name, text)
		for _, doc := range docs {
			u := &unstructured.Unstructured{}
			if doc.Kind == "CustomResourceDefinition" && doc.Node.Decode(&u.Object) == nil {
				w.add(u)
			}
		}
		return nil
	})
}

// add notes what a CustomResourceDefinition says.
func (w *passwords) add(crd *unstructured.Unstructured) {
	group, _, _ := unstructured.NestedString(crd.Object, "spec", "group")
	kind, _, _ := unstructured.NestedString(crd.Object, "spec", "names", "kind")
	versions, _, _ := unstructured.NestedFieldNoCopy(crd.Object, "spec", "versions")
	list, _ := versions.([]any)
	for _, v := range list {
		m, _ := v.(map[string]any)
		name, _ := m["name"].(string)
		s, _, _ := unstructured.NestedFieldNoCopy(m, "schema", "openAPIV3Schema")
		if s, ok := s.(map[string]any); ok {
			gvk := schema.GroupVersionKind{Group: group, Version: name, Kind: kind}
			w.files[gvk] = append(w.files[gvk], object.PasswordPaths(s)...)
		}
	}
}
