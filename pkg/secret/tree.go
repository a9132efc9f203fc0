package secret

import (
	"bytes"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
)

// tree is what all files of a tree together tell.
type tree struct {
	root string

	mu    sync.Mutex
	files map[string]*treeFile // by their path below the root, with slashes
	// flux are the Kustomizations of Flux, kustomizations what each kustomization.yaml
	// names, by its directory.
	flux           []fluxKustomization
	kustomizations map[string][]string
	// patched means that a patch speaks of decryption: which Kustomizations have
	// it cannot be told then.
	patched bool
}

type treeFile struct {
	name     string // in findings
	real     string
	sealed   bool
	manifest bool // it looks like one
}

type fluxKustomization struct {
	ref        flux.Ref
	where      string // file:line
	path       string
	decryption bool
}

func newTree(root string) tree {
	return tree{root: root, files: make(map[string]*treeFile), kustomizations: make(map[string][]string)}
}

// add notes a file.
func (t *tree) add(name, real string, data []byte, sealed bool) {
	rel, err := filepath.Rel(t.root, real)
	if err != nil {
		return
	}
	rel = filepath.ToSlash(rel)
	f := &treeFile{name: name, real: real, sealed: sealed, manifest: manifestLike(data)}
	var ks []fluxKustomization
	patched := false
	if !sealed && bytes.Contains(data, []byte(flux.KustomizeGroup)) && isYAML(rel) {
		ks, patched = fluxKustomizations(name, data)
	}
	var named []string
	isKustomization := slices.Contains(kustomizationNames, path.Base(rel))
	if isKustomization {
		if docs, err := parse(data); err == nil {
			for _, doc := range docs {
				named = append(named, texts(doc.Content[0])...)
			}
		}
		patched = patched || bytes.Contains(data, []byte("decryption"))
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.files[rel] = f
	t.flux = append(t.flux, ks...)
	t.patched = t.patched || patched
	if isKustomization {
		t.kustomizations[path.Dir(rel)] = append(t.kustomizations[path.Dir(rel)], named...)
	}
}

var kustomizationNames = []string{"kustomization.yaml", "kustomization.yml", "Kustomization"}

func isYAML(name string) bool {
	return strings.HasSuffix(name, ".yaml") || strings.HasSuffix(name, ".yml")
}

// fluxKustomizations are those that a file declares. patched: one of them patches
// the decryption of others.
func fluxKustomizations(name string, data []byte) (out []fluxKustomization, patched bool) {
	docs, err := object.Documents(name, data)
	if err != nil {
		return nil, false
	}
	for _, d := range docs {
		if d.Kind != "Kustomization" || !strings.HasPrefix(d.APIVersion, flux.KustomizeGroup+"/") {
			continue
		}
		var fields map[string]any
		if d.Node.Decode(&fields) != nil {
			continue
		}
		// What is wrong with other fields of it is told elsewhere.
		k, _ := flux.ParseKustomization(object.Object{Unstructured: &unstructured.Unstructured{Object: fields}, File: name, Line: d.Line})
		for _, p := range k.Spec.Patches {
			patched = patched || strings.Contains(p.Patch, "decryption")
		}
		out = append(out, fluxKustomization{k.Ref, fmt.Sprintf("%s:%d", name, d.Line), k.Path(), k.Spec.Decryption != nil})
	}
	return out, patched
}

// texts are all texts of a node.
func texts(n *yaml.Node) (out []string) {
	if n.Kind == yaml.ScalarNode {
		return []string{n.Value}
	}
	for _, c := range n.Content {
		out = append(out, texts(c)...)
	}
	return out
}

// reached are the files that a Kustomization of Flux applies or reads, as far as
// can be told without a build: of a directory with a kustomization.yaml what that
// names, of any other all YAML in it.
func (t *tree) reached(dir string) map[string]bool {
	files, dirs := make(map[string]bool), make(map[string]bool)
	var enter func(dir string)
	enter = func(dir string) {
		if dirs[dir] {
			return
		}
		dirs[dir] = true
		named, ok := t.kustomizations[dir]
		if !ok {
			for name := range t.below(dir) {
				rel, _ := strings.CutPrefix(name, dir+"/")
				if dir == "." {
					rel = name
				}
				inner := ""
				for sub := path.Dir(rel); sub != "."; sub = path.Dir(sub) {
					if _, ok := t.kustomizations[path.Join(dir, sub)]; ok {
						inner = path.Join(dir, sub) // the outermost is last
					}
				}
				switch {
				case inner != "":
					enter(inner)
				case isYAML(name):
					files[name] = true
				}
			}
			return
		}
		for _, text := range named {
			if _, value, ok := strings.Cut(text, "="); ok { // KEY=FILE of a generator
				text = value
			}
			p := path.Join(dir, text)
			if t.files[p] != nil {
				files[p] = true
			} else if _, ok := t.kustomizations[p]; ok {
				enter(p)
			}
		}
	}
	enter(dir)
	return files
}

// below are the files in a directory, at any depth.
func (t *tree) below(dir string) map[string]*treeFile {
	if dir == "." {
		return t.files
	}
	out := make(map[string]*treeFile)
	for name, f := range t.files {
		if strings.HasPrefix(name, dir+"/") {
			out[name] = f
		}
	}
	return out
}

// reach finds the sealed files that no Kustomization of Flux reaches, or only one
// that does not decrypt. A tree without a Kustomization whose path is in it says
// nothing.
func (t *tree) reach() (out []Finding) {
	by := make(map[string][]fluxKustomization)
	some := false
	for _, k := range t.flux {
		if len(t.below(k.path)) == 0 {
			continue // of another repository
		}
		some = true
		for name := range t.reached(k.path) {
			by[name] = append(by[name], k)
		}
	}
	if !some {
		return nil
	}
	for name, f := range t.files {
		if !f.sealed {
			continue
		}
		ks := by[name]
		without := slices.IndexFunc(ks, func(k fluxKustomization) bool { return !k.decryption })
		switch {
		case len(ks) == 0 && f.manifest:
			out = append(out, Finding{
				Rule: Unreached, File: f.name, Message: "no Kustomization of Flux reaches it: nothing applies it",
				Fix: "name it in the kustomization.yaml of what needs it, or remove it",
			})
		case without >= 0 && !t.patched:
			k := ks[without]
			out = append(out, Finding{
				Rule: NoDecryption, File: f.name, Message: fmt.Sprintf("%s (%s) applies it, and does not decrypt", k.ref, k.where),
				Fix: "add to " + k.where + ": spec.decryption.provider: sops",
			})
		}
	}
	return out
}

// unusedRules finds the creation rules of each .sops.yaml that no file of the tree
// needs.
func (t *tree) unusedRules() (out []Finding) {
	for name, f := range t.files {
		if path.Base(name) != ".sops.yaml" {
			continue
		}
		file := readRuleFile(f.real)
		uses := make([]int, len(file.rules))    // files that a rule is for
		matches := make([]int, len(file.rules)) // files that its expression matches
		before := make([]map[int]bool, len(file.rules))
		for other, o := range t.files {
			if dir := path.Dir(name); dir != "." && !strings.HasPrefix(other, dir+"/") || path.Base(other) == ".sops.yaml" {
				continue
			}
			rel := strings.TrimPrefix(o.real, file.dir+string(filepath.Separator))
			first := -1
			for i, r := range file.rules {
				if r.expr != nil && !r.expr.MatchString(rel) {
					continue
				}
				matches[i]++
				if first < 0 {
					first = i
					uses[i]++
					continue
				}
				if before[i] == nil {
					before[i] = make(map[int]bool)
				}
				before[i][first] = true
			}
		}
		for i, r := range file.rules {
			which := "its path_regex " + quoted(r.text)
			if r.expr == nil {
				which = "it has no path_regex, and"
			}
			catchAll := slices.IndexFunc(file.rules[:i], func(r pathRule) bool { return r.expr == nil })
			switch {
			case catchAll >= 0:
				out = append(out, Finding{ShadowedRule, f.name, r.line, "", fmt.Sprintf("this creation rule is never used: the one at line %d comes first and takes every file", file.rules[catchAll].line), "move it before that one, or remove it"})
			case matches[i] == 0:
				out = append(out, Finding{UnusedRule, f.name, r.line, "", fmt.Sprintf("this creation rule is for no file here: %s matches none", which), "mend its path_regex, or remove it"})
			case uses[i] == 0:
				var lines []string
				for j, e := range file.rules[:i] {
					if before[i][j] {
						lines = append(lines, fmt.Sprint(e.line))
					}
				}
				out = append(out, Finding{ShadowedRule, f.name, r.line, "", fmt.Sprintf("this creation rule is never used: every file that %s matches is taken before, at line %s", which, strings.Join(lines, ", ")), "move it before that one, or remove it"})
			}
		}
	}
	return out
}

// Whole is what only all files together tell, after File saw each. read reads a
// file again.
func (c *Checker) Whole(read func(real string) ([]byte, error)) ([]Finding, error) {
	out := slices.Concat(c.tree.reach(), c.tree.unusedRules())
	if len(c.sealed.from) > 0 {
		for _, f := range c.tree.files {
			data, err := read(f.real)
			if err != nil {
				return nil, err
			}
			lines, from := c.sealed.repeats(data)
			for i, line := range lines {
				out = append(out, Finding{
					Rule: Repeated, File: f.name, Line: line, Message: "stands here in clear, and is sealed in " + from[i],
					Fix: "take it out, and change the value",
				})
			}
		}
	}
	return out, nil
}
