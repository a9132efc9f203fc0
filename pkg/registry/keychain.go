package registry

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/authn"
)

// credential is one entry of a .dockerconfigjson.
type credential struct {
	host, path string // what it is for; host may hold * and ?
	auth       authn.AuthConfig
}

// parseDockerConfig reads the auths of a .dockerconfigjson, or of its
// predecessor .dockercfg, which is the auths alone.
func parseDockerConfig(data []byte) ([]credential, error) {
	type entry struct {
		Username, Password, Auth, IdentityToken, RegistryToken string
	}
	var config struct{ Auths map[string]entry }
	err := json.Unmarshal(data, &config)
	if err == nil && config.Auths == nil {
		err = json.Unmarshal(data, &config.Auths)
	}
	if err != nil {
		// The parser's message would quote what it stumbled over.
		return nil, errors.New("the dockerconfigjson is not JSON of the form {\"auths\": {\"HOST\": {…}}}")
	}
	var out []credential
	for key, e := range config.Auths {
		c := credential{auth: authn.AuthConfig{Username: e.Username, Password: e.Password, IdentityToken: e.IdentityToken, RegistryToken: e.RegistryToken}}
		if e.Auth != "" && e.Username == "" {
			pair, err := base64.StdEncoding.DecodeString(strings.TrimRight(strings.TrimSpace(e.Auth), "\x00"))
			user, password, ok := strings.Cut(string(pair), ":")
			if err != nil || !ok {
				return nil, fmt.Errorf("the dockerconfigjson has an auth for %s that is not the base64 of USER:PASSWORD", key)
			}
			c.auth.Username, c.auth.Password = user, strings.TrimRight(password, "\x00")
		}
		// Keys are hosts, or the URLs of old: https://index.docker.io/v1/.
		key = strings.TrimPrefix(strings.TrimPrefix(key, "https://"), "http://")
		c.host, c.path, _ = strings.Cut(key, "/")
		c.path = strings.Trim(c.path, "/")
		if c.path == "v1" || c.path == "v2" {
			c.path = ""
		}
		if c.host == "docker.io" || c.host == "registry-1.docker.io" {
			c.host = "index.docker.io"
		}
		out = append(out, c)
	}
	return out, nil
}

// parseDockerConfigs reads several, and puts what fits best first.
func parseDockerConfigs(all [][]byte) ([]credential, error) {
	var out []credential
	for _, data := range all {
		some, err := parseDockerConfig(data)
		if err != nil {
			return nil, err
		}
		out = append(out, some...)
	}
	// As the kubelet does: the longest path that fits wins, then a host without
	// wildcards.
	slices.SortStableFunc(out, func(a, b credential) int {
		if d := len(b.path) - len(a.path); d != 0 {
			return d
		}
		if d := strings.Count(a.host, "*") - strings.Count(b.host, "*"); d != 0 {
			return d
		}
		return strings.Compare(a.host, b.host)
	})
	return out, nil
}

// fits reports whether the credential is for a repository of host. A * stands
// for one label of the host's name, as with the kubelet.
func (c credential) fits(host, repository string) bool {
	want, have := strings.Split(c.host, "."), strings.Split(host, ".")
	if len(want) != len(have) {
		return false
	}
	for i := range want {
		if ok, err := path.Match(want[i], have[i]); err != nil || !ok {
			return false
		}
	}
	return c.path == "" || repository == c.path || strings.HasPrefix(repository, c.path+"/")
}

// keychain asks the cloud provider, if there is one, and nobody else. Else it
// looks among what was given first, then in the user's own.
type keychain struct {
	provider string
	proxy    *url.URL // on the way to the provider
	logins   *logins  // there
	given    []credential
	own      authn.Keychain

	mu   sync.Mutex
	from string // where the credentials came from, for messages
}

func (k *keychain) Resolve(target authn.Resource) (authn.Authenticator, error) {
	return k.ResolveContext(context.Background(), target)
}

func (k *keychain) ResolveContext(ctx context.Context, target authn.Resource) (authn.Authenticator, error) {
	host := target.RegistryStr()
	repository := strings.TrimPrefix(strings.TrimPrefix(target.String(), host), "/")
	if k.provider != "" && k.provider != "generic" {
		k.note("the login of provider " + k.provider)
		return k.logins.at(ctx, k.provider, host, target.String(), k.proxy)
	}
	for _, c := range k.given {
		if c.fits(host, repository) {
			k.note("those of its pull secrets")
			return authn.FromConfig(c.auth), nil
		}
	}
	auth, err := authn.Resolve(ctx, k.own, target)
	switch {
	case err != nil:
		return nil, fmt.Errorf("docker's credentials for %s: %w", host, err)
	case auth == authn.Anonymous:
		k.note("none")
	default:
		k.note("docker's own for " + host)
	}
	return auth, nil
}

func (k *keychain) note(from string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.from = from
}

func (k *keychain) used() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.from
}
