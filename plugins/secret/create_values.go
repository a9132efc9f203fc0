package secret

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/kubectl/pkg/util"
	"sigs.k8s.io/yaml"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
)

func (o *createOptions) genericFlags(f *pflag.FlagSet) {
	f.StringSliceVar(&o.files, "from-file", nil, "[KEY=]FILE, or a directory whose files are taken; KEY=- is stdin.")
	f.StringSliceVar(&o.prompts, "from-prompt", nil, "KEY whose value is asked for on the terminal, and not shown.")
	f.StringArrayVar(&o.literals, "from-literal", nil, "KEY=VALUE; seen in the process list and kept in the shell's history: prefer --from-prompt.")
	f.StringSliceVar(&o.envs, "from-env-file", nil, "File of lines KEY=VALUE.")
	f.StringVar(&o.typ, "type", "", "Type of the Secret.")
}

func (o *createOptions) generic(ctx context.Context, c *cobra.Command, r *run) (*corev1.Secret, error) {
	object := newSecret(o.name, corev1.SecretType(o.typ))
	if len(o.envs) > 0 && len(o.files)+len(o.literals)+len(o.prompts) > 0 {
		return nil, cli.Usage(c, "--from-env-file cannot be combined with --from-file, --from-literal and --from-prompt")
	}
	if len(o.envs)+len(o.files)+len(o.literals)+len(o.prompts) == 0 {
		return nil, cli.Usage(c, "nothing to seal: want --from-file, --from-prompt, --from-literal or --from-env-file")
	}
	for _, literal := range o.literals {
		key, value, err := util.ParseLiteralSource(literal)
		if err != nil {
			return nil, notSaid(c, "from-literal", "KEY=VALUE")
		}
		if err := addTo(object, key, []byte(value)); err != nil {
			return nil, fmt.Errorf("--from-literal: %w", err)
		}
	}
	if len(o.literals) > 0 {
		r.argument("--from-literal", "--from-prompt=KEY asks for it, --from-file=KEY=- reads it from stdin")
	}
	if err := r.fromFiles(object, o.files); err != nil {
		return nil, err
	}
	for _, path := range o.envs {
		if err := fromEnvFile(object, path); err != nil {
			return nil, err
		}
	}
	for _, key := range o.prompts {
		value, err := r.ask(ctx, key)
		if err != nil {
			return nil, err
		}
		if err := addTo(object, key, value); err != nil {
			return nil, fmt.Errorf("--from-prompt: %w", err)
		}
	}
	return object, nil
}

func (o *createOptions) tlsFlags(f *pflag.FlagSet) {
	f.StringVar(&o.cert, "cert", "", "PEM file of the certificate.")
	f.StringVar(&o.key, "key", "", "PEM file of its private key.")
}

func (o *createOptions) tls(_ context.Context, c *cobra.Command, _ *run) (*corev1.Secret, error) {
	if o.cert == "" || o.key == "" {
		return nil, cli.Usage(c, "want --cert and --key")
	}
	cert, err := readValue("--cert", o.cert)
	if err != nil {
		return nil, err
	}
	key, err := readValue("--key", o.key)
	if err != nil {
		return nil, err
	}
	if _, err := tls.X509KeyPair(cert, key); err != nil {
		return nil, fmt.Errorf("--cert %s, --key %s: are no pair: %w", o.cert, o.key, err)
	}
	object := newSecret(o.name, corev1.SecretTypeTLS)
	object.Data[corev1.TLSCertKey], object.Data[corev1.TLSPrivateKeyKey] = cert, key
	return object, nil
}

type dockerOptions struct {
	server, username, password, email string
	passwordStdin                     bool
}

func (o *createOptions) dockerFlags(f *pflag.FlagSet) {
	f.StringVar(&o.docker.server, "docker-server", "https://index.docker.io/v1/", "Registry.")
	f.StringVar(&o.docker.username, "docker-username", "", "User at the registry.")
	f.StringVar(&o.docker.password, "docker-password", "", "Password; seen in the process list and kept in the shell's history: without it you are asked.")
	f.BoolVar(&o.docker.passwordStdin, "docker-password-stdin", false, "Read the password from stdin.")
	f.StringVar(&o.docker.email, "docker-email", "", "Mail address for the registry.")
	f.StringSliceVar(&o.files, "from-file", nil, "[.dockerconfigjson=]FILE as docker login writes it, in the place of the other flags.")
}

func (o *createOptions) dockerRegistry(ctx context.Context, c *cobra.Command, r *run) (*corev1.Secret, error) {
	d := o.docker
	object := newSecret(o.name, corev1.SecretTypeDockerConfigJson)
	if len(o.files) > 0 {
		for i, file := range o.files {
			if !strings.Contains(file, "=") {
				o.files[i] = corev1.DockerConfigJsonKey + "=" + file
			}
		}
		if d.username+d.password != "" || d.passwordStdin {
			return nil, cli.Usage(c, "--from-file stands in the place of --docker-username and --docker-password")
		}
		if err := r.fromFiles(object, o.files); err != nil {
			return nil, err
		}
		if !json.Valid(object.Data[corev1.DockerConfigJsonKey]) {
			return nil, fmt.Errorf("--from-file: %s is not valid JSON", corev1.DockerConfigJsonKey)
		}
		return object, nil
	}
	if d.username == "" || d.server == "" {
		return nil, cli.Usage(c, "want --from-file, or --docker-username and --docker-server")
	}
	switch {
	case d.password != "" && d.passwordStdin:
		return nil, cli.Usage(c, "--docker-password and --docker-password-stdin exclude each other")
	case d.password != "":
		r.argument("--docker-password", "leave it out to be asked, or --docker-password-stdin")
	case d.passwordStdin:
		text, err := io.ReadAll(r.env.In)
		if err != nil {
			return nil, fmt.Errorf("stdin: %w", err)
		}
		d.password = strings.TrimRight(string(text), "\r\n")
	default:
		text, err := r.ask(ctx, "password of "+d.username)
		if err != nil {
			return nil, err
		}
		d.password = string(text)
	}
	if d.password == "" {
		return nil, errors.New("the password is empty")
	}
	// As kubectl writes it.
	entry := struct {
		Username string `json:"username,omitempty"`
		Password string `json:"password,omitempty"`
		Email    string `json:"email,omitempty"`
		Auth     string `json:"auth,omitempty"`
	}{d.username, d.password, d.email, base64.StdEncoding.EncodeToString([]byte(d.username + ":" + d.password))}
	config, err := json.Marshal(map[string]any{"auths": map[string]any{d.server: entry}})
	if err != nil {
		return nil, err
	}
	object.Data[corev1.DockerConfigJsonKey] = config
	return object, nil
}

func newSecret(name string, t corev1.SecretType) *corev1.Secret {
	object := &corev1.Secret{Type: t, Data: map[string][]byte{}}
	object.APIVersion, object.Kind, object.Name = "v1", "Secret", name
	return object
}

// fromFiles reads the sources of --from-file, as kubectl does; KEY=- is stdin.
func (r *run) fromFiles(object *corev1.Secret, sources []string) error {
	for _, source := range sources {
		key, path, err := util.ParseFileSource(source)
		if err != nil {
			return fmt.Errorf("--from-file: %w", err)
		}
		if path == "-" {
			if r.terminal() != nil {
				return &hinted{errors.New("--from-file: stdin is a terminal, which would show what is typed"), "--from-prompt=" + key}
			}
			value, err := io.ReadAll(r.env.In)
			if err != nil {
				return fmt.Errorf("stdin: %w", err)
			}
			if err := addTo(object, key, value); err != nil {
				return fmt.Errorf("--from-file: %w", err)
			}
			continue
		}
		info, err := os.Stat(path)
		if err != nil || !info.IsDir() {
			value, err := readValue("--from-file", path)
			if err != nil {
				return err
			}
			if err := addTo(object, key, value); err != nil {
				return fmt.Errorf("--from-file: %w", err)
			}
			continue
		}
		if strings.Contains(source, "=") {
			return fmt.Errorf("--from-file %s: a directory has no key of its own", path)
		}
		entries, err := os.ReadDir(path)
		if err != nil {
			return fmt.Errorf("--from-file: %w", err)
		}
		for _, entry := range entries {
			if !entry.Type().IsRegular() || len(validation.IsConfigMapKey(entry.Name())) > 0 {
				continue
			}
			value, err := readValue("--from-file", filepath.Join(path, entry.Name()))
			if err != nil {
				return err
			}
			if err := addTo(object, entry.Name(), value); err != nil {
				return fmt.Errorf("--from-file: %w", err)
			}
		}
	}
	return nil
}

func readValue(flag, path string) ([]byte, error) {
	value, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", flag, path, unquoted(err))
	}
	return value, nil
}

// fromEnvFile reads lines KEY=VALUE as kubectl does: comments and blank lines are
// left out, nothing is unquoted, and KEY alone is what the environment has. kubectl
// itself stops without a word at a line above 64 KiB.
func fromEnvFile(object *corev1.Secret, path string) error {
	text, err := readValue("--from-env-file", path)
	if err != nil {
		return err
	}
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	for i, line := range strings.Split(string(text), "\n") {
		line = strings.TrimLeft(strings.TrimSuffix(line, "\r"), " \t")
		if line == "" || line[0] == '#' {
			continue
		}
		key, value, given := strings.Cut(line, "=")
		if !given {
			value = os.Getenv(key)
		}
		if !utf8.ValidString(line) || len(validation.IsEnvVarName(key)) > 0 {
			// What stands there may be a secret, and is not said.
			return fmt.Errorf("--from-env-file %s:%d: is not KEY=VALUE", path, i+1)
		}
		if err := addTo(object, key, []byte(value)); err != nil {
			return fmt.Errorf("--from-env-file %s:%d: %w", path, i+1, err)
		}
	}
	return nil
}

// terminal is stdin where that is a terminal, else nil.
func (r *run) terminal() *os.File {
	if in, ok := r.env.In.(*os.File); ok && term.IsTerminal(int(in.Fd())) {
		return in
	}
	return nil
}

// ask asks for a value, twice, and shows none of what is typed.
func (r *run) ask(ctx context.Context, what string) ([]byte, error) {
	in := r.terminal()
	if in == nil {
		return nil, &hinted{fmt.Errorf("%s: stdin is no terminal, so nobody can be asked", what), "--from-file=KEY=- or --docker-password-stdin reads stdin"}
	}
	once := func(prompt string) ([]byte, error) {
		fmt.Fprint(r.env.ErrOut, prompt)
		defer fmt.Fprintln(r.env.ErrOut)
		fd := int(in.Fd())
		state, err := term.GetState(fd)
		if err != nil {
			return nil, err
		}
		var value []byte
		done := make(chan struct{})
		go func() {
			defer close(done)
			value, err = term.ReadPassword(fd)
		}()
		select {
		case <-done:
			return value, err
		case <-ctx.Done():
			_ = term.Restore(fd, state) // what is typed next is to be seen again
			return nil, ctx.Err()
		}
	}
	first, err := once(what + ": ")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	second, err := once(what + ", once more: ")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	if !bytes.Equal(first, second) {
		return nil, fmt.Errorf("%s: the two are not the same", what)
	}
	return first, nil
}

// manifest writes a Secret in the order in which people do.
func manifest(s *corev1.Secret, format string, stringData bool) ([]byte, error) {
	data, text := map[string][]byte{}, map[string]string{}
	for key, value := range s.Data {
		if stringData && utf8.Valid(value) {
			text[key] = string(value)
		} else {
			data[key] = value
		}
	}
	type metadata struct {
		Name      string `json:"name"`
		Namespace string `json:"namespace,omitempty"`
	}
	parts := []any{
		struct {
			APIVersion string `json:"apiVersion"`
			Kind       string `json:"kind"`
		}{s.APIVersion, s.Kind},
		struct {
			Metadata metadata `json:"metadata"`
		}{metadata{s.Name, s.Namespace}},
	}
	if s.Type != "" {
		parts = append(parts, map[string]any{"type": s.Type})
	}
	if len(data) > 0 {
		parts = append(parts, map[string]any{"data": data})
	}
	if len(text) > 0 {
		parts = append(parts, map[string]any{"stringData": text})
	}
	if format == "json" {
		whole := *s
		whole.Data, whole.StringData = data, text
		return json.MarshalIndent(whole, "", "\t")
	}
	var out []byte
	for _, part := range parts {
		lines, err := yaml.Marshal(part)
		if err != nil {
			return nil, err
		}
		out = append(out, lines...)
	}
	return out, nil
}
