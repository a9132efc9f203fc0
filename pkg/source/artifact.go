package source

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/fluxcd/pkg/sourceignore"
	"github.com/fluxcd/pkg/sourceignore/gitignore"
)

// Content says what of a source goes into its artifact: the fields of a Flux source of these names.
type Content struct {
	Ignore     *string  // spec.ignore; nil for none
	Sparse     []string // spec.sparseCheckout: only what begins with one of these
	Submodules bool     // spec.recurseSubmodules; without it submodules are empty
	Include    []Include
}

// Include is another source's artifact that is copied into this one.
type Include struct {
	Snapshot *Snapshot
	Name     string // of the other source, for messages
	From, To string // slash paths; From "" is all of it
}

// Artifact is the snapshot with those files that source-controller would put into its artifact, at
// the same revision: regular files that neither a .sourceignore nor Ignore excludes; without either
// of the two, Flux's defaults exclude pictures, archives, CI configuration and .sops.yaml. Opening
// a file that was left out fails with an error that is fs.ErrNotExist and says which rule did it.
//
// Order and rules are those of source-controller 1.9: submodules and sparse checkout, includes,
// then the filter (gitrepository_controller.go; artifact/storage/archive.go).
func (s *Snapshot) Artifact(c Content) (*Snapshot, error) {
	old := s.FS.(*tree)
	out := *s
	out.Links = maps.Clone(s.Links)
	t := &tree{root: old.root.copy()}
	if !c.Submodules {
		t.root.emptySubmodules()
	}
	if len(c.Sparse) > 0 {
		if err := t.keepOnly(c.Sparse); err != nil {
			return nil, err
		}
	}
	for _, i := range c.Include {
		if err := t.include(i); err != nil {
			return nil, err
		}
	}
	if err := t.filter(c.Ignore); err != nil {
		return nil, err
	}
	t.root.seal(s.repo == nil)
	out.FS = t
	return &out, nil
}

// HasSubmodules reports whether a part of the source is another repository.
func (s *Snapshot) HasSubmodules() bool {
	return s.FS.(*tree).root.hasSubmodules()
}

func (n *node) hasSubmodules() bool {
	for _, c := range n.children {
		if c.submodule || c.hasSubmodules() {
			return true
		}
	}
	return false
}

// copy is the node with directories of its own; what is in files and holes is shared.
func (n *node) copy() *node {
	c := *n
	c.listing = nil
	if n.children != nil {
		c.absent = nil // whether it is empty shows again when it is sealed
		c.children = make(map[string]*node, len(n.children))
		for name, child := range n.children {
			c.children[name] = child.copy()
		}
	}
	return &c
}

// emptySubmodules leaves out what is in submodules.
func (n *node) emptySubmodules() {
	for name, c := range n.children {
		if c.submodule {
			n.children[name] = &node{name: name, mode: fs.ModeIrregular, absent: absence(
				"is a submodule, and spec.recurseSubmodules of the GitRepository is not true: Flux leaves it empty")}
			continue
		}
		c.emptySubmodules()
	}
}

// files calls f for each regular file, in no order.
func (n *node) files(at string, f func(p string)) {
	for name, c := range n.children {
		p := path.Join(at, name)
		switch {
		case c.children != nil:
			c.files(p, f)
		case c.content != nil:
			f(p)
		}
	}
}

// inside is p as a path of an fs.FS; one that climbs out is kept inside, as Flux's securejoin does.
func inside(p string) string {
	if p = strings.TrimPrefix(path.Clean("/"+p), "/"); p != "" {
		return p
	}
	return "."
}

func (t *tree) keepOnly(prefixes []string) error {
	var clean []string
	for _, p := range prefixes {
		p = strings.TrimPrefix(p, "./")
		if _, err := t.find("stat", inside(p)); err != nil {
			return &Error{Where: "spec.sparseCheckout", What: fmt.Sprintf("there is no %q in the repository", p), err: err}
		}
		clean = append(clean, p)
	}
	t.root.files("", func(p string) {
		// As go-git's index.SkipUnless, which compares bytes: "apps" is also apps-old.
		if !slices.ContainsFunc(clean, func(prefix string) bool { return strings.HasPrefix(p, prefix) }) {
			t.leaveOut(p, "is not below any directory of spec.sparseCheckout")
		}
	})
	return nil
}

// include copies a part of another artifact to a place in this one, over what is there.
func (t *tree) include(i Include) error {
	from := inside(i.From)
	n, err := i.Snapshot.FS.(*tree).find("stat", from)
	if err != nil {
		return &Error{Where: "spec.include of " + i.Name, What: "there is no " + from + " in it", err: err}
	}
	to := inside(i.To)
	if to == "." {
		to = ""
	}
	if n.children == nil {
		t.put(to, n.copy())
		return nil
	}
	n.merge(t, to)
	return nil
}

func (n *node) merge(t *tree, at string) {
	t.directory(at)
	for name, c := range n.children {
		if p := path.Join(at, name); c.children != nil {
			c.merge(t, p)
		} else {
			t.put(p, c.copy())
		}
	}
}

// filter leaves out what source-controller's archive would. The patterns are read and matched by
// Flux's own library, whose matcher differs from Git's in corners.
func (t *tree) filter(ignore *string) error {
	own, err := t.root.patterns("")
	if err != nil {
		return err
	}
	if ignore != nil {
		own = append(own, sourceignore.ReadPatterns(strings.NewReader(*ignore), nil)...)
	}
	why := "is left out by .sourceignore or spec.ignore, as Flux leaves it out of the artifact"
	if len(own) == 0 {
		own = sourceignore.DefaultPatterns(nil)
		why = "is left out of the artifact by Flux's default rules, which hold while there is no .sourceignore and no spec.ignore: add a .sourceignore file, or rename it"
	}
	vcs := sourceignore.NewMatcher(sourceignore.VCSPatterns(nil))
	all := sourceignore.NewMatcher(append(sourceignore.VCSPatterns(nil), own...))
	t.root.files("", func(p string) {
		parts := strings.Split(p, "/")
		switch {
		case !all.Match(parts, false):
		case vcs.Match(parts, false):
			t.leaveOut(p, "is one of Git's own files, which Flux leaves out of the artifact")
		default:
			t.leaveOut(p, why)
		}
	})
	return nil
}

// patterns are those of the .sourceignore files, each for its own directory, weakest first.
func (n *node) patterns(at string) ([]gitignore.Pattern, error) {
	var out []gitignore.Pattern
	domain := strings.FieldsFunc(at, func(r rune) bool { return r == '/' })
	if c := n.children[sourceignore.IgnoreFile]; c != nil && c.content != nil {
		text, err := c.read(path.Join(at, sourceignore.IgnoreFile))
		if err != nil {
			return nil, err
		}
		out = sourceignore.ReadPatterns(bytes.NewReader(text), domain)
	}
	for _, name := range slices.Sorted(maps.Keys(n.children)) {
		if c := n.children[name]; c.children != nil {
			below, err := c.patterns(path.Join(at, name))
			if err != nil {
				return nil, err
			}
			out = append(out, below...)
		}
	}
	return out, nil
}
