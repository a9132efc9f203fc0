package render

import (
	"encoding/json"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	fluxkustomize "github.com/fluxcd/pkg/apis/kustomize"
	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/yaml"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
)

// entry is the kustomization that a build starts from: the one at spec.path,
// or the list of manifests that stands in for it, with spec put in.
type entry struct {
	file      string // its path in the source, whether Git has it or not
	generated bool   // Git does not have it
	ignored   *Error // a field that it does not have, nil without one
	spec      types.Kustomization
}

// makeEntry makes the entry by the rules of fluxcd/pkg/kustomize's
// GenerateManifest, to the letter where it decides what is built.
func (b *build) makeEntry() (entry, error) {
	e := entry{spec: types.Kustomization{TypeMeta: types.TypeMeta{
		APIVersion: types.KustomizationVersion, Kind: types.KustomizationKind,
	}}}
	if file := b.fs.kustomizationIn(b.dir); file != "" {
		if b.fs.kustomizations(b.dir) > 1 {
			return e, &Error{File: file, Msg: b.dir + " has more than one kustomization file", Fix: "keep one of kustomization.yaml, kustomization.yml, Kustomization"}
		}
		e.file = file
		data, err := b.fs.read(file)
		if err != nil {
			return e, &Error{File: file, Msg: err.Error(), err: err}
		}
		if err := yaml.Unmarshal(data, &e.spec); err != nil {
			return e, kustomizationError(file, data, err)
		}
		e.ignored = ignored(file, data)
		if len(e.spec.Resources) == 0 {
			// Flux's way around kustomize's "kustomization.yaml is empty". What
			// components and generators make then carries the annotation.
			e.spec.BuildMetadata = []string{types.OriginAnnotations}
		}
	} else {
		e.file, e.generated = path.Join(b.dir, konfig.DefaultKustomizationFileName()), true
		found, err := b.scan()
		if err != nil {
			return e, err
		}
		if e.spec.Resources = found; len(found) == 0 {
			e.spec.Namespace = "_placeholder" // the same way around
		}
	}
	return e, b.mutate(&e.spec)
}

// mutate puts the Kustomization's spec into k.
func (b *build) mutate(k *types.Kustomization) error {
	spec := b.Kustomization.Spec
	for to, from := range map[*string]string{
		&k.Namespace: spec.TargetNamespace, &k.NamePrefix: spec.NamePrefix, &k.NameSuffix: spec.NameSuffix,
	} {
		if from != "" {
			*to = from
		}
	}
	for _, p := range spec.Patches {
		k.Patches = append(k.Patches, types.Patch{Patch: p.Patch, Target: selector(p.Target)})
	}
	for _, c := range spec.Components {
		if !isLocal(c) {
			return b.owner(fmt.Sprintf("spec.components: %q is not a local relative path", c), "give the path from spec.path, such as ../components/x")
		}
		if _, err := b.fs.stat(path.Join(b.dir, c)); err != nil && spec.IgnoreMissingComponents {
			continue
		}
		k.Components = append(k.Components, c)
	}
	for _, p := range b.Kustomization.PatchesStrategicMerge {
		k.PatchesStrategicMerge = append(k.PatchesStrategicMerge, types.PatchStrategicMerge(p.Raw))
	}
	for _, p := range b.Kustomization.PatchesJSON6902 {
		patch, err := json.Marshal(p.Patch)
		if err != nil {
			return b.owner("spec.patchesJson6902: "+err.Error(), "")
		}
		k.PatchesJson6902 = append(k.PatchesJson6902, types.Patch{Patch: string(patch), Target: selector(&p.Target)})
	}
	for _, image := range spec.Images {
		mergeImage(k, image)
	}
	if len(spec.BuildMetadata) > 0 {
		k.BuildMetadata = nil
		for _, option := range spec.BuildMetadata {
			k.BuildMetadata = append(k.BuildMetadata, string(option))
		}
	}
	return nil
}

// mergeImage overrides the fields that image sets in the entry of the same
// name. A tag and a digest both say which image it is, so that setting one
// takes the other away: "name:tag@digest" would pull the old digest.
func mergeImage(k *types.Kustomization, image fluxkustomize.Image) {
	i := slices.IndexFunc(k.Images, func(have types.Image) bool { return have.Name == image.Name })
	if i < 0 {
		k.Images = append(k.Images, types.Image{Name: image.Name, NewName: image.NewName, NewTag: image.NewTag, Digest: image.Digest})
		return
	}
	if image.NewName != "" {
		k.Images[i].NewName = image.NewName
	}
	if image.NewTag != "" || image.Digest != "" {
		k.Images[i].NewTag, k.Images[i].Digest = image.NewTag, image.Digest
	}
}

func selector(s *fluxkustomize.Selector) *types.Selector {
	if s == nil {
		return nil
	}
	out := &types.Selector{LabelSelector: s.LabelSelector, AnnotationSelector: s.AnnotationSelector}
	out.Group, out.Version, out.Kind = s.Group, s.Version, s.Kind
	out.Name, out.Namespace = s.Name, s.Namespace
	return out
}

// manifest is the entry as kustomize reads it. origins adds the annotation
// that tells which file each object came from.
func (e entry) manifest(origins bool) ([]byte, error) {
	k := e.spec
	if origins && !e.wantsOrigins() {
		k.BuildMetadata = append(slices.Clone(k.BuildMetadata), types.OriginAnnotations)
	}
	return yaml.Marshal(k)
}

// wantsOrigins reports whether the annotation belongs in the result.
func (e entry) wantsOrigins() bool {
	return slices.Contains(e.spec.BuildMetadata, types.OriginAnnotations)
}

// kustomizationIn is the kustomization file of a directory, "" if it has
// none: kustomization.yaml, kustomization.yml or Kustomization, the first.
func (s *sourceFS) kustomizationIn(dir string) string {
	for _, name := range konfig.RecognizedKustomizationFileNames() {
		if file := path.Join(dir, name); s.isFile(file) {
			return file
		}
	}
	return ""
}

// kustomizations counts the kustomization files of a directory; kustomize
// refuses more than one.
func (s *sourceFS) kustomizations(dir string) int {
	n := 0
	for _, name := range konfig.RecognizedKustomizationFileNames() {
		if s.isFile(path.Join(dir, name)) {
			n++
		}
	}
	return n
}

var wrongType = regexp.MustCompile(`cannot unmarshal (\S+) into Go struct field (?:Kustomization\.)?(\S+) of type (\S+)`)

// kustomizationError is err, of decoding the kustomization file, at its line.
func kustomizationError(file string, data []byte, err error) *Error {
	docs, yamlErr := object.Documents(file, data)
	if len(docs) == 0 && yamlErr != nil {
		return syntaxError(file, yamlErr)
	}
	e := &Error{File: file, Msg: plain(err.Error())}
	if len(docs) == 0 {
		return e
	}
	e.Line = docs[0].Line
	if m := wrongType.FindStringSubmatch(err.Error()); m != nil {
		e.Line = object.LineOf(docs[0].Node, m[2])
		e.Msg = fmt.Sprintf("%s is %s, want %s", m[2], jsonType(m[1]), goType(m[3]))
		e.Fix = "see https://kubectl.docs.kubernetes.io/references/kustomize/kustomization/"
	}
	return e
}

// jsonType puts a type of JSON into words of YAML.
func jsonType(t string) string {
	switch t {
	case "object":
		return "a mapping"
	case "array":
		return "a list"
	}
	return "a " + t
}

// goType puts a type of kustomize's API into words of YAML.
func goType(t string) string {
	switch {
	case strings.HasPrefix(t, "[]"):
		return "a list of " + strings.TrimPrefix(goType(t[2:]), "a ") + "s"
	case strings.HasPrefix(t, "map["):
		return "a mapping"
	case strings.Contains(t, "."):
		return "a mapping"
	}
	return "a " + t
}
