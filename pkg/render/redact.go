package render

import (
	"encoding/base64"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
)

// shortest is the length in bytes below which a value is no secret, and taking
// it out would leave a message unreadable.
const shortest = 3

// mask takes values out of msg, and each of their lines.
func mask(msg string, values []string) string {
	var all []string
	for _, v := range values {
		for _, s := range append(strings.Split(v, "\n"), v) {
			if s = strings.TrimSpace(s); len(s) >= shortest {
				all = append(all, s)
			}
		}
	}
	// Longest first, so that a value that holds another is taken out whole.
	slices.SortFunc(all, func(a, b string) int { return len(b) - len(a) })
	for _, v := range all {
		msg = strings.ReplaceAll(msg, v, "***")
	}
	return msg
}

// quoted matches what a YAML parser quotes of its text: names of anchors, keys,
// and values that do not fit.
var quoted = regexp.MustCompile("(?s)(anchor )'[^']*'|(key )\"(?:\\\\.|[^\"])*\"|(invalid map key: ).*|`[^`]*`")

// quiet is a message of a YAML parser without what it quotes.
func quiet(msg string) string { return quoted.ReplaceAllString(msg, "$1$2$3…") }

// scrub takes out of a message of kustomize, which quotes patches and objects,
// what is secret in the files that were read: the values of Secrets and of
// secretGenerators, and what the overlay decrypted.
func (b *build) scrub(msg string) string {
	var values []string
	for file, data := range b.fs.cache {
		sealed := b.fs.isSealed(file)
		docs, err := object.Documents(file, data)
		if sealed && (err != nil || len(docs) == 0 || docs[0].Kind == "") {
			values = append(values, pairs(data)...) // no manifest
		}
		for _, d := range docs {
			switch {
			case sealed:
				values = scalars(values, d.Node, "metadata", "apiVersion", "kind")
			case confidential(d.Kind):
				values = scalars(values, object.Find(d.Node, "data"))
				values = scalars(values, object.Find(d.Node, "stringData"))
			}
		}
	}
	if b.tree == nil {
		return mask(msg, values)
	}
	for _, k := range b.tree.all {
		for _, g := range k.spec.SecretGenerator {
			for _, l := range g.LiteralSources {
				values = append(values, pairs([]byte(l))...)
			}
		}
	}
	return mask(msg, values)
}

// pairs are the lines of a dotenv file and the values in them.
func pairs(data []byte) []string {
	var values []string
	for line := range strings.Lines(string(data)) {
		values = append(values, line)
		if _, v, ok := strings.Cut(line, "="); ok {
			values = append(values, v, strings.Trim(strings.TrimSpace(v), `"'`))
		}
	}
	return values
}

// scalars appends the scalars below n, base64 decoded as well, but for what is
// under the keys given.
func scalars(values []string, n *yaml.Node, except ...string) []string {
	if n == nil {
		return values
	}
	switch n.Kind {
	case yaml.ScalarNode:
		values = append(values, n.Value)
		if plain, err := base64.StdEncoding.DecodeString(n.Value); err == nil {
			values = append(values, string(plain))
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if !slices.Contains(except, n.Content[i].Value) {
				values = scalars(values, n.Content[i+1])
			}
		}
	case yaml.SequenceNode:
		for _, c := range n.Content {
			values = scalars(values, c)
		}
	}
	return values
}
