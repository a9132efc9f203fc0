package diff

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/gitops"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/ui"
)

// runExternal shows the differences with the program that KUBECTL_EXTERNAL_DIFF
// names, as kubectl diff does: it gets two directories with a file for each object
// that differs. Values of Secrets are masked in the files, whatever was asked for:
// they are on a disk.
func runExternal(ctx context.Context, env *cli.Env, u *ui.UI, report gitops.DiffReport) error {
	dir, err := os.MkdirTemp("", "gitops-diff-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	live, merged := filepath.Join(dir, "LIVE"), filepath.Join(dir, "MERGED")
	for _, d := range []string{live, merged} {
		if err := os.Mkdir(d, 0o700); err != nil {
			return err
		}
	}
	n := 0
	for _, k := range report.Kustomizations {
		for _, c := range k.Changes {
			if c.Diff == "" {
				continue
			}
			n++
			name := fileName(c)
			for d, text := range map[string]string{live: c.Before, merged: c.After} {
				if text == "" {
					continue
				}
				if err := os.WriteFile(filepath.Join(d, name), []byte(text), 0o600); err != nil {
					return err
				}
			}
		}
	}
	if n > 0 {
		program := externalDiff(ctx, env.Getenv(externalVar), live, merged)
		program.Stdout, program.Stderr = env.Out, env.ErrOut
		err := program.Run()
		var exit *exec.ExitError
		if err != nil && !(errors.As(err, &exit) && exit.ExitCode() == 1) { // 1: they differ
			return fmt.Errorf("%s: failed to run %q: %w", externalVar, program.Args[0], err)
		}
	}
	return u.DiffProblems(report)
}

// fileName is what kubectl diff calls the file of an object. What is compared with a
// base was named by whoever wrote it, and not by a server: no part of it leads
// anywhere.
func fileName(c gitops.DiffChange) string {
	name := strings.Join([]string{c.Group, c.Version, c.Kind, c.Namespace, c.Name}, ".")
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(`:/\`, r) || r < ' ' {
			return '-'
		}
		return r
	}, name)
}

// externalVar names the program.
const externalVar = "KUBECTL_EXTERNAL_DIFF"

// plainArgument is what kubectl lets through of its arguments; it drops the others.
var plainArgument = regexp.MustCompile(`^[a-zA-Z0-9-=]+$`)

// externalDiff is the command that words, split at each space, say: the directories
// come first, then the arguments, as with kubectl.
func externalDiff(ctx context.Context, words, from, to string) *exec.Cmd {
	program := strings.Split(words, " ")
	args := []string{from, to}
	for _, a := range program[1:] {
		if plainArgument.MatchString(a) {
			args = append(args, a)
		}
	}
	return exec.CommandContext(ctx, program[0], args...)
}
