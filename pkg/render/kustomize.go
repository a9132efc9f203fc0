package render

import (
	"fmt"
	"path"
	"path/filepath"
	"regexp"
	"slices"

	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/api/resource"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// built is what kustomize made, and where it has each object from.
type built struct {
	resources []*resource.Resource
	origins   []*resource.Origin // as resources; nil where it is not known
	manifests []manifest         // as resources, instead of origins; nil where it was built whole
}

// kustomize runs kustomize on the entry, in batches where it can. Origins are
// learned from kustomize's own annotation, which is taken out again where
// nobody asked for it. Where something in the source looks at annotations as a
// whole, the annotation is not neutral: there the objects come from a second
// run without it.
func (b *build) kustomize() (built, error) {
	manifest, err := b.entry.manifest(!b.entry.wantsOrigins())
	if err != nil {
		return built{}, err
	}
	b.fs.generated[b.entry.file] = manifest
	b.alone = b.tree.maySetSchema()
	out, ok := b.buildBatched()
	if b.batched = ok; ok || b.ctx.Err() != nil {
		return out, b.ctx.Err()
	}
	m, err := b.krusty(b.fs)
	if err != nil && !b.fs.whole {
		return built{}, err
	}
	origins := originsOf(m)
	if b.entry.wantsOrigins() {
		if err != nil {
			return built{}, err
		}
		return built{resources: m.Resources(), origins: origins}, nil
	}
	if !b.fs.whole {
		return built{resources: m.Resources(), origins: origins}, m.RemoveOriginAnnotations()
	}
	if b.fs.generated[b.entry.file], err = b.entry.manifest(false); err != nil {
		return built{}, err
	}
	without, err := b.krusty(b.fs)
	if err != nil {
		return built{}, err
	}
	out = built{resources: without.Resources(), origins: make([]*resource.Origin, without.Size())}
	if m != nil && slices.EqualFunc(m.Resources(), out.resources, func(a, b *resource.Resource) bool {
		return a.GetKind() == b.GetKind() && a.GetName() == b.GetName() && a.GetNamespace() == b.GetNamespace()
	}) {
		out.origins = origins
	}
	return out, nil
}

func originsOf(m resmap.ResMap) []*resource.Origin {
	if m == nil {
		return nil
	}
	origins := make([]*resource.Origin, m.Size())
	for i, res := range m.Resources() {
		origins[i], _ = res.GetOrigin() // unreadable is unknown
	}
	return origins
}

// krusty is one run of kustomize, with the options of fluxcd/pkg/kustomize's
// Build.
func (b *build) krusty(fs filesys.FileSystem) (m resmap.ResMap, err error) {
	options := &krusty.Options{
		LoadRestrictions: types.LoadRestrictionsNone, // the file system restricts
		PluginConfig:     types.DisabledPluginConfig(),
	}
	if b.entry.spec.SortOptions != nil {
		options.Reorder = krusty.ReorderOptionUnspecified // saves a warning; the file decides
	}
	waited := withSchema(b.ctx, b.alone, func() {
		defer func() {
			if b.fs.openAPI {
				schemaChanged.Store(true)
			}
			if p := recover(); p != nil {
				m, err = nil, fmt.Errorf("%w: %v", ErrPanicked, p)
			}
		}()
		m, err = krusty.MakeKustomizer(options).Run(fs, filepath.Join(root, filepath.FromSlash(b.dir)))
	})
	if waited != nil {
		return nil, waited
	}
	return m, err
}

// maySetSchema reports whether a kustomization of the build, or one that is not
// known, might ask for an OpenAPI schema of its own.
func (t *tree) maySetSchema() bool {
	if len(t.faults) > 0 {
		return true
	}
	for _, k := range t.all {
		if data, err := t.b.fs.read(k.file); err != nil || openAPIField.Match(data) {
			return true
		}
		for _, inc := range k.includes {
			if inc.remote || inc.role == asConfig && t.b.fs.isDir(inc.name) {
				return true
			}
		}
	}
	return false
}

// metadataWhole matches, in patches and kustomizations, a path that ends in an
// object's annotations or in its metadata. More than that costs a second run.
var metadataWhole = regexp.MustCompile(`metadata([./]annotations)?["']?\s*([,}\]\n\\]|$)`)

// observe looks at a file that kustomize reads for what changes how to run it.
func (s *sourceFS) observe(name string, data []byte) {
	if s.neutral[name] {
		return
	}
	if slices.Contains(konfig.RecognizedKustomizationFileNames(), path.Base(filepath.ToSlash(name))) && openAPIField.Match(data) {
		s.openAPI = true
	}
	if metadataWhole.Match(data) {
		s.whole = true
	}
}

// openAPIField matches the field in any of the spellings that JSON allows.
var openAPIField = regexp.MustCompile(`(?i)openapi`)
