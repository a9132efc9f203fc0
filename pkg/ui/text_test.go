package ui

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                    "plain",
		"größe ✔ 界 🚀":              "größe ✔ 界 🚀",
		"one\r\ntwo\nthree":        "one\ntwo\nthree",
		"a\rb":                     `a\x0db`,
		"\x1b[31mred":              `\x1b[31mred`,
		"\u009b31m":                `\u009b31m`,
		"\x9b31m":                  `\x9b31m`,
		"nul\x00 bel\x07 del\x7f.": `nul\x00 bel\x07 del\x7f.`,
		"tab\tstop":                "tab    stop",
		"abc\u202egpj.exe":         `abc\u202egpj.exe`,
		"line\u2028separator":      `line\u2028separator`,
		"\ufffd stays":             "\ufffd stays",
	} {
		if got := clean(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	if got, want := cleanLine("a\n  b\r\nc"), "a b c"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestColumns(t *testing.T) {
	for s, want := range map[string]int{
		"": 0, "abc": 3, "界界": 4, "e\u0301": 1, "🚀": 2, "✔✗⏸►…": 5, "\x1b[1;31mred\x1b[0m": 3, "ｆｕｌｌ": 8, "\u200d": 0,
	} {
		if got := columns(s); got != want {
			t.Errorf("%q: got %d, want %d", s, got, want)
		}
	}
}

func TestCut(t *testing.T) {
	for _, tt := range []struct {
		s    string
		w    int
		want string
	}{
		{"waiting", 7, "waiting"},
		{"waiting", 6, "waiti…"},
		{"to wait", 4, "to…"},
		{"界界界", 5, "界界…"},
		{"界界界", 4, "界…"},
		{"\x1b[31mfailed\x1b[0m", 4, "\x1b[31mfai…\x1b[0m"},
		{"waiting", 1, "."},
		{"waiting", -3, ""},
	} {
		if got := cut(tt.s, tt.w, "…"); got != tt.want {
			t.Errorf("%q to %d: got %q, want %q", tt.s, tt.w, got, tt.want)
		}
	}
}

func TestFold(t *testing.T) {
	for _, tt := range []struct {
		title, prefix, text string
		hang, w             int
		want                string
	}{
		{"fits", "a: ", "text that fits", 3, 40, "a: text that fits"},
		{"hangs", "  ", "one two three four five six seven", 4, 24, "  one two three four\n    five six seven"},
		{"a gap is the better place", "", "cluster: local-k3s  root: apps and more", 2, 30, "cluster: local-k3s\n  root: apps and more"},
		{"a long word is broken", "", "see https://example.com/a/long/path", 2, 24, "see\n  https://example.com/a/\n  long/path"},
		{"lines of its own", "- ", "first\n  indented\nlast", 2, 40, "- first\n    indented\n  last"},
		{"a pipe has no limit", "  ", strings.Repeat("word ", 40), 4, 0, "  " + strings.TrimSpace(strings.Repeat("word ", 40))},
		{"wide runes", "", "待っています 待っています 待っています", 2, 24, "待っています\n  待っています\n  待っています"},
	} {
		if got := strings.Join(fold(tt.prefix, tt.text, tt.hang, tt.w), "\n"); got != tt.want {
			t.Errorf("%s: got\n%s\nwant\n%s", tt.title, got, tt.want)
		}
	}
}

func TestReflow(t *testing.T) {
	const text = "a line of some thirty columns,\nand one.\n\n  kept as\n  it is\n\nthe end"
	for width, want := range map[int]string{
		0:  text,
		30: text,
		25: "a line of some thirty\ncolumns, and one.\n\n  kept as\n  it is\n\nthe end",
	} {
		if got := Reflow(text, width); got != want {
			t.Errorf("%d columns: got\n%s\nwant\n%s", width, got, want)
		}
	}
}

// Nothing is wider than the terminal, and nothing is lost but spaces.
func FuzzFold(f *testing.F) {
	f.Add("  ", "a message that goes on: https://example.com/a/very/long/path\nand more 界界界界", 6, 30)
	f.Add("✔ infra               ", "\x1b[31mfailed\x1b[0m: 3 problems  1 deleted", 22, 40)
	f.Fuzz(func(t *testing.T, prefix, text string, hang, w int) {
		prefix, text = cleanLine(prefix), clean(text)
		hang, w = min(max(hang, 0), 60), min(max(w, 24), 200)
		lines := fold(prefix, text, hang, w)
		for _, line := range lines {
			if columns(line) > w {
				t.Errorf("%d columns, not %d: %q", columns(line), w, line)
			}
			if !utf8.ValidString(line) {
				t.Errorf("a rune was broken: %q", line)
			}
		}
		squeeze := func(s string) string { return strings.NewReplacer(" ", "", "\n", "").Replace(s) }
		if got, want := squeeze(strings.Join(lines, "")), squeeze(prefix+text); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestDurations(t *testing.T) {
	for s, want := range map[float64]string{
		-1: "0.0s", 0: "0.0s", 0.94: "0.9s", 4.06: "4.1s", 59.94: "59.9s", 59.96: "1m00s", 301.2: "5m01s", 7384: "2h03m",
	} {
		if got := seconds(s); got != want {
			t.Errorf("%v: got %s, want %s", s, got, want)
		}
	}
}
