package image

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A code is what people search for: each that a report can carry is explained.
func TestCodesAreDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/image.md")
	if err != nil {
		t.Fatal(err)
	}
	code := regexp.MustCompile(`"(image-[a-z-]+)"`)
	n := 0
	for _, dir := range []string{".", "../../pkg/image"} {
		files, err := filepath.Glob(dir + "/*.go")
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range code.FindAllStringSubmatch(string(text), -1) {
				if n++; !strings.HasSuffix(m[1], "-controller") && !strings.Contains(string(doc), "`"+m[1]+"`") {
					t.Errorf("docs/image.md does not explain %s, of %s", m[1], file)
				}
			}
		}
	}
	if n < 30 {
		t.Errorf("found %d codes: the pattern no longer fits the code", n)
	}
}
