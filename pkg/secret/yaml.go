package secret

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/getsops/sops/v3/cmd/sops/formats"
	"go.yaml.in/yaml/v3"
)

// detectYAML splits a YAML file. sops seals all documents of a file together and
// writes the same metadata into each: then the file is one segment, and opens as
// sops opens it. Flux however decrypts each object by itself, so repositories
// also hold files that sops refuses: sealed files put one behind the other, or
// beside plain documents. There neighbors that share their metadata are a
// segment, checked by their own MAC, and plain documents stay as they are.
func detectYAML(data []byte, damaged bool, parsed *documentsOf) ([]segment, error) {
	var docs []document
	sealed, stray, alike := 0, 0, true
	texts := documents(data)
	nodes, err := parsed.parse()
	whole := err == nil && len(nodes) == len(texts)
	for i, d := range texts {
		var doc document
		if whole {
			doc, err = describe(d.text, nodes[i])
		} else {
			doc, err = parseDocument(d.text)
		}
		switch {
		case err != nil && !damaged:
			return nil, nil // a template, or some other thing that only looks like YAML
		case err != nil:
			return nil, &fault{BadMetadata, yamlFailure(err, d.line)}
		case doc.meta != nil:
			sealed++
		}
		stray += doc.stray
		alike = alike && (doc.empty || bytes.Equal(doc.meta, firstMeta(docs, doc)))
		docs = append(docs, doc)
	}
	if stray > 0 || sealed == 0 {
		return nil, orphans(stray)
	}
	store := storeOf(formats.Yaml)
	if alike {
		if nodes, err = parsed.parse(); err != nil {
			return nil, err
		}
		return []segment{{raw: data, sealed: true, store: store, docs: nodes}}, nil
	}
	var segs []segment
	for i, doc := range docs {
		switch {
		case doc.meta == nil:
			segs = append(segs, segment{raw: doc.text})
		case i > 0 && bytes.Equal(doc.meta, docs[i-1].meta):
			last := &segs[len(segs)-1]
			last.raw = slices.Concat(last.raw, doc.text)
		default:
			segs = append(segs, segment{raw: doc.text, sealed: true, store: store})
		}
	}
	return segs, nil
}

// firstMeta is the metadata of the first of docs that is not empty, of doc if
// none is.
func firstMeta(docs []document, doc document) []byte {
	for _, d := range docs {
		if !d.empty {
			return d.meta
		}
	}
	return doc.meta
}

// text is one document of a YAML file, its "---" line included.
type text struct {
	text []byte
	line int // of its first line, from 1
}

// documents splits YAML at its document markers: a line that begins with "---"
// is one wherever it stands, by the rules of YAML.
func documents(data []byte) []text {
	var out []text
	start, startLine, line := 0, 1, 1
	for at := 0; at < len(data); line++ {
		end := len(data)
		if i := bytes.IndexByte(data[at:], '\n'); i >= 0 {
			end = at + i + 1
		}
		if l := data[at:end]; at > start && bytes.HasPrefix(l, []byte("---")) && (len(l) == 3 || strings.ContainsRune(" \t\r\n", rune(l[3]))) {
			out = append(out, text{data[start:at], startLine})
			start, startLine = at, line
		}
		at = end
	}
	return append(out, text{data[start:], startLine})
}

// document is what detect needs to know of one YAML document.
type document struct {
	text  []byte
	empty bool
	meta  []byte // its sops metadata, nil without
	stray int    // sealed values, where there is no metadata
}

// parseDocument looks at one document, by itself.
func parseDocument(raw []byte) (document, error) {
	d := yaml.NewDecoder(bytes.NewReader(raw))
	var node yaml.Node
	if err := d.Decode(&node); errors.Is(err, io.EOF) {
		return document{text: raw, empty: true}, nil
	} else if err != nil {
		return document{}, err
	}
	// What is left of the text must be nothing: else it is not one document.
	if err := d.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return document{}, cmp.Or(err, errors.New("more than one document"))
	}
	if err := sound(&node); err != nil {
		return document{}, err
	}
	return describe(raw, &node)
}

// describe is what detect needs to know of a document that was parsed.
func describe(raw []byte, node *yaml.Node) (document, error) {
	root := node.Content[0]
	if root.ShortTag() == "!!null" {
		return document{text: raw, empty: true}, nil
	}
	for i := 0; root.Kind == yaml.MappingNode && i < len(root.Content); i += 2 {
		meta := root.Content[i+1]
		if root.Content[i].Value != "sops" || meta.Kind != yaml.MappingNode {
			continue
		}
		has := func(key string) bool {
			for j := 0; j < len(meta.Content); j += 2 {
				if meta.Content[j].Value == key {
					return true
				}
			}
			return false
		}
		if isMetadata(has) {
			out, err := yaml.Marshal(meta)
			return document{text: raw, meta: out}, err
		}
	}
	return document{text: raw, stray: strayNodes(root)}, nil
}

func strayNodes(n *yaml.Node) (count int) {
	if n.Kind == yaml.ScalarNode && sealedValue.MatchString(n.Value) {
		return 1
	}
	for _, c := range n.Content {
		count += strayNodes(c)
	}
	return count
}

var yamlLine = regexp.MustCompile(`line (\d+)`)

// yamlFailure says where YAML does not parse; first is the line of the file at
// which the document begins. yaml's own words may quote a value, so they are not
// passed on.
func yamlFailure(err error, first int) string {
	at := ""
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
		var n int
		fmt.Sscan(m[1], &n)
		at = fmt.Sprintf(" at line %d", n+first-1)
	}
	return "is not valid YAML" + at + ": cut off, left in a merge conflict, or a key stands twice"
}
