// Package image knows Flux's image policies, which tag each chooses and why, and
// the markers at which the choice is written. Values only.
package image

import (
	"encoding/json"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
)

// Marker is a policy marker on a scalar: a comment on its line or above it, of
// the form {"$imagepolicy": "NAMESPACE:NAME[:tag|:name|:digest]"}.
type Marker struct {
	Namespace, Policy string
	// Part is what of the image is written: "" for name:tag, else tag, name or digest.
	Part string

	Line  int    // 1-based line of the scalar
	Key   string // key of the mapping that the scalar is the value of, "" in a list
	Value string // the scalar as it stands
}

// Markers finds the markers of one YAML file. A file that is not YAML has none.
func Markers(file string, data []byte) []Marker {
	if !strings.Contains(string(data), `"$imagepolicy"`) {
		return nil
	}
	docs, err := object.Documents(file, data)
	if err != nil {
		return nil
	}
	var out []Marker
	for _, d := range docs {
		for _, m := range walk(d.Node, "", "", nil) {
			out = append(out, m.Marker)
		}
	}
	return out
}

// marked is a marker and the scalar that it stands on.
type marked struct {
	Marker
	node  *yaml.Node
	above bool // the comment stands above the scalar, not behind it
}

func walk(n *yaml.Node, key, above string, out []marked) []marked {
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			k := n.Content[i]
			out = walk(n.Content[i+1], k.Value, k.HeadComment, out)
		}
	case yaml.SequenceNode:
		for _, c := range n.Content {
			out = walk(c, "", c.HeadComment, out)
		}
	case yaml.ScalarNode:
		for _, comment := range []string{n.LineComment, n.HeadComment, above} {
			if m, ok := parse(comment); ok {
				m.Line, m.Key, m.Value = n.Line, key, n.Value
				return append(out, marked{m, n, comment != n.LineComment})
			}
		}
	}
	return out
}

func parse(comment string) (Marker, bool) {
	var c struct {
		Policy string `json:"$imagepolicy"`
	}
	text := strings.TrimSpace(strings.TrimLeft(strings.TrimSpace(comment), "#"))
	if json.Unmarshal([]byte(text), &c) != nil {
		return Marker{}, false
	}
	parts := strings.Split(c.Policy, ":")
	if len(parts) < 2 || len(parts) > 3 {
		return Marker{}, false
	}
	m := Marker{Namespace: parts[0], Policy: parts[1]}
	if len(parts) == 3 {
		m.Part = parts[2]
	}
	return m, true
}

// Nonsense tells why the value under the marker cannot be right: "" if it can.
// An update has written a bare tag over a whole reference, or the other way
// round; whoever pulls that image gets another one, or none.
func (m Marker) Nonsense() string {
	whole := strings.ContainsAny(m.Value, "/:@")
	switch {
	case m.Key == "image" && !whole && m.Value != "" && m.Part != "name":
		return "image is the bare tag " + m.Value + ", not a reference: a container runtime would pull docker.io/library/" + m.Value
	case (m.Key == "newTag" || m.Key == "tag") && strings.Contains(m.Value, "/"):
		return m.Key + " is the whole reference " + m.Value + ", not a tag"
	}
	return ""
}

// Trap tells what the next update would break: a marker whose part does not
// fit the field it stands on. "" if it fits.
func (m Marker) Trap() string {
	switch {
	case m.Key == "image" && (m.Part == "tag" || m.Part == "digest"):
		return "the marker ends in :" + m.Part + ", so an update writes only the " + m.Part + " over the whole reference"
	case (m.Key == "newTag" || m.Key == "tag") && m.Part == "":
		return "the marker has no :tag, so an update writes the whole reference into " + m.Key
	}
	return ""
}
