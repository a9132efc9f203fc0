package ui

import (
	"errors"
	"io"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/term"
)

// stream is stdout or stderr with what is known of it. After the first write
// that fails it drops what comes: a closed pipe does not stop a run.
type stream struct {
	w      io.Writer
	tty    bool
	paint  paint
	width  func() int // columns; 0 where lines have no limit
	failed error
}

func newStream(w io.Writer, o Options) stream {
	fd, tty := terminal(w)
	s := stream{w: w, tty: tty, paint: paint(colored(o, tty)), width: o.Width}
	switch {
	case o.Width != nil:
	case tty:
		s.width = func() int { w, _ := terminalSize(fd, o.Getenv); return w }
	default:
		s.width = func() int { return 0 }
	}
	return s
}

// Columns is how wide lines on w may be, 0 where nothing limits them: w is no
// terminal.
func Columns(w io.Writer, getenv func(string) string) int {
	s := newStream(w, Options{Getenv: getenv})
	return s.width()
}

func (s *stream) write(text string) {
	if s.w == nil || s.failed != nil || text == "" {
		return
	}
	_, s.failed = io.WriteString(s.w, text)
}

// err is the first failure, nil where the reader just went away (`| head`).
func (s *stream) err() error {
	if errors.Is(s.failed, syscall.EPIPE) || errors.Is(s.failed, io.ErrClosedPipe) || brokenPipe(s.failed) {
		return nil
	}
	return s.failed
}

// terminal tells whether w is a terminal that understands escape sequences.
func terminal(w io.Writer) (fd int, ok bool) {
	f, ok := w.(interface{ Fd() uintptr })
	if !ok {
		return -1, false
	}
	fd = int(f.Fd())
	return fd, term.IsTerminal(fd) && enableEscapes(f.Fd())
}

// terminalSize asks the terminal, then the environment. Terminals that nobody
// ever sized, as in some CI systems, answer 0.
func terminalSize(fd int, getenv func(string) string) (w, h int) {
	if fd >= 0 {
		w, h, _ = term.GetSize(fd)
	}
	for _, v := range []struct {
		n        *int
		name     string
		fallback int
	}{{&w, "COLUMNS", 80}, {&h, "LINES", 24}} {
		if *v.n <= 0 {
			*v.n, _ = strconv.Atoi(getenv(v.name))
		}
		if *v.n <= 0 {
			*v.n = v.fallback
		}
	}
	return w, h
}

// dumb reports whether the terminal is one of which nothing but lines can be
// expected. Windows has no TERM.
func dumb(getenv func(string) string) bool {
	term := getenv("TERM")
	return term == "dumb" || term == "" && runtime.GOOS != "windows"
}

// colored follows, in this order: --color, NO_COLOR (no-color.org),
// CLICOLOR_FORCE (bixense.com/clicolors), and what the stream is.
func colored(o Options, tty bool) bool {
	switch o.Color {
	case "always":
		return true
	case "never":
		return false
	}
	if o.Getenv("NO_COLOR") != "" {
		return false
	}
	if v := o.Getenv("CLICOLOR_FORCE"); v != "" && v != "0" {
		return true
	}
	return tty && !dumb(o.Getenv)
}

// progressMode resolves --progress to tty, plain or none: a dumb terminal
// cannot move its cursor, whatever was asked for.
func progressMode(o Options, tty bool) string {
	switch {
	case o.Progress == "none":
		return "none"
	case dumb(o.Getenv):
		return "plain"
	case o.Progress == "tty", o.Progress != "plain" && tty:
		return "tty"
	}
	return "plain"
}
