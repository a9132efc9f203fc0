package plugins

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/source/s3server"
)

// buckets are the servers of the scripts that run, by address.
var buckets sync.Map

// bucketServer serves buckets to ada, whose secret key is in $BUCKETPASSWORD:
// bucketserver. $BUCKETS is its address.
func bucketServer(ts *testscript.TestScript, neg bool, args []string) {
	const password = "not-to-be-printed"
	s := s3server.New("ada", password)
	srv := httptest.NewServer(s)
	ts.Defer(srv.Close)
	address := strings.TrimPrefix(srv.URL, "http://")
	buckets.Store(address, s)
	ts.Setenv("BUCKETS", address)
	ts.Setenv("BUCKETPASSWORD", password)
}

// putObjects stores the files below a folder: putobjects DIR BUCKET.
func putObjects(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: putobjects DIR BUCKET")
	}
	at, _ := buckets.Load(ts.Getenv("BUCKETS"))
	s := at.(*s3server.Server)
	files := os.DirFS(ts.MkAbs(args[0]))
	ts.Check(fs.WalkDir(files, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(files, p)
		if err != nil {
			return err
		}
		return s.Put(args[1], p, string(data))
	}))
}

// serveArtifact serves a folder as Flux's controllers serve an artifact, at an
// address that an API server can reach: serveartifact DIR. $ARTIFACTHOST,
// $ARTIFACTPORT and $ARTIFACTDIGEST say where it is, as /artifact.tar.gz, and
// what.
func serveArtifact(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: serveartifact DIR")
	}
	var archive bytes.Buffer
	z := gzip.NewWriter(&archive)
	w := tar.NewWriter(z)
	ts.Check(w.AddFS(os.DirFS(ts.MkAbs(args[0]))))
	ts.Check(w.Close())
	ts.Check(z.Close())
	host := ""
	addresses, err := net.InterfaceAddrs()
	ts.Check(err)
	for _, a := range addresses {
		// An API server refuses to be sent to itself.
		if ip, ok := a.(*net.IPNet); ok && ip.IP.IsGlobalUnicast() && ip.IP.To4() != nil {
			host = ip.IP.String()
		}
	}
	if host == "" {
		ts.Fatalf("this machine has no address but loopback")
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	ts.Check(err)
	srv := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/artifact.tar.gz" {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(archive.Bytes())
	})}}
	srv.Start()
	ts.Defer(srv.Close)
	ts.Setenv("ARTIFACTHOST", host)
	ts.Setenv("ARTIFACTPORT", fmt.Sprint(l.Addr().(*net.TCPAddr).Port))
	ts.Setenv("ARTIFACTDIGEST", fmt.Sprintf("sha256:%x", sha256.Sum256(archive.Bytes())))
}
