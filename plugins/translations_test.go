package plugins

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

// translations are the pages that say the same as another.
var translations = map[string]string{"../docs/fr/guide.md": "../docs/guide.md"}

// A translation has the blocks of the page that runs, but for comments.
func TestTranslationsHaveTheSameBlocks(t *testing.T) {
	for file, of := range translations {
		translated, err := readPage(file)
		if err != nil {
			t.Fatal(err)
		}
		original, err := readPage(of)
		if err != nil {
			t.Fatal(err)
		}
		blocks := func(p *page) []part {
			var list []part
			for _, b := range p.parts {
				if b.lang != directive {
					list = append(list, b)
				}
			}
			return list
		}
		there, want := blocks(translated), blocks(original)
		if os.Getenv("UPDATE_PAGES") != "" && len(there) == len(want) {
			for i := len(want) - 1; i >= 0; i-- {
				if there[i].lang == "text" && want[i].lang == "text" {
					translated.replaced(there[i], want[i].text)
				}
			}
			if err := os.WriteFile(file, []byte(strings.Join(translated.lines, "\n")), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		for i := range min(len(there), len(want)) {
			if there[i].lang != want[i].lang || there[i].info != want[i].info || uncommented(there[i]) != uncommented(want[i]) {
				t.Fatalf("%s:%d: is not the block of %s:%d:\n%s\nwant:\n%s", file, there[i].line, of, want[i].line, there[i].text, want[i].text)
			}
		}
		if len(there) != len(want) {
			t.Errorf("%s has %d blocks, %s has %d", file, len(there), of, len(want))
		}
		headings := regexp.MustCompile(`(?m)^#{1,6} `)
		if there, want := headings.FindAllString(prose(translated), -1), headings.FindAllString(prose(original), -1); fmt.Sprint(there) != fmt.Sprint(want) {
			t.Errorf("%s does not have the headings of %s:\n%q\nwant:\n%q", file, of, there, want)
		}
	}
}

var comment = regexp.MustCompile(`(?m)(^|\s+)#( .*)?$`)

// uncommented is the block without what may be translated: comments behind a
// command or on a line of their own, but not the name of a file, and no marker
// of an image policy.
func uncommented(b part) string {
	if b.lang == "text" || b.lang == "diff" {
		return b.text
	}
	name := b.fileName()
	return name + "\n" + comment.ReplaceAllStringFunc(b.text, func(s string) string {
		if strings.Contains(s, "# {") {
			return s
		}
		return ""
	})
}

// prose is the page without its blocks, spans of code and comments.
func prose(p *page) string {
	lines := append([]string(nil), p.lines...)
	for _, b := range p.parts {
		for i := range strings.Count(b.text, "\n") {
			lines[b.line-1+i] = ""
		}
		if b.lang == directive {
			lines[b.line-1] = ""
		}
	}
	return regexp.MustCompile("`[^`\n]*`|^```.*").ReplaceAllString(strings.Join(lines, "\n"), "x")
}

// French has a space before these signs that does not break, and within « ».
func TestFrenchIsSpacedAsFrenchIs(t *testing.T) {
	bad := regexp.MustCompile(`[^\s\x{00a0}\x{202f}:/][;?!]|[\p{L}\d)»x]:(?:\s|$)| [:;?!»](?:\s|$)|«[^\x{00a0}\x{202f}]|[^\x{00a0}\x{202f}]»`)
	for file := range translations {
		if !strings.Contains(file, "/fr/") {
			continue
		}
		p, err := readPage(file)
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(prose(p), "\n") {
			line = regexp.MustCompile(`\]\([^)]*\)`).ReplaceAllString(line, "]")
			if m := bad.FindString(line); m != "" {
				t.Errorf("%s:%d: %q wants a space that does not break: %s", file, i+1, m, line)
			}
		}
	}
}
