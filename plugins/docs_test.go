package plugins

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A code is what people search for: each that a report can carry is explained.
func TestCodesAreDocumented(t *testing.T) {
	doc, err := os.ReadFile("../docs/sync.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("../pkg/gitops/*.go")
	if err != nil {
		t.Fatal(err)
	}
	codes := regexp.MustCompile(`(?:(?:Problem|Warning)\{\s*|\n\t+)Code:\s+"([a-z-]+)", (?:File|Object|Message)|problem\.Code = "([a-z-]+)"`)
	n := 0
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range codes.FindAllStringSubmatch(string(source), -1) {
			n++
			if code := m[1] + m[2]; !strings.Contains(string(doc), "`"+code+"`") {
				t.Errorf("docs/sync.md does not explain %s, of %s", code, filepath.Base(file))
			}
		}
	}
	if n < 20 {
		t.Errorf("found %d codes in pkg/gitops: the pattern no longer fits the code", n)
	}
}
