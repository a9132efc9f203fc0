package image

import (
	"cmp"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/image"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
)

// seen is a marker, and where it stands.
type seen struct {
	image.Marker
	file string
	tree fs.FS
}

// checkMarkers warns of markers that no automation writes, and of those whose
// value never gets into a cluster.
func (u *update) checkMarkers() {
	overrides := map[fs.FS][]override{}
	for _, m := range u.seen {
		ref := image.Ref{Namespace: m.Namespace, Name: m.Policy}
		warn := func(code, message, hint string) {
			u.warn(image.Problem{Code: code, File: m.file, Line: m.Line, Object: "imagepolicy/" + ref.Name + " in " + ref.Namespace, Message: message, Hint: hint})
		}
		var declared []image.Policy
		for _, p := range u.tree.Policies {
			if p.Ref == ref {
				declared = append(declared, p)
			}
		}
		taken, near := false, false
		for _, a := range u.tree.Automations { // also suspended ones, and those that were not named
			if a.In(m.file) {
				taken = taken || slices.ContainsFunc(declared, a.Takes)
				near = near || a.Namespace == ref.Namespace
			}
		}
		switch {
		case taken:
		case len(declared) == 0:
			warn("image-marker-unresolved", "there is no such ImagePolicy in "+u.where+": nothing is written at this marker, by Flux neither", "mend the marker, or add the policy")
		case near:
			warn("image-marker-unselected", "no automation whose spec.policySelector takes this policy writes to "+m.file, "give the policy the labels that spec.policySelector wants")
		default:
			warn("image-marker-namespace", "an automation takes policies of its own namespace only, and none in "+ref.Namespace+" writes to "+m.file+": Flux ignores this marker too",
				"move the policy to the automation's namespace, or add an automation in "+ref.Namespace)
		}
		// Where the policy has chosen, writing refuses it.
		if why := m.Nonsense(); why != "" && !slices.ContainsFunc(u.chosen, func(d decision) bool { return d.policy.Ref == ref && d.image.Tag != "" }) {
			warn("image-marker-nonsense", why, u.env.Command("image")+" update --repair")
		}
		if _, ok := overrides[m.tree]; !ok {
			overrides[m.tree] = findOverrides(m.tree)
		}
		for _, o := range overrides[m.tree] {
			if m.Key == "image" && o.covers[m.file] && o.image == imageName(m.Value) && !slices.Contains(o.policies, ref) {
				warn("image-marker-overridden", fmt.Sprintf("%s sets the %s of this image: what is written here never gets into a cluster", object.Where(o.file, o.line), o.what),
					"put the marker there, or take the image out of images:")
			}
		}
	}
}

// imageName is the name in a reference, as kustomize compares it.
func imageName(ref string) string {
	ref, _, _ = strings.Cut(ref, "@")
	if colon := strings.LastIndex(ref, ":"); colon > strings.LastIndex(ref, "/") {
		return ref[:colon]
	}
	return ref
}

// override is an entry of a kustomization's images.
type override struct {
	file     string
	line     int
	image    string
	what     string          // name, tag or digest
	covers   map[string]bool // the files that the kustomization reads
	policies []image.Ref     // that have a marker in the entry
}

// findOverrides reads the images of all kustomizations.
func findOverrides(tree fs.FS) []override {
	kustomizations := map[string]*yaml.Node{} // directory -> document
	names := map[string]string{}
	_ = fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return fs.SkipDir // a submodule
		}
		if base := path.Base(name); base != "kustomization.yaml" && base != "kustomization.yml" && base != "Kustomization" {
			return nil
		}
		if data, err := fs.ReadFile(tree, name); err == nil {
			if docs, err := object.Documents(name, data); err == nil && len(docs) > 0 {
				kustomizations[path.Dir(name)], names[path.Dir(name)] = docs[0].Node, name
			}
		}
		return nil
	})
	var out []override
	for dir, n := range kustomizations {
		images := object.Find(n, "images")
		if images == nil || images.Kind != yaml.SequenceNode {
			continue
		}
		covers := map[string]bool{}
		cover(kustomizations, dir, covers)
		text, _ := fs.ReadFile(tree, names[dir])
		markers := image.Markers(names[dir], text)
		for _, entry := range images.Content {
			o := override{file: names[dir], line: entry.Line, covers: covers}
			if n := object.Find(entry, "name"); n != nil {
				o.image = n.Value
			}
			for _, key := range []string{"newName", "newTag", "digest"} {
				v := object.Find(entry, key)
				if v == nil {
					continue
				}
				if key != "newName" || o.what == "" {
					o.what, o.line = strings.ToLower(strings.TrimPrefix(key, "new")), v.Line
				}
				for _, m := range markers {
					if m.Line == v.Line {
						o.policies = append(o.policies, image.Ref{Namespace: m.Namespace, Name: m.Policy})
					}
				}
			}
			if o.what != "" {
				out = append(out, o)
			}
		}
	}
	slices.SortFunc(out, func(a, b override) int { return cmp.Or(strings.Compare(a.file, b.file), a.line-b.line) })
	return out
}

// cover adds the local files that the kustomization in dir reads to into.
func cover(kustomizations map[string]*yaml.Node, dir string, into map[string]bool) {
	if into[dir] {
		return
	}
	into[dir] = true
	for _, field := range []string{"resources", "components", "bases"} {
		list := object.Find(kustomizations[dir], field)
		if list == nil {
			continue
		}
		for _, item := range list.Content {
			name := path.Join(dir, item.Value)
			if _, ok := kustomizations[name]; ok {
				cover(kustomizations, name, into)
			} else {
				into[name] = true
			}
		}
	}
}
