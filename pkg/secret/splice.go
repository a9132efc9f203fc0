package secret

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/getsops/sops/v3"
	"go.yaml.in/yaml/v3"
)

// leaf is a value or a comment that SOPS seals, or has sealed: what it is, and
// under which path.
type leaf struct {
	value   any    // what sops sealed, or the sealed text
	path    string // the authenticated data
	comment bool
}

// markers is a cipher that seals nothing: it puts a mark in the place of each
// value that sops asks it to seal or to open. What is to be sealed is thereby
// sops's own decision, and the marks tell where it stands in the tree.
type markers struct{ leaves []leaf }

const markPrefix = "\x00sealed "

func (m *markers) mark(l leaf) string {
	m.leaves = append(m.leaves, l)
	return fmt.Sprint(markPrefix, len(m.leaves)-1)
}

func (m *markers) Encrypt(plain any, _ []byte, path string) (string, error) {
	switch v := plain.(type) {
	case sops.Comment:
		if v.Value == "" {
			return "", nil
		}
		return m.mark(leaf{plain, path, true}), nil
	case string:
		if v == "" {
			return "", nil
		}
	}
	return m.mark(leaf{plain, path, false}), nil
}

func (m *markers) Decrypt(value string, _ []byte, path string) (any, error) {
	if value == "" {
		return "", nil
	}
	if !sealedValue.MatchString(value) {
		return nil, errors.New("is in clear")
	}
	comment := strings.HasSuffix(value, ",type:comment]")
	mark := m.mark(leaf{value, path, comment})
	if comment {
		return sops.Comment{Value: mark}, nil
	}
	return mark, nil
}

// at is the leaf that a mark stands for, -1 if it is none.
func (m *markers) at(v any) int {
	s, ok := v.(string)
	if c, isComment := v.(sops.Comment); isComment {
		s, ok = c.Value, true
	}
	rest, marked := strings.CutPrefix(s, markPrefix)
	if !ok || !marked {
		return -1
	}
	n := -1
	fmt.Sscan(rest, &n)
	return n
}

// place is where a leaf stands in the text.
type site struct {
	leaf   int
	node   *yaml.Node // nil for a comment
	span   span
	indent int  // column of the mapping or sequence around it
	flow   bool // inside of [] or {}
	line   int
}

// sites walks the nodes of a file beside its marked tree.
type sites struct {
	l     *layout
	m     *markers
	found []site
	spans []span
	notes []struct {
		text string
		leaf int
	} // comments, in sops's order; leaf -1 for one in clear
	sealed map[*yaml.Node]bool
	alias  []*yaml.Node // those whose value stays in clear
}

// locate finds where the marked leaves of a tree stand in src. docs are the
// nodes of its documents. The result is in the order of the text.
func locate(l *layout, docs []*yaml.Node, branches sops.TreeBranches, m *markers) ([]site, error) {
	if len(docs) != len(branches) {
		return nil, &fault{BadMetadata, "has documents that SOPS counts in another way"}
	}
	w := &sites{l: l, m: m, sealed: make(map[*yaml.Node]bool)}
	for i, doc := range docs {
		root := doc.Content[0]
		if root.Kind != yaml.MappingNode {
			if len(branches[i]) > 0 && slices.ContainsFunc(branches[i], func(it sops.TreeItem) bool { _, c := it.Key.(sops.Comment); return !c }) {
				return nil, refuse(root.Line, "the document is not a mapping")
			}
			w.branchNotes(branches[i])
			continue
		}
		if err := w.mapping(root, branches[i], false, true); err != nil {
			return nil, err
		}
	}
	for _, a := range w.alias {
		if w.sealed[a.Alias] {
			return nil, refuse(a.Line, "*%s refers to a value that is to be sealed, from where it would stay in clear: write it out", a.Value)
		}
	}
	if err := w.comments(); err != nil {
		return nil, err
	}
	slices.SortFunc(w.found, func(a, b site) int { return cmp.Compare(a.span.start, b.span.start) })
	return w.found, nil
}

func (w *sites) branchNotes(b sops.TreeBranch) {
	for _, item := range b {
		if c, ok := item.Key.(sops.Comment); ok {
			w.note(c)
		}
	}
}

func (w *sites) note(v any) {
	n := w.m.at(v)
	text := ""
	if n >= 0 {
		switch x := w.m.leaves[n].value.(type) {
		case sops.Comment:
			text = x.Value
		case string:
			text = x
		}
	} else if c, ok := v.(sops.Comment); ok {
		text = c.Value
	}
	w.notes = append(w.notes, struct {
		text string
		leaf int
	}{text, n})
}

func (w *sites) mapping(n *yaml.Node, b sops.TreeBranch, flow, root bool) error {
	flow = flow || n.Style&yaml.FlowStyle != 0
	at := 0
	for i := 0; i < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if root && key.Value == "sops" && isSopsNode(value) {
			// It is not in the tree; its texts hold no comment of anyone's.
			if err := w.cover(key, 0); err != nil {
				return err
			}
			if err := w.coverAll(value, key.Column-1); err != nil {
				return err
			}
			continue
		}
		for at < len(b) {
			if c, ok := b[at].Key.(sops.Comment); ok {
				w.note(c)
				at++
				continue
			}
			break
		}
		if at == len(b) {
			return refuse(key.Line, "SOPS reads the mapping in another way")
		}
		if err := w.coverAll(key, key.Column-1); err != nil {
			return err
		}
		if err := w.value(value, b[at].Value, key.Column-1, flow); err != nil {
			return err
		}
		at++
	}
	for ; at < len(b); at++ {
		c, ok := b[at].Key.(sops.Comment)
		if !ok {
			return refuse(n.Line, "SOPS reads the mapping in another way")
		}
		w.note(c)
	}
	return nil
}

// isSopsNode tells whether this is the metadata, as parseDocument does.
func isSopsNode(n *yaml.Node) bool {
	if n.Kind != yaml.MappingNode {
		return false
	}
	return isMetadata(func(key string) bool {
		for j := 0; j < len(n.Content); j += 2 {
			if n.Content[j].Value == key {
				return true
			}
		}
		return false
	})
}

func (w *sites) value(n *yaml.Node, v any, indent int, flow bool) error {
	switch n.Kind {
	case yaml.MappingNode:
		b, ok := v.(sops.TreeBranch)
		if !ok {
			return refuse(n.Line, "SOPS reads the mapping in another way")
		}
		return w.mapping(n, b, flow, false)
	case yaml.SequenceNode:
		items, ok := v.([]any)
		if !ok && v != nil {
			return refuse(n.Line, "SOPS reads the list in another way")
		}
		flow = flow || n.Style&yaml.FlowStyle != 0
		at := 0
		for _, c := range n.Content {
			for at < len(items) && w.isNote(items[at]) && !w.noteAsItem(c, items[at]) {
				w.note(items[at])
				at++
			}
			if at == len(items) {
				return refuse(c.Line, "SOPS reads the list in another way")
			}
			if err := w.value(c, items[at], n.Column-1, flow); err != nil {
				return err
			}
			at++
		}
		for ; at < len(items); at++ {
			if !w.isNote(items[at]) {
				return refuse(n.Line, "SOPS reads the list in another way")
			}
			w.note(items[at])
		}
		return nil
	case yaml.AliasNode:
		if n.Alias.Kind != yaml.ScalarNode && w.holdsMark(v) {
			return refuse(n.Line, "*%s stands for a mapping or list with values that are to be sealed: write it out", n.Value)
		}
	}
	s, err := w.l.scalar(n, indent)
	if err != nil {
		return err
	}
	w.spans = append(w.spans, s)
	leaf := w.m.at(v)
	if leaf < 0 {
		if n.Kind == yaml.AliasNode {
			w.alias = append(w.alias, n)
		}
		return nil
	}
	w.sealed[n] = true
	w.found = append(w.found, site{leaf: leaf, node: n, span: s, indent: indent, flow: flow, line: n.Line})
	return nil
}

// noteAsItem tells whether an item of a list is a sealed comment: sops writes
// those of lists as items, and reads them back as comments.
func (w *sites) noteAsItem(n *yaml.Node, v any) bool {
	leaf := w.m.at(v)
	return n.Kind == yaml.ScalarNode && leaf >= 0 && w.m.leaves[leaf].value == n.Value
}

func (w *sites) isNote(v any) bool {
	if _, ok := v.(sops.Comment); ok {
		return true
	}
	n := w.m.at(v)
	return n >= 0 && w.m.leaves[n].comment
}

func (w *sites) holdsMark(v any) bool {
	switch v := v.(type) {
	case sops.TreeBranch:
		return slices.ContainsFunc(v, func(i sops.TreeItem) bool { return w.m.at(i.Key) >= 0 || w.holdsMark(i.Value) })
	case []any:
		return slices.ContainsFunc(v, w.holdsMark)
	}
	return w.m.at(v) >= 0
}

// cover notes the span of a scalar that is not sealed.
func (w *sites) cover(n *yaml.Node, indent int) error {
	s, err := w.l.scalar(n, indent)
	w.spans = append(w.spans, s)
	return err
}

func (w *sites) coverAll(n *yaml.Node, indent int) error {
	switch n.Kind {
	case yaml.MappingNode, yaml.SequenceNode:
		for i, c := range n.Content {
			in := n.Column - 1
			if n.Kind == yaml.MappingNode {
				in = n.Content[i&^1].Column - 1
			}
			if err := w.coverAll(c, in); err != nil {
				return err
			}
		}
		return nil
	}
	return w.cover(n, indent)
}

// comments finds the sealed comments: yaml.v3 keeps the text of a comment and not
// its place. Those of the same text stand in the same order here and there.
func (w *sites) comments() error {
	queues := make(map[string][]int)
	for _, n := range w.notes {
		key := strings.TrimSpace(n.text)
		queues[key] = append(queues[key], n.leaf)
	}
	for _, n := range w.l.comments(w.spans) {
		key := strings.TrimSpace(string(w.l.src[n.start+1 : n.end]))
		leaf := -1
		if q := queues[key]; len(q) > 0 {
			leaf, queues[key] = q[0], q[1:]
		} else if key != "" && w.besideSealed(n) {
			// SOPS would drop it. It may hold what nobody may read.
			return refuse(n.line, "a comment stands where SOPS loses it, beside what is to be sealed: move it to a line of its own before a key, or remove it")
		}
		if leaf >= 0 {
			w.found = append(w.found, site{leaf: leaf, span: span{start: n.start + 1, end: n.end}, line: n.line})
		}
	}
	for key, q := range queues {
		if slices.ContainsFunc(q, func(leaf int) bool { return leaf >= 0 }) {
			line := 1
			for _, n := range w.l.comments(w.spans) {
				if strings.TrimSpace(string(w.l.src[n.start+1:n.end])) == key {
					line = n.line
				}
			}
			return refuse(line, "a comment that is to be sealed is not found in the text: move it to a line of its own before a key, or remove it")
		}
	}
	return nil
}

// besideSealed tells whether the value before a comment, or the next one, is
// sealed.
func (w *sites) besideSealed(n note) bool {
	before, after := -1, len(w.l.src)+1
	for _, s := range w.spans {
		if s.start < n.start {
			before = max(before, s.start)
		} else {
			after = min(after, s.start)
		}
	}
	// The next scalar is a key; its value is what counts.
	value := len(w.l.src) + 1
	for _, s := range w.spans {
		if s.start > after {
			value = min(value, s.start)
		}
	}
	return slices.ContainsFunc(w.found, func(f site) bool {
		return f.node != nil && (f.span.start == before || f.span.start == after || f.span.start == value)
	})
}

// sound tells whether a document can be decoded: without a key that stands twice
// and without aliases that contain themselves or blow up, which sops would follow.
// What only decoding can tell is decoded, and that is slow.
func sound(doc *yaml.Node) error {
	simple := true
	var walk func(n *yaml.Node) error
	walk = func(n *yaml.Node) error {
		simple = simple && n.Kind != yaml.AliasNode && n.Style&yaml.TaggedStyle == 0
		if n.Kind == yaml.MappingNode {
			seen := make(map[string]bool, len(n.Content)/2)
			for i := 0; i < len(n.Content); i += 2 {
				key := n.Content[i]
				if key.Kind != yaml.ScalarNode || key.Tag == "!!merge" {
					simple = false
				} else if seen[key.Value] {
					return fmt.Errorf("line %d: a key stands twice", key.Line)
				} else {
					seen[key.Value] = true
				}
			}
		}
		for _, c := range n.Content {
			if err := walk(c); err != nil {
				return err
			}
		}
		return nil
	}
	if err := walk(doc); err != nil || simple {
		return err
	}
	var v any
	return doc.Decode(&v)
}

// parse reads the documents of a YAML file, as many as sops sees.
func parse(src []byte) ([]*yaml.Node, error) {
	d := yaml.NewDecoder(bytes.NewReader(src))
	var docs []*yaml.Node
	for {
		var n yaml.Node
		err := d.Decode(&n)
		if errors.Is(err, io.EOF) {
			return docs, nil
		}
		if err != nil {
			return nil, &fault{BadMetadata, yamlFailure(err, 1)}
		}
		if err := sound(&n); err != nil {
			return nil, &fault{BadMetadata, yamlFailure(err, 1)}
		}
		docs = append(docs, &n)
	}
}
