package secret

import (
	"errors"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// AddResource adds a path to the resources of a kustomization.yaml, unless it
// stands there; everything else stays byte by byte. The error says why that
// cannot be done.
func AddResource(kustomization []byte, path string) ([]byte, error) {
	nl := newlineOf(kustomization)
	docs, err := parse(kustomization)
	if err != nil {
		return nil, err
	}
	l, err := newLayout(kustomization)
	if err != nil {
		return nil, err
	}
	if len(docs) > 1 {
		return nil, errors.New("has several documents")
	}
	var key, list *yaml.Node
	if len(docs) == 1 {
		root := docs[0].Content[0]
		if root.Kind != yaml.MappingNode || root.Style&yaml.FlowStyle != 0 || root.Column != 1 {
			return nil, errors.New("is not written as a mapping in lines that begin at the left")
		}
		for i := 0; i < len(root.Content); i += 2 {
			if root.Content[i].Value == "resources" {
				key, list = root.Content[i], root.Content[i+1]
			}
		}
	}
	item := "- " + scalarText(path) + nl
	var out []byte
	switch {
	case key == nil:
		out = slices.Concat(ended(kustomization, nl), []byte("resources:"+nl+item))
	case list.ShortTag() == "!!null" && list.Value == "":
		at := l.nextLine(l.lines[key.Line-1])
		out = slices.Concat(ended(kustomization[:at], nl), []byte(item), kustomization[at:])
	case list.Kind != yaml.SequenceNode:
		return nil, errors.New("resources is not a list")
	case slices.ContainsFunc(list.Content, func(n *yaml.Node) bool { return strings.TrimPrefix(n.Value, "./") == path }):
		return kustomization, nil
	case list.Style&yaml.FlowStyle != 0:
		at, err := l.flowEnd(list)
		if err != nil {
			return nil, err
		}
		text := doubleQuoted(path)
		if len(list.Content) > 0 {
			text = ", " + text
		}
		out = slices.Concat(kustomization[:at], []byte(text), kustomization[at:])
	default:
		at := l.listEnd(list)
		out = slices.Concat(ended(kustomization[:at], nl), []byte(strings.Repeat(" ", list.Column-1)+item), kustomization[at:])
	}
	return out, checkResource(kustomization, out, path)
}

// flowEnd is where what a list in brackets holds ends: behind its last item, or
// its bracket.
func (l *layout) flowEnd(list *yaml.Node) (int, error) {
	if n := len(list.Content); n > 0 {
		s, err := l.scalar(list.Content[n-1], 0)
		return s.end, err
	}
	at, err := l.offset(list)
	return at + 1, err
}

// checkResource holds the result of AddResource to what it was to do.
func checkResource(before, after []byte, path string) error {
	type file struct {
		Resources []any          `yaml:"resources"`
		Rest      map[string]any `yaml:",inline"`
	}
	var a, b file
	if yaml.Unmarshal(before, &a) != nil || yaml.Unmarshal(after, &b) != nil {
		return errNotByByte
	}
	a.Resources = append(a.Resources, path)
	if !reflect.DeepEqual(a, b) {
		return errNotByByte
	}
	return nil
}
