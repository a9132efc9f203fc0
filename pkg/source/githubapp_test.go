package source

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/source/gitserver"
)

// A GitHub App's key is exchanged for a token, and that token fetches. The forge is a fake of the
// three calls of GitHub's documentation ("Authenticating as a GitHub App installation"), with the
// JWT checked as GitHub checks it: no real GitHub is at hand to hold it to.
func TestGitHubApp(t *testing.T) {
	t.Parallel()
	s := newServed(t)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	private := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
	const token = "ghs_not-to-be-printed"
	git := gitserver.Backend(t, s.root)
	url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path, api := strings.CutPrefix(r.URL.Path, "/api/v3")
		if !api {
			if user, password, _ := r.BasicAuth(); user != "x-access-token" || password != token {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			git.ServeHTTP(w, r)
			return
		}
		var claims jwt.RegisteredClaims
		_, err := jwt.ParseWithClaims(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), &claims,
			func(*jwt.Token) (any, error) { return &key.PublicKey, nil }, jwt.WithValidMethods([]string{"RS256"}), jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithIssuer("77"))
		w.Header().Set("Content-Type", "application/json")
		switch {
		case err != nil:
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, `{"message": "A JSON web token could not be decoded"}`)
		case r.Method == http.MethodGet && path == "/users/ada/installation":
			fmt.Fprint(w, `{"id": 4711}`)
		case r.Method == http.MethodPost && path == "/app/installations/4711/access_tokens":
			w.WriteHeader(http.StatusCreated)
			must(t, json.NewEncoder(w).Encode(map[string]string{"token": token, "expires_at": "2030-01-01T00:00:00Z"}))
		default:
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"message": "Not Found"}`)
		}
	}))
	app := func(with ...string) map[string]string {
		data := map[string]string{"githubAppID": "77", "githubAppPrivateKey": private, "githubAppBaseURL": url, "githubAppInstallationID": "4711"}
		for i := 0; i < len(with); i += 2 {
			if data[with[i]] = with[i+1]; with[i+1] == "" {
				delete(data, with[i])
			}
		}
		return data
	}
	for _, data := range []map[string]string{app(), app("githubAppInstallationID", "", "githubAppInstallationOwner", "ada"), app("githubAppBaseURL", url+"/api/v3/")} {
		auth, err := Auth{}.WithSecret(t.Context(), url+"/fleet.git", Credentials{Where: "secret/app", Data: data, Provider: "github"})
		must(t, err)
		is(t, "fetched", open(t, Options{Source: url + "/fleet.git", Auth: auth}).Revision, "main@sha1:"+s.third)
	}
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	stranger := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(other)}))
	for _, c := range []struct {
		data     map[string]string
		provider string
		want     string
	}{
		{app("githubAppPrivateKey", stranger), "github", "401 Unauthorized A JSON web token could not be decoded"},
		{app("githubAppInstallationID", "1"), "github", "404 Not Found"},
		{app("githubAppInstallationOwner", "ada"), "github", "exactly one of"},
		{app("githubAppInstallationID", ""), "github", "exactly one of"},
		{app("githubAppPrivateKey", "nonsense"), "github", "githubAppPrivateKey is not an RSA private key"},
		{app("githubAppID", ""), "github", "holds no GitHub App"},
		{app(), "", "holds a GitHub App, and spec.provider is not github"},
		{nil, "azure", "spec.provider: azure is not supported"},
	} {
		_, err := Auth{}.WithSecret(t.Context(), url+"/fleet.git", Credentials{Where: "secret/app", Data: c.data, Provider: c.provider})
		if err == nil || !strings.Contains(err.Error(), "secret/app: ") || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), private[:60]) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
}

// What the user gave for the repository at hand is not shown to another server.
func TestSecretsOfASource(t *testing.T) {
	t.Parallel()
	mine := Auth{Username: "me", Password: "mine", BearerToken: "mine", SSHKey: []byte("mine"), Env: []string{"HOME=/h", "GITOPS_GIT_TOKEN=mine"}}
	with := func(url string, data map[string]string) (Auth, error) {
		return mine.WithSecret(t.Context(), url, Credentials{Where: "secret/x in ns", Data: data})
	}
	none, err := with("https://forge/x/y", nil)
	must(t, err)
	if none.Password+none.BearerToken+string(none.SSHKey) != "" || len(none.Env) != 1 {
		t.Errorf("%+v", none)
	}
	a, err := with("https://forge/x/y", map[string]string{"username": "u", "password": "p", "caFile": "ca", "identity": "not for https"})
	must(t, err)
	is(t, "https", a.Username+a.Password+string(a.CACert)+string(a.SSHKey), "upca")
	a, err = with("https://forge/x/y", map[string]string{"bearerToken": "b", "password": "p", "ca.crt": "1", "caFile": "2"})
	must(t, err)
	is(t, "bearer", a.BearerToken+a.Password+string(a.CACert), "b1")
	a, err = with("ssh://git@forge/x/y", map[string]string{"identity": "i", "known_hosts": "k", "password": "p"})
	must(t, err)
	is(t, "ssh", string(a.SSHKey)+string(a.KnownHosts)+string(a.SSHPassphrase)+a.Password, "ikp")
	for _, c := range []struct {
		url, want string
		data      map[string]string
	}{
		{"https://forge/x/y", "has a password and no username", map[string]string{"password": "p"}},
		{"ssh://git@forge/x/y", "has no identity", map[string]string{"password": "p"}},
		{"ssh://git@forge/x/y", "has no known_hosts", map[string]string{"identity": "p"}},
	} {
		if _, err := with(c.url, c.data); err == nil || !strings.Contains(err.Error(), "secret/x in ns: "+c.want) {
			t.Errorf("%s %v: %v", c.url, c.data, err)
		}
	}
	for address, ok := range map[string]bool{"http://p:3128": true, "https://p": true, "socks5://p:1080": true, "ftp://p": false, "p:3128": false, "": false} {
		if u, err := ProxyOf("x", map[string]string{"address": address, "username": "u", "password": "p"}); (err == nil) != ok || ok && u.User.String() != "u:p" {
			t.Errorf("%s: %v %v", address, u, err)
		}
	}
}
