package diff

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/gitops"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/ui"
)

// runExternal shows the differences with the user's program, as kubectl diff
// does: it gets two directories with a file for each object that differs. No
// shell is in between; words are split at spaces. Values of Secrets are masked
// in the files, whatever was asked for: they are on a disk.
func runExternal(ctx context.Context, env *cli.Env, u *ui.UI, program string, report gitops.DiffReport) error {
	words := strings.Fields(program)
	if len(words) == 0 {
		return fmt.Errorf("KUBECTL_EXTERNAL_DIFF is blank")
	}
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
			name := strings.Join([]string{c.Group, c.Version, c.Kind, c.Namespace, strings.ReplaceAll(c.Name, ":", "-")}, ".")
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
		c := exec.CommandContext(ctx, words[0], append(words[1:], live, merged)...)
		c.Stdin, c.Stdout, c.Stderr = env.In, env.Out, env.ErrOut
		err := c.Run()
		var exit *exec.ExitError
		if err != nil && !(errors.As(err, &exit) && exit.ExitCode() == 1) {
			return fmt.Errorf("KUBECTL_EXTERNAL_DIFF: %s: %w", words[0], err)
		}
	}
	return u.DiffProblems(report)
}
