// Package server is a registry on loopback for tests and the demo:
// go-containerregistry's own, in memory, behind a token server like the ones in
// front of the public registries.
package server

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"strings"
	"sync"

	ggcr "github.com/google/go-containerregistry/pkg/registry"
)

// Registry keeps images for as long as it lives.
type Registry struct {
	user, password string
	images         http.Handler

	mu     sync.Mutex
	tokens map[string]string // token: the scope that it is for
}

// New makes a registry that has one user. Nobody else may read or write; with
// user "" everybody may.
func New(user, password string) *Registry {
	return &Registry{user: user, password: password, tokens: map[string]string{}, images: Pages(ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0))))}
}

// ServeHTTP is the registry's API under /v2/, and the token server's under /token
// (distribution's specification of token authentication).
func (s *Registry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/token":
		s.token(w, r)
	case s.user == "" || s.allowed(r):
		s.images.ServeHTTP(w, r)
	default:
		challenge := `Bearer realm="http://` + r.Host + `/token",service="registry"`
		if name := repository(r); name != "" {
			challenge += `,scope="repository:` + name + `:` + need(r) + `"`
		}
		w.Header().Set("WWW-Authenticate", challenge)
		refuse(w, http.StatusUnauthorized, "authentication required")
	}
}

// allowed reports whether the request's token is for its repository.
func (s *Registry) allowed(r *http.Request) bool {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	s.mu.Lock()
	scope := s.tokens[token]
	s.mu.Unlock()
	if !ok || scope == "" {
		return false
	}
	for one := range strings.FieldsSeq(scope) {
		name, actions, _ := strings.Cut(strings.TrimPrefix(one, "repository:"), ":")
		if name == repository(r) && containsAll(actions, need(r)) {
			return true
		}
	}
	return false
}

func containsAll(have, want string) bool {
	for one := range strings.SplitSeq(want, ",") {
		found := false
		for h := range strings.SplitSeq(have, ",") {
			found = found || h == one
		}
		if !found {
			return false
		}
	}
	return true
}

// need is what a request wants to do.
func need(r *http.Request) string {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return "pull"
	}
	return "pull,push"
}

// repository is the one that a request is about, "" for none.
func repository(r *http.Request) string {
	name := strings.TrimPrefix(r.URL.Path, "/v2/")
	for _, part := range []string{"/tags/", "/manifests/", "/blobs/"} {
		if before, _, ok := strings.Cut(name, part); ok {
			return before
		}
	}
	return ""
}

// token gives who knows the password a token for the scopes that he asks for.
func (s *Registry) token(w http.ResponseWriter, r *http.Request) {
	user, password, _ := r.BasicAuth()
	if subtle.ConstantTimeCompare([]byte(user+"\x00"+password), []byte(s.user+"\x00"+s.password)) != 1 {
		refuse(w, http.StatusUnauthorized, "wrong user or password")
		return
	}
	token := rand.Text()
	s.mu.Lock()
	s.tokens[token] = strings.Join(r.URL.Query()["scope"], " ")
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"token": token, "expires_in": 300})
}

func refuse(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"errors": []map[string]string{{"code": "UNAUTHORIZED", "message": message}}})
}
