package source

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

// ignoreRules are the patterns that hold in one directory, weakest first (gitignore(5)).
//
// go-git has a matcher too. It is not used: it takes "dir/**" for dir itself, so that nothing
// below can be excepted, knows neither "[!a]" nor "a**b", and reads the whole tree for its rules.
type ignoreRules struct {
	patterns []ignorePattern
}

type ignorePattern struct {
	base    string         // directory of the file it stands in, from the top, "" or with a slash at the end
	literal string         // "" where expr is needed
	expr    *regexp.Regexp // of the path below base, or of the name
	name    bool           // matches the last element, at any depth
	dirOnly bool
	except  bool   // begins with "!"
	file    string // where it stands, for messages
}

// ignoreRules are those that hold in the directory dir (slashes, from the top): the user's, the
// repository's own, and the .gitignore of the top and of each directory above dir.
func (r *repository) ignoreRules(dir string) (*ignoreRules, error) {
	rules := &ignoreRules{}
	for _, name := range []string{r.excludesFile(), filepath.Join(r.commonDir, "info", "exclude")} {
		if name == "" {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			continue // as Git, which warns
		}
		rules.add(text, "", name)
	}
	if dir == "" {
		return rules, nil
	}
	root, err := os.OpenRoot(r.top)
	if err != nil {
		return nil, unreadable(r.top, err)
	}
	defer root.Close()
	at := ""
	for name := range strings.SplitSeq(dir, "/") {
		sub, err := root.OpenRoot(filepath.FromSlash(path.Join(".", at)))
		if err != nil {
			return nil, unreadable(filepath.Join(r.top, at), err)
		}
		rules, err = rules.enter(sub, at)
		sub.Close()
		if err != nil {
			return nil, err
		}
		at = path.Join(at, name)
	}
	return rules, nil
}

// enter adds the rules of the directory at, which dir is open on.
func (r *ignoreRules) enter(dir *os.Root, at string) (*ignoreRules, error) {
	info, err := dir.Lstat(".gitignore")
	if err != nil || !info.Mode().IsRegular() { // as Git, a link is not followed
		return r, nil
	}
	name := path.Join(at, ".gitignore")
	text, err := dir.ReadFile(".gitignore")
	if err != nil {
		return nil, unreadable(name, err)
	}
	base := ""
	if at != "" {
		base = at + "/"
	}
	next := &ignoreRules{patterns: r.patterns[:len(r.patterns):len(r.patterns)]}
	next.add(text, base, name)
	return next, nil
}

func (r *ignoreRules) add(text []byte, base, file string) {
	for line := range strings.Lines(string(bytes.TrimPrefix(text, []byte("\ufeff")))) {
		if p, ok := parseIgnore(strings.TrimRight(line, "\r\n")); ok {
			p.base, p.file = base, file
			r.patterns = append(r.patterns, p)
		}
	}
}

func parseIgnore(line string) (p ignorePattern, ok bool) {
	for strings.HasSuffix(line, " ") && !strings.HasSuffix(line, `\ `) {
		line = line[:len(line)-1]
	}
	if strings.HasPrefix(line, "#") {
		return p, false
	}
	line, p.except = strings.CutPrefix(line, "!")
	line, p.dirOnly = strings.CutSuffix(line, "/")
	if line == "" {
		return p, false
	}
	p.name = !strings.Contains(line, "/")
	line = strings.TrimPrefix(line, "/")
	if !strings.ContainsAny(line, `*?[\`) {
		p.literal = line
		return p, line != ""
	}
	expr, ok := globExpr(line)
	if !ok {
		return p, false
	}
	p.expr, ok = compile(expr)
	return p, ok
}

func compile(expr string) (*regexp.Regexp, bool) {
	re, err := regexp.Compile(expr)
	return re, err == nil
}

// globExpr is a gitignore glob as a regular expression (wildmatch.c with WM_PATHNAME). ok is
// false for a pattern that matches nothing, such as one with an open bracket.
func globExpr(glob string) (expr string, ok bool) {
	var b strings.Builder
	b.WriteString(`(?s)^`)
	for i := 0; i < len(glob); i++ {
		switch c := glob[i]; c {
		case '*':
			stars := 1
			for i+stars < len(glob) && glob[i+stars] == '*' {
				stars++
			}
			first, last := i == 0 || glob[i-1] == '/', i+stars == len(glob) || glob[i+stars] == '/'
			switch {
			case stars < 2 || !first || !last:
				b.WriteString(`[^/]*`)
			case i+stars == len(glob):
				b.WriteString(`.+`) // all that is inside, at any depth
			default:
				b.WriteString(`(?:.*/)?`) // with the slash: no directory, or any number
				i++
			}
			i += stars - 1
		case '?':
			b.WriteString(`[^/]`)
		case '[':
			class, n := globClass(glob[i:])
			if n == 0 {
				return "", false
			}
			b.WriteString(class)
			i += n - 1
		case '\\':
			if i++; i == len(glob) {
				return "", false
			}
			b.WriteString(regexp.QuoteMeta(string(rune(glob[i]))))
		default:
			b.WriteString(regexp.QuoteMeta(string(rune(c))))
		}
	}
	b.WriteString(`$`)
	return b.String(), true
}

// globClass is the bracket expression that glob begins with, as an expression, and its length; 0
// where it is none. It follows wildmatch.c byte by byte, and never holds the slash.
func globClass(glob string) (class string, n int) {
	i, negated := 1, false
	if i < len(glob) && (glob[i] == '!' || glob[i] == '^') {
		negated = true
		i++
	}
	var set [256]bool
	previous := byte(0)
	for start := i; ; i++ {
		switch {
		case i >= len(glob):
			return "", 0
		case glob[i] == ']' && i > start:
			return setExpr(set, negated), i + 1
		case glob[i] == '\\':
			if i++; i >= len(glob) {
				return "", 0
			}
			set[glob[i]], previous = true, glob[i]
		case glob[i] == '-' && previous != 0 && i+1 < len(glob) && glob[i+1] != ']':
			if i++; glob[i] == '\\' {
				if i++; i >= len(glob) {
					return "", 0
				}
			}
			for c := int(previous); c <= int(glob[i]); c++ {
				set[c] = true
			}
			previous = 0
		case strings.HasPrefix(glob[i:], "[:"):
			end := strings.IndexByte(glob[i+2:], ']')
			if end < 0 {
				return "", 0
			}
			name, ok := strings.CutSuffix(glob[i+2:i+2+end], ":")
			if !ok {
				set['['], previous = true, '['
				continue
			}
			re, ok := compile("^[[:" + name + ":]]$")
			if !ok {
				return "", 0
			}
			for c := range byte(128) {
				set[c] = set[c] || re.Match([]byte{c})
			}
			i, previous = i+2+end, 0
		default:
			set[glob[i]], previous = true, glob[i]
		}
	}
}

func setExpr(set [256]bool, negated bool) string {
	var b strings.Builder
	for c, in := range set {
		if in != negated && c != '/' {
			fmt.Fprintf(&b, `\x{%x}`, c)
		}
	}
	if b.Len() == 0 {
		return `[^\x{0}-\x{10FFFF}]` // nothing
	}
	return "[" + b.String() + "]"
}

// bytewise spells every byte as a rune of its own: Git's patterns match bytes, regexp runes.
func bytewise(s string) string {
	r := make([]rune, len(s))
	for i := range len(s) {
		r[i] = rune(s[i])
	}
	return string(r)
}

// match reports whether the path p (from the top), no directory above which is ignored, is
// ignored itself, and by which file.
func (r *ignoreRules) match(p string, dir bool) (ignored bool, by string) {
	for i := len(r.patterns) - 1; i >= 0; i-- {
		if q := &r.patterns[i]; q.matches(p, dir) {
			return !q.except, q.file
		}
	}
	return false, ""
}

func (q *ignorePattern) matches(p string, dir bool) bool {
	rel, ok := strings.CutPrefix(p, q.base)
	if !ok || q.dirOnly && !dir {
		return false
	}
	if q.name {
		rel = path.Base(rel)
	}
	if q.literal != "" {
		return rel == q.literal
	}
	return q.expr.MatchString(bytewise(rel))
}

// ignoresDir reports whether the directory p or one above it is ignored.
func (r *ignoreRules) ignoresDir(p string) bool {
	for i := range p {
		if p[i] == '/' {
			if hit, _ := r.match(p[:i], true); hit {
				return true
			}
		}
	}
	hit, _ := r.match(p, true)
	return p != "" && hit
}
