package secret

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/secret"
)

// keygenOptions are the flags of keygen.
type keygenOptions struct {
	cli.Output
	out         string
	postQuantum bool
	rule        bool
	install     bool
	secret      string
}

// KeyReport is what keygen -o json prints.
type KeyReport struct {
	Report
	Recipient string `json:"recipient"`
	File      string `json:"file"`
	// Config is the .sops.yaml that got a rule, GitIgnore the .gitignore that
	// names the key; "" if none did.
	Config    string `json:"config"`
	GitIgnore string `json:"gitIgnore"`
	// Installed is the Secret that the key was put into, NAMESPACE/NAME; "" for none.
	Installed string `json:"installed"`
}

func newKeygen(env *cli.Env) *cobra.Command { return newKeygenCommand(env, keygen) }

func newKeygenCommand(env *cli.Env, runF func(context.Context, *cobra.Command, *cli.Env, *keygenOptions) error) *cobra.Command {
	o := &keygenOptions{}
	c := &cobra.Command{
		Use:   "keygen",
		Short: "Make a key, and the rule that seals to it",
		Long: `Make an age key in a file that only you can read, and print its recipient: the
public half, that files are sealed to. A key is never overwritten.

Inside of a Git repository .sops.yaml gets a rule that seals data and stringData
of manifests to it; everything that stands there stays as it is. A key inside of
a repository is added to .gitignore.

With --install the key is put into the cluster too, as install-key does.`,
		Example: examples(env, `  # where sops and this program look by themselves
  %[1]s keygen

  # one for a cluster, safe from tomorrow's computers
  %[1]s keygen --post-quantum --out production.agekey`),
		Args: cli.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if o.secret != "" && !o.install {
				return cli.Usage(c, "--secret is for --install")
			}
			return runF(c.Context(), c, env, o)
		},
	}
	f := c.Flags()
	o.Output.AddFlags(f)
	f.StringVar(&o.out, "out", "", "File of the key. Default: sops/age/keys.txt where sops looks for it.")
	f.BoolVar(&o.postQuantum, "post-quantum", false, "Make a key of age's post-quantum hybrid (age1pq1…).")
	f.BoolVar(&o.rule, "rule", true, "Inside of a Git repository, add a rule for it to .sops.yaml.")
	f.BoolVar(&o.install, "install", false, "Put the key into the cluster, where it has none yet.")
	f.StringVar(&o.secret, "secret", "", "With --install: [NAMESPACE/]NAME of the Secret. Default: the one that Kustomizations name.")
	env.AddKubeFlags(f)
	return c
}

func keygen(ctx context.Context, c *cobra.Command, env *cli.Env, o *keygenOptions) error {
	r, err := begin(c, env, &o.Output)
	if err != nil {
		return err
	}
	defer r.u.Close()
	out := o.out
	if out == "" {
		if out, err = secret.DefaultKeyFile(secret.FindOptions{Getenv: env.Getenv}); err != nil {
			return &hinted{err, "--out FILE"}
		}
	}
	name := out // as it was typed
	if out, err = filepath.Abs(out); err != nil {
		return err
	}
	if _, err := os.Lstat(out); err == nil {
		return &hinted{fmt.Errorf("%s: is there already, and a key is never overwritten", name), "--out FILE"}
	}
	var t *keySecret
	if o.install {
		// Asked first, so that no key is made in vain.
		if t, err = openKeySecret(ctx, c, env, o.secret); err != nil {
			return err
		}
		if held, err := t.keys.Recipients(); err != nil || len(held) > 0 {
			return &hinted{fmt.Errorf("%s: holds a key already", t.id), "make one without --install, then: " + examples(env, "%[1]s install-key --add")}
		}
	}
	file, recipient, err := secret.NewKey(o.postQuantum)
	if err != nil {
		return err
	}
	report := KeyReport{Recipient: recipient, File: out}
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	// First out of Git's sight, then there.
	if report.GitIgnore, err = ignoreKey(out); err != nil {
		return err
	}
	if err := secret.WriteKey(out, file); err != nil {
		return err
	}
	others := 0 // rules that stand before the new one
	if repository := secret.Repository(dir); o.rule && repository != "" {
		report.Config, others = r.addRule(dir, repository, secret.ManifestRule(recipient))
	}
	if t != nil {
		to, err := t.keys.Add(file)
		if err == nil {
			_, err = t.write(ctx, to)
		}
		if err != nil {
			return &hinted{fmt.Errorf("the key is in %s, but not in the cluster: %w", name, err), examples(env, "%[1]s install-key --age-key-file ") + name}
		}
		report.Installed = t.id.Namespace + "/" + t.id.Name
	}
	report.Report = *r.report
	if !r.text {
		return r.u.Object(report)
	}
	fmt.Fprintf(env.ErrOut, "key: %s; keep a copy where it cannot get lost: without it nothing opens\n", name)
	if report.GitIgnore != "" {
		fmt.Fprintf(env.ErrOut, "%s: names the key, so that Git does not take it\n", fromHere(report.GitIgnore))
	}
	if report.Config != "" {
		behind := ""
		if others > 0 {
			behind = fmt.Sprintf(", the last of %d: the first rule that matches a file says to whom it is sealed", others+1)
		}
		fmt.Fprintf(env.ErrOut, "%s: has a rule for it%s\n", fromHere(report.Config), behind)
	}
	if t != nil {
		fmt.Fprintf(env.ErrOut, "%s in cluster %s (%s): has it\n", t.id, t.cluster.Context, t.cluster.Server)
	}
	if standard, err := secret.DefaultKeyFile(secret.FindOptions{Getenv: env.Getenv}); err != nil || standard != out {
		set := "export SOPS_AGE_KEY_FILE=%s"
		if runtime.GOOS == "windows" {
			set = "$env:SOPS_AGE_KEY_FILE = '%s'"
		}
		fmt.Fprintf(env.ErrOut, "to open with it: "+set+"\n", out)
	}
	_, err = fmt.Fprintln(env.Out, recipient)
	return err
}

// ignoreKey adds a key to the .gitignore of the repository that it is in, and
// returns that file, "" if it is in none.
func ignoreKey(key string) (string, error) {
	repository := secret.Repository(filepath.Dir(key))
	if repository == "" {
		return "", nil
	}
	rel, err := filepath.Rel(repository, key)
	if err != nil {
		return "", err
	}
	path, err := secret.Real(filepath.Join(repository, ".gitignore"))
	if err != nil {
		return "", err
	}
	before, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	after, err := secret.Ignore(before, rel)
	if err != nil {
		return "", err
	}
	if string(after) == string(before) {
		return path, nil
	}
	return path, secret.Write([]secret.Change{{Path: path, Data: after, Mode: 0o644}})
}

// addRule adds a rule to the .sops.yaml that counts in dir, and returns that
// file and how many rules stand before it; where it cannot be added, a warning says
// what to write, and "" is returned.
func (r *run) addRule(dir, repository string, rule secret.NewRule) (conf string, others int) {
	conf = filepath.Join(repository, ".sops.yaml")
	for at := dir; ; at = filepath.Dir(at) {
		if _, err := os.Lstat(filepath.Join(at, ".sops.yaml")); err == nil {
			conf = filepath.Join(at, ".sops.yaml")
			break
		}
		if at == repository {
			break
		}
	}
	by := "add by hand: " + strings.Join(strings.Fields(rule.Lines("", "\n")), " ")
	real, err := secret.Real(conf)
	if err != nil {
		r.warn("rule-not-added", conf, "no rule was added: "+err.Error(), by)
		return "", 0
	}
	before, err := os.ReadFile(real)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		r.warn("rule-not-added", conf, "no rule was added: "+err.Error(), by)
		return "", 0
	}
	after, others, err := secret.AddRule(before, rule)
	shadow := new(secret.Shadowed)
	switch {
	case errors.As(err, &shadow):
		r.warn("rule-not-added", conf, "no rule was added: "+err.Error(),
			fmt.Sprintf("add the recipient to age: in line %d and below, then: kubectl gitops secret updatekeys .", shadow.Line))
		return "", 0
	case err != nil:
		r.warn("rule-not-added", conf, "no rule was added: "+err.Error(), by)
		return "", 0
	}
	if err := secret.Write([]secret.Change{{Path: real, Data: after, Mode: 0o644}}); err != nil {
		r.warn("rule-not-added", conf, "no rule was added: "+err.Error(), by)
		return "", 0
	}
	return conf, others
}
