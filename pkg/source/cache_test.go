package source

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/source/gitserver"
)

// requests is a Git server that notes what it was asked.
func requests(t *testing.T, root string) (url string, asked func() string) {
	t.Helper()
	var mu sync.Mutex
	var seen []string
	git := gitserver.Backend(t, root)
	url = serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		seen = append(seen, r.Method)
		mu.Unlock()
		git.ServeHTTP(w, r)
	}))
	return url, func() string {
		mu.Lock()
		defer mu.Unlock()
		out := strings.Join(seen, " ")
		seen = nil
		return out
	}
}

// A remote that has not changed costs one request; what is wrong with the cache costs a fetch.
func TestSourceCache(t *testing.T) {
	t.Parallel()
	s := newServed(t)
	url, asked := requests(t, s.root)
	dir := filepath.Join(t.TempDir(), "cache")
	o := Options{Source: url + "/fleet.git", CacheDir: dir}
	read := func(wantRequests string) {
		t.Helper()
		snap := open(t, o)
		is(t, "revision", snap.Revision, "main@sha1:"+s.third)
		same(t, "files", files(t, snap), []string{"a.yaml=4\n", "b/c.yaml=c\n"})
		is(t, "requests", asked(), wantRequests)
	}
	pack := func() string {
		t.Helper()
		names, err := filepath.Glob(filepath.Join(dir, "*.pack"))
		must(t, err)
		if len(names) != 1 {
			t.Fatalf("the cache has %v", names)
		}
		return names[0]
	}
	read("GET POST")
	read("GET")
	info, err := os.Stat(pack())
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("others may read it: %s", info.Mode())
	}

	data, err := os.ReadFile(pack())
	must(t, err)
	for what, damaged := range map[string][]byte{"nothing": {}, "half": data[:len(data)/2], "a bit turned": append(append([]byte{}, data[:len(data)/2]...), append([]byte{^data[len(data)/2]}, data[len(data)/2+1:]...)...)} {
		must(t, os.WriteFile(pack(), damaged, 0o600))
		t.Log(what)
		read("GET POST")
		read("GET")
	}

	// The references decide: a branch that moved is fetched, and the old commit is still there.
	o.Ref = "v1.1.0"
	is(t, "tag", open(t, o).Revision, "v1.1.0@sha1:"+s.second)
	is(t, "requests", asked(), "GET POST")
	is(t, "tag again", open(t, o).Revision, "v1.1.0@sha1:"+s.second)
	is(t, "requests", asked(), "GET")

	// A directory that cannot be used is as none.
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	o.Ref, o.CacheDir = "", filepath.Join(file, "below")
	read("GET POST")
	read("GET POST")
}

func TestSourceCacheIsSharedAndBounded(t *testing.T) {
	t.Parallel()
	s := newServed(t)
	url := serve(t, gitserver.Backend(t, s.root)) + "/fleet.git"
	dir := t.TempDir()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			snap, err := Open(t.Context(), Options{Source: url, CacheDir: dir})
			if err != nil || snap.Revision != "main@sha1:"+s.third {
				t.Errorf("%v", err)
			}
		})
	}
	wg.Wait()
	open(t, Options{Source: url, Ref: "v1.0.0", CacheDir: dir})
	entries, err := os.ReadDir(dir)
	must(t, err)
	if len(entries) != 2 {
		t.Errorf("%d files", len(entries))
	}
	packCache(dir).trim(1)
	if entries, err = os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("%d files, %v", len(entries), err)
	}
}
