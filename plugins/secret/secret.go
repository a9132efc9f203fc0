// Package secret is kubectl gitops secret: seal and open the secrets of a
// repository with SOPS.
package secret

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/gitops"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/secret"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/ui"
)

// New is the command.
func New(env *cli.Env) *cobra.Command {
	c := &cobra.Command{
		Use:   "secret",
		Short: "Seal and open secrets with SOPS",
		Long: `Seal and open the secrets of a repository. Files are SOPS files: what is sealed
here opens with sops and with Flux, and the other way round.`,
		Args: cli.Subcommand,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newEncrypt(env), newDecrypt(env), newEdit(env), newCreate(env), newKeygen(env), newUpdateKeys(env), newRotate(env), newCheck(env), newInstallKey(env), newGitConfig(env), newGuard(), newTextconv(env), newMergeDriver(env))
	return c
}

// examples puts the command as the user types it into its examples.
func examples(env *cli.Env, text string) string {
	name := env.Name
	if !strings.HasSuffix(name, "secret") {
		name += " secret"
	}
	return strings.ReplaceAll(text, "%[1]s", name)
}

// Report is what -o json prints.
type Report struct {
	APIVersion string           `json:"apiVersion"`
	Kind       string           `json:"kind"`
	Warnings   []gitops.Warning `json:"warnings"`
	Files      []FileReport     `json:"files"`
}

// FileReport is what became of one file.
type FileReport struct {
	Path string `json:"path"`
	// Action is sealed, unchanged, or failed.
	Action     string   `json:"action"`
	Recipients []string `json:"recipients"`
	// Sealed counts the sealed values, Kept those whose ciphertext did not change.
	Sealed  int    `json:"sealed"`
	Kept    int    `json:"kept"`
	Message string `json:"message,omitempty"`
	Hint    string `json:"hint,omitempty"`
}

func newReport() *Report {
	return &Report{APIVersion: gitops.APIVersion, Kind: "SecretReport", Warnings: []gitops.Warning{}, Files: []FileReport{}}
}

// run is one run of a command: how it speaks, and what it has to report.
type run struct {
	env    *cli.Env
	u      *ui.UI
	text   bool // the answer is for people
	report *Report
	failed []error
}

func begin(c *cobra.Command, env *cli.Env, o *cli.Output) (*run, error) {
	u, err := o.UI(c, env, false)
	if err != nil {
		return nil, err
	}
	secret.Sweep("", env.Getenv)
	return &run{env: env, u: u, text: o.Format == "text", report: newReport()}, nil
}

// warn says a warning, and reports it.
func (r *run) warn(code, file, message, hint string) {
	r.report.Warnings = append(r.report.Warnings, gitops.Warning{Code: code, File: file, Message: message, Hint: hint})
	line := "warning: "
	if file != "" {
		line += fromHere(file) + ": "
	}
	fmt.Fprintln(r.env.ErrOut, line+message)
	if hint != "" {
		fmt.Fprintln(r.env.ErrOut, "  hint: "+ui.Typed(r.env.Name, hint))
	}
}

// fail notes that a file failed.
func (r *run) fail(path string, err error) {
	f := explained(err)
	r.failed = append(r.failed, f)
	r.report.Files = append(r.report.Files, FileReport{Path: path, Action: "failed", Recipients: []string{}, Message: f.Error(), Hint: f.Hint()})
}

// end says what failed, prints the report, and gives the exit code.
func (r *run) end() error {
	defer r.u.Close()
	if len(r.failed) > 0 {
		r.u.Error(errors.Join(r.failed...))
	}
	if !r.text {
		if err := r.u.Object(r.report); err != nil {
			return err
		}
	}
	if len(r.failed) > 0 {
		return cli.Exit{Code: cli.ExitNo}
	}
	return nil
}

// fromHere is a path as somebody types it in the current directory: relative where
// it lies below, or in a directory above; else whole.
func fromHere(path string) string {
	here, err := os.Getwd()
	if err != nil {
		return path
	}
	dirs := []string{here}
	if real, err := filepath.EvalSymlinks(here); err == nil {
		dirs = append(dirs, real)
	}
	for _, dir := range dirs {
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return path
		}
		if up, err := filepath.Rel(filepath.Dir(path), dir); filepath.IsLocal(rel) || err == nil && filepath.IsLocal(up) {
			return rel
		}
	}
	return path
}

// hinted is an error with what to type.
type hinted struct {
	err  error
	hint string
}

func (h *hinted) Error() string { return h.err.Error() }
func (h *hinted) Unwrap() error { return h.err }
func (h *hinted) Hint() string  { return h.hint }

// explained gives an error of pkg/secret its hint.
func explained(err error) *hinted {
	if h := new(hinted); errors.As(err, &h) {
		return h
	}
	h := &hinted{err: err}
	if p, ok := errors.AsType[secret.Problem](err); ok {
		h.hint = p.Hint
	}
	return h
}

// readFile reads a file that a path names, links followed as secret.Real does.
func readFile(path string) (real string, data []byte, err error) {
	real, err = secret.Real(path)
	if err != nil {
		return "", nil, err
	}
	data, err = os.ReadFile(real)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil, fmt.Errorf("%s: no such file", path)
	}
	return real, data, err
}
