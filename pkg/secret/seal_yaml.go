package secret

import (
	"bytes"

	"github.com/getsops/sops/v3"
	"go.yaml.in/yaml/v3"
)

// sealYAML seals a YAML file in place of its bytes. branches are its documents,
// and are used up.
func sealYAML(indent int, src []byte, branches sops.TreeBranches, meta *sops.Metadata, key []byte, c *sealer, stamp func(mac string) error) ([]byte, error) {
	l, err := newLayout(src)
	if err != nil {
		return nil, err
	}
	docs, err := parse(src)
	if err != nil {
		return nil, err
	}
	var m markers
	mac, err := sops.Tree{Branches: branches, Metadata: *meta}.Encrypt(nil, &m)
	if err != nil {
		return nil, walkFailure(err)
	}
	found, err := locate(l, docs, branches, &m)
	if err != nil {
		return nil, err
	}
	if len(found) != len(m.leaves) {
		return nil, &fault{BadMetadata, "is written in a way that cannot be edited byte by byte"}
	}
	texts := make([]string, len(m.leaves))
	for i, leaf := range m.leaves {
		if texts[i], err = c.Encrypt(leaf.value, key, leaf.path); err != nil {
			return nil, walkFailure(err)
		}
	}
	if err := stamp(mac); err != nil {
		return nil, err
	}
	var edits []edit
	for _, s := range found {
		edits = append(edits, s.sealedEdits(texts[s.leaf])...)
	}
	sortEdits(edits)
	body, err := l.spliced(edits)
	if err != nil {
		return nil, err
	}
	if docs, err = parse(body); err != nil {
		return nil, err
	}
	return withMetadata(indent, body, docs, *meta)
}

// sealedEdits puts a sealed text in the place of a value, in its quotes.
func (s site) sealedEdits(text string) []edit {
	if s.node != nil {
		switch {
		case s.node.Kind == yaml.ScalarNode && s.node.Style&yaml.SingleQuotedStyle != 0:
			text = "'" + text + "'"
		case s.flow, s.node.Kind == yaml.ScalarNode && s.node.Style&yaml.DoubleQuotedStyle != 0:
			text = `"` + text + `"`
		}
	}
	edits := []edit{{s.span.start, s.span.end, text}}
	if s.span.bodyEnd > s.span.bodyStart {
		edits = append(edits, edit{s.span.bodyStart, s.span.bodyEnd, ""})
	}
	return edits
}

// withMetadata gives each document of a YAML file its sops section: in the place
// of the one that it has, or at its end. docs are the documents of src.
func withMetadata(indent int, src []byte, docs []*yaml.Node, meta sops.Metadata) ([]byte, error) {
	l, err := newLayout(src)
	if err != nil {
		return nil, err
	}
	block, err := metadataBlock(indent, meta)
	if err != nil {
		return nil, err
	}
	block = bytes.ReplaceAll(block, []byte("\n"), []byte(l.newline()))
	var edits []edit
	texts, at := documents(src), 0
	for i, doc := range docs {
		root := doc.Content[0]
		if root.Kind != yaml.MappingNode || len(root.Content) == 0 {
			if i == 0 {
				return nil, refuse(root.Line, "the first document is empty, and SOPS wants its metadata there: remove it")
			}
			continue
		}
		if root.Style&yaml.FlowStyle != 0 || root.Column != 1 {
			return nil, refuse(root.Line, "the document is written in braces, or indented, where no sops section can follow: write it in lines that begin at the left")
		}
		if start, end, ok := l.sopsBlock(root); ok {
			edits = append(edits, edit{start, end, string(block)})
			continue
		}
		for len(texts) > 1 && texts[1].line <= root.Line {
			at, texts = at+len(texts[0].text), texts[1:]
		}
		end := at + len(texts[0].text)
		for _, line := range bytes.Split(src[l.lines[root.Line-1]:end], []byte("\n")) {
			if bytes.HasPrefix(line, []byte("...")) {
				return nil, refuse(root.Line, "the document ends with a line of three dots, behind which no sops section can stand: remove that line")
			}
		}
		text := string(block)
		if end > 0 && src[end-1] != '\n' {
			text = l.newline() + text
		}
		edits = append(edits, edit{end, end, text})
	}
	return l.spliced(edits)
}

// sopsBlock is where the sops section of a document stands.
func (l *layout) sopsBlock(root *yaml.Node) (start, end int, ok bool) {
	for i := 0; i < len(root.Content); i += 2 {
		key := root.Content[i]
		if key.Value != "sops" || !isSopsNode(root.Content[i+1]) || key.Column != 1 {
			continue
		}
		start = l.lines[key.Line-1]
		end = l.nextLine(start)
		for at := end; at < len(l.src); at = l.nextLine(at) {
			line := l.src[at:l.lineEnd(at)]
			if len(bytes.TrimSpace(line)) == 0 {
				continue
			}
			if line[0] != ' ' {
				break
			}
			end = l.nextLine(at)
		}
		return start, end, true
	}
	return 0, 0, false
}
