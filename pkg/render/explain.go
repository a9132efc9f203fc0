package render

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/yaml"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
)

// explain finds in the source what err, of kustomize, is about. kustomize
// names neither lines nor, often, files; what it read is still at hand.
func (b *build) explain(err error) error {
	if errs := b.refusals(); len(errs) > 0 {
		return errors.Join(errs...)
	}
	if len(b.tree.faults) > 0 {
		return errors.Join(b.tree.faults...)
	}
	if errs := b.unparsable(); len(errs) > 0 {
		return errors.Join(errs...)
	}
	msg := plain(err.Error())
	for _, known := range []func(string) *Error{b.duplicate, b.sameNamespace, b.unknownField, b.wrongField, b.noTarget, b.notObjects} {
		if e := known(msg); e != nil {
			return e
		}
	}
	e := &Error{File: b.entry.file, Msg: "kustomize: " + b.scrub(msg), err: err}
	if b.entry.generated {
		e.File = b.dir
	}
	return e
}

// refusals are what the source itself refused to read.
func (b *build) refusals() []error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(b.fs.refused)) {
		err := b.fs.refused[name]
		errs = append(errs, &Error{File: name, Msg: err.Error(), err: err})
	}
	return errs
}

// unparsable are the manifests and patches that are not YAML.
func (b *build) unparsable() []error {
	var errs []error
	for _, name := range b.manifests() {
		docs, err := object.Documents(name, b.fs.cache[name])
		if err != nil {
			errs = append(errs, syntaxError(name, err))
		}
		for _, d := range docs {
			if line, what := object.BadKey(d.Node); what != "" {
				errs = append(errs, &Error{File: name, Line: line, Msg: what, Fix: "correct the YAML there"})
			}
		}
	}
	return errs
}

// manifests are the files that are named as resources or patches, in the order
// of their names' appearance. It reads those that kustomize did not come to.
func (b *build) manifests() []string {
	var names []string
	seen := map[string]bool{}
	for _, k := range b.tree.all {
		for _, inc := range k.includes {
			if seen[inc.name] || inc.remote || inc.role != asResource && inc.role != asPatch || !b.fs.isFile(inc.name) {
				continue
			}
			seen[inc.name] = true
			if _, err := b.fs.read(inc.name); err == nil {
				names = append(names, inc.name)
			}
		}
	}
	return names
}

var registered = regexp.MustCompile(`already registered id: ([^\s"'\\]+)`)

// parseID reads an id as kustomize prints it, Kind.version.group/name.namespace
// with placeholders in brackets. (resid.FromString looks at the process-wide
// schema, which is another build's by now.)
func parseID(s string) object.ID {
	gvk, rest, _ := strings.Cut(s, "/")
	kind, gv, _ := strings.Cut(gvk, ".")
	_, group, _ := strings.Cut(gv, ".")
	i := strings.LastIndexByte(rest, '.')
	id := object.ID{Group: group, Kind: kind, Name: rest[:max(i, 0)], Namespace: rest[i+1:]}
	for _, p := range []*string{&id.Group, &id.Kind, &id.Name, &id.Namespace} {
		if strings.HasPrefix(*p, "[") {
			*p = ""
		}
	}
	return id
}

// duplicate names both places of an object that is declared twice.
func (b *build) duplicate(msg string) *Error {
	m := registered.FindStringSubmatch(msg)
	if m == nil {
		return nil
	}
	id := parseID(m[1])
	var exact, similar []place
	for _, name := range b.manifests() {
		for _, d := range documents(name, b.fs.cache[name]) {
			switch {
			case d.Kind != id.Kind || groupOf(d.APIVersion) != id.Group || d.Name == "" || !strings.Contains(id.Name, d.Name):
			case d.Name == id.Name && d.Namespace == id.Namespace:
				exact = append(exact, place{name, d.Line})
			default:
				similar = append(similar, place{name, d.Line})
			}
		}
	}
	e := &Error{
		File:   b.entry.file,
		Object: id.String(),
		Msg:    "is declared twice",
		Fix:    "take one of the two out, or rename it",
	}
	places := append(exact, similar...)
	switch {
	case len(places) >= 2:
		e.File, e.Line = places[1].file, places[1].line
		e.Msg = fmt.Sprintf("is declared twice: %s and %s", object.Where(places[0].file, places[0].line), object.Where(places[1].file, places[1].line))
	case len(places) == 1:
		e.File, e.Line = places[0].file, places[0].line
		if ways := b.tree.ways(places[0].file); len(ways) > 1 {
			e.Msg = fmt.Sprintf("is declared once and included twice: by %s and by %s", ways[0], ways[1])
			e.Fix = "take one of the two out"
		}
	}
	return e
}

var idConflict = regexp.MustCompile(`(?s)namespace transformation produces ID conflict: .*?"kind":"([^"]+)".*"name":"([^"]+)"`)

// sameNamespace is a kustomization whose namespace makes one object of two.
func (b *build) sameNamespace(msg string) *Error {
	m := idConflict.FindStringSubmatch(msg)
	if m == nil {
		return nil
	}
	e := &Error{File: b.entry.file, Msg: "namespace: brings two of one name into one namespace: " + m[1] + " " + m[2], Fix: "rename one of the two"}
	if m[1] == "Namespace" {
		e.Msg = "namespace: renames Namespaces, too, and two would be called " + m[2]
		e.Fix = "declare Namespaces in a directory of their own, which a Kustomization of its own applies, and whose kustomization.yaml sets no namespace; or set it in each manifest instead"
	}
	for _, k := range b.tree.all {
		if k.spec.Namespace != "" && k.node != nil {
			e.File, e.Line = k.file, keyLine(k.node, "namespace")
		}
	}
	return e
}

// ways are the places that include file, or its directory, one after another
// up the tree until there is more than one.
func (t *tree) ways(file string) []string {
	for {
		var ways []string
		dir, next := "", ""
		for _, k := range t.all {
			if k.file == file {
				dir = k.dir
			}
		}
		for _, k := range t.all {
			for _, inc := range k.includes {
				if inc.name == file || dir != "" && inc.name == dir {
					ways = append(ways, object.Where(k.file, inc.line))
					next = k.file
				}
			}
		}
		if len(ways) != 1 || next == file {
			return ways
		}
		file = next
	}
}

var unknown = regexp.MustCompile(`invalid Kustomization: json: unknown field "(.*?)"`)

// unknownField is a field of a kustomization file that kustomize does not know.
func (b *build) unknownField(msg string) *Error {
	m := unknown.FindStringSubmatch(strings.ReplaceAll(msg, `\"`, `"`))
	if m == nil {
		return nil
	}
	for _, k := range b.tree.all {
		// The entry's own are dropped when it is written anew, as Flux does.
		if k == b.tree.root || k.node == nil {
			continue
		}
		if line := keyLine(k.node, m[1]); line > 0 {
			return noField(k.file, line, m[1])
		}
	}
	return nil
}

// noField is a field that no kustomization has.
func noField(file string, line int, name string) *Error {
	e := &Error{File: file, Line: line, Msg: name + " is not a field of a kustomization", Fix: "correct its name, or take it out"}
	var fields []string
	for f := range reflect.TypeFor[types.Kustomization]().Fields() {
		if field, _, _ := strings.Cut(f.Tag.Get("json"), ","); field != "" {
			fields = append(fields, field)
		}
	}
	if near := nearest(name, fields); near != "" {
		e.Fix = "did you mean " + near + "?"
	}
	return e
}

// ignored is the first field of the entry that kustomize does not know. Flux drops
// it when it writes the entry anew, and so is it here.
func ignored(file string, data []byte) *Error {
	m := ignoredField.FindStringSubmatch(fmt.Sprint(yaml.UnmarshalStrict(data, new(types.Kustomization))))
	docs, _ := object.Documents(file, data)
	if m == nil || len(docs) == 0 {
		return nil
	}
	return noField(file, keyLine(docs[0].Node, m[1]), m[1])
}

var ignoredField = regexp.MustCompile(`unknown field "(.*?)"`)

// wrongField is a field of a kustomization file that has the wrong type.
func (b *build) wrongField(msg string) *Error {
	m := wrongType.FindStringSubmatch(msg)
	if m == nil {
		return nil
	}
	for _, k := range b.tree.all {
		if k == b.tree.root || k.node == nil {
			continue
		}
		if object.LineOf(k.node, m[2]) != k.node.Line || object.Find(k.node, strings.Split(m[2], ".")...) != nil {
			return kustomizationError(k.file, b.fs.cache[k.file], errors.New(msg))
		}
	}
	return nil
}

var (
	noMatch    = regexp.MustCompile(`no (?:resource )?matches for Id (\S+?)[;"\s]`)
	ambiguous  = regexp.MustCompile(`multiple matches for Id (\S+?)[;"\s]`)
	patchFile  = regexp.MustCompile(`(?:failed to get the patch file from path\((.*?)\)|\[path: \\?"(.*?)\\?"\])`)
	fixNoMatch = "correct its kind, name or namespace, or add the object to the resources"
)

// noTarget is a patch whose object is not there, or a patch that is none.
func (b *build) noTarget(msg string) *Error {
	m, what, fix := noMatch.FindStringSubmatch(msg), "is patched, but is not among the resources", fixNoMatch
	if m == nil {
		m, what, fix = ambiguous.FindStringSubmatch(msg), "is patched, but there are several of it", "give the patch the namespace of the one that is meant"
	}
	if m != nil {
		id := parseID(m[1])
		e := &Error{File: b.entry.file, Object: id.String(), Msg: what, Fix: fix}
		e.File, e.Line = b.patchOf(id)
		return e
	}
	m = patchFile.FindStringSubmatch(msg)
	if m == nil {
		return nil
	}
	p := m[1] + m[2]
	for _, k := range b.tree.all {
		for _, inc := range k.includes {
			if inc.role == asPatch && inc.path == p {
				return &Error{File: inc.name, Line: 1, Msg: fmt.Sprintf("%s (named in %s) is not a patch: neither a list of JSON patch operations nor an object with apiVersion, kind and metadata.name", inc.path, object.Where(k.file, inc.line)), Fix: "correct the patch"}
			}
		}
	}
	return nil
}

// patchOf is the place of the patch for an object.
func (b *build) patchOf(id object.ID) (string, int) {
	is := func(d object.Document) bool { return d.Kind == id.Kind && d.Name == id.Name }
	for _, k := range b.tree.all {
		for _, inc := range k.includes {
			if inc.role != asPatch {
				continue
			}
			for _, d := range documents(inc.name, b.fs.cache[inc.name]) {
				if is(d) {
					return inc.name, d.Line
				}
			}
		}
		for _, p := range k.spec.Patches {
			if p.Patch == "" || k.generated { // spec has those
				continue
			}
			for _, d := range documents(k.file, []byte(p.Patch)) {
				if is(d) {
					return k.file, k.line("patches", p.Patch)
				}
			}
		}
	}
	for _, p := range b.Kustomization.Spec.Patches {
		if strings.Contains(p.Patch, id.Name) {
			o := b.Kustomization.Object
			return o.File, o.Line
		}
	}
	return b.entry.file, 0
}

// notObjects is a resource file with something else in it.
func (b *build) notObjects(msg string) *Error {
	if !strings.Contains(msg, "missing metadata.name") && !strings.Contains(msg, "missing kind") && !strings.Contains(msg, "missing Resource metadata") {
		return nil
	}
	for _, k := range b.tree.all {
		for _, inc := range k.includes {
			if data, ok := b.fs.cache[inc.name]; ok && inc.role == asResource {
				docs, _ := object.Documents(inc.name, data)
				if e := notObject(inc.name, docs); e != nil {
					return e
				}
			}
		}
	}
	return nil
}
