package secret

import (
	"bytes"
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/secret"
)

// decryptOptions are the flags of decrypt.
type decryptOptions struct {
	cli.Output
	files      []string
	ageKeyFile string
	ignoreMAC  bool
}

func newDecrypt(env *cli.Env) *cobra.Command { return newDecryptCommand(env, decrypt) }

func newDecryptCommand(env *cli.Env, runF func(context.Context, *cobra.Command, *cli.Env, *decryptOptions) error) *cobra.Command {
	o := &decryptOptions{}
	c := &cobra.Command{
		Use:   "decrypt FILE…",
		Short: "Print what sealed files hold",
		Long: `Print what sealed files hold, on stdout; nothing is written to the disk. A file
whose MAC does not match, since it was edited after it was sealed, is not opened.
Several YAML files are printed as documents of one.

Exit codes: 0 opened · 1 a file cannot be opened, and nothing was printed · 2 could
not or would not start.`,
		Example: examples(env, `  %[1]s decrypt apps/db/secret.yaml

  # straight to the cluster
  %[1]s decrypt apps/db/secret.yaml | kubectl apply -f -`),
		RunE: func(c *cobra.Command, args []string) error {
			o.files = args
			if len(args) == 0 {
				return cli.Usage(c, "which file? want FILE…")
			}
			if o.Format != "text" {
				return cli.Usage(c, "--output=%s: the answer is what the files hold, as it is", o.Format)
			}
			for _, f := range args {
				if len(args) > 1 && secret.Format(f) != "yaml" {
					return cli.Usage(c, "%s: only YAML files can be printed one behind the other", f)
				}
			}
			return runF(c.Context(), c, env, o)
		},
	}
	f := c.Flags()
	o.Output.AddFlags(f)
	f.StringVar(&o.ageKeyFile, "age-key-file", "", "Age identities to open with, besides those that sops finds.")
	f.BoolVar(&o.ignoreMAC, "ignore-mac", false, "Open files whose MAC does not match, with a warning.")
	return c
}

func decrypt(_ context.Context, c *cobra.Command, env *cli.Env, o *decryptOptions) error {
	r, err := begin(c, env, &o.Output)
	if err != nil {
		return err
	}
	keys, err := secret.Find(secret.FindOptions{KeyFile: o.ageKeyFile, Getenv: env.Getenv})
	if err != nil {
		return err
	}
	var out bytes.Buffer
	for _, path := range o.files {
		_, data, err := readFile(path)
		if err != nil {
			return err
		}
		plain, f, err := keys.Decrypt(path, data, secret.DecryptOptions{IgnoreMAC: o.ignoreMAC, KeepLayout: true})
		if errors.Is(err, secret.ErrNotSealed) {
			err = &hinted{err, "it is in clear: read it as it is, or seal it with encrypt -i"}
		}
		if err != nil {
			r.fail(path, err)
			continue
		}
		if f.MACIgnored {
			r.warn("mac-ignored", path, "the MAC does not match, and was ignored: what is in clear may have been edited by anyone", "")
		}
		if out.Len() > 0 {
			if b := out.Bytes(); b[len(b)-1] != '\n' {
				out.WriteByte('\n')
			}
			if !bytes.HasPrefix(plain, []byte("---")) {
				out.WriteString("---\n")
			}
		}
		out.Write(plain)
	}
	if len(r.failed) == 0 {
		if _, err := env.Out.Write(out.Bytes()); err != nil {
			return err
		}
	}
	return r.end()
}
