package render

import (
	"bytes"
	"context"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/api/konfig"
)

// Reach is what a rendering may look at in its source, told without kustomize
// from what the kustomizations name. It errs on the side of too much. Not safe for
// concurrent use.
type Reach struct {
	// Remote says that something is named by URL.
	Remote bool

	any     bool            // it cannot be told: plugins name files of their own
	files   map[string]bool // also those that are missing: they may come
	dirs    []string        // with all below
	named   bool            // names of objects are not those in the files
	src     fs.FS
	patches [][]byte // of spec
	texts   [][]byte // of all files, once asked for
	known   map[string]bool
}

// Survey finds the reach of r. Only FS and Kustomization of r count; what is
// sealed is read as it was committed. If ctx is done, that is anything.
func Survey(ctx context.Context, r Request) *Reach {
	b := newBuild(ctx, Request{FS: r.FS, Kustomization: r.Kustomization, RemoteBases: true})
	out := &Reach{files: map[string]bool{}, known: map[string]bool{}, src: r.FS}
	t := &tree{b: b}
	if file := b.fs.kustomizationIn(b.dir); file != "" {
		out.directory(b.dir)
		if data, err := b.fs.read(file); err == nil {
			t.root = t.parse(file, data)
		}
	} else {
		out.dirs = append(out.dirs, b.dir)
		t.root = &kustomization{file: path.Join(b.dir, konfig.DefaultKustomizationFileName()), dir: b.dir, generated: true}
		t.all = append(t.all, t.root)
		_ = fs.WalkDir(r.FS, b.dir, func(name string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() && name != b.dir && b.fs.kustomizationIn(name) != "" {
				t.root.includes = append(t.root.includes, include{role: asResource, path: name, name: name})
				return fs.SkipDir
			}
			return nil
		})
	}
	if t.root == nil || ctx.Err() != nil {
		out.any = true
		return out
	}
	spec := r.Kustomization.Spec
	for _, c := range spec.Components {
		t.root.include(asComponent, c, 0)
	}
	t.descend(t.root, []*kustomization{t.root})
	for _, p := range spec.Patches {
		out.patches = append(out.patches, []byte(p.Patch))
	}
	out.named = spec.NamePrefix != "" || spec.NameSuffix != ""
	for _, k := range t.all {
		out.add(k, b.fs)
	}
	return out
}

func (r *Reach) add(k *kustomization, s *sourceFS) {
	if !k.generated {
		r.files[k.file] = true
	}
	data, _ := s.read(k.file)
	// One that is sealed itself names what only a key can tell.
	r.any = r.any || bytes.Contains(data, []byte("ENC[")) || len(k.spec.Generators)+len(k.spec.Transformers)+len(k.spec.Validators) > 0
	r.named = r.named || k.spec.NamePrefix != "" || k.spec.NameSuffix != ""
	for _, inc := range k.includes {
		if inc.remote && !s.isFile(inc.name) {
			r.Remote = true
			continue
		}
		r.files[inc.name] = true
		if (inc.role == asResource || inc.role == asComponent) && !s.isFile(inc.name) {
			r.directory(inc.name)
		}
	}
}

// directory adds the files that would make a directory a kustomization.
func (r *Reach) directory(dir string) {
	for _, name := range konfig.RecognizedKustomizationFileNames() {
		r.files[path.Join(dir, name)] = true
	}
}

// Touches reports whether a rendering may look at one of changed, slash paths
// from the source's root.
func (r *Reach) Touches(changed []string) bool {
	if r.any {
		return len(changed) > 0
	}
	return slices.ContainsFunc(changed, func(name string) bool {
		return r.files[name] || slices.ContainsFunc(r.dirs, func(dir string) bool {
			return dir == "." || name == dir || strings.HasPrefix(name, dir+"/")
		})
	})
}

// Declares reports whether the rendering may declare an object of that name, as
// far as the texts tell. What is by URL is not looked at.
func (r *Reach) Declares(name string) bool {
	if r.any || r.named {
		return true
	}
	found, known := r.known[name]
	if !known {
		found = r.contains(func(text []byte) bool { return bytes.Contains(text, []byte(name)) || composedName.Match(text) })
		r.known[name] = found
	}
	return found
}

// DeclaresGroup reports whether it may declare an object of an API group.
func (r *Reach) DeclaresGroup(group string) bool {
	return r.any || r.contains(func(text []byte) bool {
		return bytes.Contains(text, []byte(group+"/v")) || composedVersion.Match(text)
	})
}

// Names and versions that the text does not spell out: they are sealed, or made
// of variables.
var (
	composedName    = regexp.MustCompile(`\bname"?:\s*["']?(\S*\$\{|ENC\[)`)
	composedVersion = regexp.MustCompile(`\bapiVersion"?:\s*["']?(\S*\$\{|ENC\[)`)
)

func (r *Reach) contains(match func([]byte) bool) bool {
	if r.texts == nil {
		r.texts = append([][]byte{}, r.patches...)
		add := func(name string) {
			if data, err := fs.ReadFile(r.src, name); err == nil {
				r.texts = append(r.texts, data)
			}
		}
		for name := range r.files {
			add(name)
		}
		for _, dir := range r.dirs {
			_ = fs.WalkDir(r.src, dir, func(name string, d fs.DirEntry, err error) error {
				if err == nil && !d.IsDir() && !r.files[name] {
					add(name)
				}
				return nil
			})
		}
	}
	return slices.ContainsFunc(r.texts, match)
}
