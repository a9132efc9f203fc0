package source

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/fstest"
)

func archive(t *testing.T, name, content string) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(z)
	must(t, w.AddFS(fstest.MapFS{name: {Data: []byte(content), Mode: 0o644}}))
	must(t, w.Close())
	must(t, z.Close())
	return out.Bytes()
}

// An artifact is what its digest says, or refused.
func TestServedArtifactIsHeldToItsDigest(t *testing.T) {
	t.Parallel()
	data := archive(t, "app/web.yaml", "web")
	url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/a.tar.gz":
			_, _ = w.Write(data)
		case "/half.tar.gz":
			_, _ = w.Write(data[:len(data)/2])
		case "/busy.tar.gz":
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			http.NotFound(w, r)
		}
	}))
	hex := fmt.Sprintf("%x", sha256.Sum256(data))
	a := Served{URL: url + "/a.tar.gz", Revision: "main@sha1:abc", Digest: "sha256:" + hex}
	s, err := a.Open(t.Context())
	must(t, err)
	same(t, "files", files(t, s), []string{"app/web.yaml=web"})
	is(t, "revision", s.Revision, "main@sha1:abc")
	a.Digest = hex
	_, err = a.Open(t.Context())
	must(t, err)

	refused := func(a Served, parts ...string) {
		t.Helper()
		_, err := a.Open(t.Context())
		for _, p := range parts {
			if err == nil || !strings.Contains(err.Error()+"\nhint: "+hint(err), p) {
				t.Errorf("%v (hint: %s), want %q", err, hint(err), p)
			}
		}
	}
	other := a
	other.Digest = "sha256:" + strings.Repeat("0", 64)
	refused(other, "the artifact is not to be trusted: its digest is sha256:"+hex+", not the sha256:000")
	other = a
	other.Digest = "md5:" + strings.Repeat("0", 32)
	refused(other, "its digest cannot be checked")
	for path, want := range map[string]string{"/half.tar.gz": "not to be trusted", "/gone.tar.gz": "the artifact is gone (404)", "/busy.tar.gz": "the server answered 503"} {
		other = a
		other.URL = url + path
		refused(other, want)
	}
	other.URL = "ftp://user:hunter2@host/x"
	refused(other, "is no address of an artifact")

	// A Service of the cluster is asked through the API server.
	asked := ""
	inside := a
	inside.URL = "http://source-watcher.flux-system.svc.cluster.local./externalartifact/x.tar.gz"
	inside.FromService = func(_ context.Context, scheme, namespace, name, port, path string) (io.ReadCloser, error) {
		asked = strings.Join([]string{scheme, namespace, name, port, path}, " ")
		return io.NopCloser(bytes.NewReader(data)), nil
	}
	s, err = inside.Open(t.Context())
	must(t, err)
	same(t, "inside", files(t, s), []string{"app/web.yaml=web"})
	is(t, "asked", asked, "http flux-system source-watcher 80 /externalartifact/x.tar.gz")
	inside.FromService = func(context.Context, string, string, string, string, string) (io.ReadCloser, error) {
		return nil, errors.New("forbidden: this user may not get services/proxy in namespace flux-system")
	}
	refused(inside, "it is inside of the cluster, and through the API server: forbidden: this user may not", "hint: kubectl auth can-i get services/proxy -n flux-system; or run inside of the cluster")
}
