package secret

import (
	"bytes"
	"math"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/getsops/sops/v3/cmd/sops/formats"
	"go.yaml.in/yaml/v3"
)

// passwords finds what is a secret by the name that it has: a field, a variable,
// an argument. Names and values are both looked at closely, since most things that
// are called secret only refer to one.
func passwords(name string, data []byte, parsed *documentsOf, secret clearSecret) []hit {
	p := &passwordFinder{name: name}
	format := formats.FormatForPath(path.Base(name))
	if format == formats.Yaml || format == formats.Json {
		if docs, err := parsed.parse(); err == nil {
			for _, doc := range docs {
				p.node(doc.Content[0], "", secret)
			}
			for i, line := range bytes.Split(data, []byte("\n")) {
				if at := commentAt(line); at >= 0 {
					p.comment(string(line[at:]), i+1, secret.here)
				}
			}
			return p.hits
		}
	}
	bare := bareIsSecret
	switch ext := strings.ToLower(path.Ext(name)); {
	case sourceCode[ext]:
		bare = bareIsCode
	case prose[ext]:
		bare = bareIsProse
	}
	for i, line := range bytes.Split(data, []byte("\n")) {
		if len(line) < 4000 { // what is longer was written by no one
			p.text(string(line), i+1, bare)
		}
	}
	return p.hits
}

// sourceCode are extensions of what assigns variables all the time; there only a
// quoted text can be a secret.
var sourceCode = map[string]bool{
	".go": true, ".py": true, ".js": true, ".ts": true, ".jsx": true, ".tsx": true, ".java": true, ".kt": true, ".rb": true, ".rs": true,
	".c": true, ".h": true, ".cpp": true, ".cs": true, ".php": true, ".swift": true, ".scala": true, ".lua": true, ".tf": true, ".rego": true, ".cue": true,
}

// prose are extensions of what people read.
var prose = map[string]bool{".md": true, ".txt": true, ".rst": true, ".adoc": true, ".html": true}

type passwordFinder struct {
	name string
	hits []hit
}

const sealFix = "change it, and seal it: a Secret that is sealed (kubectl gitops secret encrypt), which the rest refers to"

func (p *passwordFinder) add(key, value string, line int) {
	what := "holds a password in clear"
	if fieldName.MatchString(key) {
		what = key + " is in clear"
	}
	p.hits = append(p.hits, hit{ClearPassword, what, sealFix, line, value})
}

// node walks a YAML or JSON document. The data of a Secret are not looked at: they
// are findings of their own.
func (p *passwordFinder) node(n *yaml.Node, key string, secret clearSecret) {
	switch n.Kind {
	case yaml.MappingNode:
		isSecret := field(n, "kind").Value == "Secret"
		if name, value := field(n, "name"), field(n, "value"); name.Kind == yaml.ScalarNode && value.Kind == yaml.ScalarNode {
			p.value(name.Value, value, true)
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			k, v := n.Content[i], n.Content[i+1]
			if isSecret && (k.Value == "data" || k.Value == "stringData") || k.Value == "sops" && isSopsNode(v) {
				continue
			}
			p.node(v, k.Value, secret)
		}
	case yaml.SequenceNode:
		for _, c := range n.Content {
			p.node(c, key, secret)
		}
	case yaml.ScalarNode:
		p.value(key, n, false)
	}
}

var argument = regexp.MustCompile(`^--?([A-Za-z][A-Za-z0-9._-]*)[= ]["']?([^"'\s]+)["']?$`)

func (p *passwordFinder) value(key string, n *yaml.Node, isVariable bool) {
	if n.Tag == "!!null" || n.Tag == "!!bool" {
		return
	}
	if n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 || strings.Contains(n.Value, "\n") {
		if isVariable {
			return // its mapping is walked too
		}
		for i, line := range strings.Split(n.Value, "\n") {
			at := n.Line
			if n.Style&yaml.LiteralStyle != 0 {
				at += 1 + i
			}
			p.text(line, at, bareIsSecret)
		}
		return
	}
	if m := argument.FindStringSubmatch(n.Value); m != nil {
		if secretValue(m[1], m[2], false) {
			p.add(m[1], m[2], n.Line)
		}
		return
	}
	if secretValue(key, n.Value, false) {
		p.add(key, n.Value, n.Line)
	}
}

// assignment is NAME=VALUE, NAME: VALUE and their like, at any place of a line.
var assignment = regexp.MustCompile(`(?:^|[\s"'` + "`" + `({,;&?-])([A-Za-z_][A-Za-z0-9_.-]{1,60})["']?(\s*(?::=|=>|[:=])\s*)(?:"((?:[^"\\]|\\.)+)"|'([^']+)'|` + "`([^`]+)`" + `|([^\s"'` + "`" + `,;&]+))(\s*\S?)`)

// bareness is what a value without quotes is.
type bareness int

const (
	bareIsSecret bareness = iota // as one with them
	bareIsProse                  // a secret if it looks like nothing else
	bareIsCode                   // an expression
)

// text looks at a line of no format.
func (p *passwordFinder) text(line string, number int, how bareness) {
	if !secretWord.MatchString(line) {
		return
	}
	for _, m := range assignment.FindAllStringSubmatch(line, -1) {
		value := m[3] + m[4] + m[5]
		bare := value == ""
		if bare && how == bareIsCode {
			continue
		}
		if bare {
			// More words behind it: a sentence, where it is not the variable of a command.
			after := strings.TrimSpace(m[7])
			if after != "" && !strings.ContainsAny(after, "#;&|\\,)}`\"'") && (how == bareIsProse || m[2] != "=") {
				continue
			}
			value = m[6]
		}
		if secretValue(m[1], value, bare && how == bareIsProse) {
			p.add(m[1], value, number)
		}
	}
}

var (
	saidToBe = regexp.MustCompile(`(?i)\bpass(?:word|wd|phrase)?\b[^:=\n]{0,40}?(?:\bis\b|[:=])\s*["'` + "`" + `]?([^\s"'` + "`" + `,;]+)`)
	login    = regexp.MustCompile(`(?:^|[\s"'(])([A-Za-z][A-Za-z0-9._@-]{1,30}):([^\s:/"'()]{8,})(?:$|[\s"'),])`)
	aboutOne = regexp.MustCompile(`(?i)htpasswd|passw|login|credential|basic.?auth`)
)

// comment looks at a comment. inSecret: it stands in a Secret, where USER:PASSWORD
// is what people note.
func (p *passwordFinder) comment(text string, line int, inSecret bool) {
	before := len(p.hits)
	p.text(text, line, bareIsProse)
	if len(p.hits) > before {
		return
	}
	if m := saidToBe.FindStringSubmatch(text); m != nil && random(m[1]) && !placeholder(m[1]) {
		p.hits = append(p.hits, hit{ClearPassword, "a comment holds a password", "change it, and take it out", line, m[1]})
		return
	}
	if !inSecret && !aboutOne.MatchString(text) {
		return
	}
	if m := login.FindStringSubmatch(text); m != nil && random(m[2]) && !placeholder(m[2]) {
		p.hits = append(p.hits, hit{ClearPassword, "a comment holds what looks like USER:PASSWORD", "change it, and take it out", line, m[2]})
	}
}

// commentAt is where the comment of a line of YAML begins, -1 without one. A #
// inside of quotes may pass for one, which does no harm.
func commentAt(line []byte) int {
	for i, c := range line {
		if c == '#' && (i == 0 || line[i-1] == ' ' || line[i-1] == '\t') {
			return i
		}
	}
	return -1
}

// secretWord is the cheap test for a line.
var secretWord = regexp.MustCompile(`(?i)pass|pwd|secret|token|key|credential`)

var nameWord = regexp.MustCompile(`[A-Z]+(?:[a-z]+|\b|[A-Z0-9_]*$)|[A-Z]?[a-z]+|[0-9]+`)

// nameKind says what a name promises: a password, which may be anything, or some
// other secret, which was made by a machine.
func nameKind(name string) (password, other bool) {
	words := nameWord.FindAllString(strings.NewReplacer("_", " ", "-", " ", ".", " ", "/", " ").Replace(name), -1)
	for i := range words {
		words[i] = strings.ToLower(words[i])
	}
	if len(words) == 0 || slices.ContainsFunc(words, func(w string) bool { return notSecret[w] }) {
		return false, false
	}
	last := words[len(words)-1]
	for _, suffix := range []string{"password", "passwd", "passphrase"} {
		if strings.HasSuffix(last, suffix) {
			return true, false
		}
	}
	switch last {
	case "pwd", "pass":
		return true, false
	case "secret", "token", "apikey", "credential", "credentials", "secretkey", "accesskey", "privatekey", "authtoken":
		return false, true
	case "key":
		return false, len(words) > 1 && keyOf[words[len(words)-2]]
	}
	return false, false
}

// keyOf are the words that make a secret of a key.
var keyOf = map[string]bool{
	"api": true, "access": true, "secret": true, "private": true, "auth": true, "encryption": true, "signing": true, "account": true,
	"master": true, "shared": true, "storage": true, "license": true, "hmac": true, "jwt": true, "cookie": true, "session": true,
}

// notSecret are the words of names that only speak of a secret.
var notSecret = map[string]bool{
	"checksum": true, "hash": true, "sha": true, "digest": true, "existing": true, "public": true, "name": true, "ref": true, "path": true,
	"file": true, "url": true, "uri": true, "type": true, "min": true, "max": true, "reset": true, "forgot": true, "enable": true, "enabled": true,
	"disable": true, "use": true, "allow": true, "require": true, "required": true, "policy": true, "length": true, "image": true, "pull": true,
	"from": true, "ttl": true, "expiry": true, "next": true, "continue": true, "csrf": true, "field": true, "label": true, "description": true, "example": true,
}

// secretValue tells whether a name and its value are a secret. sure asks for a
// value that looks like nothing else.
func secretValue(name, value string, sure bool) bool {
	password, other := nameKind(name)
	if !password && !other || placeholder(value) || reference(value) {
		return false
	}
	if password && !sure {
		return len(value) >= 5
	}
	return random(value)
}

var (
	placeholderWord = regexp.MustCompile(`(?i)^(?:x+|\*+|\.+|-+|_+|…|0+|change.?(?:me|it|this).*|changed|replace.*|your[-_ ].*|(?:an?[-_ ]|my[-_ ])?example(?:[-_ ]?(?:pass(?:word|wd)?|secret|token|key|value)s?)?|my[-_]?(?:pass|secret|token|key).*|dummy.*|fake.*|sample.*|.*placeholder.*|.*redacted.*|todo.*|tbd|none|null|nil|empty|unset|default|true|false|yes|no|on|off|enabled|disabled|required|optional|string|str|pass(?:wd|word|phrase)?|pwd|secret|token|key|apikey|value|test|foo|bar|baz|foobar|insert.*|enter.*|generated?|random|sealed|encrypted|masked|hidden|user(?:name)?|not.?set|n/?a|undefined|prompt|stdin|env|file)$`)
	referenceText   = regexp.MustCompile(`\{\{|\$\{|\$\(|<[^>]*>|%\(|%\{|#\{|^\$[A-Za-z_]|^ENC\[|^[*&!@]|^(?:vault|ref\+|op|env|file|sm|ssm|akv|gcpkms|awskms|arn|secretref|secret|sops|projects|k8s|kms):|^(?:/|\./|\.\./|~/)|://|^\(|^\[|\(\)|\.\w+\(|\.(?:ya?ml|json|txt|pem|key|crt|cert|env|pub|agekey|asc)$`)
	valueOfCode     = regexp.MustCompile(`^[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+$|^[A-Za-z_]\w*[([]`)
)

// placeholder tells whether a value stands for one that somebody is to put there.
func placeholder(value string) bool {
	value = strings.TrimSpace(value)
	return len(value) < 3 || placeholderWord.MatchString(value) || strings.HasPrefix(value, "<") || sealedValue.MatchString(value)
}

// reference tells whether a value says where the secret is, or is computed.
func reference(value string) bool {
	return referenceText.MatchString(value) || valueOfCode.MatchString(value) || strings.Contains(value, " ") && !strings.ContainsFunc(value, unicode.IsDigit)
}

// random tells whether a text looks made up to be hard to guess: no word, no name of
// an object, no version.
func random(s string) bool {
	if len(s) < 8 || nameLike.MatchString(s) || versionLike.MatchString(s) || reference(s) {
		return false
	}
	var lower, upper, digit, other int
	for _, c := range s {
		switch {
		case unicode.IsLower(c):
			lower = 1
		case unicode.IsUpper(c):
			upper = 1
		case unicode.IsDigit(c):
			digit = 1
		default:
			other = 1
		}
	}
	return digit == 1 && lower+upper+other > 0 && entropy(s) >= 2.7 || lower+upper+other == 3 && entropy(s) >= 3 || len(s) >= 24 && lower+upper == 2 && entropy(s) >= 3.7
}

var (
	// nameLike are words in small letters with dashes or dots, a number behind some
	// of them: names of objects, hosts, images.
	nameLike    = regexp.MustCompile(`^(?:[a-z]{2,}[0-9]{0,2})(?:[-._:/@][a-z0-9]{1,2}|[-._:/@][a-z]+[0-9]{0,2}|[-._:/@][0-9]{1,5})*$|^[A-Z][a-z]+(?:[A-Z][a-z]+)+$|^[A-Z0-9]+(?:_[A-Z0-9]+)+$`)
	versionLike = regexp.MustCompile(`^v?\d+(?:\.\d+)+[\w.+-]*$|^\d[\d.,:/TZ+-]*[a-zA-Z]{0,2}$|^sha\d+:`)
)

// entropy is the information of a letter of s, in bits.
func entropy(s string) (bits float64) {
	count := make(map[rune]int)
	n := 0
	for _, c := range s {
		count[c]++
		n++
	}
	for _, c := range count {
		p := float64(c) / float64(n)
		bits -= p * math.Log2(p)
	}
	return bits
}

// dull tells whether the value of a known form is none that anybody uses. Of random
// letters, four that are x come together in one real age key of 20,000; six do not.
func dull(value string) bool {
	lower := strings.ToLower(value)
	if strings.Contains(lower, "example") || strings.Contains(lower, "xxxxxx") || strings.Contains(lower, "....") || strings.Contains(lower, "****") {
		return true
	}
	distinct := make(map[rune]bool)
	for _, c := range value {
		distinct[c] = true
	}
	return len(distinct) < 6
}
