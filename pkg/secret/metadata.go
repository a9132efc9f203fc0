package secret

import (
	"bytes"
	"cmp"
	"strings"
	"unicode"

	"github.com/getsops/sops/v3"
	"github.com/getsops/sops/v3/stores"
	yamlstore "github.com/getsops/sops/v3/stores/yaml"
	"go.yaml.in/yaml/v3"
)

// metadataBlock is the sops section of a YAML file as SOPS writes it. What it says
// is SOPS's own code; it is put into YAML here, since SOPS's way there, by which each
// text is written and read once more, is a fourth of the time that updatekeys needs.
func metadataBlock(indent int, meta sops.Metadata) ([]byte, error) {
	failed := &fault{BadMetadata, "its sops metadata cannot be written"}
	branches, err := stores.SerializeMetadata(sops.Tree{Branches: sops.TreeBranches{{}}, Metadata: meta}, stores.MetadataOpts{})
	if err != nil || len(branches) != 1 {
		return nil, failed
	}
	root, err := nodeOf(branches[0])
	if err != nil {
		return nil, failed
	}
	var out bytes.Buffer
	e := yaml.NewEncoder(&out)
	e.SetIndent(cmp.Or(max(indent, 0), yamlstore.IndentDefault))
	if err := e.Encode(&yaml.Node{Kind: yaml.DocumentNode, Content: []*yaml.Node{root}}); err != nil {
		return nil, failed
	}
	return out.Bytes(), e.Close()
}

// nodeOf is a value of SOPS as a node.
func nodeOf(v any) (*yaml.Node, error) {
	n := &yaml.Node{}
	switch v := v.(type) {
	case sops.TreeBranch:
		n.Kind = yaml.MappingNode
		for _, item := range v {
			key, err := nodeOf(item.Key)
			if err != nil {
				return nil, err
			}
			value, err := nodeOf(item.Value)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, key, value)
		}
		return n, nil
	case []any:
		n.Kind = yaml.SequenceNode
		for _, e := range v {
			item, err := nodeOf(e)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, item)
		}
		return n, nil
	case string:
		// A short text may be one that YAML 1.1 takes for something else.
		if len(v) > 8 && strings.ContainsFunc(v, unicode.IsLetter) && !strings.ContainsFunc(v, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }) {
			n.Kind, n.Tag, n.Value = yaml.ScalarNode, "!!str", v
			if strings.Contains(v, "\n") {
				n.Style = yaml.LiteralStyle
			}
			return n, nil
		}
	}
	return n, n.Encode(v)
}
