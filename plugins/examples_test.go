package plugins

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The examples of the commands' help are typed, in the order of docs/reference.md.
func TestExamplesRun(t *testing.T) {
	if os.Getenv("DEVCLUSTER") == "" {
		t.Fatal(needCluster)
	}
	t.Parallel()
	p, err := readPage(reference)
	if err != nil {
		t.Fatal(err)
	}
	r := reader{page: p, term: newTerminal(t)}
	for _, setup := range []string{
		"cluster vps apiserver", "registry ghcr.io bot", "remote ssh://git@example.com/team/gitops",
		"instead --from-prompt=password => --from-file=password=$HOME/password", // there is no terminal to ask on
		"instead --docker-username=ada => --docker-username=ada --docker-password-stdin <~/password",
		"instead --from-file=password=/dev/stdin => --from-file=password=$HOME/password",
		"instead --watch => --watch=false", // which does not end
		"instead kubectl gitops image update --dry-run => no kubectl gitops image update --dry-run",
		"instead age1old… => $(age-keygen -y ~/ada.key)",
		"instead age1… => $(age-keygen -y ~/bob.key)",
	} {
		if err := r.direct(setup); err != nil {
			t.Fatal(err)
		}
	}
	// git rewrites that URL in a checkout; given by itself it is taken as it is.
	r.stands("--source ssh://git@example.com/team/gitops", "--source file://"+filepath.Join(r.term.dir, "gitops.git"))
	r.term.write("bin/code", "#!/bin/sh\n")
	team, err := os.ReadFile("../testdata/examples.sh")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(r.term.dir, "bin/code"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := r.hide(string(team)); err != nil {
		t.Fatal(err)
	}
	n, command := 0, ""
	for _, b := range p.parts {
		if b.lang != "sh" {
			continue
		}
		n++
		for _, line := range p.lines[:b.line] {
			if title, ok := strings.CutPrefix(line, "## "); ok {
				command = title
			}
		}
		if err := r.hide("before '" + command + "'"); err != nil {
			t.Fatalf("before the examples of %s: %v", command, err)
		}
		if _, line, err := r.term.run(b.text, "0"); err != nil {
			t.Fatalf("%s:%d: %v", reference, b.line+max(line-1, 0), err)
		}
	}
	if n < 20 {
		t.Errorf("found %d examples: the pattern no longer fits the page", n)
	}
}
