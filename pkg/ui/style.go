package ui

import (
	"runtime"
	"strings"
)

const reset = "\x1b[0m"

// paint colors text where colors are on. It uses the sixteen colors that every
// theme defines, and of these none that is hard to read on white or on black;
// no color says anything that the text does not say too.
type paint bool

func (p paint) with(code, s string) string {
	if !p || s == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + reset
}

func (p paint) bold(s string) string    { return p.with("1", s) }
func (p paint) red(s string) string     { return p.with("31", s) }
func (p paint) green(s string) string   { return p.with("32", s) }
func (p paint) magenta(s string) string { return p.with("35", s) }
func (p paint) cyan(s string) string    { return p.with("36", s) }

func (p paint) boldRed(s string) string     { return p.with("1;31", s) }
func (p paint) boldMagenta(s string) string { return p.with("1;35", s) }

// symbols are all of one width.
type symbols struct {
	ready, failed, suspended, running string
	ellipsis                          string
}

var (
	unicodeSymbols = symbols{ready: "✔", failed: "✗", suspended: "⏸", running: "►", ellipsis: "…"}
	asciiSymbols   = symbols{ready: "ok", failed: "x ", suspended: "||", running: "> ", ellipsis: "..."}
)

// symbolsFor follows the locale as POSIX orders it. Windows has no locale in
// its environment, and its consoles take UTF-16 whatever their code page.
func symbolsFor(getenv func(string) string) symbols {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := getenv(name); v != "" {
			v = strings.ReplaceAll(strings.ToLower(v), "-", "")
			if strings.Contains(v, "utf8") {
				return unicodeSymbols
			}
			return asciiSymbols
		}
	}
	if runtime.GOOS == "windows" {
		return unicodeSymbols
	}
	return asciiSymbols
}
