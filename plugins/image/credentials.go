package image

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/cluster"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/image"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/registry"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/secret"
)

// requests are what to ask the registries about repositories, with what their
// specs name: pull secrets, certificates, proxies. What is wrong with the one of
// a repository is in its place of problems, and its request is then empty.
func (s *session) requests(ctx context.Context, t *tree, keys *secret.Keyring, repositories []image.Repository, timeout time.Duration) (out []registry.Request, problems [][]*image.Problem) {
	store := newSecrets(s.env, t, keys, repositories)
	out, problems = make([]registry.Request, len(repositories)), make([][]*image.Problem, len(repositories))
	for i, r := range repositories {
		q := registry.Request{Image: r.Spec.Image, Insecure: r.Spec.Insecure, Timeout: timeout, Provider: r.Spec.Provider}
		if r.Spec.Timeout != nil && r.Spec.Timeout.Duration > 0 {
			q.Timeout = r.Spec.Timeout.Duration
		}
		warn := func(message string) {
			s.warn(image.Problem{Code: "image-credentials", File: r.File, Line: r.Line, Object: r.String(), Message: message})
		}
		wrong := func(err error) {
			problems[i] = append(problems[i], &image.Problem{Code: "image-credentials", File: r.File, Line: r.Line, Object: r.String(), Message: err.Error()})
		}
		if ref := r.Spec.ProxySecretRef; ref != nil {
			data, where, why := store.secret(ctx, image.Ref{Namespace: r.Namespace, Name: ref.Name}, r.File)
			if data == nil {
				warn("spec.proxySecretRef: " + why + "; the proxies of the environment are used")
			} else {
				var err error
				if q.Proxy, err = registry.ParseProxy(string(data["address"]), string(data["username"]), string(data["password"])); err != nil {
					wrong(fmt.Errorf("spec.proxySecretRef: %s: the Secret %w", where, err))
				}
			}
		}
		if ref := r.Spec.CertSecretRef; ref != nil {
			data, where, why := store.secret(ctx, image.Ref{Namespace: r.Namespace, Name: ref.Name}, r.File)
			if data == nil {
				warn("spec.certSecretRef: " + why + "; the certificates that this machine trusts are used")
			} else if q.TLS = certificates(data); len(q.TLS.CA)+len(q.TLS.Cert)+len(q.TLS.Key) == 0 {
				wrong(fmt.Errorf("spec.certSecretRef: %s: the Secret has none of ca.crt, tls.crt and tls.key", where))
			}
		}
		if q.Provider != "" && q.Provider != "generic" {
			// As in Flux, the cloud's login is all then.
			if r.Spec.ServiceAccountName != "" {
				warn("spec.serviceAccountName beside spec.provider: the login is that of this machine, not that of the service account")
			}
			out[i] = q
			continue
		}
		if ref := r.Spec.SecretRef; ref != nil {
			config, why := store.dockerConfig(ctx, image.Ref{Namespace: r.Namespace, Name: ref.Name}, r.File)
			if config == nil {
				warn("spec.secretRef: " + why + "; Docker's own credentials are used")
			} else {
				q.DockerConfigs = append(q.DockerConfigs, config)
			}
		}
		if name := r.Spec.ServiceAccountName; name != "" {
			configs, why := store.pullSecrets(ctx, image.Ref{Namespace: r.Namespace, Name: name}, r.File)
			if why != "" {
				warn("spec.serviceAccountName: " + why + "; Docker's own credentials are used")
			}
			q.DockerConfigs = append(q.DockerConfigs, configs...)
		}
		out[i] = q
	}
	return out, problems
}

// certificates are what a Secret of spec.certSecretRef has. The names behind are
// those of Flux before v1.
func certificates(data map[string][]byte) registry.TLS {
	one := func(names ...string) []byte {
		for _, name := range names {
			if v := data[name]; len(v) > 0 {
				return v
			}
		}
		return nil
	}
	return registry.TLS{CA: one("ca.crt", "caFile"), Cert: one("tls.crt", "certFile"), Key: one("tls.key", "keyFile")}
}

// secrets finds the Secrets and ServiceAccounts that repositories name: in the
// source, sealed or not, else in the cluster. What was in them stays in memory.
type secrets struct {
	env   *cli.Env
	tree  *tree
	found []kept
	// problems are those of the files that did not open.
	problems []secret.Problem

	cluster   *cluster.Cluster
	noCluster string // why there is none
	live      map[object.ID]answered
}

// kept is a Secret or a ServiceAccount in a file.
type kept struct {
	kind, where, file string
	ref               image.Ref
	data              map[string][]byte // of a Secret
	pull              []string          // of a ServiceAccount
	err               error
}

// answered is what the cluster said of an object.
type answered struct {
	kept *kept
	why  string
}

// newSecrets reads the files that can have what repositories name, and Secrets
// with one of more as a key.
func newSecrets(env *cli.Env, t *tree, keys *secret.Keyring, repositories []image.Repository, more ...string) *secrets {
	out := &secrets{env: env, tree: t, live: map[object.ID]answered{}}
	if t.live != nil {
		out.cluster = t.live.Cluster
	}
	// In a file that is sealed to the kind, kinds and names are known only when it
	// is open. Keys are never sealed: they tell which files to open.
	var tell [][]byte
	for _, key := range more {
		tell = append(tell, []byte(key))
	}
	add := func(wanted bool, keys ...string) {
		for _, k := range keys {
			if wanted {
				tell = append(tell, []byte(k))
			}
		}
	}
	for _, r := range repositories {
		add(r.Spec.SecretRef != nil || r.Spec.ServiceAccountName != "", ".dockerconfigjson", ".dockercfg")
		add(r.Spec.ServiceAccountName != "", "imagePullSecrets")
		add(r.Spec.CertSecretRef != nil, "ca.crt", "tls.crt", "caFile", "certFile")
		add(r.Spec.ProxySecretRef != nil, "address")
	}
	if len(tell) == 0 {
		return out
	}
	files := secret.Overlay(t.fs, keys, secret.OverlayOptions{Configured: true})
	for _, name := range t.files {
		raw, err := fs.ReadFile(t.fs, name)
		if err != nil || !slices.ContainsFunc(tell, func(key []byte) bool { return bytes.Contains(raw, key) }) {
			continue
		}
		data, err := files.ReadFile(name)
		if err != nil {
			continue
		}
		docs, err := object.Documents(name, data)
		if err != nil {
			continue
		}
		for _, d := range docs {
			at := image.Declared{Ref: image.Ref{Namespace: d.Namespace, Name: d.Name}, File: name}
			at.Namespace = t.namespaceOf(at)
			k := kept{kind: d.Kind, ref: at.Ref, file: name, where: object.Where(name, d.Line)}
			switch {
			case d.APIVersion == "v1" && d.Kind == "Secret":
				k.data, k.err = secretData(d)
			case d.APIVersion == "v1" && d.Kind == "ServiceAccount":
				k.pull = pullSecretNames(d)
			default:
				continue
			}
			out.found = append(out.found, k)
		}
	}
	out.problems = files.Problems()
	return out
}

// find is an object of the source, that nearest to the file near, else the
// cluster's. why tells why there is none.
func (s *secrets) find(ctx context.Context, kind string, ref image.Ref, near string) (k *kept, why string) {
	nearest := -1
	for i := range s.found {
		f := &s.found[i]
		if f.kind == kind && f.ref == ref && common(f.file, near) > nearest {
			k, nearest = f, common(f.file, near)
		}
	}
	if k != nil {
		return k, ""
	}
	why = "there is no " + kind + " " + ref.String()
	if s.tree.live == nil {
		why += " in the source"
	}
	if n := len(s.problems); n > 1 {
		why += fmt.Sprintf("; %d sealed files that could have it do not open, of them %s", n, s.problems[0].Error())
	} else if n == 1 {
		why += "; " + s.problems[0].Error()
	}
	live, notThere := s.fromCluster(ctx, kind, ref)
	if live == nil {
		return nil, why + notThere
	}
	return live, ""
}

// fromCluster asks the cluster, once for each object.
func (s *secrets) fromCluster(ctx context.Context, kind string, ref image.Ref) (*kept, string) {
	id := object.ID{Kind: kind, Namespace: ref.Namespace, Name: ref.Name}
	if a, ok := s.live[id]; ok {
		return a.kept, a.why
	}
	if s.cluster == nil && s.noCluster == "" {
		k8s, err := cluster.Connect(s.env.Kube, cli.UserAgent())
		if err != nil || !k8s.Configured() {
			k8s, s.noCluster = nil, ", and there is no cluster to ask"
		}
		s.cluster = k8s
	}
	if s.cluster == nil {
		return nil, s.noCluster
	}
	name := fmt.Sprintf("cluster %s (%s)", s.cluster.Context, s.cluster.Server)
	u, err := s.cluster.Get(ctx, id, "v1")
	a := answered{}
	switch {
	case err != nil:
		a.why = ", and " + name + " does not tell: " + err.Error()
		if id := (*cluster.Error)(nil); errors.As(err, &id) { // it will not answer the next question either
			s.cluster, s.noCluster = nil, a.why
		}
	case u == nil && s.tree.live != nil:
	case u == nil:
		a.why = ", and none in " + name
	default:
		a.kept = &kept{kind: kind, ref: ref, where: "in " + name, data: map[string][]byte{}}
		data, _ := u.Object["data"].(map[string]any)
		for key, v := range data {
			text, _ := v.(string)
			a.kept.data[key], _ = base64.StdEncoding.DecodeString(text) // the API server made it
		}
		pull, _ := u.Object["imagePullSecrets"].([]any)
		for _, p := range pull {
			if m, _ := p.(map[string]any); m != nil {
				name, _ := m["name"].(string)
				a.kept.pull = append(a.kept.pull, name)
			}
		}
	}
	s.live[id] = a
	return a.kept, a.why
}

// secret is the data of a Secret, nil with a reason where there is none: where is
// "" then, but of one that is there and does not open.
func (s *secrets) secret(ctx context.Context, ref image.Ref, near string) (data map[string][]byte, where, why string) {
	k, why := s.find(ctx, "Secret", ref, near)
	switch {
	case k == nil:
		return nil, "", why
	case k.err != nil:
		return nil, k.where, k.where + ": " + k.err.Error() + s.unopened(k.file)
	}
	return k.data, k.where, ""
}

// unopened is why a file did not open, "" if it did.
func (s *secrets) unopened(file string) string {
	for _, p := range s.problems {
		if p.Path == file {
			return ": " + p.Error()
		}
	}
	return ""
}

// dockerConfig is the registry credentials of a Secret.
func (s *secrets) dockerConfig(ctx context.Context, ref image.Ref, near string) (config []byte, why string) {
	data, where, why := s.secret(ctx, ref, near)
	if data == nil {
		return nil, why
	}
	for _, key := range []string{".dockerconfigjson", ".dockercfg"} {
		if config := data[key]; len(config) > 0 {
			return config, ""
		}
	}
	return nil, where + ": the Secret has no .dockerconfigjson"
}

// pullSecrets are those of a ServiceAccount.
func (s *secrets) pullSecrets(ctx context.Context, ref image.Ref, near string) (configs [][]byte, why string) {
	k, why := s.find(ctx, "ServiceAccount", ref, near)
	if k == nil {
		return nil, why
	}
	if len(k.pull) == 0 {
		return nil, k.where + ": the ServiceAccount has no imagePullSecrets"
	}
	for _, name := range k.pull {
		config, reason := s.dockerConfig(ctx, image.Ref{Namespace: ref.Namespace, Name: name}, near)
		if config == nil {
			why = reason
			continue
		}
		configs = append(configs, config)
	}
	return configs, why
}

// secretData is data and stringData of a Secret, stringData over data.
func secretData(d object.Document) (map[string][]byte, error) {
	out := map[string][]byte{}
	for _, field := range []string{"data", "stringData"} {
		n := object.Find(d.Node, field)
		if n == nil {
			continue
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, value := n.Content[i].Value, n.Content[i+1].Value
			if strings.HasPrefix(value, "ENC[") {
				return nil, errors.New("the Secret is sealed, and could not be opened")
			}
			if field == "stringData" {
				out[key] = []byte(value)
				continue
			}
			data, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(value), ""))
			if err != nil {
				return nil, fmt.Errorf("data[%q] is not base64", key)
			}
			out[key] = data
		}
	}
	return out, nil
}

func pullSecretNames(d object.Document) []string {
	var out []string
	list := object.Find(d.Node, "imagePullSecrets")
	if list == nil {
		return nil
	}
	for _, n := range list.Content {
		if name := object.Find(n, "name"); name != nil {
			out = append(out, name.Value)
		}
	}
	return out
}
