package render

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/api/konfig"
)

// at is a fault of what k includes, at the line that includes it.
func (t *tree) at(k *kustomization, inc include, msg, fix string) error {
	if inc.inSpec {
		return t.b.owner("spec.components: "+msg, fix)
	}
	e := &Error{File: k.file, Line: inc.line, Msg: msg, Fix: fix}
	if k.generated {
		e.File, e.Line = inc.name, 0
	}
	return e
}

// check finds what is wrong with the path itself.
func (t *tree) check(k *kustomization, inc include) error {
	s := t.b.fs
	if inc.name == ".." || strings.HasPrefix(inc.name, "../") || path.IsAbs(inc.name) {
		return t.at(k, inc, inc.path+" is outside of the source", "copy it into the source and give the path from "+k.file)
	}
	if inc.role == asConfig && strings.Contains(inc.path, ":") {
		return nil // an object in flow style
	}
	info, err := s.stat(inc.name)
	if err != nil {
		if at, target := s.link(inc.name); target != "" {
			return t.at(k, inc, linkError(at, target).Error(), linkFix)
		}
		if _, ok := s.refused[inc.name]; ok {
			return nil // said for itself
		}
		var out interface{ LeftOut() string }
		if errors.As(err, &out) {
			return t.at(k, inc, inc.name+" "+out.LeftOut(), "")
		}
		fix := fmt.Sprintf("add the file, or take the line out of %s", k.file)
		if near := s.nearFile(k, inc.name); near != "" {
			fix = fmt.Sprintf("did you mean %s?", relative(k.dir, near))
		}
		return t.at(k, inc, fmt.Sprintf("%s does not exist (%s)", inc.path, inc.name), fix)
	}
	takesDir := inc.role == asResource || inc.role == asComponent
	switch {
	case info.IsDir() && !takesDir && inc.role != asConfig:
		return t.at(k, inc, inc.path+" is a directory, not a file", "name the files in it")
	case info.IsDir() && takesDir && s.kustomizations(inc.name) > 1:
		return t.at(k, inc, inc.path+" has more than one kustomization file", "keep one of kustomization.yaml, kustomization.yml, Kustomization")
	case info.IsDir() && takesDir && s.kustomizationIn(inc.name) == "":
		for _, name := range konfig.RecognizedKustomizationFileNames() {
			if target, ok := s.links[path.Join(inc.name, name)]; ok {
				return t.at(k, inc, linkError(path.Join(inc.name, name), target).Error(), linkFix)
			}
		}
		return t.at(k, inc, inc.path+" is a directory without a kustomization.yaml", "add one to "+inc.name+", or name the files in it")
	case !info.IsDir() && inc.role == asComponent:
		return t.at(k, inc, inc.path+" is a file; a component is a directory", "name the directory")
	}
	return nil
}

// cycle says how inc comes back to what is above it, "" if it does not. What
// contains a directory that is above counts too, as it does for kustomize.
func cycle(above []*kustomization, inc include) string {
	var dirs []string
	for i, k := range above {
		if k.dir == inc.name {
			for _, a := range above[i:] {
				dirs = append(dirs, a.dir)
			}
			return "the kustomizations go round in a circle: " + strings.Join(append(dirs, inc.name), " → ")
		}
		if inc.name == "." || strings.HasPrefix(k.dir, inc.name+"/") {
			return fmt.Sprintf("%s contains %s, which includes it", inc.path, k.dir)
		}
	}
	return ""
}

func kindFault(file string, r role) string {
	if r == asComponent {
		return file + " is not a Component, but a component names it"
	}
	return file + " is a Component, but a resource names it"
}

func kindFix(r role) string {
	if r == asComponent {
		return "list it in resources, or set kind: Component there"
	}
	return "list it in components"
}

// nearFile is the sibling of name that was probably meant, "" if none: not one
// that k includes anyway.
func (s *sourceFS) nearFile(k *kustomization, name string) string {
	names, err := s.ReadDir(path.Dir(name))
	if err != nil {
		return ""
	}
	var meant []string
	for _, n := range names {
		n = path.Join(path.Dir(name), n)
		if !slices.ContainsFunc(k.includes, func(inc include) bool { return inc.name == n }) {
			meant = append(meant, n)
		}
	}
	return nearest(name, meant)
}

// relative is name as a kustomization in dir names it.
func relative(dir, name string) string {
	up := ""
	for dir != "." && name != dir && !strings.HasPrefix(name, dir+"/") {
		up, dir = up+"../", path.Dir(dir)
	}
	if dir == "." {
		return up + name
	}
	return up + strings.TrimPrefix(strings.TrimPrefix(name, dir), "/")
}
