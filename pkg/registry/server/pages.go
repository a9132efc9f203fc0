package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Pages answers the question for tags page by page, as registries do: n tags
// behind last, and a Link to the next page. go-containerregistry's handler, which
// is asked for all else, cuts its answer at n and says nothing.
func Pages(images http.Handler) http.Handler {
	return &pages{images: images, tags: map[string][]string{}}
}

type pages struct {
	images http.Handler

	mu   sync.Mutex
	tags map[string][]string // of a repository, sorted, until something is pushed there
}

func (p *pages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := repository(r)
	if strings.HasSuffix(r.URL.Path, "/tags/list") && r.Method == http.MethodGet {
		p.list(w, r, name)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		defer func() {
			p.mu.Lock()
			delete(p.tags, name)
			p.mu.Unlock()
		}()
	}
	p.images.ServeHTTP(w, r)
}

func (p *pages) list(w http.ResponseWriter, r *http.Request, name string) {
	p.mu.Lock()
	all, ok := p.tags[name]
	p.mu.Unlock()
	if !ok {
		whole := r.Clone(r.Context())
		whole.URL.RawQuery = ""
		answer := &buffered{header: http.Header{}, status: http.StatusOK}
		p.images.ServeHTTP(answer, whole)
		var list struct{ Tags []string }
		if answer.status != http.StatusOK || json.Unmarshal(answer.body.Bytes(), &list) != nil {
			w.WriteHeader(answer.status)
			_, _ = w.Write(answer.body.Bytes())
			return
		}
		all = list.Tags
		p.mu.Lock()
		p.tags[name] = all
		p.mu.Unlock()
	}
	if last := r.FormValue("last"); last != "" {
		i, found := slices.BinarySearch(all, last)
		if found {
			i++
		}
		all = all[i:]
	}
	if n, err := strconv.Atoi(r.FormValue("n")); err == nil && n > 0 && n < len(all) {
		all = all[:n]
		w.Header().Set("Link", fmt.Sprintf(`</v2/%s/tags/list?n=%d&last=%s>; rel="next"`, name, n, url.QueryEscape(all[n-1])))
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"name": name, "tags": all})
}

// buffered keeps an answer.
type buffered struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (b *buffered) Header() http.Header         { return b.header }
func (b *buffered) WriteHeader(status int)      { b.status = status }
func (b *buffered) Write(p []byte) (int, error) { return b.body.Write(p) }
