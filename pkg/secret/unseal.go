package secret

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode"

	"github.com/getsops/sops/v3"
	"github.com/getsops/sops/v3/aes"
	"go.yaml.in/yaml/v3"
)

// openInPlace opens a sealed YAML segment in place of its bytes: quotes, blank
// lines and indentation stay. opened are its documents as SOPS opens them, which
// the result is held to; nil means that it cannot be done, and SOPS's own way of
// writing is to be used.
func openInPlace(seg segment, key []byte, opened sops.TreeBranches) (plain []byte) {
	defer func() {
		if recover() != nil {
			plain = nil
		}
	}()
	l, err := newLayout(seg.raw)
	if err != nil {
		return nil
	}
	docs := seg.docs
	if docs == nil {
		if docs, err = parse(seg.raw); err != nil {
			return nil
		}
	}
	m, found, err := sealedSites(seg.store, l, docs, seg.raw)
	if err != nil {
		return nil
	}
	c := aes.NewCipher()
	var edits []edit
	for _, s := range found {
		leaf := m.leaves[s.leaf]
		value, err := c.Decrypt(leaf.value.(string), key, leaf.path)
		if err != nil {
			if leaf.comment {
				continue // in clear, and only looks sealed
			}
			return nil
		}
		if leaf.comment && s.node != nil {
			// It stands as an item of a list.
			dash := bytes.LastIndexByte(l.src[:s.span.start], '-')
			if dash < 0 || len(bytes.TrimSpace(l.src[dash+1:s.span.start])) > 0 {
				return nil
			}
			s.span.start = dash
			value = sops.Comment{Value: "#" + value.(sops.Comment).Value}
		}
		edits = append(edits, l.openedEdits(s, value)...)
	}
	for _, doc := range docs {
		if start, end, ok := l.sopsBlock(doc.Content[0]); ok {
			edits = append(edits, edit{start, end, ""})
		}
	}
	sortEdits(edits)
	out, err := l.spliced(edits)
	if err != nil {
		return nil
	}
	got, err := seg.store.LoadPlainFile(out)
	if err != nil || len(got) != len(opened) || sameTree(got, opened) != nil {
		return nil
	}
	return out
}

// sealedSites finds where the sealed values of a file stand.
func sealedSites(store sops.Store, l *layout, docs []*yaml.Node, src []byte) (*markers, []site, error) {
	tree, err := store.LoadEncryptedFile(src)
	if err != nil {
		return nil, nil, loadFailure(err)
	}
	m := &markers{}
	if _, err := tree.Decrypt(nil, m); err != nil {
		return nil, nil, newCipher().failure(err)
	}
	found, err := locate(l, docs, tree.Branches, m)
	if err != nil {
		return nil, nil, err
	}
	if len(found) != len(m.leaves) {
		return nil, nil, &fault{BadMetadata, "is written in a way that cannot be edited byte by byte"}
	}
	return m, found, nil
}

// openedEdits puts an opened value in the place of a sealed one, in its quotes.
func (l *layout) openedEdits(s site, value any) []edit {
	if c, ok := value.(sops.Comment); ok {
		return []edit{{s.span.start, s.span.end, c.Value}}
	}
	put := func(text string) []edit {
		edits := []edit{{s.span.start, s.span.end, text}}
		if s.span.bodyEnd > s.span.bodyStart {
			edits = append(edits, edit{s.span.bodyStart, s.span.bodyEnd, ""})
		}
		return edits
	}
	text, isString := value.(string)
	if !isString {
		out, _ := yaml.Marshal(value)
		text := strings.TrimSuffix(string(out), "\n")
		if _, isFloat := value.(float64); isFloat && !strings.ContainsAny(text, ".en") {
			text += ".0" // or it would be read as an integer
		}
		return put(text)
	}
	printable := !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) })
	switch style := s.node.Style; {
	case style&yaml.SingleQuotedStyle != 0 && printable:
		return put("'" + strings.ReplaceAll(text, "'", "''") + "'")
	case style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 || s.flow:
		return put(doubleQuoted(text))
	}
	if header, body, ok := l.literal(text, s.indent); ok && s.span.bodyEnd == s.span.bodyStart {
		at := l.nextLine(s.span.end)
		if at == len(l.src) && (at == 0 || l.src[at-1] != '\n') {
			body = l.newline() + body
		}
		return append(put(header), edit{at, at, body})
	}
	out, err := yaml.Marshal(text)
	if err != nil || bytes.Count(out, []byte("\n")) != 1 {
		return put(doubleQuoted(text))
	}
	return put(strings.TrimSuffix(string(out), "\n"))
}

func doubleQuoted(text string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(text) // a string always encodes
	return strings.TrimSuffix(b.String(), "\n")
}

// literal writes a text of several lines as a literal block scalar, where one
// can hold it; indent is the column of what it stands in.
func (l *layout) literal(text string, indent int) (header, body string, ok bool) {
	if !strings.Contains(text, "\n") || strings.ContainsAny(text[:1], " \t\n") ||
		strings.ContainsFunc(text, func(r rune) bool { return r != '\n' && r != '\t' && !unicode.IsPrint(r) }) {
		return "", "", false
	}
	header = "|-"
	if rest, cut := strings.CutSuffix(text, "\n"); cut {
		header, text = "|", rest
		if strings.HasSuffix(text, "\n") {
			header = "|+"
		}
	}
	var b strings.Builder
	for _, line := range strings.Split(text, "\n") {
		if line != "" {
			b.WriteString(strings.Repeat(" ", indent+2))
		}
		b.WriteString(line + l.newline())
	}
	return header, b.String(), true
}
