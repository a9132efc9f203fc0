package cli

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cluster"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/gitops"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/source"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/ui"
)

// DefaultNamespace is where names without one are looked for, as Flux's CLI
// does; the namespace of the kubeconfig's context does not count.
const DefaultNamespace = "flux-system"

// Output are the flags of how a command speaks.
type Output struct {
	Format   string
	Color    string
	Progress string
	Verbose  int
}

// AddFlags adds -o, --color, --progress and -v. formats are those of -o beyond
// text, json and yaml.
func (o *Output) AddFlags(f *pflag.FlagSet, formats ...string) {
	o.AddFormats(f, append([]string{"text", "json", "yaml"}, formats...)...)
}

// AddFormats is AddFlags for an answer with formats of its own, the default first.
func (o *Output) AddFormats(f *pflag.FlagSet, formats ...string) {
	AddFormat(f, &o.Format, formats...)
	f.StringVar(&o.Color, "color", "auto", "Color: auto, always or never. NO_COLOR and CLICOLOR_FORCE are obeyed.")
	f.StringVar(&o.Progress, "progress", "auto", "Progress on stderr: auto, tty, plain or none.")
	Choices(f, "color", "auto", "always", "never")
	Choices(f, "progress", "auto", "tty", "plain", "none")
	f.CountVarP(&o.Verbose, "verbose", "v", "Say more: each object, the requests that were sent.")
}

// AddFormat adds -o for an answer in one of formats, the default first.
func AddFormat(f *pflag.FlagSet, format *string, formats ...string) {
	f.StringVarP(format, "output", "o", formats[0], "Format of the answer on stdout: "+strings.Join(formats, ", ")+".")
	Choices(f, "output", formats...)
}

// UI checks the flags and makes the presentation. dryRun is for answers about
// what has not been done.
func (o *Output) UI(c *cobra.Command, env *Env, dryRun bool) (*ui.UI, error) {
	for _, check := range [][2]string{{"output", o.Format}, {"color", o.Color}, {"progress", o.Progress}} {
		if err := OneOf(c, check[0], check[1]); err != nil {
			return nil, err
		}
	}
	format := o.Format
	if format == "text" {
		format = ""
	}
	return ui.New(ui.Options{Out: env.Out, Err: env.ErrOut, Color: o.Color, Progress: o.Progress, Output: format, Getenv: env.Getenv,
		Verbose: o.Verbose, Namespace: *env.Kube.Namespace, Typed: env.Name, DryRun: dryRun}), nil
}

// choices is the annotation of a flag that takes one of some values.
const choices = "choices"

// Choices notes the values that a flag takes, or takes lists of: OneOf refuses
// others, and shells complete them.
func Choices(f *pflag.FlagSet, flag string, values ...string) {
	if err := f.SetAnnotation(flag, choices, values); err != nil {
		panic(err) // there is no such flag
	}
}

// OneOf refuses a value of a flag that is none of its Choices.
func OneOf(c *cobra.Command, flag, value string) error {
	allowed := c.Flags().Lookup(flag).Annotations[choices]
	if slices.Contains(allowed, value) {
		return nil
	}
	return Usage(c, "--%s=%s: want one of %s", flag, value, strings.Join(allowed, ", "))
}

// Source are the flags of where things come from.
type Source struct {
	Source, Ref, Path, Name string
	AgeKeyFile              string
	GitUsername             string
	GitTokenFile            string
	GitSSHKey               string
	GitKnownHosts           string
	GitSecret               string

	remembered string // where the cluster says that the root is, "" for nowhere
	flags      *pflag.FlagSet
	readOnly   bool // the command only reads from the cluster
	tellRights bool // kubectl gitops rbac prints what the command must be allowed to do
}

// AddFlags adds --source and its kin.
func (s *Source) AddFlags(f *pflag.FlagSet) {
	s.flags = f
	f.StringVar(&s.Source, "source", "", "Directory, or https, http, ssh, file, oci or git@host:path URL. Default: the Git repository around the current directory, else the source of the root in the cluster.")
	f.StringVar(&s.Ref, "ref", "", "Branch, tag, semver range, refs/… or commit. Default: HEAD, or the remote's default branch.")
	f.StringVar(&s.Path, "path", "", "Entry directory in the source. Default: clusters/<kube context>.")
	f.StringVar(&s.Name, "name", "flux-system", "Root Kustomization, [NAMESPACE/]NAME, where the entry does not declare one.")
	f.StringVar(&s.AgeKeyFile, "age-key-file", "", "Age identities to decrypt with, besides SOPS_AGE_KEY, SOPS_AGE_KEY_FILE, sops's default location and spec.decryption.secretRef.")
	f.StringVar(&s.GitUsername, "git-username", "", "User for Git over https; GITOPS_GIT_USERNAME.")
	f.StringVar(&s.GitTokenFile, "git-token-file", "", "File with the password or token for Git over https; GITOPS_GIT_TOKEN, GITOPS_GIT_TOKEN_FILE.")
	f.StringVar(&s.GitSSHKey, "git-ssh-key", "", "Private key for Git over ssh; GITOPS_GIT_SSH_KEY. Else the ssh agent and ~/.ssh.")
	f.StringVar(&s.GitSecret, "git-secret", "", "Secret in the cluster, NAMESPACE/NAME, with the credentials for Git in Flux's keys.")
	f.StringVar(&s.GitKnownHosts, "git-known-hosts", "", "Host keys for Git over ssh; GITOPS_GIT_KNOWN_HOSTS. Else ~/.ssh/known_hosts.")
}

// Auth reads the files, and the Secret, that the flags name.
func (s *Source) Auth(ctx context.Context, env *Env) (source.Auth, error) {
	auth := source.Auth{Env: env.Environ, Username: s.GitUsername}
	if s.GitSecret != "" {
		return s.secretAuth(ctx, env, auth)
	}
	if s.GitTokenFile != "" {
		token, err := readFlagFile("git-token-file", s.GitTokenFile)
		if err != nil {
			return auth, err
		}
		auth.Password = string(bytes.TrimSpace(token))
	}
	var err error
	if s.GitSSHKey != "" {
		if auth.SSHKey, err = readFlagFile("git-ssh-key", s.GitSSHKey); err != nil {
			return auth, err
		}
		auth.SSHPassphrase = []byte(env.Getenv("GITOPS_GIT_SSH_PASSPHRASE"))
	}
	if s.GitKnownHosts != "" {
		if auth.KnownHosts, err = readFlagFile("git-known-hosts", s.GitKnownHosts); err != nil {
			return auth, err
		}
	}
	return auth, nil
}

// secretAuth is what the Secret of --git-secret has.
func (s *Source) secretAuth(ctx context.Context, env *Env, auth source.Auth) (source.Auth, error) {
	namespace, name, ok := strings.Cut(s.GitSecret, "/")
	if !ok || namespace == "" || name == "" || strings.Contains(name, "/") {
		return auth, &usageError{msg: fmt.Sprintf("--git-secret %s: want NAMESPACE/NAME", s.GitSecret)}
	}
	for flag, value := range map[string]string{"git-username": s.GitUsername, "git-token-file": s.GitTokenFile, "git-ssh-key": s.GitSSHKey, "git-known-hosts": s.GitKnownHosts} {
		if value != "" {
			return auth, &usageError{msg: "--git-secret has all credentials: it and --" + flag + " exclude each other"}
		}
	}
	k8s, err := cluster.Connect(env.Kube, UserAgent())
	if err != nil {
		return auth, err
	}
	if err := k8s.Reach(ctx); err != nil {
		return auth, err
	}
	where := fmt.Sprintf("secret/%s in %s", name, namespace)
	data, ok, err := gitops.SecretData(ctx, k8s, namespace, name)
	if err != nil {
		return auth, fmt.Errorf("--git-secret: %w", err)
	}
	if !ok {
		return auth, &usageError{msg: fmt.Sprintf("--git-secret: %s is not in cluster %s", where, k8s.Context), hint: fmt.Sprintf("kubectl -n %s get secrets", namespace)}
	}
	c := source.Credentials{Where: where, Data: data}
	if data["githubAppID"] != "" {
		c.Provider = "github"
	}
	url := s.Source
	if !strings.Contains(url, "://") && !strings.Contains(url, "@") {
		url = "" // a checkout: its remote tells
	}
	return auth.WithSecret(ctx, url, c)
}

func readFlagFile(flag, name string) ([]byte, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("--%s: %w", flag, err)
	}
	return data, nil
}

// EntryPath is where the root is in snap: --path, else what the cluster
// remembers, else clusters/<context>.
func (s *Source) EntryPath(snap *source.Snapshot, context string) (string, error) {
	if s.Path != "" {
		given := filepath.ToSlash(s.Path)
		p := flux.CleanPath(given)
		wrong := ""
		if path.IsAbs(given) || filepath.IsAbs(s.Path) {
			wrong = "is absolute"
		} else if strings.HasPrefix(path.Clean(given), "..") {
			wrong = "is outside of the source"
		}
		if wrong != "" {
			return "", &usageError{msg: fmt.Sprintf("--path %s: %s", s.Path, wrong), hint: "give it relative to the source's root" + listClusters(snap)}
		}
		info, err := fs.Stat(snap.FS, p)
		switch {
		case err != nil && strings.Contains(given, `\`):
			return "", &usageError{msg: fmt.Sprintf("--path %s: no such directory in %s; the directories of a source are written with /", s.Path, snap.Revision),
				hint: "--path " + strings.ReplaceAll(given, `\`, "/")}
		case err != nil:
			return "", &usageError{msg: fmt.Sprintf("--path %s: no such directory in %s", s.Path, snap.Revision), hint: strings.TrimPrefix(listClusters(snap), "; ")}
		case !info.IsDir():
			return "", &usageError{msg: fmt.Sprintf("--path %s: is a file, not a directory", s.Path), hint: "--path " + path.Dir(p)}
		}
		return p, nil
	}
	if s.remembered != "" && isDir(snap, s.remembered) {
		return s.remembered, nil
	}
	if p := "clusters/" + context; context != "" && isDir(snap, p) {
		return p, nil
	}
	if context == "" {
		return "", &usageError{msg: "which path is the root? There is no kube context after which it could be named", hint: "--path DIR" + listClusters(snap)}
	}
	return "", &usageError{
		msg:  fmt.Sprintf("which path is the root of this cluster? There is no clusters/%s, named after the kube context", context),
		hint: "--path DIR" + listClusters(snap),
	}
}

func isDir(snap *source.Snapshot, p string) bool {
	info, err := fs.Stat(snap.FS, p)
	return err == nil && info.IsDir()
}

func listClusters(snap *source.Snapshot) string {
	entries, err := fs.ReadDir(snap.FS, "clusters")
	if err != nil {
		if entries, err = fs.ReadDir(snap.FS, "."); err != nil {
			return ""
		}
		return "; the source has: " + dirs("", entries)
	}
	return "; there is: " + dirs("clusters/", entries)
}

func dirs(prefix string, entries []fs.DirEntry) string {
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, prefix+e.Name())
		}
	}
	if len(names) == 0 {
		return "no directory"
	}
	return strings.Join(names, ", ")
}

// Values reads the NAME=VALUE of --values.
func Values(c *cobra.Command, args []string) (map[string]string, error) {
	var out map[string]string
	for _, arg := range args {
		name, value, ok := strings.Cut(arg, "=")
		if !ok || name == "" {
			return nil, Usage(c, "--values %s: want NAME=VALUE", arg)
		}
		if out == nil {
			out = map[string]string{}
		}
		out[name] = value
	}
	return out, nil
}

// Ref reads NAME or NAMESPACE/NAME.
func Ref(c *cobra.Command, env *Env, arg string) (flux.Ref, error) {
	ref := flux.Ref{Namespace: DefaultNamespace, Name: arg}
	if ns := *env.Kube.Namespace; ns != "" {
		ref.Namespace = ns
	}
	if ns, name, ok := strings.Cut(arg, "/"); ok {
		ref = flux.Ref{Namespace: ns, Name: name}
	}
	if ref.Name == "" || ref.Namespace == "" || strings.Contains(ref.Name, "/") {
		return ref, Usage(c, "%q is not NAME or NAMESPACE/NAME", arg)
	}
	return ref, nil
}
