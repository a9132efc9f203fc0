package secret

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/secret"
)

// editOptions are the flags of edit.
type editOptions struct {
	cli.Output
	file       string
	ageKeyFile string
	ignoreMAC  bool
	tmpdir     string
}

func newEdit(env *cli.Env) *cobra.Command { return newEditCommand(env, edit) }

func newEditCommand(env *cli.Env, runF func(context.Context, *cobra.Command, *cli.Env, *editOptions) error) *cobra.Command {
	o := &editOptions{}
	c := &cobra.Command{
		Use:   "edit FILE",
		Short: "Change what a sealed file holds, in your editor",
		Long: `Open a sealed file in $SOPS_EDITOR or $EDITOR, and seal it again to whom it was
sealed. A value that you leave alone keeps its ciphertext; where nothing changed
nothing is written. A FILE that does not exist is made, by the rules of .sops.yaml.

The text in clear is in a file that only you can read, in memory, and is removed
also where this program is killed. Where it cannot be sealed you are asked to mend
it; without a terminal, it is kept, and you are told where.

Exit codes: 0 sealed, or unchanged · 1 the file cannot be opened, or the text not
sealed · 2 could not or would not start, or the editor failed.`,
		Example: examples(env, `  %[1]s edit apps/db/secret.yaml

  # an editor with arguments; no shell sees them
  EDITOR="code --wait" %[1]s edit apps/db/secret.yaml`),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) != 1 {
				return cli.Usage(c, "which file? want one FILE")
			}
			o.file = args[0]
			return runF(c.Context(), c, env, o)
		},
	}
	f := c.Flags()
	o.Output.AddFlags(f)
	f.StringVar(&o.ageKeyFile, "age-key-file", "", "Age identities to open with, besides those that sops finds.")
	f.BoolVar(&o.ignoreMAC, "ignore-mac", false, "Open a file whose MAC does not match, with a warning.")
	f.StringVar(&o.tmpdir, "tmpdir", "", "Directory for the text in clear, where it is to be another than memory.")
	return c
}

// newGuard is the process that removes what edit leaves when it is killed.
func newGuard() *cobra.Command {
	return &cobra.Command{
		Use:    "guard DIR",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE:   func(_ *cobra.Command, args []string) error { return secret.GuardScratch(os.Stdin, args[0]) },
	}
}

// ownCommand is the command line of a sibling of c in this very binary.
func ownCommand(c *cobra.Command, name string) ([]string, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	words := []string{name}
	for p := c.Parent(); p != nil && p.HasParent(); p = p.Parent() {
		words = append([]string{p.Name()}, words...)
	}
	return append([]string{exe}, words...), nil
}

// edited is a file under the editor.
type edited struct {
	name, real string
	sealed     []byte // as it is on the disk, nil if it is not there
	plain      []byte
	rule       secret.Rule
	keys       *secret.Keyring
}

func edit(ctx context.Context, c *cobra.Command, env *cli.Env, o *editOptions) (err error) {
	r, err := begin(c, env, &o.Output)
	if err != nil {
		return err
	}
	secret.Sweep(o.tmpdir, env.Getenv)
	editor, err := editorOf(env)
	if err != nil {
		return err
	}
	e, err := o.open(r, env)
	if p, ok := errors.AsType[secret.Problem](err); ok {
		r.fail(o.file, p)
		return r.end()
	}
	if err != nil {
		return err
	}
	guard, err := ownCommand(c, "guard")
	if err != nil {
		return err
	}
	scratch, err := secret.NewScratch(secret.ScratchOptions{Dir: o.tmpdir, Guard: guard, Getenv: env.Getenv})
	if errors.Is(err, secret.ErrNoMemory) {
		return &hinted{fmt.Errorf("%s is not opened: %w, and on a disk what is in clear leaves traces", e.name, err), "--tmpdir DIR, if you have a disk in memory, or mean it"}
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, scratch.Close()) }()
	path := filepath.Join(scratch.Dir, filepath.Base(e.name))
	if err := os.WriteFile(path, e.plain, 0o600); err != nil {
		return err
	}
	for {
		editErr := runEditor(ctx, env, editor, path)
		text, err := os.ReadFile(path)
		switch {
		case editErr != nil && errors.Is(editErr, errKilled) && err == nil && !bytes.Equal(text, e.plain):
			return e.keep(scratch, env, editErr)
		case editErr != nil:
			return editErr
		case errors.Is(err, os.ErrNotExist):
			return fmt.Errorf("%s: the editor removed the text: nothing was written", e.name)
		case err != nil:
			return err
		}
		if bytes.Equal(text, e.plain) || e.sealed == nil && len(bytes.TrimSpace(text)) == 0 {
			return r.edited(e, secret.SealedFile{Recipients: e.rule.Recipients}, "unchanged")
		}
		file, err := secret.Encrypt(e.name, text, e.rule, secret.SealOptions{Previous: e.sealed, Keys: e.keys})
		if err == nil {
			if err := e.write(file.Data); err != nil {
				return e.keep(scratch, env, err)
			}
			if file.Kubernetes {
				r.warnKubernetes(e.name)
			}
			return r.edited(e, file, "sealed")
		}
		if !again(ctx, env, err) {
			if ctx.Err() != nil {
				return e.keep(scratch, env, err)
			}
			r.fail(e.name, e.keep(scratch, env, err))
			return r.end()
		}
	}
}

// open reads what is to be edited.
func (o *editOptions) open(r *run, env *cli.Env) (e *edited, err error) {
	e = &edited{name: o.file}
	if e.real, err = secret.Real(o.file); err != nil {
		return nil, err
	}
	e.sealed, err = os.ReadFile(e.real)
	if errors.Is(err, os.ErrNotExist) {
		return e, o.create(env, e)
	}
	if err != nil {
		return nil, err
	}
	if e.keys, err = secret.Find(secret.FindOptions{KeyFile: o.ageKeyFile, Getenv: env.Getenv}); err != nil {
		return nil, err
	}
	e.rule, err = secret.RuleOf(e.name, e.sealed)
	if errors.Is(err, secret.ErrNotSealed) {
		return nil, &hinted{err, "edit it as it is, then seal it: " + examples(env, "%[1]s encrypt -i ") + e.name}
	}
	if err != nil {
		return nil, err
	}
	var f secret.Sealed
	e.plain, f, err = e.keys.Decrypt(e.name, e.sealed, secret.DecryptOptions{IgnoreMAC: o.ignoreMAC, KeepLayout: true})
	if err != nil {
		return nil, err
	}
	if f.MACIgnored {
		r.warn("mac-ignored", e.name, "the MAC does not match, and was ignored: what is in clear may have been edited by anyone", "")
	}
	return e, nil
}

// create is for a file that does not exist: it begins with an example.
func (o *editOptions) create(env *cli.Env, e *edited) error {
	if info, err := os.Stat(filepath.Dir(e.real)); err != nil || !info.IsDir() {
		return &hinted{fmt.Errorf("%s: there is no directory to make it in", e.name), "mkdir -p " + filepath.Dir(e.name)}
	}
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	e.rule, err = secret.Rules{Dir: dir, Config: env.Getenv("SOPS_CONFIG")}.For(e.name)
	if errors.Is(err, secret.ErrNoRule) {
		return &hinted{fmt.Errorf("%s: does not exist yet, and %w", e.name, err), "add a rule to .sops.yaml: " + examples(env, "%[1]s keygen")}
	}
	e.plain = template(e.name)
	return err
}

// template is what the text of a new file begins with.
func template(file string) []byte {
	name := strings.ToLower(strings.SplitN(filepath.Base(file), ".", 2)[0])
	if len(validation.IsDNS1123Subdomain(name)) > 0 {
		name = "name"
	}
	switch secret.Format(file) {
	case "yaml":
		return fmt.Appendf(nil, "apiVersion: v1\nkind: Secret\nmetadata:\n  name: %s\nstringData:\n  password: change me\n", name)
	case "json":
		return fmt.Appendf(nil, `{
	"apiVersion": "v1",
	"kind": "Secret",
	"metadata": {
		"name": %q
	},
	"stringData": {
		"password": "change me"
	}
}
`, name)
	case "dotenv":
		return []byte("PASSWORD=change me\n")
	case "ini":
		return []byte("[database]\npassword = change me\n")
	}
	return nil
}

// write puts the sealed file in its place, unless somebody changed that meanwhile.
func (e *edited) write(data []byte) error {
	now, err := os.ReadFile(e.real)
	if err != nil && !(e.sealed == nil && errors.Is(err, os.ErrNotExist)) {
		return fmt.Errorf("%s: was changed while you edited it: %w", e.name, err)
	}
	if !bytes.Equal(now, e.sealed) || (err == nil) != (e.sealed != nil) {
		return fmt.Errorf("%s: was changed while you edited it, and is not overwritten", e.name)
	}
	return secret.Write([]secret.Change{{Path: e.real, Data: data, Mode: 0o644}})
}

// keep leaves the text to the user, and says in the error where.
func (e *edited) keep(scratch *secret.Scratch, env *cli.Env, err error) error {
	dir, keepErr := scratch.Keep()
	if keepErr != nil {
		return errors.Join(err, keepErr)
	}
	path := filepath.Join(dir, filepath.Base(e.name))
	fmt.Fprintf(env.ErrOut, "what you typed is kept, in clear, in %s\n", path)
	return &hinted{err, "when it is mended: " + examples(env, "%[1]s encrypt ") + path + " --out " + e.name + "; then: rm -r " + dir}
}

// edited reports what became of the file.
func (r *run) edited(e *edited, file secret.SealedFile, action string) error {
	r.report.Files = append(r.report.Files, FileReport{Path: e.name, Action: action, Recipients: file.Recipients, Sealed: file.Sealed, Kept: file.Kept})
	if r.text {
		line := e.name + " " + action
		if action == "sealed" {
			line += ": " + count(file.Sealed, "value") + unchanged(file.Kept) + ", " + count(len(file.Recipients), "recipient")
		}
		fmt.Fprintln(r.env.ErrOut, line)
	}
	return r.end()
}
