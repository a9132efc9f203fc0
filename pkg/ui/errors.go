package ui

import (
	"errors"
	"slices"
	"strings"
)

// Error writes err to stderr: "error: …", and "hint: …" where err, or what it
// wraps, has Hint() string. Joined errors are a line each. Under GitHub Actions
// an error that has File() string, and Line() int, marks that line as well.
func (u *UI) Error(err error) {
	if err == nil {
		return
	}
	u.drain()
	u.mu.Lock()
	defer u.mu.Unlock()
	u.releaseWarnings()
	l := u.layout(&u.err)
	var lines, commands []string
	all := unjoin(err, fault{})
	for i, f := range all {
		text := l.paint.boldRed("error:") + " " + strings.TrimSpace(clean(Typed(l.typed, f.text)))
		lines = append(lines, fold("", text, 2, l.width)...)
		// Neighbors with the same hints share them.
		if i+1 == len(all) || !slices.Equal(f.hints, all[i+1].hints) {
			for _, h := range f.hints {
				lines = append(lines, l.hint(0, h)...)
			}
		}
		if f.file != "" {
			commands = append(commands, annotation("error", f.file, f.line, Typed(l.typed, strings.Join(append([]string{f.text}, f.hints...), "\nhint: "))))
		}
	}
	u.put(&u.err, lines, commands...)
}

// fault is one line of an error, with what the errors around and in it know.
type fault struct {
	text  string // as a prefix: what the wrappers said so far
	hints []string
	file  string
	line  int
}

// unjoin takes an error apart where errors.Join, or the like, put it together;
// what was wrapped around that stands before each part.
func unjoin(err error, around fault) []fault {
	f := around
	f.hints = slices.Clone(around.hints)
	if h, ok := err.(interface{ Hint() string }); ok && h.Hint() != "" && !slices.Contains(f.hints, h.Hint()) {
		f.hints = append(f.hints, h.Hint())
	}
	if at, ok := err.(interface{ File() string }); ok && at.File() != "" {
		f.file, f.line = at.File(), 0
		if on, ok := err.(interface{ Line() int }); ok {
			f.line = on.Line()
		}
	}
	text := err.Error()
	switch e := err.(type) {
	case interface{ Unwrap() []error }:
		parts := e.Unwrap()
		if joined(text, parts) {
			var all []fault
			for _, part := range parts {
				all = append(all, unjoin(part, f)...)
			}
			return all
		}
		// Several %w in one sentence: it stays whole, and so do the hints.
		for _, part := range parts {
			inner := unjoin(part, f)[0]
			f.hints, f.file, f.line = inner.hints, inner.file, inner.line
		}
	case interface{ Unwrap() error }:
		inner := errors.Unwrap(err)
		if inner == nil {
			break
		}
		if prefix, ok := strings.CutSuffix(text, inner.Error()); ok {
			f.text += prefix
			return unjoin(inner, f)
		}
		// The wrapper says it in words of its own: only what it knows counts.
		in := unjoin(inner, f)[0]
		f.hints, f.file, f.line = in.hints, in.file, in.line
	}
	f.text += text
	return []fault{f}
}

// joined reports whether text is nothing but the parts, a line each.
func joined(text string, parts []error) bool {
	lines := make([]string, len(parts))
	for i, p := range parts {
		if p == nil {
			return false
		}
		lines[i] = p.Error()
	}
	return len(parts) > 0 && text == strings.Join(lines, "\n")
}
