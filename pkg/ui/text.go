package ui

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/width"
)

// clean makes text that Git, a server or a file supplied safe for a terminal
// and a log: control characters, broken UTF-8 and the marks that reorder text
// become visible escapes. Newlines stay; whoever prints the text indents them.
func clean(s string) string {
	safe := func(r rune) bool {
		return r == '\n' || !unicode.IsControl(r) && !reorders(r) && r != utf8.RuneError
	}
	if strings.IndexFunc(s, func(r rune) bool { return !safe(r) }) < 0 {
		return s
	}
	var b strings.Builder
	for s = strings.ReplaceAll(s, "\r\n", "\n"); s != ""; {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == '\t':
			b.WriteString("    ")
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case safe(r) || r == utf8.RuneError:
			b.WriteRune(r)
		case r < utf8.RuneSelf:
			fmt.Fprintf(&b, `\x%02x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
		s = s[n:]
	}
	return b.String()
}

// cleanLine is clean for what must stay on one line: names, paths, progress.
func cleanLine(s string) string {
	s = clean(s)
	if !strings.Contains(s, "\n") {
		return s
	}
	return strings.Join(strings.Fields(s), " ")
}

// reorders reports whether r changes the order in which the text around it is
// shown, or ends the line: bidirectional marks, line and paragraph separators.
func reorders(r rune) bool {
	switch {
	case r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069, r == 0x2028, r == 0x2029:
		return true
	}
	return false
}

// cell splits off the first unit of s that must stay whole, and tells how many
// columns it takes: an escape sequence of our own (none), or a rune.
func cell(s string) (unit string, columns int) {
	if strings.HasPrefix(s, "\x1b[") {
		if i := strings.IndexByte(s, 'm'); i >= 0 {
			return s[:i+1], 0
		}
	}
	r, n := utf8.DecodeRuneInString(s)
	return s[:n], runeColumns(r)
}

// runeColumns is how many columns a terminal gives to r. A variation selector
// counts as one, since terminals disagree on whether it widens the rune before
// it: a line that is shorter than we think does no harm, a longer one wraps.
func runeColumns(r rune) int {
	switch {
	case r < 0x300:
		return 1
	case r == 0xfe0f:
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		return 0
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	}
	return 1
}

// columns is how many columns s takes; our own colors take none.
func columns(s string) int {
	n := 0
	for s != "" {
		unit, w := cell(s)
		n += w
		s = s[len(unit):]
	}
	return n
}

// pad fills s with spaces on the right up to w columns.
func pad(s string, w int) string {
	return s + spaces(w-columns(s))
}

func spaces(n int) string { return strings.Repeat(" ", max(n, 0)) }

// split cuts s after at most w columns, but after one unit at least.
func split(s string, w int) (head, tail string) {
	at, used := 0, 0
	for at < len(s) {
		unit, n := cell(s[at:])
		if used+n > w && used > 0 {
			break
		}
		at, used = at+len(unit), used+n
	}
	return s[:at], s[at:]
}

// cut shortens s to w columns and marks the place with the ellipsis.
func cut(s string, w int, ellipsis string) string {
	if columns(s) <= w {
		return s
	}
	if w <= columns(ellipsis) {
		return strings.Repeat(".", max(w, 0))
	}
	head, _ := split(s, w-columns(ellipsis))
	head = strings.TrimRight(head, " ") + ellipsis
	if strings.Contains(head, "\x1b[") {
		head += reset
	}
	return head
}

// fold lays text out behind a prefix: lines that follow, be it that the text
// has several or that they are longer than w columns, hang at the given
// indentation. w 0 means that nothing is wrapped, as for a pipe; a terminal is
// taken to have 24 columns at least.
func fold(prefix, text string, hang, w int) []string {
	if w > 0 {
		w = max(w, 24)
		if w-hang < 24 {
			hang = min(hang, 4)
		}
	}
	var lines []string
	for i, line := range strings.Split(text, "\n") {
		if i > 0 {
			prefix = spaces(hang)
		}
		line = strings.TrimRight(prefix+line, " ")
		if w <= 0 || columns(line) <= w {
			lines = append(lines, line)
			continue
		}
		lines = append(lines, wrap(line, columns(prefix), hang, w)...)
	}
	return lines
}

// Fold breaks a line that is wider than width columns between words; what follows
// hangs at an indentation. width 0 is no limit.
func Fold(line string, hang, width int) string {
	return strings.Join(fold("", line, hang, width), "\n")
}

// Reflow breaks the paragraphs of a text anew where the text has lines of more
// than width columns; indented lines stay as they are. width 0 is no limit.
func Reflow(text string, width int) string {
	if width <= 0 || !slices.ContainsFunc(strings.Split(text, "\n"), func(line string) bool { return columns(line) > width }) {
		return text
	}
	paragraphs := strings.Split(text, "\n\n")
	for i, p := range paragraphs {
		if !strings.HasPrefix(p, " ") {
			p = strings.ReplaceAll(p, "\n", " ")
		}
		paragraphs[i] = Fold(p, 0, width)
	}
	return strings.Join(paragraphs, "\n\n")
}

// wrap breaks a line between words so that no part is wider than w columns;
// words that are wider by themselves are broken where the line ends. Columns
// before keep, the prefix, are not a place to break.
func wrap(line string, keep, hang, w int) []string {
	var lines []string
	for columns(line) > w {
		at := lastSpace(line, keep, w)
		var head string
		if at > 0 {
			head, line = line[:at], line[at:]
		} else {
			head, line = split(line, w)
		}
		lines = append(lines, strings.TrimRight(head, " "))
		line = spaces(hang) + strings.TrimLeft(line, " ")
		keep = hang
	}
	return append(lines, line)
}

// lastSpace is the offset of the space in line where it is best broken, 0 if
// there is none: the last one at a column from keep up to w that has a word
// before it on this line. A gap of two spaces, which stands between our columns,
// is better, if that leaves no less than half of the line.
func lastSpace(line string, keep, w int) int {
	at, found, gap, used, word := 0, 0, 0, 0, false
	for at < len(line) && used <= w {
		unit, n := cell(line[at:])
		switch {
		case unit != " ":
			word = word || used >= keep && n > 0
		case word:
			found = at
			if strings.HasPrefix(line[at:], "  ") && used >= w/2 {
				gap = at
			}
		}
		at, used = at+len(unit), used+n
	}
	if gap > 0 {
		return gap
	}
	return found
}
