package render

import (
	"path"
	"slices"
	"strings"

	yamlnode "go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/yaml"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
)

// tree is what the kustomizations of a build name, read before kustomize runs:
// to know what each file is read for, and afterwards to explain a failure and
// to say where things stand. It decides nothing else; kustomize does.
type tree struct {
	b    *build
	root *kustomization
	all  []*kustomization // in the order in which kustomize comes to them

	// forbidden must not be tried; faults explain why kustomize failed, in
	// order, if it does.
	forbidden, faults []error
}

// kustomization is one kustomization file.
type kustomization struct {
	file, dir string
	generated bool
	spec      types.Kustomization
	node      *yamlnode.Node // for lines; nil when it was generated or does not parse
	includes  []include
	parents   []*kustomization // those that include it, in order
}

// role is what a file is read for.
type role int

const (
	asResource  role = iota // manifests, or a directory with a kustomization
	asComponent             // a directory
	asPatch
	asSecret    // an input of secretGenerator
	asConfigMap // an input of configMapGenerator
	asConfig    // transformers, replacements, openapi, crds…
)

// clear reports whether a file is to be read decrypted for this.
func (r role) clear() bool { return r != asConfigMap && r != asConfig }

// include is a path that a kustomization names.
type include struct {
	role   role
	path   string // as written
	name   string // from the source's root; begins with ".." outside of it
	line   int    // in the kustomization file; 0 when spec names it
	inSpec bool   // spec.components of the Flux Kustomization names it
	remote bool
}

// readTree follows the entry down to the last local kustomization.
func readTree(b *build) *tree {
	t := &tree{b: b}
	if b.entry.generated {
		t.root = &kustomization{file: b.entry.file, dir: b.dir, generated: true, spec: b.entry.spec}
		t.all = append(t.all, t.root)
		t.root.name()
	} else {
		data, err := b.fs.read(b.entry.file)
		if err != nil {
			t.faults = append(t.faults, err)
			return t
		}
		t.root = t.parse(b.entry.file, data)
	}
	for _, c := range b.Kustomization.Spec.Components {
		i := slices.IndexFunc(t.root.includes, func(i include) bool { return i.role == asComponent && i.path == c && i.line == 0 })
		if i < 0 && slices.Contains(b.entry.spec.Components, c) {
			i = len(t.root.includes)
			t.root.include(asComponent, c, 0)
		}
		if i >= 0 {
			t.root.includes[i].inSpec = true
		}
	}
	t.descend(t.root, []*kustomization{t.root})
	return t
}

// parse reads one file into the tree, with kustomize's own decoder: it knows
// spellings of a field that a reading of ours would miss.
func (t *tree) parse(file string, data []byte) *kustomization {
	k := &kustomization{file: file, dir: path.Dir(file)}
	t.all = append(t.all, k)
	docs, err := object.Documents(file, data)
	if len(docs) > 0 { // kustomize reads the first one alone
		k.node = docs[0].Node
	} else if err != nil {
		t.faults = append(t.faults, syntaxError(file, err))
	}
	// What cannot be decoded stays empty here, and kustomize refuses it.
	_ = yaml.Unmarshal(data, &k.spec)
	k.spec.FixKustomization()
	k.name()
	return k
}

// name lists what the kustomization includes, in the order in which kustomize
// comes to it.
func (k *kustomization) name() {
	s := &k.spec
	k.add("resources", asResource, s.Resources...)
	k.add("configurations", asConfig, s.Configurations...)
	k.add("crds", asConfig, s.Crds...)
	for _, g := range s.ConfigMapGenerator {
		k.addInputs("configMapGenerator", asConfigMap, g.KvPairSources)
	}
	for _, g := range s.SecretGenerator {
		k.addInputs("secretGenerator", asSecret, g.KvPairSources)
	}
	k.add("generators", asConfig, s.Generators...)
	k.add("components", asComponent, s.Components...)
	for _, p := range s.Patches {
		k.add("patches", asPatch, p.Path)
	}
	for _, p := range s.PatchesJson6902 {
		k.add("patchesJson6902", asPatch, p.Path)
	}
	for _, p := range s.PatchesStrategicMerge {
		k.add("patchesStrategicMerge", asPatch, string(p))
	}
	for _, r := range s.Replacements {
		k.add("replacements", asConfig, r.Path)
	}
	k.add("transformers", asConfig, s.Transformers...)
	k.add("validators", asConfig, s.Validators...)
	k.add("openapi", asConfig, s.OpenAPI["path"])
}

func (k *kustomization) add(field string, r role, paths ...string) {
	for _, p := range paths {
		if p == "" || strings.ContainsAny(p, "\n{") { // content, not a path
			continue
		}
		k.include(r, p, k.line(field, p))
	}
}

func (k *kustomization) addInputs(field string, r role, sources types.KvPairSources) {
	for _, source := range sources.FileSources {
		_, p, ok := strings.Cut(source, "=") // key=path
		if !ok {
			p = source
		}
		k.include(r, p, k.line(field, source))
	}
	k.add(field, r, sources.EnvSources...)
}

func (k *kustomization) include(r role, p string, line int) {
	inc := include{role: r, path: p, line: line, remote: isRemote(p), name: path.Join(k.dir, p)}
	if path.IsAbs(p) {
		inc.name = p
	}
	k.includes = append(k.includes, inc)
}

// line is where value stands in a field of the kustomization file; the field's
// own line for a value of several lines that is not found as it is, 0 for a
// field that is not there.
func (k *kustomization) line(field, value string) int {
	key, n := k.field(field)
	if key == nil {
		return 0
	}
	if line := scalarLine(n, value); line > 0 {
		return line
	}
	return key.Line
}

// field finds a top-level field; to kustomize, their case does not matter.
func (k *kustomization) field(name string) (key, value *yamlnode.Node) {
	if k.node == nil || k.node.Kind != yamlnode.MappingNode {
		return nil, nil
	}
	for i := 0; i+1 < len(k.node.Content); i += 2 {
		if strings.EqualFold(k.node.Content[i].Value, name) {
			return k.node.Content[i], k.node.Content[i+1]
		}
	}
	return nil, nil
}

// scalarLine is the line of the first scalar of that value in n, 0 if none.
func scalarLine(n *yamlnode.Node, value string) int {
	if v := deref(n); v.Kind == yamlnode.ScalarNode && v.Value == value {
		return n.Line
	}
	for _, c := range n.Content {
		if line := scalarLine(c, value); line > 0 {
			return line
		}
	}
	return 0
}

func deref(n *yamlnode.Node) *yamlnode.Node {
	if n.Kind == yamlnode.AliasNode && n.Alias != nil {
		return n.Alias
	}
	return n
}

// descend reads the kustomizations that k includes. above are those that led
// to k, itself the last.
func (t *tree) descend(k *kustomization, above []*kustomization) {
	for _, inc := range k.includes {
		if inc.remote {
			if !t.b.RemoteBases && !t.b.fs.isFile(inc.name) {
				t.forbidden = append(t.forbidden, t.at(k, inc, inc.path+" is remote, and remote bases are turned off", "copy it into the source"))
			}
			continue
		}
		if fault := t.check(k, inc); fault != nil {
			t.faults = append(t.faults, fault)
			continue
		}
		if inc.role != asResource && inc.role != asComponent || !t.b.fs.isDir(inc.name) {
			continue
		}
		if i := slices.IndexFunc(above, func(a *kustomization) bool {
			return a.dir == inc.name || inc.name == "." || strings.HasPrefix(a.dir, inc.name+"/")
		}); i >= 0 {
			t.faults = append(t.faults, t.at(k, inc, cycle(above[i:], inc), "take one of these out of the resources of another"))
			continue
		}
		file := t.b.fs.kustomizationIn(inc.name)
		if i := slices.IndexFunc(t.all, func(have *kustomization) bool { return have.file == file }); i >= 0 {
			t.all[i].parents = append(t.all[i].parents, k)
			continue
		}
		data, err := t.b.fs.read(file)
		if err != nil {
			t.faults = append(t.faults, &Error{File: file, Msg: err.Error(), err: err})
			continue
		}
		child := t.parse(file, data)
		child.parents = append(child.parents, k)
		if kind := child.spec.Kind; (inc.role == asComponent) != (kind == types.ComponentKind) {
			t.faults = append(t.faults, t.at(k, inc, kindFault(file, inc.role), kindFix(inc.role)))
		}
		t.descend(child, append(slices.Clip(above), child))
	}
}

// keyLine is the line of a key anywhere in n, 0 if there is none.
func keyLine(n *yamlnode.Node, key string) int {
	for i, c := range n.Content {
		if n.Kind == yamlnode.MappingNode && i%2 == 0 {
			if c.Value == key {
				return c.Line
			}
			continue
		}
		if line := keyLine(c, key); line > 0 {
			return line
		}
	}
	return 0
}
