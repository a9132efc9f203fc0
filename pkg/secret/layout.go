package secret

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// layout finds where things stand in the bytes of a YAML file, so that a value
// can be replaced and everything around it stays as it is: yaml.v3 says where a
// node begins, not where it ends.
type layout struct {
	src   []byte
	lines []int // where each line begins
}

func newLayout(src []byte) (*layout, error) {
	if bytes.HasPrefix(src, []byte("\xef\xbb\xbf")) {
		return nil, &fault{BadMetadata, "begins with a byte order mark, which cannot be kept: remove it"}
	}
	if !utf8.Valid(src) {
		return nil, &fault{BadMetadata, "is not UTF-8"}
	}
	l := &layout{src: src, lines: []int{0}}
	for i := 0; i < len(src); {
		n := breakAt(src, i)
		if n == 0 {
			i++
			continue
		}
		i += n
		l.lines = append(l.lines, i)
	}
	return l, nil
}

// breakAt is the length of the line break at i, 0 if there is none. The breaks
// are those by which yaml.v3 counts lines.
func breakAt(src []byte, i int) int {
	switch {
	case src[i] == '\n':
		return 1
	case src[i] == '\r' && i+1 < len(src) && src[i+1] == '\n':
		return 2
	case src[i] == '\r':
		return 1
	case bytes.HasPrefix(src[i:], []byte("\u0085")):
		return 2
	case bytes.HasPrefix(src[i:], []byte("\u2028")), bytes.HasPrefix(src[i:], []byte("\u2029")):
		return 3
	}
	return 0
}

// offset is where a node begins; yaml.v3 counts columns in characters.
func (l *layout) offset(n *yaml.Node) (int, error) {
	if n.Line < 1 || n.Line > len(l.lines) {
		return 0, l.lost(n)
	}
	at := l.lines[n.Line-1]
	for c := 1; c < n.Column; c++ {
		if at >= len(l.src) {
			return 0, l.lost(n)
		}
		_, size := utf8.DecodeRune(l.src[at:])
		at += size
	}
	return at, nil
}

func (l *layout) lost(n *yaml.Node) error {
	return refuse(n.Line, "a value is written in a way whose end is not found")
}

// refuse is the error for a line that cannot be edited byte by byte.
func refuse(line int, format string, args ...any) error {
	return &fault{BadMetadata, fmt.Sprintf("line %d: ", line) + fmt.Sprintf(format, args...)}
}

// lineEnd is where the line at i ends, before its break.
func (l *layout) lineEnd(i int) int {
	for i < len(l.src) && breakAt(l.src, i) == 0 {
		i++
	}
	return i
}

// nextLine is where the line behind that of i begins.
func (l *layout) nextLine(i int) int {
	i = l.lineEnd(i)
	if i < len(l.src) {
		i += breakAt(l.src, i)
	}
	return i
}

// span is where a scalar stands: from its tag, if it has one, or its quote, to
// its end. A block scalar stands in two pieces, its header and its lines.
type span struct {
	start, end         int
	bodyStart, bodyEnd int // 0, 0 but for a block scalar
}

// scalar finds the span of a scalar or an alias. indent is the column, from 0, of
// the mapping or sequence that it stands in. Its anchor is not part of the span.
func (l *layout) scalar(n *yaml.Node, indent int) (span, error) {
	at, err := l.offset(n)
	if err != nil {
		return span{}, err
	}
	if n.Kind == yaml.AliasNode {
		end := at + 1 + len(n.Value)
		if end > len(l.src) || string(l.src[at:end]) != "*"+n.Value {
			return span{}, l.lost(n)
		}
		return span{start: at, end: end}, nil
	}
	start := -1
	for at < len(l.src) && (l.src[at] == '&' || l.src[at] == '!') {
		if l.src[at] == '!' {
			start = at
		} else {
			start = -1
		}
		for at < len(l.src) && !strings.ContainsRune(" \t\r\n", rune(l.src[at])) {
			at++
		}
		at = l.skipBlank(at)
	}
	if start < 0 {
		start = at
	}
	s := span{start: start}
	switch {
	case at >= len(l.src):
		if n.Value != "" {
			return s, l.lost(n)
		}
		s.end = at
	case n.Style&yaml.DoubleQuotedStyle != 0:
		if l.src[at] != '"' {
			return s, l.lost(n)
		}
		for at++; at < len(l.src) && l.src[at] != '"'; at++ {
			if l.src[at] == '\\' {
				at++
			}
		}
		s.end = at + 1
	case n.Style&yaml.SingleQuotedStyle != 0:
		if l.src[at] != '\'' {
			return s, l.lost(n)
		}
		for at++; at < len(l.src); at++ {
			if l.src[at] == '\'' {
				if at+1 < len(l.src) && l.src[at+1] == '\'' {
					at++
					continue
				}
				break
			}
		}
		s.end = at + 1
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		return l.block(n, s, at, indent)
	default:
		// A plain scalar has no escapes: its words stand there one by one.
		s.end = at
		for _, word := range strings.FieldsFunc(n.Value, isBlank) {
			at = l.skipBlank(at)
			if !bytes.HasPrefix(l.src[at:], []byte(word)) {
				return s, l.lost(n)
			}
			at += len(word)
			s.end = at
		}
	}
	if s.end > len(l.src) {
		return s, l.lost(n)
	}
	return s, nil
}

func isBlank(r rune) bool { return strings.ContainsRune(" \t\r\n\u0085\u2028\u2029", r) }

func (l *layout) skipBlank(at int) int {
	for at < len(l.src) {
		r, size := utf8.DecodeRune(l.src[at:])
		if !isBlank(r) {
			break
		}
		at += size
	}
	return at
}

// block finds a block scalar: at is its header.
func (l *layout) block(n *yaml.Node, s span, at, indent int) (span, error) {
	if l.src[at] != '|' && l.src[at] != '>' {
		return s, l.lost(n)
	}
	keep, explicit := false, 0
	for at++; at < len(l.src) && strings.IndexByte("+-0123456789", l.src[at]) >= 0; at++ {
		switch c := l.src[at]; {
		case c == '+':
			keep = true
		case c != '-':
			explicit = int(c - '0')
		}
	}
	s.end = at
	s.bodyStart = l.nextLine(at)
	s.bodyEnd = s.bodyStart
	content := 0
	if explicit > 0 {
		content = indent + explicit
	}
	for i := s.bodyStart; i < len(l.src); {
		end, next := l.lineEnd(i), l.nextLine(i)
		spaces := 0
		for i+spaces < end && l.src[i+spaces] == ' ' {
			spaces++
		}
		if i+spaces == end || content > 0 && spaces >= content || content == 0 && spaces > indent {
			if i+spaces < end || content > 0 && spaces > content {
				if content == 0 {
					content = spaces
				}
				s.bodyEnd = next
			} else if keep {
				s.bodyEnd = next
			}
			i = next
			continue
		}
		break
	}
	return s, nil
}

// note is a comment in the text, its # included.
type note struct {
	start, end, line int
}

// comments lists the comments that stand outside of spans, which are sorted and
// do not overlap.
func (l *layout) comments(spans []span) []note {
	covered := make([]bool, len(l.src)+1)
	for _, s := range spans {
		for i := s.start; i < s.end; i++ {
			covered[i] = true
		}
		for i := s.bodyStart; i < s.bodyEnd; i++ {
			covered[i] = true
		}
	}
	var out []note
	for line, at := range l.lines {
		end := l.lineEnd(at)
		for i := at; i < end; i++ {
			if l.src[i] == '#' && !covered[i] && (i == at || l.src[i-1] == ' ' || l.src[i-1] == '\t') {
				out = append(out, note{i, end, line + 1})
				break
			}
		}
	}
	return out
}

// edit is a replacement of bytes.
type edit struct {
	start, end int
	text       string
}

func sortEdits(edits []edit) {
	slices.SortStableFunc(edits, func(a, b edit) int { return cmp.Compare(a.start, b.start) })
}

// spliced makes the edits, which are sorted by their start and do not overlap.
func (l *layout) spliced(edits []edit) ([]byte, error) {
	var out bytes.Buffer
	at := 0
	for _, e := range edits {
		if e.start < at || e.end < e.start || e.end > len(l.src) {
			return nil, &fault{BadMetadata, "is written in a way that cannot be edited byte by byte"}
		}
		out.Write(l.src[at:e.start])
		out.WriteString(e.text)
		at = e.end
	}
	out.Write(l.src[at:])
	return out.Bytes(), nil
}

// newline is how lines of the file end.
func (l *layout) newline() string {
	if len(l.lines) > 1 && bytes.HasSuffix(l.src[:l.lines[1]], []byte("\r\n")) {
		return "\r\n"
	}
	return "\n"
}
