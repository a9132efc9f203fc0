package render

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/resid"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
)

// kindName is how patches and replicas name an object, at the least; kind ""
// is any.
type kindName struct{ kind, name string }

// joinAll joins what kustomize may look at together. It is false where that
// cannot be told, or where kustomize refuses the build.
func (p *batched) joinAll() bool {
	p.with = make([]int, len(p.manifests))
	byName := map[kindName][]int{}
	for i, m := range p.manifests {
		p.with[i] = i
		for _, key := range []kindName{{"", m.doc.Name}, {m.doc.Kind, m.doc.Name}} {
			byName[key] = append(byName[key], i)
		}
	}
	moves, patches := false, false
	for _, k := range p.b.tree.all {
		spec := p.specs[k.file]
		moves = moves || spec.Namespace != ""
		patches = patches || len(spec.Patches)+len(spec.PatchesJson6902)+len(spec.PatchesStrategicMerge) > 0
		if !p.joinTargets(k, spec, byName) {
			return false
		}
	}
	if moves || patches { // only what was changed is looked at for references
		for i, m := range p.manifests {
			if m.doc.Kind == "Node" {
				return false
			}
			if target, writes := writesNamespaces[m.doc.Kind]; writes {
				for _, name := range scalars(nil, m.doc.Node) {
					for _, j := range byName[kindName{target, name}] {
						p.join(i, j)
					}
				}
			}
		}
	}
	alike := map[resid.ResId]int{}
	return withSchema(p.b.ctx, false, func() {
		for i, m := range p.manifests {
			id := identity(m.doc, moves)
			if j, found := alike[id]; found {
				p.join(i, j)
			} else {
				alike[id] = i
			}
		}
	}) == nil
}

// identity is what kustomize goes by to tell objects apart, at the coarsest
// that it may become in this build.
func identity(d object.Document, moves bool) resid.ResId {
	group, version := "", d.APIVersion
	if g, v, found := strings.Cut(d.APIVersion, "/"); found {
		group, version = g, v
	}
	id := resid.NewResIdWithNamespace(resid.NewGvk(group, version, d.Kind), d.Name, d.Namespace)
	id.Namespace = id.EffectiveNamespace()
	if moves {
		id.Namespace = ""
	}
	return id
}

// writesNamespaces are the kinds in which kustomize completes a reference by a
// namespace, and the kind that it names: the fields of its namereference.go
// that end in a mapping. TestReferencesWithNamespaces holds this to it. (A
// Node's is a ConfigMap, and nobody keeps Nodes in Git.)
var writesNamespaces = map[string]string{
	"RoleBinding": "ServiceAccount", "ClusterRoleBinding": "ServiceAccount",
	"ValidatingWebhookConfiguration": "Service", "MutatingWebhookConfiguration": "Service",
}

// joinTargets joins the objects that each patch and each of the replicas of k
// names one by one. It is false where a patch may rename, and where one names
// what is not there.
func (p *batched) joinTargets(k *kustomization, spec types.Kustomization, byName map[kindName][]int) bool {
	join := func(key string, named []kindName) bool {
		for _, n := range named {
			if !p.hasBelow(k, byName[n]) {
				return false
			}
			for _, i := range slices.Concat(byName[n], byName[named[0]]) {
				p.join(i, byName[n][0])
			}
			p.targets[key] = byName[n][0]
		}
		return true
	}
	for i, r := range spec.Replicas {
		if !join(naming(k, "replicas", i), []kindName{{"", r.Name}}) {
			return false
		}
	}
	for i, patch := range slices.Concat(spec.Patches, spec.PatchesJson6902) {
		text := []byte(patch.Patch)
		if patch.Path != "" {
			var err error
			if text, err = p.b.fs.read(joinOrigin(k.dir, patch.Path)); err != nil {
				return false
			}
		}
		named, ok := readPatch(text)
		if !ok || patch.Options != nil {
			return false
		}
		if patch.Target == nil && !join(naming(k, "patches", i), named) {
			return false
		}
	}
	for i, patch := range spec.PatchesStrategicMerge {
		named, ok := readPatch([]byte(patch))
		if !ok || len(named) == 0 {
			text, err := p.b.fs.read(joinOrigin(k.dir, string(patch)))
			if err != nil {
				return false
			}
			if named, ok = readPatch(text); !ok {
				return false
			}
		}
		if !join(naming(k, "patchesStrategicMerge", i), named) {
			return false
		}
	}
	return true
}

// readPatch names the objects of a strategic merge patch, none of a JSON patch.
// It is not ok where the text is neither, or may change who an object is.
func readPatch(text []byte) (objects []kindName, ok bool) {
	if metadataWhole.Match(text) {
		return nil, false // it needs two runs, see kustomize
	}
	docs, err := object.Documents("", text)
	if err != nil || len(docs) == 0 {
		return nil, false
	}
	for _, d := range docs {
		switch d.Node.Kind {
		default:
			return nil, false
		case yaml.MappingNode:
			objects = append(objects, kindName{d.Kind, d.Name})
		case yaml.SequenceNode:
			for _, op := range d.Node.Content {
				for _, key := range []string{"path", "from"} {
					if at := object.Find(op, key); at != nil && touchesIdentity(at.Value) {
						return nil, false
					}
				}
			}
		}
	}
	return objects, true
}

// touchesIdentity reports whether a JSON pointer leads to what names an object.
func touchesIdentity(pointer string) bool {
	steps := strings.Split(strings.TrimPrefix(pointer, "/"), "/")
	switch steps[0] {
	case "", "kind", "apiVersion":
		return true
	case "metadata":
		return len(steps) == 1 || slices.Contains([]string{"", "name", "namespace"}, steps[1])
	}
	return false
}

// hasBelow reports whether k has one of some manifests, or where k is a
// component, each that includes it.
func (p *batched) hasBelow(k *kustomization, some []int) bool {
	if p.specs[k.file].Kind == types.ComponentKind {
		return !slices.ContainsFunc(k.parents, func(parent *kustomization) bool { return !p.hasBelow(parent, some) })
	}
	return slices.ContainsFunc(some, func(i int) bool { return p.listedBy[p.manifests[i].file].within(k) })
}

// within reports whether k is above or is it, where no kustomization has
// several parents.
func (k *kustomization) within(above *kustomization) bool {
	for k != above && len(k.parents) > 0 {
		k = k.parents[0]
	}
	return k == above
}
