package plugins

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
)

const reference = "../docs/reference.md"

// update writes the pages that are made from the commands anew: make docs.
var update = flag.Bool("update", false, "write docs/reference.md")

// docs/reference.md is what the commands themselves say.
func TestReferenceIsFresh(t *testing.T) {
	got := referencePage(t)
	if *update {
		if err := os.WriteFile(reference, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	if got == string(want) {
		return
	}
	a, b := strings.Split(string(want), "\n"), strings.Split(got, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			t.Fatalf("docs/reference.md:%d is stale; run: make docs\n-%s\n+%s", i+1, a[i], b[i])
		}
	}
	t.Fatalf("docs/reference.md is stale: it has %d lines, the commands say %d; run: make docs", len(a), len(b))
}

// flagGroup are flags that many commands share, told once.
type flagGroup struct {
	title, intro string
	flags        *pflag.FlagSet
}

func referencePage(t *testing.T) string {
	// Defaults must not depend on who makes the page.
	t.Setenv("HOME", "/home/you")
	t.Setenv("KUBECACHEDIR", "")
	env := &cli.Env{IOStreams: genericiooptions.NewTestIOStreamsDiscard(), Name: "kubectl gitops", Kube: genericclioptions.NewConfigFlags(true)}
	root := Umbrella(env)
	root.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: env.Name}

	groups := []flagGroup{
		{"Where things come from", "Of all that read a repository.", new(pflag.FlagSet)},
		{"How a command speaks", "Where a command knows other formats, its own section has them.", new(pflag.FlagSet)},
		{"kubectl's own", "Of all that speak to a cluster. They stand after the plugin's name: kubectl refuses `kubectl -n x gitops sync`.", new(pflag.FlagSet)},
	}
	new(cli.Source).AddFlags(groups[0].flags)
	new(cli.Output).AddFlags(groups[1].flags)
	env.AddKubeFlags(groups[2].flags)

	var page strings.Builder
	page.WriteString("# Commands and flags\n\nMade from the commands themselves by `make docs`; a test fails when it is stale. What the reports hold, and what each code means, is in the\npages of the commands: [sync](sync.md), [diff](diff.md), [build](build.md), [status](status.md), [secret](secret.md), [image](image.md),\n[install](install.md).\n")
	section(&page, root, groups)
	for _, g := range groups {
		fmt.Fprintf(&page, "\n## %s\n\n%s\n\n```text\n%s```\n", g.title, g.intro, usages(g.flags))
	}
	return page.String()
}

// section tells one command, and those below it.
func section(page *strings.Builder, c *cobra.Command, groups []flagGroup) {
	if c.Hidden || c.Name() == "help" || c.HasParent() && c.Parent().Name() == "completion" && c.Name() != "install" {
		return
	}
	text := c.Long
	if text == "" {
		text = c.Short
	}
	if c.Name() == "completion" { // cobra's own text speaks of the binary
		text = "Prints the script that completes these commands in bash, fish, powershell or zsh; `--help` of each says how to load it."
	}
	fmt.Fprintf(page, "\n## %s\n\n%s\n\n```text\n%s\n```\n", c.CommandPath(), strings.ReplaceAll(text, "<", "\\<"), c.UseLine())
	if len(c.Aliases) > 0 {
		fmt.Fprintf(page, "\nAlso: `%s`.\n", strings.Join(c.Aliases, "`, `"))
	}
	if c.HasAvailableSubCommands() {
		page.WriteString("\n| command | |\n|---|---|\n")
		for _, sub := range c.Commands() {
			if !sub.Hidden && sub.Name() != "help" {
				fmt.Fprintf(page, "| `%s` | %s |\n", sub.CommandPath(), sub.Short)
			}
		}
	}
	if c.Example != "" {
		fmt.Fprintf(page, "\n```sh\n%s\n```\n", unindent(c.Example))
	}

	own, shared := new(pflag.FlagSet), make([]bool, len(groups))
	c.LocalFlags().VisitAll(func(f *pflag.Flag) {
		for i, g := range groups {
			if common := g.flags.Lookup(f.Name); common != nil && common.Usage == f.Usage && common.DefValue == f.DefValue {
				shared[i] = true
				return
			}
		}
		if f.Name != "help" && f.Name != "version" {
			own.AddFlag(f)
		}
	})
	if own.HasFlags() {
		fmt.Fprintf(page, "\n```text\n%s```\n", usages(own))
	}
	var links []string
	for i, g := range groups {
		if shared[i] {
			links = append(links, fmt.Sprintf("[%s](#%s)", strings.ToLower(g.title[:1])+g.title[1:], strings.ToLower(strings.NewReplacer(" ", "-", "'", "").Replace(g.title))))
		}
	}
	if len(links) > 0 {
		fmt.Fprintf(page, "\nAnd flags of: %s.\n", strings.Join(links, ", "))
	}
	for _, sub := range c.Commands() {
		section(page, sub, groups)
	}
}

// usages is one line a flag, wrapped for a page.
func usages(f *pflag.FlagSet) string {
	return strings.ReplaceAll(f.FlagUsagesWrapped(118), "/home/you", "$HOME")
}

func unindent(s string) string {
	lines := strings.Split(strings.TrimRight(s, "\n "), "\n")
	for i := range lines {
		lines[i] = strings.TrimPrefix(lines[i], "  ")
	}
	return strings.Join(lines, "\n")
}
