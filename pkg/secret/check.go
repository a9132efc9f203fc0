package secret

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/getsops/sops/v3/cmd/sops/formats"
	"go.yaml.in/yaml/v3"
)

// Finding is something about a file that a team does not want in its repository.
// Its texts hold no secret.
type Finding struct {
	Rule    string `json:"rule"` // one of CheckRules
	File    string `json:"file"`
	Line    int    `json:"line"` // 0 for the whole file
	Message string `json:"message"`
	Fix     string `json:"fix"` // what to type
}

// The rules of Check, in the order in which they are documented.
const (
	PlaintextSecret = "plaintext-secret"
	PrivateKey      = "private-key"
	NotSealed       = "not-sealed"
	Damaged         = "damaged"
	TooWide         = "sealed-too-widely"
	NoRule          = "no-rule"
	StaleReaders    = "stale-recipients"
	Edited          = "tampered"
	Unreadable      = "no-key"
)

// CheckRules are the rules of Check.
var CheckRules = []string{PlaintextSecret, PrivateKey, NotSealed, Damaged, TooWide, NoRule, StaleReaders, Edited, Unreadable}

var (
	privateKey = regexp.MustCompile(`AGE-SECRET-KEY-(PQ-)?1[0-9A-Za-z]{20}`)
	secretKind = regexp.MustCompile(`kind"?\s*:\s*["']?Secret\b`)
)

// Check looks at one file. name is how it is called in findings and rules is
// asked about real, where it is. What needs a private key is looked at only where
// one is held.
func (k *Keyring) Check(name, real string, data []byte, rules Rules) []Finding {
	var out []Finding
	add := func(rule string, line int, fix, format string, args ...any) {
		out = append(out, Finding{rule, name, line, fmt.Sprintf(format, args...), fix})
	}
	for _, at := range privateKey.FindAllIndex(data, -1) {
		add(PrivateKey, 1+bytes.Count(data[:at[0]], []byte("\n")),
			"take it out of Git, make another key with keygen, and rotate what was sealed to it", "holds a private key of age")
	}
	segs, err := detect(name, data)
	if err != nil {
		add(Damaged, 0, "git log -p -- "+quoted(name), "%s", err)
		return out
	}
	if line, ok := plaintextSecret(name, data); ok {
		fix := "kubectl gitops secret encrypt -i " + quoted(name)
		if len(segs) > 0 {
			fix = "take the sops section out, and seal it again by a rule with encrypted_regex: " + KubernetesRegex
		}
		add(PlaintextSecret, line, fix, "a Secret has a value in clear")
	}
	if len(segs) == 0 {
		if base := path.Base(name); strings.Contains(base, ".sops.") && !strings.HasPrefix(base, ".sops.") {
			add(NotSealed, 0, "kubectl gitops secret encrypt -i "+quoted(name), "is not sealed, though its name says so")
		}
		return out
	}
	f := Sealed{Path: name}
	trees, err := load(&f, segs)
	if err != nil {
		add(Damaged, 0, "git log -p -- "+quoted(name), "%s", err)
		return out
	}
	if f.MetadataSealed && manifestLike(data) {
		add(TooWide, 0, "seal it again by a rule with encrypted_regex: "+KubernetesRegex, "apiVersion, kind or metadata are sealed too: Flux's controller does not take it")
	}
	rule, err := rules.For(real)
	switch {
	case errors.Is(err, ErrNoRule):
		add(NoRule, 0, "add a rule to .sops.yaml", "no creation rule says who may read it")
	case err != nil:
		add(NoRule, 0, "mend .sops.yaml", "its creation rule cannot be read: %s", err)
	case slices.ContainsFunc(segs, func(s segment) bool { return s.sealed }):
		for i, s := range segs {
			if s.sealed && !sameReaders(trees[i].Metadata.KeyGroups, rule.groups) {
				r := Resealed{Before: recipients(trees[i].Metadata.KeyGroups), After: rule.Recipients}
				say := "its key groups are others than in the rule"
				if add, gone := r.Added(), r.Removed(); len(add)+len(gone) > 0 {
					say = "is sealed to others than its rule names:"
					if len(gone) > 0 {
						say += " still to " + list(gone)
					}
					if len(add) > 0 {
						say += " not yet to " + list(add)
					}
				}
				add(StaleReaders, 0, "kubectl gitops secret updatekeys "+quoted(name), "%s", say)
				break
			}
		}
	}
	if len(k.ids) == 0 {
		return out
	}
	if _, _, err := k.Decrypt(name, data, DecryptOptions{}); err != nil {
		p, _ := errors.AsType[Problem](err)
		switch p.Kind {
		case NoKey, WrongKey:
			add(Unreadable, 0, "--age-key-file FILE, or seal it to a key at hand where it can be opened", "%s", p.Err)
		default:
			add(Edited, 0, "git log -p -- "+quoted(name), "%s", p.Err)
		}
	}
	return out
}

// manifestLike tells whether a file is meant for a cluster.
func manifestLike(data []byte) bool {
	return bytes.Contains(data, []byte("apiVersion")) && bytes.Contains(data, []byte("kind"))
}

// plaintextSecret finds a Kubernetes Secret with a value in clear, and the line
// of the first one. What does not parse, as a template, is none.
func plaintextSecret(name string, data []byte) (line int, found bool) {
	format := formats.FormatForPath(path.Base(name))
	if format != formats.Yaml && format != formats.Json || len(data) > maxSealedSize || !secretKind.Match(data) {
		return 0, false
	}
	docs, err := parse(data)
	if err != nil {
		return 0, false
	}
	for _, doc := range docs {
		if line, found = clearValue(doc.Content[0]); found {
			return line, true
		}
	}
	return 0, false
}

// clearValue looks into a Secret, or a list of objects.
func clearValue(n *yaml.Node) (line int, found bool) {
	if n.Kind != yaml.MappingNode {
		return 0, false
	}
	field := func(key string) *yaml.Node {
		for i := 0; i < len(n.Content); i += 2 {
			if n.Content[i].Value == key {
				return n.Content[i+1]
			}
		}
		return &yaml.Node{}
	}
	if items := field("items"); items.Kind == yaml.SequenceNode {
		for _, item := range items.Content {
			if line, found = clearValue(item); found {
				return line, true
			}
		}
	}
	if field("kind").Value != "Secret" || field("apiVersion").Value != "v1" {
		return 0, false
	}
	for _, key := range []string{"data", "stringData"} {
		values := field(key)
		for i := 1; values.Kind == yaml.MappingNode && i < len(values.Content); i += 2 {
			if v := values.Content[i]; v.Kind == yaml.ScalarNode && v.Value != "" && v.ShortTag() != "!!null" && !sealedValue.MatchString(v.Value) {
				return v.Line, true
			}
		}
	}
	return 0, false
}

// Holds tells whether any private key is at hand.
func (k *Keyring) Holds() bool { return len(k.ids) > 0 }
