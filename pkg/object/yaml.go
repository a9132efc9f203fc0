package object

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Document is one YAML document of a file, with its positions.
type Document struct {
	// Line is the 1-based line of the document's first key.
	Line int
	// Node is the document's content: a mapping, for a Kubernetes object.
	Node *yaml.Node

	APIVersion, Kind, Name, Namespace string
}

// SyntaxError is a file that is not YAML.
type SyntaxError struct {
	File string
	Line int // 1-based; 0 where the parser does not say
	Msg  string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("%s: not valid YAML: %s", Where(e.File, e.Line), e.Msg)
}

// yamlLine finds the line in the parser's message, which is the only place
// that has it.
var yamlLine = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+): )?`)

// Documents splits data into its YAML documents; empty ones are left out. file
// names it in errors, which are *SyntaxError.
func Documents(file string, data []byte) ([]Document, error) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var docs []Document
	for {
		var n yaml.Node
		err := dec.Decode(&n)
		if errors.Is(err, io.EOF) {
			return docs, nil
		}
		if err != nil {
			msg := err.Error()
			m := yamlLine.FindStringSubmatch(msg)
			line, _ := strconv.Atoi(m[1])
			return docs, syntaxError(file, data, line, msg[len(m[0]):])
		}
		if n.Kind != yaml.DocumentNode || len(n.Content) == 0 || n.Content[0].Tag == "!!null" {
			continue
		}
		root := n.Content[0]
		docs = append(docs, Document{
			Line:       root.Line,
			Node:       root,
			APIVersion: scalar(root, "apiVersion"),
			Kind:       scalar(root, "kind"),
			Name:       scalar(root, "metadata", "name"),
			Namespace:  scalar(root, "metadata", "namespace"),
		})
	}
}

// syntaxError says why data is not YAML, and where: of the usual reasons the parser
// sees the consequences only, and of the first line it does not say that it is.
func syntaxError(file string, data []byte, line int, msg string) *SyntaxError {
	for i, l := range bytes.Split(data, []byte("\n")) {
		indentation := l[:len(l)-len(bytes.TrimLeft(l, " \t"))]
		switch at := i + 1; {
		case strings.Contains(msg, "UTF-8") && !utf8.Valid(l):
			return &SyntaxError{file, at, "it is not encoded in UTF-8"}
		case strings.Contains(msg, "control characters") && bytes.ContainsFunc(l, func(r rune) bool { return r < ' ' && r != '\t' && r != '\r' || r == 0x7f }):
			return &SyntaxError{file, at, "a control character is in it"}
		case bytes.HasPrefix(l, []byte("<<<<<<< ")) || bytes.HasPrefix(l, []byte(">>>>>>> ")):
			return &SyntaxError{file, at, "a merge conflict was left in it"}
		case (at == line || at == line+1) && strings.Contains(msg, "cannot start any token") && bytes.ContainsRune(indentation, '\t'):
			return &SyntaxError{file, at, "the line is indented with a tab, and YAML takes spaces only"}
		}
	}
	return &SyntaxError{file, max(line, 1), msg}
}

// BadKey is the line of a key in n that an object cannot have, and what is wrong
// with it: it is there twice, or it is no text. what is "" where there is none.
func BadKey(n *yaml.Node) (line int, what string) {
	first := map[string]int{}
	for i, c := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 {
			switch {
			case c.Kind == yaml.MappingNode:
				return c.Line, "a key is a mapping; {{ … }} is a template, which nobody fills in here"
			case c.Kind == yaml.SequenceNode:
				return c.Line, "a key is a list"
			case c.Kind == yaml.ScalarNode && c.Tag != "!!merge" && first[c.Value] > 0:
				return c.Line, fmt.Sprintf("the key %s is there twice: in line %d, too", c.Value, first[c.Value])
			}
			first[c.Value] = c.Line
			continue
		}
		if line, what := BadKey(c); what != "" {
			return line, what
		}
	}
	return 0, ""
}

// Find walks mapping keys from n and returns the value's node, nil if absent.
func Find(n *yaml.Node, path ...string) *yaml.Node {
	for _, key := range path {
		if n != nil && n.Kind == yaml.AliasNode {
			n = n.Alias
		}
		if n == nil || n.Kind != yaml.MappingNode {
			return nil
		}
		var next *yaml.Node
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == key {
				next = n.Content[i+1]
			}
		}
		n = next
	}
	return n
}

func scalar(n *yaml.Node, path ...string) string {
	if v := Find(n, path...); v != nil && v.Kind == yaml.ScalarNode {
		return v.Value
	}
	return ""
}

// LineOf is the 1-based line at which a field stands in document n. path is
// written as the API server writes it: spec.containers[0].env[2].name. The
// nearest enclosing node that exists answers for a field that does not.
func LineOf(n *yaml.Node, path string) int {
	if n == nil {
		return 0
	}
	line := n.Line
	for _, step := range steps(path) {
		if n.Kind == yaml.AliasNode {
			n = n.Alias
		}
		if i, err := strconv.Atoi(step); err == nil && n.Kind == yaml.SequenceNode {
			if i < 0 || i >= len(n.Content) {
				return line
			}
			n, line = n.Content[i], n.Content[i].Line
			continue
		}
		if n.Kind != yaml.MappingNode {
			return line
		}
		found := false
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == step {
				line, n, found = n.Content[i].Line, n.Content[i+1], true
				break
			}
		}
		if !found {
			return line
		}
	}
	return line
}

// steps splits spec.a[0].b into spec, a, 0, b.
func steps(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '.' || r == '[' || r == ']' })
}
