package secret

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"

	"github.com/getsops/sops/v3/config"
	"go.yaml.in/yaml/v3"
)

// ruleCache is what Rules remember of the files that they read. A nil one
// remembers nothing.
type ruleCache struct {
	mu    sync.Mutex
	near  map[string]string // .sops.yaml, by the directory from which it was looked for
	files map[string]*ruleFile
	rules map[ruleID]Rule
}

// ruleID is a creation rule of a file.
type ruleID struct {
	file  string
	index int
}

// nearest looks for .sops.yaml from a directory upwards.
func (c *ruleCache) nearest(dir string) string {
	find := func() string {
		conf, err := config.FindConfigFile(filepath.Join(dir, "x"))
		if err != nil {
			return ""
		}
		return conf
	}
	if c == nil {
		return find()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	conf, ok := c.near[dir]
	if !ok {
		conf = find()
		c.near[dir] = conf
	}
	return conf
}

func (c *ruleCache) file(conf string) *ruleFile {
	c.mu.Lock()
	defer c.mu.Unlock()
	f, ok := c.files[conf]
	if !ok {
		f = readRuleFile(conf)
		c.files[conf] = f
	}
	return f
}

func (c *ruleCache) rule(id ruleID) (Rule, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	rule, ok := c.rules[id]
	return rule, ok
}

// ruleFile is which files the rules of a .sops.yaml are for. What a rule says
// is for sops to read.
type ruleFile struct {
	dir   string
	rules []pathRule
	// named are all whom the file names, in any rule.
	named map[string]bool
}

type pathRule struct {
	expr *regexp.Regexp // nil matches every file
	text string
	line int
}

// readRuleFile reads a .sops.yaml as far as it can be read.
func readRuleFile(conf string) *ruleFile {
	f := &ruleFile{dir: filepath.Dir(conf), named: make(map[string]bool)}
	data, err := os.ReadFile(conf)
	if err != nil {
		return f
	}
	docs, err := parse(data)
	if err != nil || len(docs) == 0 || docs[0].Content[0].Kind != yaml.MappingNode {
		return f
	}
	rules := field(docs[0].Content[0], "creation_rules")
	f.name(rules)
	if rules.Kind != yaml.SequenceNode {
		return f
	}
	for _, n := range rules.Content {
		path := field(n, "path_regex")
		rule := pathRule{text: path.Value, line: n.Line}
		if path.Value != "" {
			if rule.expr, err = regexp.Compile(path.Value); err != nil {
				return f // sops goes no further either
			}
		}
		f.rules = append(f.rules, rule)
	}
	return f
}

// name notes every text as one that may name a recipient: a list of them may be
// written in one text.
func (f *ruleFile) name(n *yaml.Node) {
	if n.Kind == yaml.ScalarNode {
		f.named[strings.TrimSpace(n.Value)] = true
		for _, r := range strings.Split(n.Value, ",") {
			f.named[strings.TrimSpace(r)] = true
		}
	}
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	for _, c := range n.Content {
		f.name(c)
	}
}

// index is the rule for a file, as sops finds it: the first whose expression
// matches the path below the directory of .sops.yaml. -1 is none.
func (f *ruleFile) index(abs string) int {
	rel := strings.TrimPrefix(abs, f.dir+string(filepath.Separator))
	for i, r := range f.rules {
		if r.expr == nil || r.expr.MatchString(rel) {
			return i
		}
	}
	return -1
}

// field is the value of a key of a mapping, an empty node if it has none.
func field(n *yaml.Node, key string) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return &yaml.Node{}
}
