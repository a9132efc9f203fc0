package image

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/google/go-containerregistry/pkg/name"
	"go.yaml.in/yaml/v3"
	kyaml "sigs.k8s.io/kustomize/kyaml/yaml"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
)

// Image is what a policy has chosen: Flux's status.latestRef.
type Image struct {
	Name   string // as the ImageRepository writes it
	Tag    string
	Digest string // "" if the policy does not reflect it
}

// String is name:tag[@digest].
func (i Image) String() string {
	s := i.Name + ":" + i.Tag
	if i.Digest != "" {
		s += "@" + i.Digest
	}
	return s
}

// part is what a marker writes.
func (i Image) part(part string) (string, error) {
	switch part {
	case "":
		return i.String(), nil
	case "tag":
		return i.Tag, nil
	case "name":
		return i.Name, nil
	case "digest":
		if i.Digest == "" {
			return "", errors.New("the policy reflects no digest, and Flux would empty the field")
		}
		return i.Digest, nil
	}
	return "", fmt.Errorf("the marker ends in :%s, and there is only :tag, :name and :digest", part)
}

// Edited is one scalar that was changed.
type Edited struct {
	File     string
	Line     int // 1-based
	Column   int // 1-based, in characters
	Policy   Ref
	Old, New string

	Part   string // of the marker: "", tag, name or digest
	Marker string // of Repair: what the marker says now
	Object ObjectIdentifier
}

// token is what a file has to contain to have a marker.
var token = []byte(`"$imagepolicy"`)

// HasMarkers reports whether a file can have markers at all.
func HasMarkers(data []byte) bool { return bytes.Contains(data, token) }

// Edit writes choices where the markers of one YAML file say. Only the bytes of
// the scalars change: comments, blank lines, quotes and line ends stay as they
// are. A scalar that has its value already is no edit, and the result without
// edits is data itself.
//
// A marker that nothing can be written at is a problem, and its scalar stays:
// no choice for its policy, a bare tag over a whole reference or the other way
// round, a scalar of several lines, a file that is sealed, a comment that looks
// like a marker and stands on no scalar.
func Edit(file string, data []byte, choices map[Ref]Image) ([]byte, []Edited, []Problem) {
	if !bytes.Contains(data, token) {
		return data, nil, nil
	}
	e := editor{file: file, data: data, choices: choices}
	docs, err := object.Documents(file, data)
	if err != nil || !utf8.Valid(data) {
		p := Problem{Code: "image-marker-file", File: file, Message: "not valid YAML: its markers are not written"}
		if syntax := (*object.SyntaxError)(nil); errors.As(err, &syntax) {
			p.Line, p.Message = syntax.Line, p.Message+": "+syntax.Msg
		}
		return data, nil, []Problem{p}
	}
	e.starts = lines(data)
	var all []marked
	for _, d := range docs {
		in := walk(d.Node, "", "", nil)
		all = append(all, in...)
		if object.Find(d.Node, "sops", "mac") == nil {
			for _, m := range in {
				e.marker(d, m)
			}
		} else if len(in) > 0 {
			e.problem(in[0].Marker, "image-marker-sealed", "the file is sealed with SOPS: a change would break its MAC",
				"keep the field in a file of its own that is not sealed")
		}
	}
	e.unread(all)
	out := e.splice()
	if len(e.edits) > 0 && !e.verify(docs, out) {
		e.problems = append(e.problems, Problem{Code: "image-marker-file", File: file, Line: e.edits[0].Line,
			Message: "its markers cannot be written without changing something else",
			Hint:    "write the scalar on one line of its own, the marker behind it"})
		out, e.edits = data, nil
	}
	slices.SortStableFunc(e.problems, func(a, b Problem) int { return a.Line - b.Line })
	return out, e.edits, e.problems
}

// editor is one file under edit.
type editor struct {
	file     string
	data     []byte
	starts   []int // of the lines
	choices  map[Ref]Image
	edits    []Edited
	changes  []change
	problems []Problem
}

type change struct {
	place
	node *yaml.Node
	text string // with quotes of its own, where it needs some
	new  string
}

func (e *editor) problem(m Marker, code, message, hint string) {
	e.problems = append(e.problems, Problem{Code: code, File: e.file, Line: m.Line,
		Object: "imagepolicy/" + m.Policy + " in " + m.Namespace, Message: message, Hint: hint})
}

// reference is what can stand in a scalar without quotes and escapes, and all
// that an image needs.
var reference = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._/:@+-]*$`)

// marker plans the edit of one scalar.
func (e *editor) marker(d object.Document, m marked) {
	ref := Ref{Namespace: m.Namespace, Name: m.Policy}
	image, ok := e.choices[ref]
	if !ok {
		e.problem(m.Marker, "image-marker-unresolved", "nothing is chosen for the policy of this marker", "")
		return
	}
	text, err := image.part(m.Part)
	if err != nil {
		e.problem(m.Marker, "image-marker-part", err.Error(), "")
		return
	}
	if strings.HasPrefix(m.Value, "ENC[") {
		e.problem(m.Marker, "image-marker-sealed", "its value is sealed", "leave images unsealed")
		return
	}
	if why, hint := m.refuse(text); why != "" {
		e.problem(m.Marker, "image-marker-nonsense", why, hint)
		return
	}
	if m.Value == text {
		return
	}
	if !reference.MatchString(text) {
		e.problem(m.Marker, "image-marker-nonsense", fmt.Sprintf("%q is not an image, a tag or a digest", text), "")
		return
	}
	at, err := locate(e.data, e.starts, m.node)
	if err != nil {
		e.problem(m.Marker, "image-marker-scalar", "its value "+err.Error(), "write the value on the line of its key, the marker behind it")
		return
	}
	c := change{place: at, node: m.node, text: text, new: text}
	// What YAML 1.1 would read as a number or a truth value gets quotes, as with Flux.
	if at.quote == 0 && kyaml.IsValueNonString(text) {
		c.text = `"` + text + `"`
	}
	e.changes = append(e.changes, c)
	e.edits = append(e.edits, Edited{File: e.file, Line: m.Line, Column: m.node.Column, Policy: ref, Old: m.Value, New: text,
		Part: m.Part, Object: identify(d)})
}

// refuse tells why new must not be written at the marker: "" if it may. What
// the marker says is compared with the field and with what stands there now.
func (m Marker) refuse(new string) (why, hint string) {
	be := func(part string) string {
		return fmt.Sprintf("let the marker be {\"$imagepolicy\": \"%s:%s%s\"}", m.Namespace, m.Policy, part)
	}
	bare := m.Part == "tag" || m.Part == "digest"
	switch m.Key {
	case "newTag", "tag":
		switch {
		case m.Part == "":
			return fmt.Sprintf("would write the whole reference %s into %s", new, m.Key), be(":tag")
		case m.Part == "name":
			return fmt.Sprintf("would write the name %s into %s", new, m.Key), be(":tag")
		case m.Part == "digest" && m.Key == "newTag":
			return "would write the digest " + new + " into newTag", "write it into digest, beside newName"
		}
	case "digest":
		if m.Part != "digest" {
			return fmt.Sprintf("would write %s into digest", new), be(":digest")
		}
	case "newName":
		if m.Part != "name" {
			return fmt.Sprintf("would write %s into newName, which holds a name", new), be(":name")
		}
	case "repository": // some charts want the whole reference here
		if bare {
			return fmt.Sprintf("would write the bare %s %s into repository", m.Part, new), be(":name")
		}
	case "image":
		if bare && !strings.ContainsAny(m.Value, "/:@") {
			if why := m.Nonsense(); why != "" {
				return why, "write the whole reference, name:tag, and " + be("")
			}
			return fmt.Sprintf("would write the bare %s %s into image", m.Part, new), be("")
		}
		if bare {
			return fmt.Sprintf("would write the bare %s %s over the whole reference %s", m.Part, new, m.Value), be("")
		}
	}
	if bare && strings.Contains(m.Value, "/") {
		return fmt.Sprintf("would write the bare %s %s over the whole reference %s", m.Part, new, m.Value), be("")
	}
	return "", ""
}

// splice is data with all changes.
func (e *editor) splice() []byte {
	if len(e.changes) == 0 {
		return e.data
	}
	var out bytes.Buffer
	at := 0
	for _, c := range e.changes {
		if c.start < at { // two markers on one scalar cannot be: verify refuses it
			continue
		}
		out.Write(e.data[at:c.start])
		out.WriteString(c.text)
		at = c.end
	}
	out.Write(e.data[at:])
	return out.Bytes()
}

// verify reads the result again: it must differ from what was in the scalars
// that were changed, and nowhere else.
func (e *editor) verify(docs []object.Document, out []byte) bool {
	again, err := object.Documents(e.file, out)
	if err != nil {
		return false
	}
	before, after := nodes(docs), nodes(again)
	if len(before) != len(after) {
		return false
	}
	next := 0
	for i, b := range before {
		a := after[i]
		if b.Kind != a.Kind || b.Line != a.Line || b.HeadComment != a.HeadComment || b.LineComment != a.LineComment || b.FootComment != a.FootComment ||
			b.Anchor != a.Anchor {
			return false
		}
		if next < len(e.changes) && b.Kind == yaml.ScalarNode && b.Line == e.changes[next].node.Line && b.Column == e.changes[next].node.Column {
			if a.Value != e.changes[next].new || a.Tag != "!!str" && a.Style&yaml.TaggedStyle == 0 {
				return false
			}
			next++
			continue
		}
		if b.Value != a.Value || b.Tag != a.Tag || b.Style != a.Style {
			return false
		}
	}
	return next == len(e.changes)
}

// nodes are all nodes of a file in the order in which they stand there.
func nodes(docs []object.Document) []*yaml.Node {
	var out []*yaml.Node
	var visit func(*yaml.Node)
	visit = func(n *yaml.Node) {
		out = append(out, n)
		for _, c := range n.Content {
			visit(c)
		}
	}
	for _, d := range docs {
		visit(d.Node)
	}
	return out
}

// looksLikeMarker is a comment that somebody meant to be a marker.
var looksLikeMarker = regexp.MustCompile(`#.*\{.*"\$imagepolicy"`)

// unread finds what looks like a marker and is none: on an alias, on a mapping,
// in a comment of several lines, in a text block, not JSON.
func (e *editor) unread(all []marked) {
	read := map[int]bool{} // the lines whose marker was read
	for _, m := range all {
		read[e.markerLine(m)] = true
	}
	for i := range e.starts {
		line := e.line(i + 1)
		if read[i+1] || !bytes.Contains(line, token) || !looksLikeMarker.Match(line) {
			continue
		}
		e.problems = append(e.problems, Problem{Code: "image-marker-unread", File: e.file, Line: i + 1,
			Message: "this looks like a marker, and belongs to no value: nothing is written here",
			Hint:    `put it behind a value: tag: 1.0.0 # {"$imagepolicy": "NAMESPACE:NAME:tag"}`})
	}
}

// markerLine is the line that a marker's comment is on: the nearest above the
// scalar, or that of its end.
func (e *editor) markerLine(m marked) int {
	step := 1
	if m.above {
		step = -1
	}
	for line := m.Line; line > 0 && line <= len(e.starts); line += step {
		if bytes.Contains(e.line(line), token) {
			return line
		}
	}
	return 0
}

// line is a line, 1-based, with its end.
func (e *editor) line(n int) []byte {
	end := len(e.data)
	if n < len(e.starts) {
		end = e.starts[n]
	}
	return e.data[e.starts[n-1]:end]
}

// ParseImage reads NAME:TAG[@DIGEST].
func ParseImage(s string) (Image, error) {
	i := splitImage(s)
	if _, err := name.ParseReference(s, name.WeakValidation); err != nil || !ValidTag(i.Tag) || !reference.MatchString(s) {
		return i, fmt.Errorf("%q is not NAME:TAG[@DIGEST]", s)
	}
	return i, nil
}
