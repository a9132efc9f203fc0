package render

import (
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/api/resource"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
)

// Result is what a Kustomization renders to.
type Result struct {
	// Objects are in kustomize's order, each with the File and Line of its
	// document; of the generator's entry where a generator made it; of no line
	// and a URL where it is from a remote base; "" where kustomize cannot tell.
	Objects []object.Object
	// Files are the files of the source that were read, slash paths, sorted.
	Files []string
	// Digest is "sha256:<hex>" over the built YAML after substitution, as Flux
	// puts it into status.history.
	Digest string
	// Ignored is a field of the entry's kustomization file that no kustomization
	// has, and that Flux drops; nil without one.
	Ignored *Error

	files map[string][]byte
	docs  map[place]bool // which have one
	tree  *tree

	mu     sync.Mutex
	parsed map[string][]object.Document // of the files that were asked for
}

// place is a line of a file.
type place struct {
	file string
	line int
}

// Source is the content of a file that was read, as kustomize saw it:
// decrypted where it was decrypted.
func (r *Result) Source(file string) ([]byte, bool) {
	data, ok := r.files[file]
	return data, ok
}

// Document is the document in the source that o came from, with its comments
// and positions; false for what a generator made, a remote base has, or
// cannot be told.
func (r *Result) Document(o object.Object) (object.Document, bool) {
	if !r.docs[place{o.File, o.Line}] {
		return object.Document{}, false
	}
	// Parsed again for the few that are asked for: to keep all would be more than
	// all objects take.
	r.mu.Lock()
	defer r.mu.Unlock()
	docs, ok := r.parsed[o.File]
	if !ok {
		if r.parsed == nil {
			r.parsed = map[string][]object.Document{}
		}
		docs = documents(o.File, r.files[o.File])
		r.parsed[o.File] = docs
	}
	i := slices.IndexFunc(docs, func(d object.Document) bool { return d.Line == o.Line })
	if i < 0 {
		return object.Document{}, false
	}
	return docs[i], true
}

// NamespaceLine is the line that puts the objects of objFile into their
// namespace: the `namespace:` of the outermost kustomization that includes it
// and has one, for that is applied last; without one, the first
// metadata.namespace in the file itself. It is "" where the Flux Kustomization
// does it (spec.targetNamespace), and where nothing does.
func (r *Result) NamespaceLine(objFile string) (file string, line int) {
	b := r.tree.b
	if b.Kustomization.Spec.TargetNamespace != "" {
		return "", 0
	}
	for k := r.tree.including(objFile); k != nil; {
		if k.spec.Namespace != "" && !k.generated {
			file, line = k.file, k.line("namespace", k.spec.Namespace)
		}
		if len(k.parents) == 0 {
			break
		}
		k = k.parents[0]
	}
	if file != "" {
		return file, line
	}
	for _, d := range documents(objFile, r.files[objFile]) {
		if n := object.Find(d.Node, "metadata", "namespace"); n != nil {
			return objFile, n.Line
		}
	}
	return "", 0
}

// including is the first kustomization that names file, or is it.
func (t *tree) including(file string) *kustomization {
	if k := t.kustomizationAt(file); k != nil {
		return k
	}
	for _, k := range t.all {
		for _, inc := range k.includes {
			if inc.name == file && inc.role == asResource {
				return k
			}
		}
	}
	return nil
}

func (t *tree) kustomizationAt(file string) *kustomization {
	for _, k := range t.all {
		if k.file == file {
			return k
		}
	}
	return nil
}

// generatorLine is the line of the generator of a kustomization file that made
// the object; prefixes, suffixes and a hash are around its name by now.
func (t *tree) generatorLine(file, kind, name string) int {
	k := t.kustomizationAt(file)
	if k == nil { // the configuration of a plugin
		if docs := documents(file, t.b.fs.cache[file]); len(docs) > 0 {
			return docs[0].Line
		}
		return 0
	}
	field, line, longest := "configMapGenerator", 0, 0
	var names []string
	for _, g := range k.spec.ConfigMapGenerator {
		names = append(names, g.Name)
	}
	if kind == "Secret" {
		field, names = "secretGenerator", nil
		for _, g := range k.spec.SecretGenerator {
			names = append(names, g.Name)
		}
	}
	for _, n := range names {
		if strings.Contains(name, n) && len(n) > longest {
			line, longest = k.line(field, n), len(n)
		}
	}
	return line
}

// documents are those of a manifest, lists taken apart as kustomize does. A
// file that does not parse to its end gives those before.
func documents(file string, data []byte) []object.Document {
	docs, _ := object.Documents(file, data)
	return itemized(docs)
}

// itemized takes lists apart.
func itemized(docs []object.Document) []object.Document {
	var out []object.Document
	for _, d := range docs {
		items := object.Find(d.Node, "items")
		if !strings.HasSuffix(d.Kind, "List") || items == nil || items.Kind != yaml.SequenceNode {
			out = append(out, d)
			continue
		}
		for _, n := range items.Content {
			out = append(out, itemDocument(deref(n)))
		}
	}
	return out
}

func itemDocument(n *yaml.Node) object.Document {
	text := func(p ...string) string {
		if v := object.Find(n, p...); v != nil {
			return v.Value
		}
		return ""
	}
	return object.Document{
		Line: n.Line, Node: n, APIVersion: text("apiVersion"), Kind: text("kind"),
		Name: text("metadata", "name"), Namespace: text("metadata", "namespace"),
	}
}

// joinOrigin is a path of an origin, which starts at the entry, from the
// source's root.
func joinOrigin(dir, p string) string { return path.Join(dir, filepath.ToSlash(p)) }

// remoteFile is an origin in a remote repository, in kustomize's notation.
func remoteFile(o *resource.Origin) string {
	p := o.Path
	if p == "" {
		p = o.ConfiguredIn
	}
	s := o.Repo + "//" + filepath.ToSlash(p)
	if o.Ref != "" {
		s += "?ref=" + o.Ref
	}
	return s
}
