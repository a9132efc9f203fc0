package secret

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/cluster"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/secret"
)

// installOptions are the flags of install-key.
type installOptions struct {
	cli.Output
	secret     string
	ageKeyFile string
	add, force bool
	remove     string
}

// InstallReport is what install-key -o json prints.
type InstallReport struct {
	Report
	Cluster   InstallCluster `json:"cluster"`
	Namespace string         `json:"namespace"`
	Name      string         `json:"name"`
	// Action is created, configured or unchanged.
	Action string `json:"action"`
	// Access is whose identities the Secret had, and has.
	Access
}

// InstallCluster is where a key was installed.
type InstallCluster struct {
	Context string `json:"context"`
	Server  string `json:"server"`
}

// defaultSecret is what Flux's documents call the decryption Secret.
const defaultSecret = "sops-age"

func newInstallKey(env *cli.Env) *cobra.Command { return newInstallKeyCommand(env, installKey) }

func newInstallKeyCommand(env *cli.Env, runF func(context.Context, *cobra.Command, *cli.Env, *installOptions) error) *cobra.Command {
	o := &installOptions{}
	c := &cobra.Command{
		Use:   "install-key",
		Short: "Put a key into the cluster, for Flux and for sync",
		Long: `Put an age key into the Secret that Kustomizations name in spec.decryption.secretRef,
which is found in the cluster, or else in the repository; default sops-age in
flux-system. The Secret, and its namespace, are made where they are missing.

A Secret that holds another key is refused: --add keeps that beside the new one, so
that a rotation is: add, updatekeys, sync, remove. Identities are never printed.

Exit codes: 0 installed, or unchanged · 2 could not or would not.`,
		Example: examples(env, `  %[1]s install-key

  # a rotation
  %[1]s install-key --add --age-key-file new.agekey
  %[1]s install-key --remove age1old…`),
		Args: cli.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if o.add && o.remove != "" {
				return cli.Usage(c, "--add and --remove exclude each other: first the one, then the other")
			}
			if o.remove != "" && o.ageKeyFile != "" {
				return cli.Usage(c, "--remove takes a recipient, and no --age-key-file")
			}
			if strings.HasPrefix(o.remove, "AGE-SECRET-KEY-") {
				return cli.Usage(c, "--remove: want the recipient (age1…), and no private key on a command line")
			}
			return runF(c.Context(), c, env, o)
		},
	}
	f := c.Flags()
	o.Output.AddFlags(f)
	f.StringVar(&o.secret, "secret", "", "[NAMESPACE/]NAME of the Secret. Default: the one that Kustomizations name.")
	f.StringVar(&o.ageKeyFile, "age-key-file", "", "The key. Default: SOPS_AGE_KEY, SOPS_AGE_KEY_FILE, or where sops looks.")
	f.BoolVar(&o.add, "add", false, "Keep the keys that are there beside this one.")
	f.StringVar(&o.remove, "remove", "", "Take the key of this recipient out of the Secret.")
	f.BoolVar(&o.force, "force", false, "Replace another key, or remove the last one.")
	env.AddKubeFlags(f)
	return c
}

func installKey(ctx context.Context, c *cobra.Command, env *cli.Env, o *installOptions) error {
	r, err := begin(c, env, &o.Output)
	if err != nil {
		return err
	}
	defer r.u.Close()
	var file []byte
	var where string
	if o.remove == "" {
		if where, file, err = keyFile(env, o.ageKeyFile); err != nil {
			return err
		}
	}
	t, err := openKeySecret(ctx, c, env, o.secret)
	if err != nil {
		return err
	}
	to, err := o.change(t, where, file)
	if err != nil {
		return err
	}
	action, err := t.write(ctx, to)
	if err != nil {
		return err
	}
	return r.installed(t, to, action)
}

// change is what the Secret is to hold.
func (o *installOptions) change(t *keySecret, where string, file []byte) (secret.Installed, error) {
	held, err := t.keys.Recipients()
	if err != nil && (o.add || o.remove != "" || !o.force) {
		return t.keys, &hinted{fmt.Errorf("%s: %w", t.id, err), "kubectl -n " + t.id.Namespace + " edit secret " + t.id.Name + "; or, to replace all of it: --force"}
	}
	if o.remove != "" {
		to, err := t.keys.Remove(o.remove)
		if err != nil {
			return to, fmt.Errorf("%s: %w", t.id, err)
		}
		if left, err := to.Recipients(); err == nil && len(left) == 0 && !o.force {
			return to, &hinted{fmt.Errorf("%s: refusing to remove its last key: nothing sealed would open in the cluster any more", t.id), "install another first: --add --age-key-file FILE; or --force"}
		}
		return to, nil
	}
	from := t.keys
	if !o.add {
		from = secret.InstalledIn(nil)
	}
	to, err := from.Add(file)
	if err != nil {
		return to, fmt.Errorf("%s: %w", where, err)
	}
	wanted, err := to.Recipients()
	if err != nil {
		return to, err
	}
	var lost []string
	for _, recipient := range held {
		if !slices.Contains(wanted, recipient) {
			lost = append(lost, recipient)
		}
	}
	switch {
	case len(lost) > 0 && !o.force:
		return to, &hinted{fmt.Errorf("%s: refusing to replace the key that is there, of %s: what is sealed to it would not open any more", t.id, shortList(lost)), "--add keeps it beside the new one; --force replaces it"}
	case len(lost) == 0 && len(wanted) == len(held):
		return t.keys, nil // the same, however it is written
	}
	return to, nil
}

// installed reports what the Secret holds now.
func (r *run) installed(t *keySecret, to secret.Installed, action string) error {
	before, err := t.keys.Recipients()
	if err != nil {
		before = []string{} // it was not readable, and --force replaced it
	}
	after, err := to.Recipients()
	if err != nil {
		return err
	}
	access := accessOf(before, after)
	if !r.text {
		return r.u.Object(InstallReport{*r.report, InstallCluster{t.cluster.Context, t.cluster.Server}, t.id.Namespace, t.id.Name, action, access})
	}
	_, err = fmt.Fprintf(r.env.Out, "cluster: %s (%s)\n%s %s: %s\n", t.cluster.Context, t.cluster.Server, t.id, action, access.text("key"))
	return err
}

func shortList(recipients []string) string {
	var out []string
	for _, r := range recipients {
		out = append(out, short(r))
	}
	return strings.Join(out, ", ")
}

// keyFile is the key to install, and where it was found: the first place that has
// one, and not all that this user can open.
func keyFile(env *cli.Env, flag string) (where string, file []byte, err error) {
	if flag == "" {
		if text := env.Getenv("SOPS_AGE_KEY"); text != "" {
			return "SOPS_AGE_KEY", []byte(strings.Join(strings.Fields(text), "\n") + "\n"), nil
		}
		if flag = env.Getenv("SOPS_AGE_KEY_FILE"); flag == "" {
			if flag, err = secret.DefaultKeyFile(secret.FindOptions{Getenv: env.Getenv}); err != nil {
				return "", nil, &hinted{err, "--age-key-file FILE"}
			}
		}
	}
	file, err = os.ReadFile(flag)
	if err != nil {
		return flag, nil, &hinted{fmt.Errorf("%s: %w", flag, unquoted(err)), "--age-key-file FILE; " + examples(env, "%[1]s keygen") + " makes one"}
	}
	return flag, file, nil
}

// keySecret is the decryption Secret of a cluster.
type keySecret struct {
	cluster *cluster.Cluster
	id      object.ID
	read    *cluster.Secret // nil where it does not exist
	keys    secret.Installed
}

// openKeySecret connects to the cluster, and reads the Secret.
func openKeySecret(ctx context.Context, c *cobra.Command, env *cli.Env, flag string) (*keySecret, error) {
	k8s, err := cluster.Connect(env.Kube, cli.UserAgent())
	if err != nil {
		return nil, err
	}
	if err := k8s.Reach(ctx); err != nil {
		return nil, err
	}
	t := &keySecret{cluster: k8s}
	if t.id, err = decryptionSecret(ctx, c, env, k8s, flag); err != nil {
		return nil, err
	}
	if t.read, err = k8s.ReadSecret(ctx, t.id.Namespace, t.id.Name); err != nil {
		return nil, err
	}
	if t.read != nil {
		t.keys = secret.InstalledIn(t.read.Data)
	} else {
		t.keys = secret.InstalledIn(nil)
	}
	return t, nil
}

// write makes the Secret hold the keys, if it does not.
func (t *keySecret) write(ctx context.Context, to secret.Installed) (action string, err error) {
	patch := t.keys.Patch(to)
	if len(patch) == 0 {
		return "unchanged", nil
	}
	if action = "configured"; t.read == nil {
		action = "created"
	}
	return action, t.cluster.WriteSecret(ctx, t.id.Namespace, t.id.Name, t.read, patch)
}

// decryptionSecret finds out which Secret is meant: the flag, what Kustomizations
// in the cluster name, what those in the repository name, Flux's usual one.
func decryptionSecret(ctx context.Context, c *cobra.Command, env *cli.Env, k8s *cluster.Cluster, flag string) (object.ID, error) {
	if flag != "" {
		ref, err := cli.Ref(c, env, flag)
		return object.ID{Kind: "Secret", Namespace: ref.Namespace, Name: ref.Name}, err
	}
	ids, err := k8s.DecryptionSecrets(ctx)
	if err != nil {
		return object.ID{}, err
	}
	where := "the cluster's Kustomizations"
	if len(ids) == 0 {
		where = "the repository's Kustomizations"
		if ids, err = namedInRepository(); err != nil {
			return object.ID{}, err
		}
	}
	if ns := *env.Kube.Namespace; ns != "" {
		ids = slices.DeleteFunc(ids, func(id object.ID) bool { return id.Namespace != ns })
	}
	switch len(ids) {
	case 0:
		ref, err := cli.Ref(c, env, defaultSecret)
		return object.ID{Kind: "Secret", Namespace: ref.Namespace, Name: ref.Name}, err
	case 1:
		return ids[0], nil
	}
	var names []string
	for _, id := range ids {
		names = append(names, id.Namespace+"/"+id.Name)
	}
	return object.ID{}, &hinted{fmt.Errorf("which Secret? %s name %s", where, strings.Join(names, ", ")), "--secret " + names[0]}
}

// namedInRepository are the Secrets that Flux Kustomizations in the repository
// around the current directory name.
func namedInRepository() ([]object.ID, error) {
	dir, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	root := secret.Repository(dir)
	if root == "" {
		return nil, nil
	}
	var out []object.ID
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() == ".git":
			return fs.SkipDir
		case !d.Type().IsRegular() || secret.Format(path) != "yaml":
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(text, []byte("kustomize.toolkit.fluxcd.io/")) {
			return err
		}
		decoder := yaml.NewDecoder(bytes.NewReader(text))
		for {
			var k struct {
				APIVersion string `yaml:"apiVersion"`
				Kind       string
				Metadata   struct{ Namespace string }
				Spec       struct {
					Decryption struct {
						SecretRef struct{ Name string } `yaml:"secretRef"`
					}
				}
			}
			// What is no such document ends the file: sync says what is wrong with it.
			if err := decoder.Decode(&k); err != nil {
				return nil
			}
			id := object.ID{Kind: "Secret", Namespace: k.Metadata.Namespace, Name: k.Spec.Decryption.SecretRef.Name}
			if id.Namespace == "" {
				id.Namespace = cli.DefaultNamespace
			}
			if strings.HasPrefix(k.APIVersion, "kustomize.toolkit.fluxcd.io/") && k.Kind == "Kustomization" && id.Name != "" && !slices.Contains(out, id) {
				out = append(out, id)
			}
		}
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return out, nil
}
