package secret

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/kubectl/pkg/util/hash"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/secret"
)

// createOptions are the flags of create generic, tls and docker-registry: kubectl's
// own, and where the sealed file goes.
type createOptions struct {
	cli.Output
	name       string
	namespace  string
	appendHash bool
	stringData bool
	out, addTo string
	replace    bool
	ageKeyFile string

	object                maker // of generic, tls or docker-registry
	typ                   string
	files, literals, envs []string
	prompts               []string
	cert, key             string
	docker                dockerOptions
}

// maker makes the Secret of the flags; it is where values are read, and asked for.
type maker func(*createOptions, context.Context, *cobra.Command, *run) (*corev1.Secret, error)

func newCreate(env *cli.Env) *cobra.Command { return newCreateCommand(env, create) }

func newCreateCommand(env *cli.Env, runF func(context.Context, *cobra.Command, *cli.Env, *createOptions) error) *cobra.Command {
	c := &cobra.Command{
		Use:   "create generic|tls|docker-registry NAME",
		Short: "Make a Secret, straight into a sealed file",
		Long: `Make a Secret as kubectl create secret does, and write it as a sealed file: it is
never on the disk in clear. It is sealed by the rule of .sops.yaml for the file.`,
		Example: examples(env, `  # asks for the password, which is not shown
  %[1]s create generic db --from-prompt=password --out apps/db/secret.yaml

  # and lists the file in a kustomization.yaml
  %[1]s create tls web --cert=web.crt --key=web.key --out apps/web/tls.yaml --add-to apps/web`),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return cli.Usage(c, "create %s: want generic, tls or docker-registry", args[0])
			}
			return cli.Usage(c, "create what? want generic, tls or docker-registry")
		},
	}
	sub := func(use, short, long, example string, flags func(*createOptions, *pflag.FlagSet), object maker) {
		o := &createOptions{object: object}
		s := &cobra.Command{
			Use: use, Short: short, Long: long, Example: examples(env, example),
			RunE: func(c *cobra.Command, args []string) error {
				if len(args) != 1 {
					return cli.Usage(c, "which name? want one NAME")
				}
				if why := validation.IsDNS1123Subdomain(args[0]); len(why) > 0 {
					return cli.Usage(c, "%q is no name for a Secret: %s", args[0], why[0])
				}
				o.name = args[0]
				return runF(c.Context(), c, env, o)
			},
		}
		f := s.Flags()
		o.Output.AddFlags(f)
		flags(o, f)
		f.BoolVar(&o.appendHash, "append-hash", false, "Append a hash of the Secret to its name.")
		f.StringVarP(&o.namespace, "namespace", "n", "", "Namespace to write into the Secret; none by default.")
		f.BoolVar(&o.stringData, "string-data", false, "Write values that are text as stringData, which can be read in edit.")
		f.StringVar(&o.out, "out", "", "The sealed file; its name chooses the rule. Default: NAME.yaml.")
		f.StringVar(&o.addTo, "add-to", "", "kustomization.yaml, or its directory, that is to list the file.")
		f.BoolVar(&o.replace, "replace", false, "Write over a sealed file; a value that did not change keeps its ciphertext.")
		f.StringVar(&o.ageKeyFile, "age-key-file", "", "Age identities that open the file that is replaced, besides those that sops finds.")
		c.AddCommand(s)
	}
	const exits = "\n\nExit codes: 0 written · 1 it cannot be sealed · 2 could not or would not start."
	sub("generic NAME", "A Secret of files, prompts and literals",
		"Make a Secret of files, directories, prompts and literals."+exits, `  %[1]s create generic db --from-file=./credentials --from-prompt=password
  printf %s "$TOKEN" | %[1]s create generic bot --from-file=token=-`, (*createOptions).genericFlags, (*createOptions).generic)
	sub("tls NAME", "A Secret of a certificate and its key",
		"Make a Secret of type kubernetes.io/tls of a certificate and its private key, which\nmust belong together."+exits,
		`  %[1]s create tls web --cert=web.crt --key=web.key --out apps/web/tls.yaml`, (*createOptions).tlsFlags, (*createOptions).tls)
	sub("docker-registry NAME", "A Secret to pull images with",
		"Make a Secret of type kubernetes.io/dockerconfigjson. The password is asked for on a\nterminal, or read from stdin."+exits,
		`  %[1]s create docker-registry pull --docker-server=ghcr.io --docker-username=ada
  %[1]s create docker-registry ghcr --from-file=$HOME/.docker/config.json`, (*createOptions).dockerFlags, (*createOptions).dockerRegistry)
	return c
}

// create seals the Secret, and writes it.
func create(ctx context.Context, c *cobra.Command, env *cli.Env, o *createOptions) error {
	r, err := begin(c, env, &o.Output)
	if err != nil {
		return err
	}
	name := o.out
	if name == "" {
		name = o.name + ".yaml"
	}
	if f := secret.Format(name); f != "yaml" && f != "json" {
		return &hinted{fmt.Errorf("--out %s: a Secret is a YAML or JSON file", name), "--out " + name + ".yaml"}
	}
	real, previous, keys, err := o.target(env, name)
	if err != nil {
		return err
	}
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	rule, err := secret.Rules{Dir: dir, Config: env.Getenv("SOPS_CONFIG")}.For(name)
	if errors.Is(err, secret.ErrNoRule) {
		return &hinted{fmt.Errorf("%s: %w", name, err), "add a rule to .sops.yaml: " + examples(env, "%[1]s keygen")}
	}
	if err != nil {
		return err
	}
	kustomization, err := o.listed(name)
	if err != nil {
		return err
	}
	// Last, so that nobody types a password in vain.
	object, err := o.object(o, ctx, c, r)
	if err != nil {
		return err
	}
	object.Namespace = o.namespace
	if o.appendHash {
		sum, err := hash.SecretHash(object)
		if err != nil {
			return err
		}
		object.Name += "-" + sum
	}
	plain, err := manifest(object, secret.Format(name), o.stringData)
	if err != nil {
		return err
	}
	file, err := secret.Encrypt(name, plain, rule, secret.SealOptions{Previous: previous, Keys: keys})
	if err != nil {
		r.fail(name, err)
		return r.end()
	}
	if file.Kubernetes {
		r.warnKubernetes(name)
	}
	if file.Anew != "" {
		r.warn("sealed-anew", name, "every value is sealed anew: "+file.Anew, "")
	}
	changes := append(kustomization, secret.Change{Path: real, Data: file.Data, Mode: 0o644})
	if err := secret.Write(changes); err != nil {
		return err
	}
	r.report.Files = append(r.report.Files, FileReport{Path: name, Action: "sealed", Recipients: file.Recipients, Sealed: file.Sealed, Kept: file.Kept})
	if r.text {
		fmt.Fprintf(env.ErrOut, "%s sealed: secret/%s, %s%s, %s\n", name, object.Name, count(file.Sealed, "value"), unchanged(file.Kept), count(len(file.Recipients), "recipient"))
		for _, k := range kustomization {
			fmt.Fprintf(env.ErrOut, "%s lists it\n", k.Path)
		}
	}
	return r.end()
}

// target is where the file goes, and what is there if that may be replaced.
func (o *createOptions) target(env *cli.Env, name string) (real string, previous []byte, keys *secret.Keyring, err error) {
	if info, err := os.Stat(filepath.Dir(name)); err != nil || !info.IsDir() {
		return "", nil, nil, &hinted{fmt.Errorf("%s: there is no directory to make it in", name), "mkdir -p " + filepath.Dir(name)}
	}
	if real, err = secret.Real(name); err != nil {
		return "", nil, nil, err
	}
	previous, err = os.ReadFile(real)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return real, nil, nil, nil
	case err != nil:
		return "", nil, nil, err
	case !secret.IsSealed(name, previous):
		return "", nil, nil, fmt.Errorf("%s: is there already, and is not sealed: it is not overwritten", name)
	case !o.replace:
		return "", nil, nil, &hinted{fmt.Errorf("%s: is there already", name), "--replace, or: " + examples(env, "%[1]s edit ") + name}
	}
	keys, err = secret.Find(secret.FindOptions{KeyFile: o.ageKeyFile, Getenv: env.Getenv})
	return real, previous, keys, err
}

// listed is the kustomization.yaml with the file, nothing where that is not wanted
// or it lists it.
func (o *createOptions) listed(name string) ([]secret.Change, error) {
	if o.addTo == "" {
		return nil, nil
	}
	path := o.addTo
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		for _, n := range []string{"kustomization.yaml", "kustomization.yml", "Kustomization"} {
			if _, err := os.Lstat(filepath.Join(path, n)); err == nil {
				path = filepath.Join(path, n)
				break
			}
		}
		if path == o.addTo {
			return nil, &hinted{fmt.Errorf("--add-to %s: has no kustomization.yaml", path), `printf 'resources: []\n' >` + filepath.Join(path, "kustomization.yaml")}
		}
	}
	real, before, err := readFile(path)
	if err != nil {
		return nil, fmt.Errorf("--add-to %w", err)
	}
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	file, err := filepath.Abs(name)
	if err != nil {
		return nil, err
	}
	rel, err := filepath.Rel(dir, file)
	if err != nil {
		return nil, fmt.Errorf("--add-to %s: %s cannot be named from there", path, name)
	}
	after, err := secret.AddResource(before, filepath.ToSlash(rel))
	if err != nil {
		return nil, &hinted{fmt.Errorf("--add-to %s: %w", path, err), "add by hand to its resources: " + filepath.ToSlash(rel)}
	}
	if string(after) == string(before) {
		return nil, nil
	}
	return []secret.Change{{Path: real, Data: after}}, nil
}

// argument warns of a value on the command line.
func (r *run) argument(flag, instead string) {
	r.warn("argument-list", "", flag+": a value on the command line is seen in the process list, and stays in the history of the shell", instead)
}

// notSaid is an error of a flag whose value may be a secret that was typed in the
// wrong place, and so is not said.
func notSaid(c *cobra.Command, flag, want string) error {
	return cli.Usage(c, "--%s: want %s", flag, want)
}

// addTo puts a value into a Secret, as kubectl does.
func addTo(object *corev1.Secret, key string, value []byte) error {
	if why := validation.IsConfigMapKey(key); len(why) > 0 {
		return fmt.Errorf("a key that is given is no name for an entry of a Secret: %s", strings.Join(why, "; "))
	}
	if _, there := object.Data[key]; there {
		return fmt.Errorf("the key %s is given twice", key)
	}
	object.Data[key] = value
	return nil
}
