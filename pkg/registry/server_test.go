package registry

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	ggcr "github.com/google/go-containerregistry/pkg/registry"

	demo "github.com/kubectl-gitops/kubectl-gitops/pkg/registry/server"
)

// server is go-containerregistry's registry on loopback, with what the real ones
// put in front of theirs: pages, tokens, moods.
type server struct {
	*httptest.Server
	registry http.Handler

	user, password string // "" lets everybody in
	basic          bool   // asks for a password, not for a token
	// mood, where set, may answer a request in the registry's stead.
	mood func(w http.ResponseWriter, r *http.Request) bool

	mu       sync.Mutex
	requests []string
}

// quiet is the log of servers.
var quiet = log.New(io.Discard, "", 0)

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{registry: demo.Pages(ggcr.New(ggcr.Logger(quiet)))}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *server) host() string { return strings.TrimPrefix(s.URL, "http://") }

// push puts an image under each tag.
func (s *server) push(t *testing.T, repository string, tags ...string) {
	t.Helper()
	for _, tag := range tags {
		const manifest = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[]}`
		r := httptest.NewRequest(http.MethodPut, "/v2/"+repository+"/manifests/"+tag, strings.NewReader(manifest))
		r.Header.Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
		w := httptest.NewRecorder()
		s.registry.ServeHTTP(w, r)
		if w.Code != http.StatusCreated {
			t.Fatalf("push %s: %d %s", tag, w.Code, w.Body)
		}
	}
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests = append(s.requests, r.Method+" "+r.URL.RequestURI())
	s.mu.Unlock()
	if s.mood != nil && s.mood(w, r) {
		return
	}
	if r.URL.Path == "/token" {
		s.token(w, r)
		return
	}
	repository := strings.TrimPrefix(r.URL.Path, "/v2/")
	for _, part := range []string{"/tags/list", "/manifests/", "/blobs/"} {
		repository, _, _ = strings.Cut(repository, part)
	}
	if s.user != "" && !s.allowed(r, repository) {
		challenge := fmt.Sprintf(`Bearer realm="%s/token",service="the registry"`, s.URL)
		if repository != "" {
			challenge += fmt.Sprintf(`,scope="repository:%s:pull"`, repository)
		}
		if s.basic {
			challenge = `Basic realm="the registry"`
		}
		w.Header().Set("WWW-Authenticate", challenge)
		refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
		return
	}
	s.registry.ServeHTTP(w, r)
}

func (s *server) allowed(r *http.Request, repository string) bool {
	if s.basic {
		user, password, _ := r.BasicAuth()
		return user == s.user && password == s.password
	}
	return repository != "" && r.Header.Get("Authorization") == "Bearer "+tokenFor("repository:"+repository+":pull")
}

func tokenFor(scope string) string { return fmt.Sprintf("token-of-%x", scope) }

// token is the token server of distribution: a user with a password gets a
// token for the scope that he asks for.
func (s *server) token(w http.ResponseWriter, r *http.Request) {
	user, password, _ := r.BasicAuth()
	scope := r.FormValue("scope")
	if r.Method != http.MethodGet || r.FormValue("service") != "the registry" {
		refuse(w, http.StatusBadRequest, "UNSUPPORTED", "want GET with a service")
		return
	}
	if user != s.user || password != s.password {
		refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "wrong user or password")
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]string{"token": tokenFor(scope)})
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"errors":[{"code":%q,"message":%q}]}`, code, message)
}
