package secret

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/secret"
)

// encryptOptions are the flags of encrypt.
type encryptOptions struct {
	cli.Output
	files      []string
	inPlace    bool
	out        string
	age        []string
	ageKeyFile string
	head       commits
}

func newEncrypt(env *cli.Env) *cobra.Command { return newEncryptCommand(env, encrypt) }

func newEncryptCommand(env *cli.Env, runF func(context.Context, *cobra.Command, *cli.Env, *encryptOptions) error) *cobra.Command {
	o := &encryptOptions{head: commits{}}
	c := &cobra.Command{
		Use:   "encrypt FILE…",
		Short: "Seal files, by the rules of .sops.yaml",
		Long: `Seal files with SOPS, by the creation rules of .sops.yaml. Of a Kubernetes manifest
data and stringData are sealed where no rule says what; of any other file
everything. A YAML file keeps its bytes but for the values that are sealed. FILE -
is stdin, and needs --out.

Sealed over a previous version (the file at --out; with --in-place what HEAD has), a
value that did not change keeps its ciphertext, where a key at hand opens that version.

Exit codes: 0 sealed · 1 a file cannot be sealed, and nothing was written · 2 could
not or would not start.`,
		Example: examples(env, `  # in place
  %[1]s encrypt -i apps/db/secret.yaml

  # a Secret that never lies on the disk in clear
  kubectl create secret generic db --from-file=password=/dev/stdin --dry-run=client -o yaml |
    %[1]s encrypt - --out apps/db/secret.yaml`),
		RunE: func(c *cobra.Command, args []string) error {
			o.files = args
			if err := o.complete(c, env); err != nil {
				return err
			}
			return runF(c.Context(), c, env, o)
		},
	}
	f := c.Flags()
	o.Output.AddFlags(f)
	f.BoolVarP(&o.inPlace, "in-place", "i", false, "Write each file where it stands; a crash leaves the old or the new one.")
	f.StringVar(&o.out, "out", "", "Write the sealed file here; its name chooses the rule. Default: stdout.")
	f.StringSliceVar(&o.age, "age", nil, "Recipients (age1…, ssh-…) in the place of those of the rule; SOPS_AGE_RECIPIENTS.")
	f.StringVar(&o.ageKeyFile, "age-key-file", "", "Age identities that open the previous version, besides those that sops finds.")
	return c
}

// complete checks the flags against each other.
func (o *encryptOptions) complete(c *cobra.Command, env *cli.Env) error {
	stdin := false
	for _, f := range o.files {
		stdin = stdin || f == "-"
	}
	switch {
	case len(o.files) == 0:
		return cli.Usage(c, "which file? want FILE…, or - for stdin")
	case o.inPlace && o.out != "":
		return cli.Usage(c, "--in-place and --out exclude each other")
	case stdin && (o.out == "" || len(o.files) > 1):
		return cli.Usage(c, "stdin (-) stands alone and needs --out FILE, whose name chooses format and rule")
	case len(o.files) > 1 && !o.inPlace:
		return cli.Usage(c, "several files are sealed with --in-place only")
	case o.Format != "text" && !o.inPlace && o.out == "":
		return cli.Usage(c, "--output=%s: stdout has the sealed file unless --in-place or --out is given", o.Format)
	}
	if recipients := env.Getenv("SOPS_AGE_RECIPIENTS"); len(o.age) == 0 && recipients != "" {
		o.age = strings.Split(recipients, ",")
	}
	return nil
}

func encrypt(ctx context.Context, c *cobra.Command, env *cli.Env, o *encryptOptions) error {
	r, err := begin(c, env, &o.Output)
	if err != nil {
		return err
	}
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	rules := secret.Rules{Dir: dir, Config: env.Getenv("SOPS_CONFIG"), Age: o.age}
	var changes []secret.Change
	var sealed []byte
	for _, path := range o.files {
		j, err := o.job(ctx, env, rules, path)
		if err != nil {
			return err
		}
		file, err := secret.Encrypt(j.name, j.plain, j.rule, secret.SealOptions{Previous: j.previous, Keys: j.keys})
		if errors.Is(err, secret.ErrSealed) {
			err = &hinted{err, examples(env, "%[1]s edit ") + j.name + " changes what is sealed"}
		}
		if err != nil {
			r.fail(j.name, err)
			continue
		}
		if file.Kubernetes {
			r.warnKubernetes(j.name)
		}
		if file.Anew != "" {
			r.warn("sealed-anew", j.name, "every value is sealed anew: "+file.Anew, "")
		}
		action := "sealed"
		if string(file.Data) == string(j.previous) && !o.inPlace {
			action = "unchanged"
		}
		r.report.Files = append(r.report.Files, FileReport{Path: j.name, Action: action, Recipients: file.Recipients, Sealed: file.Sealed, Kept: file.Kept})
		sealed = file.Data
		if action == "sealed" {
			changes = append(changes, secret.Change{Path: j.real, Data: file.Data, Mode: 0o644, FromClear: o.inPlace})
		}
	}
	switch {
	case len(r.failed) > 0:
		for i := range r.report.Files {
			if f := &r.report.Files[i]; f.Action == "sealed" {
				f.Action, f.Message = "failed", "not written, since another file failed"
			}
		}
	case o.inPlace || o.out != "":
		if err := secret.Write(changes); err != nil {
			return err
		}
		if r.text {
			for _, f := range r.report.Files {
				fmt.Fprintf(env.ErrOut, "%s %s: %s%s, %s\n", f.Path, f.Action, count(f.Sealed, "value"), unchanged(f.Kept), count(len(f.Recipients), "recipient"))
			}
		}
	default:
		if _, err := env.Out.Write(sealed); err != nil {
			return err
		}
	}
	return r.end()
}

// job is one file to seal.
type job struct {
	name, real string // as it was typed, and where it is written
	plain      []byte
	previous   []byte
	rule       secret.Rule
	keys       *secret.Keyring
}

// job reads what is to be sealed. Its errors are reasons not to start.
func (o *encryptOptions) job(ctx context.Context, env *cli.Env, rules secret.Rules, path string) (j job, err error) {
	j.name = path
	if path == "-" {
		if j.plain, err = io.ReadAll(env.In); err != nil {
			return j, fmt.Errorf("stdin: %w", err)
		}
	} else if j.real, j.plain, err = readFile(path); err != nil {
		return j, err
	}
	if o.out != "" {
		j.name = o.out
		if path != "-" && secret.Format(path) != secret.Format(o.out) {
			return j, &hinted{fmt.Errorf("--out %s: is %s by its name, and %s is %s", o.out, secret.Format(o.out), path, secret.Format(path)), "give both the same extension"}
		}
		if err := o.over(env, &j); err != nil {
			return j, err
		}
	}
	if o.inPlace {
		if data := o.head.file(ctx, env, j.real); data != nil && secret.IsSealed(j.name, data) {
			j.previous = data
			if j.keys, err = secret.Find(secret.FindOptions{KeyFile: o.ageKeyFile, Getenv: env.Getenv}); err != nil {
				return j, err
			}
		}
	}
	j.rule, err = rules.For(j.name)
	if errors.Is(err, secret.ErrNoRule) {
		return j, &hinted{fmt.Errorf("%s: %w", j.name, err), "--age RECIPIENT, or a rule in .sops.yaml"}
	}
	return j, err
}

// over looks at the file that --out would replace: a sealed one is built upon,
// and one in clear is not lost by a slip of the hand.
func (o *encryptOptions) over(env *cli.Env, j *job) error {
	var err error
	if j.real, err = secret.Real(o.out); err != nil {
		return fmt.Errorf("--out %w", err)
	}
	data, err := os.ReadFile(j.real)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !secret.IsSealed(o.out, data) {
		return &hinted{fmt.Errorf("--out %s: is there already, and is not sealed", o.out), "remove it first, or seal it with --in-place"}
	}
	j.previous = data
	j.keys, err = secret.Find(secret.FindOptions{KeyFile: o.ageKeyFile, Getenv: env.Getenv})
	return err
}

// unchanged says of how many values the ciphertext is that of the version before.
func unchanged(kept int) string {
	if kept == 0 {
		return ""
	}
	return fmt.Sprintf(", %d unchanged", kept)
}

func (r *run) warnKubernetes(file string) {
	r.warn("kubernetes-manifest", file, "no rule says what to seal of a Kubernetes manifest: data and stringData",
		"encrypted_regex: "+secret.KubernetesRegex+" in the rule of .sops.yaml says so for sops too")
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
