package render

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/kustomize/api/resource"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/yaml"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
)

// finish turns what kustomize built into the result: checked, substituted,
// decoded, each object with the place in the source that it came from.
func (b *build) finish(m built) (*Result, error) {
	r := &Result{Files: b.fs.files(), files: b.fs.cache, docs: map[place]bool{}, tree: b.tree, Ignored: b.entry.ignored}
	where := newLocator(b)
	subst := newSubstitution(b)
	sum := sha256.New()
	var errs []error
	for i, res := range m.resources {
		if err := b.ctx.Err(); err != nil {
			return nil, err
		}
		o := rendered{kind: res.GetKind(), apiVersion: res.GetApiVersion(), name: res.GetName(), namespace: res.GetNamespace()}
		if m.manifests != nil {
			from := m.manifests[i]
			o.file, o.line, o.doc = from.file, from.doc.Line, &from.doc
		} else {
			o.file, o.line, o.doc = where.find(m.origins[i], o)
		}
		if err := o.complete(); err != nil {
			errs = append(errs, err)
			continue
		}
		data, text, err := encode(res)
		if err != nil {
			errs = append(errs, b.notEncoded(o, err))
			continue
		}
		m.resources[i] = nil // what is made of it takes its place in memory
		data, text, failed := subst.apply(res, o, data, text)
		if len(failed) > 0 {
			errs = append(errs, failed...)
			continue
		}
		if i > 0 {
			sum.Write([]byte("---\n"))
		}
		sum.Write(text)
		objects, err := o.decode(data)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		r.Objects = append(r.Objects, objects...)
		if o.doc != nil {
			r.docs[place{o.file, o.line}] = true
		}
	}
	if subst.active {
		errs = append(errs, twice(r.Objects)...)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	r.Digest = "sha256:" + hex.EncodeToString(sum.Sum(nil))
	return r, nil
}

// encode is res as JSON, and as the YAML that kustomize prints.
func encode(res *resource.Resource) (data, text []byte, err error) {
	if data, err = res.MarshalJSON(); err != nil {
		return nil, nil, err
	}
	text, err = yaml.JSONToYAML(data)
	return data, text, err
}

// rendered is an object before substitution, and where it came from.
type rendered struct {
	apiVersion, kind, namespace, name string

	file string
	line int
	doc  *object.Document // its document in file; nil if none is known to be it
}

// notEncoded says why what kustomize made of o is no YAML.
func (b *build) notEncoded(o rendered, err error) *Error {
	if o.doc != nil {
		if line, what := object.BadKey(o.doc.Node); what != "" {
			e := o.fail(what, "correct the YAML there")
			e.Line = line
			return e
		}
	}
	return o.fail("cannot be encoded: "+b.scrub(plain(err.Error())), "")
}

func (o rendered) fail(msg, fix string) *Error {
	e := &Error{File: o.file, Line: o.line, Msg: msg, Fix: fix}
	if o.kind != "" {
		e.Object = named(o.kind, o.apiVersion, o.namespace, o.name)
	}
	return e
}

// complete refuses an object that the API could not name (the rule of
// kustomize-controller's build).
func (o rendered) complete() error {
	switch "" {
	case o.kind:
		return o.fail("has no kind", "set it")
	case o.apiVersion:
		return o.fail("has no apiVersion", "set it")
	case o.name:
		return o.fail("has no metadata.name", "set it")
	}
	return nil
}

// decode reads an object as the API machinery holds it: integers as int64,
// lists taken apart, kustomize's own Kustomization objects left out (the
// rules of ssa/utils.ReadObjects).
func (o rendered) decode(data []byte) ([]object.Object, error) {
	var content map[string]any
	if err := utiljson.Unmarshal(data, &content); err != nil {
		return nil, o.fail("cannot be decoded as a Kubernetes object", "")
	}
	u := &unstructured.Unstructured{Object: content}
	if !u.IsList() {
		if strings.EqualFold(u.GetKind(), types.KustomizationKind) && strings.HasPrefix(u.GetAPIVersion(), kustomizeGroup) {
			return nil, nil
		}
		if u.GetKind() == "" || u.GetAPIVersion() == "" || u.GetName() == "" {
			// Flux would leave it out without a word, and prune it.
			return nil, o.fail("has no kind, apiVersion or metadata.name after substitution", "set the variable, or give it a default: ${NAME:=default}")
		}
		return []object.Object{{Unstructured: u, File: o.file, Line: o.line}}, nil
	}
	var out []object.Object
	err := u.EachListItem(func(item runtime.Object) error {
		i, ok := item.(*unstructured.Unstructured)
		if !ok || i.GetKind() == "" || i.GetAPIVersion() == "" || i.GetName() == "" {
			return fmt.Errorf("item %d has no kind, apiVersion or metadata.name", len(out))
		}
		out = append(out, object.Object{Unstructured: i, File: o.file, Line: o.line})
		return nil
	})
	if err != nil {
		return nil, o.fail("is a list, and "+err.Error(), "complete the item")
	}
	return out, nil
}

const kustomizeGroup = "kustomize.config.k8s.io/"

func groupOf(apiVersion string) string {
	group, _, ok := strings.Cut(apiVersion, "/")
	if !ok {
		return "" // v1
	}
	return group
}

// twice finds the objects that substitution gave the same name; kustomize has
// refused all others before.
func twice(objects []object.Object) []error {
	var errs []error
	first := map[object.ID]object.Object{}
	for _, o := range objects {
		id := o.ID()
		if id.Namespace == "default" {
			id.Namespace = "" // the same to kustomize
		}
		have, again := first[id]
		if !again {
			first[id] = o
			continue
		}
		if have.GetAPIVersion() == o.GetAPIVersion() {
			errs = append(errs, &Error{
				File: o.File, Line: o.Line, Object: o.ID().String(),
				Msg: fmt.Sprintf("is declared twice after substitution: %s and %s", have.Where(), o.Where()),
				Fix: "give them different names",
			})
		}
	}
	return errs
}

// locator finds the documents that objects came from.
type locator struct {
	b    *build
	docs map[string][]object.Document
	used map[string]map[int]bool // by file, the documents found so far
}

func newLocator(b *build) *locator {
	return &locator{b: b, docs: map[string][]object.Document{}, used: map[string]map[int]bool{}}
}

// find is the place of an object of the given origin. For what a generator
// made it is the generator's place in the kustomization file, and no document.
func (l *locator) find(origin *resource.Origin, o rendered) (file string, line int, doc *object.Document) {
	if origin == nil || strings.HasSuffix(origin.ConfiguredBy.Kind, "Transformer") {
		return l.search(o) // a patch took the annotation away
	}
	if origin.Repo != "" {
		return remoteFile(origin), 0, nil
	}
	if origin.Path == "" && origin.ConfiguredIn != "" {
		file = joinOrigin(l.b.dir, origin.ConfiguredIn)
		if _, ok := l.b.fs.cache[file]; !ok {
			return "", 0, nil
		}
		return file, l.b.tree.generatorLine(file, o.kind, o.name), nil
	}
	file = joinOrigin(l.b.dir, origin.Path)
	if _, ok := l.b.fs.cache[file]; !ok {
		return origin.Path, 0, nil // a URL
	}
	docs := l.documents(file)
	i := match(docs, l.used[file], o)
	if i < 0 {
		i = only(docs, o.kind)
	}
	if i < 0 {
		return file, 0, nil
	}
	l.used[file][i] = true
	return file, docs[i].Line, &docs[i]
}

// search looks for an object in all manifests.
func (l *locator) search(o rendered) (file string, line int, doc *object.Document) {
	for _, file := range l.b.manifests() {
		docs := l.documents(file)
		if i := match(docs, l.used[file], o); i >= 0 && !l.used[file][i] {
			l.used[file][i] = true
			return file, docs[i].Line, &docs[i]
		}
	}
	return "", 0, nil
}

func (l *locator) documents(file string) []object.Document {
	docs, ok := l.docs[file]
	if !ok {
		whole, _ := l.b.documents(file) // one that does not parse to its end gives those before
		docs = itemized(whole)
		l.docs[file], l.used[file] = docs, map[int]bool{}
	}
	return docs
}

// match finds the document that o was, by kind and name; kustomize may have
// put something before and after the name. -1 if there is none.
func match(docs []object.Document, used map[int]bool, o rendered) int {
	best, score := -1, 0
	for i, d := range docs {
		n := 0
		switch {
		case d.Kind != o.kind || groupOf(d.APIVersion) != groupOf(o.apiVersion):
			continue
		case d.Name == o.name:
			n = 1 << 20
		case d.Name != "" && strings.Contains(o.name, d.Name):
			n = 2 * len(d.Name)
		default:
			continue
		}
		if d.Namespace == o.namespace {
			n++
		}
		if !used[i] {
			n += 1 << 21 // each document makes one object, but for bases used twice
		}
		if n > score {
			best, score = i, n
		}
	}
	return best
}

// only is the only document of a kind, or the only one at all, which must be
// it where a patch changed the name or the kind. -1 if there are several.
func only(docs []object.Document, kind string) int {
	if len(docs) == 1 {
		return 0
	}
	found := -1
	for i, d := range docs {
		if d.Kind != kind {
			continue
		}
		if found >= 0 {
			return -1
		}
		found = i
	}
	return found
}
