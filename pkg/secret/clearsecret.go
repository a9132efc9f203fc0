package secret

import (
	"path"
	"strings"

	"github.com/getsops/sops/v3/cmd/sops/formats"
	"go.yaml.in/yaml/v3"
)

// clearSecret is what a file has of Kubernetes Secrets, and the first value of one
// that stands in clear.
type clearSecret struct {
	here    bool // there is a Secret in the file
	found   bool
	line    int
	value   string
	message string
	ranges  [][2]int // lines of data and stringData of Secrets
}

// covers tells whether a line is among the data of a Secret, of which one finding
// is enough.
func (c clearSecret) covers(line int) bool {
	for _, r := range c.ranges {
		if c.found && r[0] <= line && line <= r[1] {
			return true
		}
	}
	return false
}

// kubernetesSecret looks for Secrets. What does not parse, as a template, has none.
func kubernetesSecret(name string, data []byte, parsed *documentsOf) (out clearSecret) {
	format := formats.FormatForPath(path.Base(name))
	if format != formats.Yaml && format != formats.Json || !secretKind.Match(data) {
		return out
	}
	docs, err := parsed.parse()
	if err != nil {
		return out
	}
	for _, doc := range docs {
		out.look(doc.Content[0])
	}
	return out
}

// lastApplied is where kubectl apply notes the whole object, values included.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// look looks into a Secret, or a list of objects.
func (c *clearSecret) look(n *yaml.Node) {
	if items := field(n, "items"); items.Kind == yaml.SequenceNode {
		for _, item := range items.Content {
			c.look(item)
		}
	}
	if field(n, "kind").Value != "Secret" || field(n, "apiVersion").Value != "v1" {
		return
	}
	c.here = true
	note := func(v *yaml.Node, message string) {
		if !c.found {
			c.found, c.line, c.value, c.message = true, v.Line, v.Value, message
		}
	}
	for _, key := range []string{"data", "stringData"} {
		values := field(n, key)
		if values.Kind != yaml.MappingNode {
			continue
		}
		for i := 1; i < len(values.Content); i += 2 {
			if v := values.Content[i]; v.Kind == yaml.ScalarNode && v.Value != "" && v.ShortTag() != "!!null" && !sealedValue.MatchString(v.Value) {
				note(v, "a Secret has a value in clear")
			}
		}
		c.ranges = append(c.ranges, [2]int{values.Line, lastLine(values)})
	}
	if v := field(field(field(n, "metadata"), "annotations"), lastApplied); strings.Contains(v.Value, `"data"`) || strings.Contains(v.Value, `"stringData"`) {
		note(v, "a Secret has its values in clear, in the annotation that kubectl apply leaves")
		c.ranges = append(c.ranges, [2]int{v.Line, lastLine(v)})
	}
}

// lastLine is the last line that a node surely has.
func lastLine(n *yaml.Node) int {
	line := n.Line + strings.Count(n.Value, "\n")
	for _, c := range n.Content {
		line = max(line, lastLine(c))
	}
	return line
}
