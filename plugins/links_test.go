package plugins

import (
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

// A link within the repository leads to a file that is there, and to a heading
// that it has.
func TestLinksLeadSomewhere(t *testing.T) {
	var files []string
	for _, pattern := range []string{"../*.md", "../docs/*.md", "../docs/*/*.md", "../testdata/*/*.md", "../cmd/*/*.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	n := 0
	for _, file := range files {
		p, err := readPage(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(prose(p), -1) {
			target, err := url.Parse(m[1])
			if err != nil {
				t.Errorf("%s: %s: %v", file, m[1], err)
				continue
			}
			if target.IsAbs() {
				continue
			}
			n++
			to := file
			if target.Path != "" {
				to = filepath.Join(filepath.Dir(file), target.Path)
			}
			if _, err := os.Stat(to); err != nil {
				t.Errorf("%s: %s leads nowhere", file, m[1])
			} else if target.Fragment != "" && !anchors(t, to)[target.Fragment] {
				t.Errorf("%s: %s: %s has no such heading", file, m[1], to)
			}
		}
	}
	if n < 50 {
		t.Errorf("found %d links: the pattern no longer fits the pages", n)
	}
}

// anchors are the names that GitHub gives the headings of a page.
func anchors(t *testing.T, file string) map[string]bool {
	p, err := readPage(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range p.parts {
		for i := range strings.Count(b.text, "\n") {
			p.lines[b.line-1+i] = ""
		}
	}
	names := map[string]bool{}
	for _, line := range p.lines {
		marks, title, ok := strings.Cut(line, " ")
		if !ok || marks == "" || strings.Trim(marks, "#") != "" {
			continue
		}
		names[strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, title)] = true
	}
	return names
}
