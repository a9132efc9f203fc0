package plugins

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
)

// A command that a document shows is one that there is, with flags that it has,
// also where no test runs the page.
func TestDocumentedCommandsExist(t *testing.T) {
	pages, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	more, err := filepath.Glob("../docs/*/*.md")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, page := range append(append(pages, more...), "../README.md", "../CONTRIBUTING.md", "../testdata/demo/README.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, command := range commandsIn(string(text)) {
			n++
			if err := parses(command); err != nil {
				t.Errorf("%s: kubectl gitops %s: %v", page, strings.Join(command, " "), err)
			}
		}
	}
	if n < 200 {
		t.Errorf("found %d commands in the documents: the pattern no longer fits them", n)
	}
}

// commandsIn are the commands of a page, in blocks and in the middle of a text,
// each as far as the shell gives it to the plugin.
func commandsIn(text string) [][]string {
	text = strings.ReplaceAll(text, "\\\n", " ")
	var out [][]string
	for _, m := range regexp.MustCompile("(?m)(?:^[ \t$>|-]*(?:run: )?|[`\"'(=]|[|;&] +|: )kubectl[ -]gitops ([^\n`]*)").FindAllStringSubmatch(text, -1) {
		args := strings.Fields(regexp.MustCompile(`(^|\s)(#|\||[0-9]?>>?|<|&&|;).*|[;)"']+ ?$`).ReplaceAllString(m[1], ""))
		if len(args) > 0 && regexp.MustCompile(`^[a-z-]+$`).MatchString(args[0]) {
			out = append(out, args)
		}
	}
	return out
}

// parses wants every word up to the first argument to be a command, and every
// flag one of it.
func parses(args []string) error {
	env := &cli.Env{IOStreams: genericiooptions.NewTestIOStreamsDiscard(), Name: "kubectl gitops", Kube: genericclioptions.NewConfigFlags(true)}
	c, rest, err := Umbrella(env).Find(args)
	if err != nil {
		return err
	}
	if c.HasAvailableSubCommands() && len(rest) > 0 && regexp.MustCompile(`^[a-z-]+$`).MatchString(rest[0]) && rest[0][0] != '-' {
		return fmt.Errorf("%s has no command %s", c.CommandPath(), rest[0])
	}
	var flags []string
	for _, arg := range rest {
		// In a usage line: [-i | --out FILE], --x a|b, FILE….
		if name := strings.Trim(arg, "[](),.:'\""); strings.HasPrefix(name, "-") && name != "-" {
			name, _, _ = strings.Cut(name, "=")
			flags = append(flags, name)
		}
	}
	for _, flag := range flags {
		c.InitDefaultHelpFlag()
		switch {
		case strings.HasPrefix(flag, "--"):
			if c.Flag(flag[2:]) == nil && flag != "--version" {
				return fmt.Errorf("%s is no flag of it", flag)
			}
		default:
			if c.Flags().ShorthandLookup(flag[1:2]) == nil && c.InheritedFlags().ShorthandLookup(flag[1:2]) == nil {
				return fmt.Errorf("%s is no flag of it", flag)
			}
		}
	}
	return nil
}
