package render

import (
	"bytes"
	"fmt"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/api/resource"
	"sigs.k8s.io/kustomize/api/types"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
)

// kustomize compares each object of a build with all others, several times:
// when it adds it (resWrangler.Append), when it sets its namespace, and when it
// looks for references to a name that changed (nameReferenceTransformer). Where
// nothing renames, all of that finds nothing, and a build in batches gives the
// same bytes. Objects that kustomize may look at together share a batch:
//
//   - those that might be one to kustomize, by its rule of identity, so that it
//     refuses them as it would;
//   - the targets of a patch without a selector and of replicas, which are
//     errors when they are missing or not unique;
//   - bindings and webhooks with the ServiceAccounts and Services that they
//     name: the only references where kustomize writes a namespace as well.
//
// Whatever is not known here to work object by object is left to kustomize
// whole, and so is every build of which a batch failed or gave other objects
// than its documents: it has the same errors then. TestBatchesAreWhole and
// FuzzBatches hold this to kustomize.

// batchSize is how many objects a batch has. Smaller ones pay more for reading
// the kustomizations, larger ones for comparing.
const batchSize = 64

// manifest is one document of the build, in kustomize's order.
type manifest struct {
	file string
	text []byte // nil: the whole file
	doc  object.Document
}

// batched is a build that can be split.
type batched struct {
	b         *build
	manifests []manifest
	listedBy  map[string]*kustomization      // by file of manifests
	specs     map[string]types.Kustomization // by file
	with      []int                          // by manifest, one that it shares a batch with; itself: the first of them
	targets   map[string]int                 // what names objects one by one, by naming: one of them
	groups    [][]int                        // manifests of each batch, ascending
}

// naming is the key of the i-th entry of a field of a kustomization.
func naming(k *kustomization, field string, i int) string {
	return fmt.Sprint(k.file, " ", field, " ", i)
}

// first finds the first of those that i shares a batch with.
func (p *batched) first(i int) int {
	for p.with[i] != i {
		p.with[i] = p.with[p.with[i]]
		i = p.with[i]
	}
	return i
}

// join puts i and j into one batch.
func (p *batched) join(i, j int) {
	i, j = p.first(i), p.first(j)
	p.with[max(i, j)] = min(i, j)
}

// buildBatched builds in batches. ok is false where the build must be whole,
// for whatever reason.
func (b *build) buildBatched() (out built, ok bool) {
	p := b.split()
	if p == nil {
		return built{}, false
	}
	results := make([]resmap.ResMap, len(p.groups))
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i := range p.groups {
		g.Go(func() error {
			var err error
			results[i], err = p.run(i)
			return err
		})
	}
	if g.Wait() != nil || b.fs.whole {
		return built{}, false
	}
	out = built{resources: make([]*resource.Resource, len(p.manifests)), manifests: p.manifests}
	for i, group := range p.groups {
		if results[i].Size() != len(group) {
			return built{}, false // a patch deleted one, or it is local
		}
		for j, res := range results[i].Resources() {
			at := group[j]
			if d := p.manifests[at].doc; res.GetKind() != d.Kind || res.GetApiVersion() != d.APIVersion || res.GetName() != d.Name {
				return built{}, false // something renamed it
			}
			out.resources[at] = res
		}
	}
	return out, true
}

// split plans the batches, nil where the build is too small or cannot be split.
func (b *build) split() *batched {
	if len(b.tree.faults) > 0 || b.fs.openAPI {
		return nil
	}
	p := &batched{b: b, listedBy: map[string]*kustomization{}, specs: map[string]types.Kustomization{}, targets: map[string]int{}}
	if !p.readSpecs() || !p.readManifests(b.tree.root) || len(p.manifests) <= 2*b.batchSize || !p.joinAll() {
		return nil
	}
	members := map[int][]int{}
	for i := range p.manifests {
		p.with[i] = p.first(i) // from here on it is only read, by several batches
		members[p.with[i]] = append(members[p.with[i]], i)
	}
	var group []int
	for i := range p.manifests {
		if group = append(group, members[i]...); len(group) >= b.batchSize || i == len(p.manifests)-1 && len(group) > 0 {
			slices.Sort(group)
			p.groups, group = append(p.groups, group), nil
		}
	}
	return p
}

// readSpecs reads the kustomizations as strictly as kustomize does, and refuses
// those that do more than touch each object by itself.
func (p *batched) readSpecs() bool {
	for _, k := range p.b.tree.all {
		data, err := p.b.fs.read(k.file)
		if err != nil {
			return false
		}
		var spec types.Kustomization
		if spec.Unmarshal(data) != nil {
			return false
		}
		if k == p.b.tree.root { // origins are known here, and cost kustomize much
			spec.BuildMetadata = p.b.entry.spec.BuildMetadata
		}
		spec.FixKustomization()
		if spec.CheckEmpty() != nil || len(spec.EnforceFields()) > 0 {
			return false
		}
		if k == p.b.tree.root && (spec.SortOptions != nil || slices.Contains(spec.BuildMetadata, types.TransformerAnnotations)) {
			return false // the second tells of transformers that a batch may not have
		}
		component := spec.Kind == types.ComponentKind
		if component && len(spec.Resources) > 0 || !component && len(k.parents) > 1 {
			return false
		}
		if !plainFields(spec) {
			return false
		}
		p.specs[k.file] = spec
	}
	return true
}

// plainFields reports whether spec has no fields but those that are known to
// work object by object, or that mustBeTogether sees to.
func plainFields(spec types.Kustomization) bool {
	rest := spec
	rest.TypeMeta, rest.MetaData = types.TypeMeta{}, nil
	rest.Resources, rest.Components = nil, nil
	rest.Namespace, rest.Replicas, rest.Images = "", nil, nil
	rest.CommonLabels, rest.Labels, rest.CommonAnnotations = nil, nil, nil
	rest.Patches, rest.PatchesJson6902, rest.PatchesStrategicMerge = nil, nil, nil
	rest.BuildMetadata, rest.SortOptions, rest.GeneratorOptions = nil, nil, nil
	return reflect.DeepEqual(rest, types.Kustomization{})
}

// documentSeparator splits a file as kyaml does (kio.splitDocuments).
var documentSeparator = regexp.MustCompile(`\n---.*\n`)

// readManifests lists the documents below k in the order in which kustomize
// adds them.
func (p *batched) readManifests(k *kustomization) bool {
	fs := p.b.fs
	for _, inc := range k.includes {
		if inc.remote {
			return false
		}
		if inc.role != asResource {
			continue
		}
		if fs.isDir(inc.name) {
			child := p.b.tree.kustomizationAt(fs.kustomizationIn(inc.name))
			if child == nil || !p.readManifests(child) {
				return false
			}
			continue
		}
		if _, again := p.listedBy[inc.name]; again || !p.readManifest(inc.name) {
			return false
		}
		p.listedBy[inc.name] = k
	}
	return true
}

// readManifest takes the file apart.
func (p *batched) readManifest(file string) bool {
	data, err := p.b.fs.read(file)
	if err != nil || bytes.Contains(data, []byte("internal.config.kubernetes.io/")) {
		return false
	}
	docs, err := p.b.documents(file)
	if err != nil || slices.ContainsFunc(docs, func(d object.Document) bool {
		return d.APIVersion == "" || d.Kind == "" || d.Name == "" || strings.HasSuffix(d.Kind, "List")
	}) {
		return false
	}
	if len(docs) == 1 {
		p.manifests = append(p.manifests, manifest{file, nil, docs[0]})
		return true
	}
	var texts []string
	for _, text := range documentSeparator.Split(strings.ReplaceAll(string(data), "\r\n", "\n"), -1) {
		if own, err := object.Documents(file, []byte(text)); err != nil || len(own) > 1 {
			return false
		} else if len(own) == 1 {
			texts = append(texts, text+"\n")
		}
	}
	if len(texts) != len(docs) {
		return false
	}
	for i, d := range docs {
		p.manifests = append(p.manifests, manifest{file, []byte(texts[i]), d})
	}
	return true
}

// run builds one batch.
func (p *batched) run(i int) (resmap.ResMap, error) {
	view := &batchFS{sourceFS: p.b.fs, replaced: map[string][]byte{}}
	has := map[string]bool{}
	firsts := map[int]bool{}
	parts := map[string][][]byte{}
	for _, at := range p.groups[i] {
		m := p.manifests[at]
		has[m.file], firsts[p.with[at]] = true, true
		if m.text != nil {
			parts[m.file] = append(parts[m.file], m.text)
		}
	}
	for file, texts := range parts {
		view.replaced[file] = bytes.Join(texts, []byte("---\n"))
	}
	if _, err := p.narrow(p.b.tree.root, view, has, firsts); err != nil {
		return nil, err
	}
	return p.b.krusty(view)
}

// narrow writes k for one batch into view: with those of its resources that the
// batch has, and without what names objects that it has not. It reports whether
// anything is left of k.
func (p *batched) narrow(k *kustomization, view *batchFS, has map[string]bool, firsts map[int]bool) (left bool, err error) {
	spec := p.specs[k.file]
	gone := map[string]bool{}
	for _, inc := range k.includes {
		switch {
		case inc.role == asResource && !p.b.fs.isDir(inc.name):
			gone[inc.path] = !has[inc.name]
		case inc.role == asResource || inc.role == asComponent:
			child := p.b.tree.kustomizationAt(p.b.fs.kustomizationIn(inc.name))
			left, err := p.narrow(child, view, has, firsts)
			if err != nil {
				return false, err
			}
			gone[inc.path] = !left
		}
	}
	here := func(field string, i int) bool {
		target, names := p.targets[naming(k, field, i)]
		return !names || firsts[p.with[target]]
	}
	isHere := func(path string, _ int) bool { return !gone[path] }
	spec.Resources, spec.Components = those(spec.Resources, isHere), those(spec.Components, isHere)
	spec.Replicas = those(spec.Replicas, func(_ types.Replica, i int) bool { return here("replicas", i) })
	spec.Patches = those(spec.Patches, func(_ types.Patch, i int) bool { return here("patches", i) })
	spec.PatchesStrategicMerge = those(spec.PatchesStrategicMerge, func(_ types.PatchStrategicMerge, i int) bool { return here("patchesStrategicMerge", i) })
	data, err := entry{spec: spec}.manifest(false)
	if err != nil {
		return false, err
	}
	view.replaced[k.file] = data
	if spec.Kind == types.ComponentKind {
		return spec.CheckEmpty() == nil, nil
	}
	return len(spec.Resources) > 0, nil
}

// those are the elements of list for which keep is true; nil for none, as a
// kustomization without them has it.
func those[T any](list []T, keep func(T, int) bool) []T {
	var out []T
	for i, e := range list {
		if keep(e, i) {
			out = append(out, e)
		}
	}
	return out
}
