package registry

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	ggcr "github.com/google/go-containerregistry/pkg/registry"
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
	tags     map[string][]string // pages are cut from these: the handler sorts anew each time
}

// quiet is the log of servers.
var quiet = log.New(io.Discard, "", 0)

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{registry: ggcr.New(ggcr.Logger(quiet)), tags: map[string][]string{}}
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
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.tags, repository)
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
	if strings.HasSuffix(r.URL.Path, "/tags/list") {
		s.page(w, r, repository)
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

// page answers with n tags behind last, and where the next page is.
func (s *server) page(w http.ResponseWriter, r *http.Request, repository string) {
	s.mu.Lock()
	all, ok := s.tags[repository]
	s.mu.Unlock()
	if !ok {
		answer := httptest.NewRecorder()
		s.registry.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, r.URL.Path, nil))
		var list struct{ Tags []string }
		if answer.Code != http.StatusOK || json.Unmarshal(answer.Body.Bytes(), &list) != nil {
			w.WriteHeader(answer.Code)
			_, _ = w.Write(answer.Body.Bytes())
			return
		}
		all = list.Tags
		s.mu.Lock()
		s.tags[repository] = all
		s.mu.Unlock()
	}
	if last := r.FormValue("last"); last != "" {
		i, _ := slices.BinarySearch(all, last)
		all = all[i+1:]
	}
	if n, err := strconv.Atoi(r.FormValue("n")); err == nil && n < len(all) {
		all = all[:n]
		w.Header().Set("Link", fmt.Sprintf(`</v2/%s/tags/list?n=%d&last=%s>; rel="next"`, repository, n, url.QueryEscape(all[n-1])))
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"name": repository, "tags": all})
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"errors":[{"code":%q,"message":%q}]}`, code, message)
}
