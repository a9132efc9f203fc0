package source

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Credentials are those of a Flux Secret, and how the source that names it wants them used.
type Credentials struct {
	Where    string            // the Secret, for messages
	Data     map[string]string // decoded; nil for none
	Provider string            // spec.provider: "", generic or github
	Proxy    *url.URL          // of spec.proxySecretRef; nil for none
}

// WithSecret are the credentials for url that a GitRepository's Secrets hold, in Flux's keys
// (pkg/git, NewAuthOptions): username and password, or bearerToken, for https; identity, password
// as its passphrase, and known_hosts for ssh; ca.crt (caFile), tls.crt (certFile) and tls.key
// (keyFile). Without a url it is ssh where there is an identity. Nothing of a is kept but its Env, less what is the user's for the source at hand.
func (a Auth) WithSecret(ctx context.Context, url string, c Credentials) (Auth, error) {
	// The user's own token is for the repository at hand: another server gets what its Secret has,
	// else what ssh and Git keep for that server.
	out := Auth{Proxy: c.Proxy, Env: slices.DeleteFunc(slices.Clone(a.Env), func(kv string) bool { return strings.HasPrefix(kv, "GITOPS_GIT_") })}
	first := func(keys ...string) []byte {
		for _, k := range keys {
			if v := c.Data[k]; v != "" {
				return []byte(v)
			}
		}
		return nil
	}
	refuse := func(what, why, fix string) (Auth, error) {
		return out, &Error{Where: c.Where, What: what, Why: why, Fix: fix}
	}
	r, _, err := parseRemote(url)
	if err != nil {
		return out, err
	}
	if url == "" && c.Data["identity"] != "" {
		r.scheme = "ssh"
	}
	out.CACert, out.ClientCert, out.ClientKey = first("ca.crt", "caFile"), first("tls.crt", "certFile"), first("tls.key", "keyFile")
	switch c.Provider {
	case "", "generic":
		if c.Data["githubAppID"] != "" {
			return refuse("holds a GitHub App, and spec.provider is not github", "", "spec.provider: github")
		}
	case "github":
		if c.Data["githubAppID"] == "" {
			return refuse("holds no GitHub App, and spec.provider is github", "the key githubAppID is missing", "flux create secret githubapp")
		}
		if r.scheme != "https" && r.scheme != "http" {
			return refuse("a GitHub App is for https", "the URL is "+redact(url), "spec.url: https://…")
		}
		token, err := out.gitHubAppToken(ctx, c.Where, c.Data)
		if err != nil {
			return out, err
		}
		out.Username, out.Password = "x-access-token", token
		return out, nil
	default:
		return refuse("spec.provider: "+c.Provider+" is not supported", "it takes the identity of a workload in that cloud, which is not at hand here",
			"spec.provider: generic with a secretRef, or leave what uses this source to Flux: kubectl gitops sync NAME…")
	}
	switch {
	case c.Data == nil:
	case r.scheme == "ssh":
		out.SSHKey, out.KnownHosts, out.SSHPassphrase = first("identity"), first("known_hosts"), first("password")
		switch {
		case out.SSHKey == nil:
			return refuse("has no identity", "the URL is "+redact(url)+", which takes an ssh key", "flux create secret git")
		case out.KnownHosts == nil:
			return refuse("has no known_hosts", "without them the server cannot be told from another", "ssh-keyscan "+r.host)
		}
	case c.Data["bearerToken"] != "":
		out.BearerToken = c.Data["bearerToken"]
	default:
		out.Username, out.Password = c.Data["username"], c.Data["password"]
		if out.Password != "" && out.Username == "" && r.user == "" {
			return refuse("has a password and no username", "", "with a token any username will do: git")
		}
	}
	return out, nil
}

// ProxyOf is the URL in a Secret of spec.proxySecretRef.
func ProxyOf(where string, data map[string]string) (*url.URL, error) {
	address := data["address"]
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || !slices.Contains([]string{"http", "https", "socks5"}, u.Scheme) {
		return nil, &Error{Where: where, What: "the proxy's address is not a URL", Why: fmt.Sprintf("%q", redact(address)), Fix: "address: http://HOST:PORT; https and socks5 are fine too"}
	}
	if data["username"] != "" || data["password"] != "" {
		u.User = url.UserPassword(data["username"], data["password"])
	}
	return u, nil
}
