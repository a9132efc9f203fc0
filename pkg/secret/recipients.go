package secret

import (
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/getsops/sops/v3"
	"github.com/getsops/sops/v3/age"
	"go.yaml.in/yaml/v3"
)

// IsRecipient tells whether a text is a recipient of age: age1…, or an SSH public
// key.
func IsRecipient(text string) bool {
	_, err := age.MasterKeyFromRecipient(text)
	return err == nil
}

// With is the rule with some age recipients more, and some less. It has one key
// group, as EditRecipients makes sure.
func (r Rule) With(add, remove []string) (Rule, error) {
	var group sops.KeyGroup
	for _, g := range r.groups {
		for _, key := range g {
			if name := recipients([]sops.KeyGroup{{key}}); len(name) == 1 && slices.ContainsFunc(remove, func(r string) bool { return sameRecipient(r, name[0]) }) {
				continue
			}
			group = append(group, key)
		}
	}
	for _, text := range add {
		if slices.ContainsFunc(recipients([]sops.KeyGroup{group}), func(r string) bool { return sameRecipient(r, text) }) {
			continue
		}
		key, err := age.MasterKeyFromRecipient(text)
		if err != nil {
			return r, fmt.Errorf("%s is not an age recipient", list([]string{text}))
		}
		group = append(group, key)
	}
	r.groups = []sops.KeyGroup{group}
	r.Recipients = recipients(r.groups)
	return r, nil
}

// RecipientsEdit is a .sops.yaml whose rules name other recipients.
type RecipientsEdit struct {
	Data  []byte
	rules []*regexp.Regexp // of each rule, in order; nil matches everything
	edits []bool
}

// Touches tells whether the rule for a file, relative to the .sops.yaml, is one of
// those that name others now.
func (e RecipientsEdit) Touches(path string) bool {
	i := ruleFor(e.rules, path)
	return i >= 0 && e.edits[i]
}

func ruleFor(rules []*regexp.Regexp, path string) int {
	return slices.IndexFunc(rules, func(r *regexp.Regexp) bool { return r == nil || r.MatchString(path) })
}

// EditRecipients adds age recipients to the rules of a .sops.yaml that are those of
// files, relative to it, and removes some; everything else stays byte by byte. The
// error says, by its line, which rule cannot be edited so.
func EditRecipients(conf []byte, files, add, remove []string) (out RecipientsEdit, err error) {
	rules, err := ruleNodes(conf)
	if err != nil {
		return out, err
	}
	for _, r := range rules {
		var path struct {
			PathRegex string `yaml:"path_regex"`
		}
		if err := r.Decode(&path); err != nil {
			return out, fmt.Errorf("line %d: is no creation rule", r.Line)
		}
		var expr *regexp.Regexp
		if path.PathRegex != "" {
			if expr, err = regexp.Compile(path.PathRegex); err != nil {
				return out, fmt.Errorf("line %d: path_regex does not compile", r.Line)
			}
		}
		out.rules = append(out.rules, expr)
	}
	out.edits = make([]bool, len(rules))
	for _, f := range files {
		if i := ruleFor(out.rules, filepath.FromSlash(f)); i >= 0 {
			out.edits[i] = true
		}
	}
	out.Data = conf
	for i := range rules {
		if !out.edits[i] {
			continue
		}
		for _, who := range add {
			if out.Data, err = editRule(out.Data, i, who, addRecipient); err != nil {
				return out, err
			}
		}
		for _, who := range remove {
			if out.Data, err = editRule(out.Data, i, who, removeRecipient); err != nil {
				return out, err
			}
		}
	}
	// Who shares a list by an alias got it too.
	after, err := ruleNodes(out.Data)
	if err != nil || len(after) != len(rules) {
		return out, errNotByByte
	}
	for i := range rules {
		a, errA := ageNode(rules[i])
		b, errB := ageNode(after[i])
		out.edits[i] = out.edits[i] || errA == nil && errB == nil && !slices.Equal(ageOf(a), ageOf(b))
		for _, who := range add {
			if out.edits[i] && !slices.ContainsFunc(ageOf(b), func(r string) bool { return sameRecipient(r, who) }) {
				return out, errNotByByte
			}
		}
		for _, who := range remove {
			if out.edits[i] && slices.ContainsFunc(ageOf(b), func(r string) bool { return sameRecipient(r, who) }) {
				return out, errNotByByte
			}
		}
	}
	return out, sameButAge(conf, out.Data)
}

// ruleNodes are the creation rules of a .sops.yaml.
func ruleNodes(conf []byte) ([]*yaml.Node, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(conf, &doc); err != nil {
		return nil, errors.New(yamlFailure(err, 1))
	}
	if len(doc.Content) > 0 && doc.Content[0].Kind == yaml.MappingNode {
		root := doc.Content[0]
		for i := 0; i < len(root.Content); i += 2 {
			if root.Content[i].Value == "creation_rules" && root.Content[i+1].Kind == yaml.SequenceNode {
				return root.Content[i+1].Content, nil
			}
		}
	}
	return nil, errors.New("has no list of creation_rules")
}

func entry(n *yaml.Node, key string) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	for i := 0; n.Kind == yaml.MappingNode && i < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// ageNode is where a rule has its age recipients; an alias is followed.
func ageNode(rule *yaml.Node) (*yaml.Node, error) {
	n := entry(rule, "age")
	if groups := entry(rule, "key_groups"); groups != nil {
		if groups.Kind != yaml.SequenceNode || len(groups.Content) != 1 {
			return nil, fmt.Errorf("line %d: the rule has several key_groups: write there who is meant, then run updatekeys", groups.Line)
		}
		n = entry(groups.Content[0], "age")
	}
	if n != nil && n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n == nil || len(ageOf(n)) == 0 {
		return nil, fmt.Errorf("line %d: the rule names no age recipient: write there who is meant, then run updatekeys", rule.Line)
	}
	return n, nil
}

// ageOf are the recipients of such a node, as sops reads it.
func ageOf(n *yaml.Node) (out []string) {
	switch {
	case n == nil:
	case n.Kind == yaml.SequenceNode:
		for _, item := range n.Content {
			if item.Kind == yaml.AliasNode {
				item = item.Alias
			}
			out = append(out, item.Value)
		}
	case n.Kind == yaml.ScalarNode:
		for _, word := range strings.Split(n.Value, ",") {
			if word = strings.TrimSpace(word); word != "" {
				out = append(out, word)
			}
		}
	}
	return out
}

// editRule edits the list of one rule; the file is parsed anew each time, since
// every edit moves what stands behind it.
func editRule(conf []byte, i int, who string, do func(*layout, *yaml.Node, string) ([]byte, error)) ([]byte, error) {
	rules, err := ruleNodes(conf)
	if err != nil || i >= len(rules) {
		return nil, errNotByByte
	}
	n, err := ageNode(rules[i])
	if err != nil {
		return nil, err
	}
	l, err := newLayout(conf)
	if err != nil {
		return nil, err
	}
	return do(l, n, who)
}

func addRecipient(l *layout, n *yaml.Node, who string) ([]byte, error) {
	have := ageOf(n)
	if slices.ContainsFunc(have, func(r string) bool { return sameRecipient(r, who) }) {
		return l.src, nil
	}
	if n.Kind == yaml.SequenceNode {
		if n.Style&yaml.FlowStyle != 0 {
			at, err := l.flowEnd(n)
			if err != nil {
				return nil, err
			}
			return slices.Concat(l.src[:at], []byte(", "+doubleQuoted(who)), l.src[at:]), nil
		}
		at := l.listEnd(n)
		item := strings.Repeat(" ", n.Column-1) + "- " + scalarText(who) + l.newline()
		return slices.Concat(ended(l.src[:at], l.newline()), []byte(item), l.src[at:]), nil
	}
	start, end, err := l.words(n, have[len(have)-1])
	if err != nil {
		return nil, err
	}
	text := "," + who
	if first, _, err := l.words(n, have[0]); err == nil && len(have) > 1 && strings.Contains(string(l.src[first:start]), "\n") {
		// One a line, as they stand.
		line := start
		for line > 0 && l.src[line-1] != '\n' {
			line--
		}
		text = "," + l.newline() + string(l.src[line:start]) + who
	}
	return slices.Concat(l.src[:end], []byte(text), l.src[end:]), nil
}

func removeRecipient(l *layout, n *yaml.Node, who string) ([]byte, error) {
	have := ageOf(n)
	i := slices.IndexFunc(have, func(r string) bool { return sameRecipient(r, who) })
	switch {
	case i < 0:
		return nil, fmt.Errorf("line %d: %s is not among the recipients of the rule", n.Line, list([]string{who}))
	case len(have) == 1:
		return nil, fmt.Errorf("line %d: the rule would name no age recipient any more", n.Line)
	}
	if n.Kind == yaml.SequenceNode && n.Style&yaml.FlowStyle == 0 {
		at := l.lines[n.Content[i].Line-1]
		return slices.Concat(l.src[:at], l.src[l.nextLine(at):]), nil
	}
	if n.Kind == yaml.SequenceNode {
		spans := make([]span, len(n.Content))
		for j, item := range n.Content {
			s, err := l.scalar(item, 0)
			if err != nil {
				return nil, err
			}
			spans[j] = s
		}
		if i > 0 {
			return slices.Concat(l.src[:spans[i-1].end], l.src[spans[i].end:]), nil
		}
		return slices.Concat(l.src[:spans[0].start], l.src[spans[1].start:]), nil
	}
	start, end, err := l.words(n, have[i])
	if err != nil {
		return nil, err
	}
	if i > 0 {
		if _, start, err = l.words(n, have[i-1]); err != nil {
			return nil, err
		}
	} else if end, _, err = l.words(n, have[1]); err != nil {
		return nil, err
	}
	return slices.Concat(l.src[:start], l.src[end:]), nil
}

// words is where an element of a scalar of several stands, as it is.
func (l *layout) words(n *yaml.Node, text string) (start, end int, err error) {
	s, err := l.scalar(n, 0)
	if err != nil {
		return 0, 0, err
	}
	from, to := s.start, s.end
	if s.bodyEnd > s.bodyStart {
		from, to = s.bodyStart, s.bodyEnd
	}
	at := strings.Index(string(l.src[from:to]), text)
	if at < 0 || strings.Count(string(l.src[from:to]), text) > 1 {
		return 0, 0, fmt.Errorf("line %d: the recipients are written in a way that cannot be edited", n.Line)
	}
	return from + at, from + at + len(text), nil
}

// sameButAge holds an edit to what it was to do: the rest of the file is the same.
func sameButAge(before, after []byte) error {
	type file struct {
		Rules []map[string]any `yaml:"creation_rules"`
		Rest  map[string]any   `yaml:",inline"`
	}
	var files [2]file
	for i, text := range [][]byte{before, after} {
		if yaml.Unmarshal(text, &files[i]) != nil {
			return errNotByByte
		}
		for _, rule := range files[i].Rules {
			delete(rule, "age")
			if groups, _ := rule["key_groups"].([]any); len(groups) == 1 {
				if group, ok := groups[0].(map[string]any); ok {
					delete(group, "age")
				}
			}
		}
	}
	// A list that rules share by an alias may be defined outside of them.
	if !reflect.DeepEqual(files[0].Rules, files[1].Rules) || len(files[0].Rest) != len(files[1].Rest) {
		return errNotByByte
	}
	return nil
}
