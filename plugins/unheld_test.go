package plugins

import (
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// unheld are the pages with commands that TestPages does not follow, and who
// holds them instead.
var unheld = map[string]string{
	"../docs/ci.md":        "TestWhatCIDoes runs the steps of its workflows",
	"../docs/fr/guide.md":  "TestTranslationsHaveTheSameBlocks: it is docs/guide.md",
	"../docs/reference.md": "TestExamplesRun",
}

// Whoever writes a page with commands has them run from the first day.
func TestEveryPageWithCommandsRuns(t *testing.T) {
	found := map[string]bool{}
	err := filepath.WalkDir("..", func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "bin" || d.Name() == "dist" || d.Name() == ".git"):
			return fs.SkipDir
		case d.IsDir() || filepath.Ext(file) != ".md":
			return nil
		}
		p, err := readPage(file)
		if err != nil {
			return err
		}
		line := hasCommands(p)
		_, held := held[file]
		_, known := unheld[file]
		found[file] = line > 0
		switch {
		case line > 0 && !held && !known:
			t.Errorf("%s:%d: a block that no test runs: add the page to held in pages_test.go (CONTRIBUTING.md: Documents that run)", file, line)
		case held && known:
			t.Errorf("%s is in held, and in unheld too", file)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for file := range held {
		if !found[file] {
			t.Errorf("%s is in held, and has no commands", file)
		}
	}
	for file := range unheld {
		if !found[file] {
			t.Errorf("%s is in unheld, and has no commands", file)
		}
	}
}

// hasCommands is the line of the first block that may be typed, or 0: of a
// shell, of no language, or set in by four blanks.
func hasCommands(p *page) int {
	for _, b := range p.parts {
		if b.lang == "sh" || b.lang == "bash" || b.lang == "shell" || b.lang == "console" || b.lang == "" {
			return b.line
		}
	}
	set := regexp.MustCompile(`^(?: {4}|\t)(?:\$ )?(?:[A-Z_]+=\S* )?(?:kubectl|flux|sops|git|go|make|sh|docker|crane|bin/\S+) `)
	inBlock := map[int]bool{}
	for _, b := range p.parts {
		for i := range strings.Count(b.text, "\n") {
			inBlock[b.line-1+i] = true
		}
	}
	for i, line := range p.lines {
		if !inBlock[i] && set.MatchString(line) {
			return i + 1
		}
	}
	return 0
}

func TestCommandsOfAPageAreSeen(t *testing.T) {
	for text, want := range map[string]int{
		"# T\n\n```sh\ntrue\n```\n":                   4,
		"```\nkubectl get pods\n```\n":                2,
		"T:\n\n    kubectl get pods\n":                3,
		"```yaml\na:\n    kubectl get pods: 1\n```\n": 0,
		"- a\n\n    kubectl is what runs it\n":        3, // rather one too many
		"`kubectl get pods`\n":                        0,
	} {
		p, err := parsePage("page.md", text)
		if err != nil {
			t.Fatal(err)
		}
		if got := hasCommands(p); got != want {
			t.Errorf("%q has commands in line %d, want %d", text, got, want)
		}
	}
}
