package secret

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"filippo.io/age"
	"go.yaml.in/yaml/v3"
)

// NewKey makes an age identity: X25519, or the post-quantum hybrid. file is what
// age-keygen would write.
func NewKey(postQuantum bool) (file []byte, recipient string, err error) {
	var private string
	if postQuantum {
		id, err := age.GenerateHybridIdentity()
		if err != nil {
			return nil, "", err
		}
		private, recipient = id.String(), id.Recipient().String()
	} else {
		id, err := age.GenerateX25519Identity()
		if err != nil {
			return nil, "", err
		}
		private, recipient = id.String(), id.Recipient().String()
	}
	return fmt.Appendf(nil, "# created: %s\n# public key: %s\n%s\n", time.Now().Format(time.RFC3339), recipient, private), recipient, nil
}

// DefaultKeyFile is where sops, and Find, look for age identities by themselves.
func DefaultKeyFile(o FindOptions) (string, error) {
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	if o.Home == "" {
		o.Home, _ = os.UserHomeDir()
	}
	o.GOOS = cmp.Or(o.GOOS, runtime.GOOS)
	dirs := configDirs(o)
	if len(dirs) == 0 {
		return "", errors.New("no home directory is known, so there is no default place for a key")
	}
	return filepath.Join(dirs[0], "sops", "age", "keys.txt"), nil
}

// WriteKey writes a key file that only its owner can read, and never over
// another file.
func WriteKey(path string, file []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("%s: %s", filepath.Dir(path), readFailure(err))
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s: is there already, and a key is never overwritten", path)
	}
	if err != nil {
		return fmt.Errorf("%s: %s", path, readFailure(err))
	}
	_, err = f.Write(file)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(path)
		return fmt.Errorf("%s: %s", path, readFailure(err))
	}
	return nil
}

// Ignore adds a path to a .gitignore, unless it stands there; path is relative
// to the directory of the file. Everything else stays byte by byte.
func Ignore(gitignore []byte, path string) ([]byte, error) {
	if strings.ContainsAny(path, "\r\n") {
		return nil, fmt.Errorf("%q cannot stand in a .gitignore", path)
	}
	line := "/" + regexp.MustCompile(`[\\*?\[ ]`).ReplaceAllString(filepath.ToSlash(path), `\$0`)
	nl := newlineOf(gitignore)
	for _, l := range strings.Split(string(gitignore), "\n") {
		if strings.TrimSuffix(l, "\r") == line {
			return gitignore, nil
		}
	}
	return slices.Concat(ended(gitignore, nl), []byte(line+nl)), nil
}

func newlineOf(data []byte) string {
	if i := bytes.IndexByte(data, '\n'); i > 0 && data[i-1] == '\r' {
		return "\r\n"
	}
	return "\n"
}

// ended is a text whose last line ends.
func ended(data []byte, nl string) []byte {
	if len(data) > 0 && data[len(data)-1] != '\n' {
		return slices.Concat(data, []byte(nl))
	}
	return data
}

// NewRule is a creation rule to add to a .sops.yaml.
type NewRule struct {
	PathRegex      string
	EncryptedRegex string // "" to leave it to sops
	Age            string
}

// ManifestRule is the rule for the manifests of a repository.
func ManifestRule(recipient string) NewRule {
	return NewRule{PathRegex: `\.ya?ml$`, EncryptedRegex: KubernetesRegex, Age: recipient}
}

// Lines are the lines of the rule as an item of a list; indent stands before each.
func (r NewRule) Lines(indent, nl string) string {
	text := indent + "- path_regex: " + scalarText(r.PathRegex) + nl
	if r.EncryptedRegex != "" {
		text += indent + "  encrypted_regex: " + scalarText(r.EncryptedRegex) + nl
	}
	return text + indent + "  age: " + scalarText(r.Age) + nl
}

func scalarText(s string) string {
	out, err := yaml.Marshal(s)
	if text := strings.TrimSuffix(string(out), "\n"); err == nil && !strings.Contains(text, "\n") {
		return text
	}
	return doubleQuoted(s)
}

// Shadowed is a rule that would never be used, since an earlier one matches the
// same files.
type Shadowed struct {
	Line int // of the earlier rule
}

func (s *Shadowed) Error() string {
	return fmt.Sprintf("line %d: the rule there comes first for the same files", s.Line)
}

// AddRule adds a rule behind those of a .sops.yaml, of which there are others;
// everything else stays byte by byte. sops takes the first that matches a file. The
// error is a *Shadowed where the rule would never be used, or says why it cannot be
// added.
func AddRule(conf []byte, rule NewRule) (out []byte, others int, err error) {
	nl := newlineOf(conf)
	var doc yaml.Node
	if err := yaml.Unmarshal(conf, &doc); err != nil {
		return nil, 0, errors.New(yamlFailure(err, 1))
	}
	var rules, key *yaml.Node
	if len(doc.Content) > 0 {
		root := doc.Content[0]
		if root.Kind != yaml.MappingNode || root.Style&yaml.FlowStyle != 0 || root.Column != 1 {
			return nil, 0, errors.New("is not written as a mapping in lines that begin at the left")
		}
		for i := 0; i < len(root.Content); i += 2 {
			if root.Content[i].Value == "creation_rules" {
				key, rules = root.Content[i], root.Content[i+1]
			}
		}
	}
	l, err := newLayout(conf)
	if err != nil {
		return nil, 0, err
	}
	switch {
	case key == nil:
		out = slices.Concat(ended(conf, nl), []byte("creation_rules:"+nl+rule.Lines("  ", nl)))
	case rules.ShortTag() == "!!null" && rules.Value == "":
		at := l.nextLine(l.lines[key.Line-1])
		out = slices.Concat(ended(conf[:at], nl), []byte(rule.Lines("  ", nl)), conf[at:])
	case rules.Kind != yaml.SequenceNode || rules.Style&yaml.FlowStyle != 0 || len(rules.Content) == 0:
		return nil, 0, errors.New("creation_rules is not a list in lines")
	default:
		for _, r := range rules.Content {
			if shadows(r, rule) {
				return nil, 0, &Shadowed{r.Line}
			}
		}
		others = len(rules.Content)
		at := l.listEnd(rules)
		out = slices.Concat(ended(conf[:at], nl), []byte(rule.Lines(strings.Repeat(" ", rules.Column-1), nl)), conf[at:])
	}
	return out, others, checkRule(conf, out, rule)
}

// listEnd is where the line behind the last item of a block sequence begins.
func (l *layout) listEnd(n *yaml.Node) int {
	end := l.lines[n.Line-1]
	for at := end; at < len(l.src); at = l.nextLine(at) {
		line := string(l.src[at:l.lineEnd(at)])
		text := strings.TrimLeft(line, " ")
		indent := len(line) - len(text)
		if strings.TrimSpace(text) == "" || strings.HasPrefix(text, "#") {
			continue
		}
		if indent < n.Column-1 || indent == n.Column-1 && !strings.HasPrefix(text, "-") || strings.HasPrefix(line, "---") {
			break
		}
		end = l.nextLine(at)
	}
	return end
}

// shadows tells whether a rule of the file matches whatever the new one would:
// it matches everything, the same expression, or each of some usual names.
func shadows(r *yaml.Node, rule NewRule) bool {
	var old struct {
		PathRegex string `yaml:"path_regex"`
	}
	if r.Decode(&old) != nil {
		return false
	}
	if old.PathRegex == "" || old.PathRegex == rule.PathRegex {
		return true
	}
	before, err := regexp.Compile(old.PathRegex)
	if err != nil {
		return false
	}
	now, err := regexp.Compile(rule.PathRegex)
	if err != nil {
		return false
	}
	some := false
	for _, name := range []string{"secret.yaml", "apps/web/secret.yaml", "clusters/a/flux-system/x.yaml", "db.sops.yaml", "apps/web/db.sops.yaml", "secrets/db.enc.yaml", "secrets/db.yaml"} {
		if now.MatchString(name) {
			some = true
			if !before.MatchString(name) {
				return false
			}
		}
	}
	return some
}

var errNotByByte = errors.New("cannot be edited byte by byte")

// checkRule holds the result of AddRule to what it was to do.
func checkRule(before, after []byte, rule NewRule) error {
	type file struct {
		Rules []map[string]any `yaml:"creation_rules"`
		Rest  map[string]any   `yaml:",inline"`
	}
	var a, b file
	if yaml.Unmarshal(before, &a) != nil || yaml.Unmarshal(after, &b) != nil {
		return errNotByByte
	}
	want := map[string]any{"path_regex": rule.PathRegex, "age": rule.Age}
	if rule.EncryptedRegex != "" {
		want["encrypted_regex"] = rule.EncryptedRegex
	}
	if len(b.Rules) != len(a.Rules)+1 || !reflect.DeepEqual(b.Rules[len(a.Rules)], want) || !reflect.DeepEqual(a.Rest, b.Rest) {
		return errNotByByte
	}
	for i := range a.Rules {
		if !reflect.DeepEqual(a.Rules[i], b.Rules[i]) {
			return errNotByByte
		}
	}
	return nil
}
