// The reference registry, distribution, in memory on loopback, behind a token
// server of one user: what the registries of the tests are held to. It ends with
// whoever started it.
package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/auth/token"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/sirupsen/logrus"
)

func main() {
	user := flag.String("user", "", "the one user; the password is in REGISTRY_PASSWORD")
	at := flag.String("at", "", "file to write HOST:PORT to when the registry is there")
	flag.Parse()
	if err := run(*user, os.Getenv("REGISTRY_PASSWORD"), *at); err != nil {
		fmt.Fprintln(os.Stderr, "registry:", err)
		os.Exit(1)
	}
}

const service, issuer, keyID = "registry", "the token server", "one"

func run(user, password, at string) error {
	if user == "" || password == "" || at == "" {
		return errors.New("want -user USER -at FILE, and REGISTRY_PASSWORD")
	}
	logrus.SetOutput(io.Discard)
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	keys, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: public, KeyID: keyID, Algorithm: string(jose.EdDSA), Use: "sig"}}})
	if err != nil {
		return err
	}
	jwks := filepath.Join(filepath.Dir(at), "jwks.json")
	if err := os.WriteFile(jwks, keys, 0o600); err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: private}, (&jose.SignerOptions{}).WithHeader("kid", keyID))
	if err != nil {
		return err
	}
	config := &configuration.Configuration{
		Storage: configuration.Storage{"inmemory": nil, "delete": configuration.Parameters{"enabled": true}, "maintenance": configuration.Parameters{"uploadpurging": map[any]any{"enabled": false}}},
		Auth: configuration.Auth{"token": configuration.Parameters{
			"realm": "http://" + l.Addr().String() + "/token", "service": service, "issuer": issuer, "jwks": jwks}},
	}
	config.HTTP.Secret = rand.Text()
	config.Catalog.MaxEntries = 1000
	mux := http.NewServeMux()
	mux.Handle("/token", &tokens{user: user, password: password, signer: signer})
	mux.Handle("/", handlers.NewApp(context.Background(), config))
	if err := os.WriteFile(at+".tmp", []byte(l.Addr().String()+"\n"), 0o644); err != nil {
		return err
	}
	if err := os.Rename(at+".tmp", at); err != nil {
		return err
	}
	parent := os.Getppid()
	go func() {
		for os.Getppid() == parent {
			time.Sleep(time.Second)
		}
		os.Exit(0)
	}()
	return http.Serve(l, mux)
}

// tokens gives who knows the password a token for the scopes that he asks for.
type tokens struct {
	user, password string
	signer         jose.Signer
}

func (t *tokens) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	user, password, _ := r.BasicAuth()
	if user != t.user || password != t.password || r.FormValue("service") != service {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"errors":[{"code":"UNAUTHORIZED","message":"wrong user or password"}]}`)
		return
	}
	now := time.Now()
	claims := token.ClaimSet{Issuer: issuer, Subject: user, Audience: token.AudienceList{service}, JWTID: rand.Text(),
		IssuedAt: now.Unix(), NotBefore: now.Add(-time.Minute).Unix(), Expiration: now.Add(5 * time.Minute).Unix()}
	for _, scope := range strings.Fields(strings.Join(r.URL.Query()["scope"], " ")) {
		if parts := strings.SplitN(scope, ":", 3); len(parts) == 3 {
			claims.Access = append(claims.Access, &token.ResourceActions{Type: parts[0], Name: parts[1], Actions: strings.Split(parts[2], ",")})
		}
	}
	signed, err := jwt.Signed(t.signer).Claims(claims).Serialize()
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"token": signed, "expires_in": 300})
}
