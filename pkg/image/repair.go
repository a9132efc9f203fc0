package image

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	kyaml "sigs.k8s.io/kustomize/kyaml/yaml"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
)

// digestLike is a digest that stands where a whole reference should.
var digestLike = regexp.MustCompile(`^[a-z0-9]+:[0-9a-f]{32,}$`)

// Repair mends the markers of one YAML file that do not fit their field, and
// what updates have made of the values there; names are the images of the
// policies' repositories. A bare tag or digest in an image gets its name back,
// and its marker loses its :tag or :digest; a whole reference in newTag or tag
// becomes the tag, and its marker gets one. No version changes. Like Edit it
// changes these bytes only, and what cannot be mended is a problem.
func Repair(file string, data []byte, names map[Ref]string) ([]byte, []Edited, []Problem) {
	if !HasMarkers(data) {
		return data, nil, nil
	}
	docs, err := object.Documents(file, data)
	if err != nil || !utf8.Valid(data) {
		return data, nil, nil // Edit tells
	}
	e := editor{file: file, data: data, starts: lines(data)}
	for _, d := range docs {
		if object.Find(d.Node, "sops", "mac") != nil {
			continue
		}
		for _, m := range walk(d.Node, "", "", nil) {
			if m.Trap() != "" || m.Nonsense() != "" {
				e.mend(d, m, names)
			}
		}
	}
	slices.SortFunc(e.changes, func(a, b change) int { return a.start - b.start })
	out := e.splice()
	for _, m := range Markers(file, out) {
		if slices.ContainsFunc(e.edits, func(done Edited) bool { return done.Line == m.Line && (m.Trap() != "" || m.Nonsense() != "") }) {
			e.problem(m, "image-marker-file", "cannot be mended", "write it by hand")
			return data, nil, e.problems
		}
	}
	return out, e.edits, e.problems
}

// mend plans the edit of one marker and its value.
func (e *editor) mend(d object.Document, m marked, names map[Ref]string) {
	ref := Ref{Namespace: m.Namespace, Name: m.Policy}
	value, part := m.Value, ""
	switch whole := strings.ContainsAny(m.Value, "/:@"); {
	case m.Key != "image": // newTag, tag
		part = "tag"
		if strings.Contains(m.Value, "/") {
			i, err := ParseImage(m.Value)
			if err != nil {
				e.problem(m.Marker, "image-marker-nonsense", m.Key+" is "+m.Value+", which has no tag", "write the tag")
				return
			}
			value = i.Tag
		}
	case m.Value == "" || whole && !digestLike.MatchString(m.Value):
	case names[ref] == "":
		e.problem(m.Marker, "image-marker-unresolved", "the reference cannot be restored: no ImageRepository of its policy tells the image's name", "write the whole reference, name:tag")
		return
	case whole:
		value = names[ref] + "@" + m.Value
	default:
		value = names[ref] + ":" + m.Value
	}
	line := e.markerLine(m)
	old, now := `"`+m.name()+`"`, `"`+ref.Namespace+":"+ref.Name+`"`
	if part != "" {
		now = strings.TrimSuffix(now, `"`) + ":" + part + `"`
	}
	if line == 0 || bytes.Count(e.line(line), []byte(old)) != 1 {
		e.problem(m.Marker, "image-marker-unread", "the marker cannot be mended", "write "+now)
		return
	}
	edit := Edited{File: e.file, Line: m.Line, Column: m.node.Column, Policy: ref, Old: m.Value, New: value, Part: part, Marker: strings.Trim(now, `"`), Object: identify(d)}
	start := e.starts[line-1] + bytes.Index(e.line(line), []byte(old))
	if value != m.Value {
		at, err := locate(e.data, e.starts, m.node)
		if err != nil || !reference.MatchString(value) {
			e.problem(m.Marker, "image-marker-scalar", fmt.Sprintf("%q cannot be mended where it stands", m.Value), "write "+value)
			return
		}
		c := change{place: at, node: m.node, text: value, new: value}
		if at.quote == 0 && kyaml.IsValueNonString(value) {
			c.text = `"` + value + `"`
		}
		e.changes = append(e.changes, c)
	}
	e.changes = append(e.changes, change{place: place{start: start, end: start + len(old)}, text: now})
	e.edits = append(e.edits, edit)
}

// name is what the marker says: NAMESPACE:POLICY[:PART].
func (m Marker) name() string {
	s := m.Namespace + ":" + m.Policy
	if m.Part != "" {
		s += ":" + m.Part
	}
	return s
}
