package source

import (
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/armon/go-socks5"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/source/gitserver"
)

// tunnel is an http proxy: CONNECT for https, and plain requests for http.
func tunnel(seen *atomic.Int32) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Proxy-Authorization") != "Basic "+base64.StdEncoding.EncodeToString([]byte("u:hidden-password")) {
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		seen.Add(1)
		if r.Method != http.MethodConnect {
			r.RequestURI = ""
			resp, err := http.DefaultTransport.RoundTrip(r)
			if err != nil {
				w.WriteHeader(http.StatusBadGateway)
				return
			}
			defer resp.Body.Close()
			w.Header().Set("Content-Type", resp.Header.Get("Content-Type"))
			w.WriteHeader(resp.StatusCode)
			_, _ = io.Copy(w, resp.Body)
			return
		}
		out, err := net.Dial("tcp", r.Host)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		w.WriteHeader(http.StatusOK)
		in, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		go func() { _, _ = io.Copy(out, in); out.Close() }()
		_, _ = io.Copy(in, out)
		in.Close()
	})
}

func TestProxies(t *testing.T) {
	t.Parallel()
	s, k := newServed(t), gitserver.NewKey(t)
	srv := gitserver.NewSSH(t, s.root, k.Only)
	sshURL := srv.URL(s.root + "/fleet.git")
	httpURL := serve(t, gitserver.Backend(t, s.root)) + "/fleet.git"
	auth := Auth{SSHKey: k.PEM(t, ""), KnownHosts: srv.KnownHosts()}
	var seen atomic.Int32
	through := func(source, address string) Options {
		u, err := url.Parse(address)
		must(t, err)
		a := auth
		a.Proxy = u
		return Options{Source: source, Auth: a}
	}
	proxy := httptest.NewServer(tunnel(&seen))
	t.Cleanup(proxy.Close)
	address := strings.Replace(proxy.URL, "http://", "http://u:hidden-password@", 1)
	is(t, "http", open(t, through(httpURL, address)).Revision, "main@sha1:"+s.third)
	if seen.Load() == 0 {
		t.Error("the proxy was not used")
	}
	err := refused(t, through(httpURL, strings.Replace(proxy.URL, "http://", "http://u:other-password@", 1)), "407")
	if strings.Contains(err.Error(), "password") {
		t.Error(err)
	}
	refused(t, through(sshURL, address), "the proxy is of the kind http", "ssh goes through socks5 alone")

	socks, err := socks5.New(&socks5.Config{Credentials: socks5.StaticCredentials{"u": "p"}})
	must(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { l.Close() })
	go func() { _ = socks.Serve(l) }()
	for _, source := range []string{sshURL, httpURL} {
		is(t, source, open(t, through(source, "socks5://u:p@"+l.Addr().String())).Revision, "main@sha1:"+s.third)
		refused(t, through(source, "socks5://u:wrong-one@"+l.Addr().String()), "cannot be reached")
	}
}
