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
	"sigs.k8s.io/kustomize/kyaml/openapi"
)

// built is what kustomize made, and where it has each object from.
type built struct {
	resources resmap.ResMap
	origins   []*resource.Origin // as resources; nil where it is not known
}

// kustomize runs kustomize on the entry. Origins are learned from kustomize's
// own annotation, which is taken out again where nobody asked for it. Where
// something in the source looks at annotations as a whole, the annotation is
// not neutral: there the objects come from a second run without it.
func (b *build) kustomize() (built, error) {
	m, err := b.krusty(true)
	if b.entry.wantsOrigins() || err != nil && !b.fs.whole {
		return built{m, originsOf(m)}, err
	}
	if !b.fs.whole {
		origins := originsOf(m)
		return built{m, origins}, m.RemoveOriginAnnotations()
	}
	without, err := b.krusty(false)
	if err != nil {
		return built{}, err
	}
	out := built{without, make([]*resource.Origin, without.Size())}
	if m != nil && slices.EqualFunc(m.Resources(), without.Resources(), func(a, b *resource.Resource) bool {
		return a.GetKind() == b.GetKind() && a.GetName() == b.GetName() && a.GetNamespace() == b.GetNamespace()
	}) {
		out.origins = originsOf(m)
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

// krustyLock keeps builds apart: kustomize's OpenAPI schema is process-wide
// and written without a lock (kustomize#3659). Whatever makes a resid.Gvk
// reads it, CurId and OrgId among them: nothing outside of krusty may. A channel, so that waiting for
// it ends with the context.
var krustyLock = make(chan struct{}, 1)

// schemaChanged tells, under krustyLock, that the schema is not the built-in
// one. Flux resets it for every build, which costs 0.1 s each time.
var schemaChanged = true

// krusty is one run of kustomize, with the options of fluxcd/pkg/kustomize's
// Build.
func (b *build) krusty(origins bool) (m resmap.ResMap, err error) {
	manifest, err := b.entry.manifest(origins)
	if err != nil {
		return nil, err
	}
	b.fs.generated[b.entry.file] = manifest
	select {
	case krustyLock <- struct{}{}:
	case <-b.ctx.Done():
		return nil, b.ctx.Err()
	}
	defer func() {
		schemaChanged = schemaChanged || b.fs.openAPI
		<-krustyLock
		if p := recover(); p != nil {
			m, err = nil, fmt.Errorf("kustomize panicked: %v", p)
		}
	}()
	if schemaChanged {
		// Loaded at once: a custom schema adds to it only when it is there.
		openapi.ResetOpenAPI()
		openapi.Schema()
		schemaChanged = false
	}
	options := &krusty.Options{
		LoadRestrictions: types.LoadRestrictionsNone, // the file system restricts
		PluginConfig:     types.DisabledPluginConfig(),
	}
	if b.entry.spec.SortOptions != nil {
		options.Reorder = krusty.ReorderOptionUnspecified // saves a warning; the file decides
	}
	return krusty.MakeKustomizer(options).Run(b.fs, filepath.Join(root, filepath.FromSlash(b.dir)))
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
