package source

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
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

// traffic is a Git server that weighs the packs that it sends.
type traffic struct {
	url      string
	requests []string
	bytes    int // of the answers to POST
	objects  int // in the packs
	refuse   func(body []byte) bool
}

func newTraffic(t *testing.T, root string) *traffic {
	t.Helper()
	tr := &traffic{refuse: func([]byte) bool { return false }}
	git := gitserver.Backend(t, root)
	tr.url = serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tr.requests = append(tr.requests, r.Method)
		body, err := io.ReadAll(r.Body)
		if err != nil || tr.refuse(body) {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		answer := httptest.NewRecorder()
		git.ServeHTTP(answer, r)
		if out := answer.Body.Bytes(); r.Method == http.MethodPost {
			tr.bytes += len(out)
			if i := bytes.Index(out, []byte("PACK\x00\x00\x00\x02")); i >= 0 {
				tr.objects += int(binary.BigEndian.Uint32(out[i+8:]))
			}
		}
		for k, v := range answer.Header() {
			w.Header()[k] = v
		}
		w.WriteHeader(answer.Code)
		_, _ = w.Write(answer.Body.Bytes())
	}))
	return tr
}

// sent is what was asked and sent since the last time.
func (tr *traffic) sent() (requests string, bytes, objects int) {
	requests, bytes, objects = strings.Join(tr.requests, " "), tr.bytes, tr.objects
	tr.requests, tr.bytes, tr.objects = nil, 0, 0
	return requests, bytes, objects
}

// Of a commit on top of one that was fetched before, only what is new is sent.
func TestFetchIsIncremental(t *testing.T) {
	t.Parallel()
	c := newCheckout(t)
	for i := range 200 {
		noise := make([]byte, 1024)
		_, _ = rand.Read(noise)
		c.write(fmt.Sprintf("apps/%d/config.yaml", i), fmt.Sprintf("%x\n", noise))
	}
	c.commit("first")
	root := real(t, t.TempDir())
	bare := filepath.Join(root, "fleet.git")
	c.git("clone", "-q", "--mirror", c.dir, bare)
	server := newTraffic(t, root)
	o := Options{Source: server.url + "/fleet.git", CacheDir: filepath.Join(t.TempDir(), "cache")}
	check := func(what, wantRequests string, maxObjects, maxBytes int) {
		t.Helper()
		snap := open(t, o)
		is(t, what+": revision", snap.Revision, "main@sha1:"+c.head())
		same(t, what+": files", files(t, snap), files(t, open(t, c.options())))
		requests, bytes, objects := server.sent()
		is(t, what+": requests", requests, wantRequests)
		if objects > maxObjects || bytes > maxBytes {
			t.Errorf("%s: %d objects, %d bytes were sent", what, objects, bytes)
		}
	}
	push := func() { c.commit("next"); c.git("push", "-q", "--force", bare, "HEAD:main") }
	check("at first", "GET POST", 1000, 1<<20)
	check("unchanged", "GET", 0, 0)
	c.write("apps/7/config.yaml", "changed\n")
	push()
	check("one file", "GET POST", 5, 4<<10) // the commit, three directories, the file
	check("unchanged", "GET", 0, 0)
	c.write("apps/7/config.yaml", "once more\n", "new.yaml", "new\n")
	push()
	c.write("apps/8/config.yaml", "two commits at once\n")
	push()
	check("two commits", "GET POST", 8, 4<<10)

	// A branch that was rewritten: what it shares with the one before need not come again.
	c.git("checkout", "-q", "--orphan", "main-again")
	c.git("branch", "-q", "-M", "main")
	must(t, os.RemoveAll(filepath.Join(c.dir, "apps/9")))
	push()
	check("rewritten", "GET POST", 3, 4<<10)

	// The commit that we have is gone from the server. It comes whole, or from an older one.
	c.write("apps/10/config.yaml", "after gc\n")
	c.commit("other")
	c.git("push", "-q", "--force", bare, "HEAD:main")
	runGit(t, bare, c.env, "reflog", "expire", "--expire=now", "--all")
	runGit(t, bare, c.env, "gc", "-q", "--prune=now")
	check("after gc", "GET POST", 1000, 1<<20)

	// Over ssh it is the same conversation.
	key := gitserver.NewKey(t)
	s := gitserver.NewSSH(t, root, key.Only)
	over := Options{Source: s.URL(bare), CacheDir: filepath.Join(t.TempDir(), "cache"), Auth: Auth{SSHKey: key.PEM(t, ""), KnownHosts: s.KnownHosts(), Env: home(t)}}
	open(t, over)
	c.write("apps/11/config.yaml", "over ssh\n")
	push()
	same(t, "over ssh", files(t, open(t, over)), files(t, open(t, c.options())))

	// A server that breaks off over what we have is asked once more, for all of it.
	c.write("new.yaml", "for a strange server\n")
	push()
	server.refuse = func(body []byte) bool { return bytes.Contains(body, []byte("have ")) }
	is(t, "revision", open(t, o).Revision, "main@sha1:"+c.head())
	requests, _, _ := server.sent()
	is(t, "requests", requests, "GET POST GET POST")
	open(t, o)
	requests, _, _ = server.sent()
	is(t, "requests", requests, "GET")
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
	kept(dir).trim(1)
	if entries, err = os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("%d files, %v", len(entries), err)
	}
}
