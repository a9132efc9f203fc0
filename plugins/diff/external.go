package diff

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	kubectldiff "k8s.io/kubectl/pkg/cmd/diff"
	"k8s.io/utils/exec"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/gitops"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/ui"
)

// runExternal shows the differences with the program that KUBECTL_EXTERNAL_DIFF
// names, run by kubectl's own code: it gets two directories with a file for each
// object that differs. Values of Secrets are masked in the files, whatever was
// asked for: they are on a disk.
func runExternal(env *cli.Env, u *ui.UI, report gitops.DiffReport) error {
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
		program := kubectldiff.DiffProgram{Exec: exec.New(), IOStreams: env.IOStreams}
		err := program.Run(live, merged)
		var exit exec.ExitError
		if err != nil && !(errors.As(err, &exit) && exit.ExitStatus() == 1) { // 1: they differ
			return fmt.Errorf("KUBECTL_EXTERNAL_DIFF: %w", err)
		}
	}
	return u.DiffProblems(report)
}
