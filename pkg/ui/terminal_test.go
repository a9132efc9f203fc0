package ui

import (
	"os"
	"testing"
)

func TestColored(t *testing.T) {
	for _, tt := range []struct {
		title, color string
		env          []string
		tty          bool
		want         bool
	}{
		{"a terminal", "auto", nil, true, true},
		{"the default is auto", "", nil, true, true},
		{"a pipe", "auto", nil, false, false},
		{"a dumb terminal", "auto", []string{"TERM", "dumb"}, true, false},
		{"no TERM", "auto", []string{"TERM", ""}, true, false},
		{"NO_COLOR", "auto", []string{"NO_COLOR", "1"}, true, false},
		{"an empty NO_COLOR says nothing", "auto", []string{"NO_COLOR", ""}, true, true},
		{"CLICOLOR_FORCE", "auto", []string{"CLICOLOR_FORCE", "1"}, false, true},
		{"CLICOLOR_FORCE=0", "auto", []string{"CLICOLOR_FORCE", "0"}, false, false},
		{"NO_COLOR beats CLICOLOR_FORCE", "auto", []string{"NO_COLOR", "1", "CLICOLOR_FORCE", "1"}, true, false},
		{"the flag beats NO_COLOR", "always", []string{"NO_COLOR", "1"}, false, true},
		{"the flag beats CLICOLOR_FORCE", "never", []string{"CLICOLOR_FORCE", "1"}, true, false},
	} {
		if got := colored(Options{Color: tt.color, Getenv: env(tt.env...)}, tt.tty); got != tt.want {
			t.Errorf("%s: got %t", tt.title, got)
		}
	}
}

func TestProgressMode(t *testing.T) {
	for _, tt := range []struct {
		title, flag, term string
		tty               bool
		want              string
	}{
		{"a terminal", "auto", "xterm", true, "tty"},
		{"the default is auto", "", "xterm", true, "tty"},
		{"a pipe", "auto", "xterm", false, "plain"},
		{"a dumb terminal", "auto", "dumb", true, "plain"},
		{"no TERM", "auto", "", true, "plain"},
		{"tty, asked for", "tty", "xterm", false, "tty"},
		{"tty, asked of a dumb terminal", "tty", "dumb", true, "plain"},
		{"plain", "plain", "xterm", true, "plain"},
		{"none", "none", "dumb", true, "none"},
	} {
		if got := progressMode(Options{Progress: tt.flag, Getenv: env("TERM", tt.term)}, tt.tty); got != tt.want {
			t.Errorf("%s: got %s", tt.title, got)
		}
	}
}

func TestSymbolsFollowTheLocale(t *testing.T) {
	for _, tt := range []struct {
		env  []string
		want symbols
	}{
		{[]string{"LANG", "en_US.UTF-8"}, unicodeSymbols},
		{[]string{"LANG", "C.utf8"}, unicodeSymbols},
		{[]string{"LANG", "C"}, asciiSymbols},
		{[]string{"LANG", "de_DE.ISO-8859-1", "LC_CTYPE", "de_DE.UTF-8"}, unicodeSymbols},
		{[]string{"LANG", "en_US.UTF-8", "LC_ALL", "POSIX"}, asciiSymbols},
	} {
		if got := symbolsFor(env(tt.env...)); got != tt.want {
			t.Errorf("%v: got %v", tt.env, got)
		}
	}
	for _, s := range []symbols{unicodeSymbols, asciiSymbols} {
		for _, mark := range []string{s.failed, s.suspended, s.running} {
			if columns(mark) != columns(s.ready) {
				t.Errorf("%q and %q differ in width", mark, s.ready)
			}
		}
	}
}

func TestTerminalSize(t *testing.T) {
	if w, h := terminalSize(-1, env("COLUMNS", "132", "LINES", "50")); w != 132 || h != 50 {
		t.Errorf("from the environment: %d x %d", w, h)
	}
	if w, h := terminalSize(-1, env("COLUMNS", "wide", "LINES", "-1")); w != 80 || h != 24 {
		t.Errorf("by default: %d x %d", w, h)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if _, ok := terminal(w); ok {
		t.Error("a pipe was taken for a terminal")
	}
	if s := newStream(w, Options{Getenv: env()}); s.width() != 0 || bool(s.paint) {
		t.Error("a pipe has a width, or colors")
	}
}
