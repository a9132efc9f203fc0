package source

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/source/gitserver"
)

// served is a bare repository with some history, and the commits in it.
type served struct {
	root                 string // fleet.git, empty.git and secret.git lie there
	env                  []string
	first, second, third string
	old                  string // a commit that no branch is at
}

func newServed(t *testing.T) *served {
	t.Helper()
	c := withFiles(t, "a.yaml", "1\n")
	s := &served{root: real(t, t.TempDir()), env: c.env, first: c.head()}
	c.git("tag", "v1.0.0")
	c.git("branch", "release")
	c.write("a.yaml", "2\n")
	s.second = c.commit("second")
	s.old = s.second
	c.git("tag", "-a", "-m", "x", "v1.1.0")
	c.write("a.yaml", "3\n")
	c.commit("between")
	c.write("a.yaml", "4\n", "b/c.yaml", "c\n")
	s.third = c.commit("third")
	c.git("update-ref", "refs/pull/7/head", s.first)
	c.git("clone", "-q", "--mirror", c.dir, filepath.Join(s.root, "fleet.git"))
	c.git("init", "-q", "--bare", filepath.Join(s.root, "empty.git"))
	return s
}

func (s *served) config(t *testing.T, key, value string) {
	t.Helper()
	runGit(t, filepath.Join(s.root, "fleet.git"), s.env, "config", key, value)
}

func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.URL
}

func TestRefsOfARemote(t *testing.T) {
	t.Parallel()
	s := newServed(t)
	url := serve(t, gitserver.Backend(t, s.root)) + "/fleet.git"
	check := func(ref, revision, branch, content string) {
		t.Helper()
		snap := open(t, Options{Source: url, Ref: ref})
		is(t, ref+" revision", snap.Revision, revision)
		is(t, ref+" branch", snap.Branch, branch)
		is(t, ref+" content", files(t, snap)[0], "a.yaml="+content+"\n")
		is(t, ref+" URL", snap.URL, url)
		is(t, ref+" dir", snap.Dir, "")
	}
	check("", "main@sha1:"+s.third, "main", "4")
	check("main", "main@sha1:"+s.third, "main", "4")
	check("release", "release@sha1:"+s.first, "release", "1")
	check("v1.1.0", "v1.1.0@sha1:"+s.second, "", "2")
	check("refs/tags/v1.0.0", "refs/tags/v1.0.0@sha1:"+s.first, "", "1")
	check("refs/pull/7/head", "refs/pull/7/head@sha1:"+s.first, "", "1")
	check("1.x", "v1.1.0@sha1:"+s.second, "", "2")
	check("<1.1.0", "v1.0.0@sha1:"+s.first, "", "1")
	check(s.third, "sha1:"+s.third, "", "4")
	check(s.old, "sha1:"+s.old, "", "2") // not advertised, and the server gives out branches only
	never := strings.Repeat("e", 40)
	refused(t, Options{Source: url, Ref: never}, "the server does not have commit "+never)
	s.config(t, "uploadpack.allowAnySHA1InWant", "true")
	between := runGit(t, filepath.Join(s.root, "fleet.git"), s.env, "rev-parse", "main~1")
	check(between, "sha1:"+between, "", "3")
	refused(t, Options{Source: url, Ref: never}, "the server does not have commit "+never)
	refused(t, Options{Source: url, Ref: "mian"}, `no branch, tag or commit "mian"`, "the branches are main, release", "did you mean --ref main?")
	refused(t, Options{Source: url, Ref: s.old[:8]}, "a commit of a remote must be given in full, 40 digits")
	refused(t, Options{Source: url, Ref: "5.x"}, "no tag in that semver range", "the tags are v1.0.0, v1.1.0")
	runGit(t, filepath.Join(s.root, "fleet.git"), s.env, "symbolic-ref", "HEAD", "refs/heads/gone")
	refused(t, Options{Source: url}, "the repository has no default branch", "the branches are main, release", "--ref main")
}

func TestARemoteIsFetchedWithoutItsHistory(t *testing.T) {
	t.Parallel()
	s := newServed(t)
	url := serve(t, gitserver.Backend(t, s.root)) + "/fleet.git"
	var said []string
	snap := open(t, Options{Source: url, Progress: func(m string) { said = append(said, m) }})
	if !snap.repo.objects.has(plumbing.NewHash(s.third)) || snap.repo.objects.has(plumbing.NewHash(s.first)) {
		t.Error("more than one commit was fetched")
	}
	same(t, "progress", said, []string{"fetching " + url})
	if root, err := snap.RootCommit(t.Context()); root != "" || err != nil {
		t.Error(root, err)
	}
	same(t, "files", files(t, snap), []string{"a.yaml=4\n", "b/c.yaml=c\n"})
}

// guard lets in who authorizes as want ("" for anybody), and counts.
func guard(h http.Handler, want func(r *http.Request) bool, asked *atomic.Int32) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if !want(r) {
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			http.Error(w, "who are you, "+r.Header.Get("Authorization")+"?", http.StatusUnauthorized)
			return
		}
		h.ServeHTTP(w, r)
	})
}

func basic(user, password string) func(*http.Request) bool {
	return func(r *http.Request) bool {
		u, p, ok := r.BasicAuth()
		return ok && u == user && p == password
	}
}

func TestCredentialsForHTTP(t *testing.T) {
	t.Parallel()
	const secret = "s3cr3t-hunter2"
	s := newServed(t)
	var asked atomic.Int32
	tokenFile := filepath.Join(t.TempDir(), "token")
	must(t, os.WriteFile(tokenFile, []byte(secret+"\n"), 0o600))
	url := serve(t, guard(gitserver.Backend(t, s.root), func(r *http.Request) bool {
		return basic("bot", secret)(r) || basic("git", secret)(r) || r.Header.Get("Authorization") == "Bearer "+secret
	}, &asked)) + "/fleet.git"
	withUser := strings.Replace(url, "://", "://bot:"+secret+"@", 1)
	for name, o := range map[string]Options{
		"user and password": {Source: url, Auth: Auth{Username: "bot", Password: secret}},
		"token alone":       {Source: url, Auth: Auth{Password: secret}},
		"bearer":            {Source: url, Auth: Auth{BearerToken: secret}},
		"environment":       {Source: url, Auth: Auth{Env: []string{"GITOPS_GIT_USERNAME=bot", "GITOPS_GIT_TOKEN=" + secret}}},
		"token file":        {Source: url, Auth: Auth{Env: []string{"GITOPS_GIT_TOKEN_FILE=" + tokenFile}}},
		"URL":               {Source: withUser},
		"flags over URL":    {Source: strings.Replace(withUser, secret, "wrong", 1), Auth: Auth{Password: secret}},
	} {
		snap := open(t, o)
		is(t, name, snap.Revision, "main@sha1:"+s.third)
		is(t, name+": URL", snap.URL, url)
	}

	err := refused(t, Options{Source: url}, url+": the server refused who asks (401)", "tried without credentials", "--git-username USER --git-token-file FILE", "GITOPS_GIT_TOKEN")
	for _, o := range []Options{
		{Source: strings.Replace(url, "://", "://other:"+secret+"@", 1)},
		{Source: url, Auth: Auth{Username: "other", Password: secret}},
		{Source: url, Auth: Auth{Env: []string{"GITOPS_GIT_USERNAME=other", "GITOPS_GIT_TOKEN=" + secret}}},
	} {
		err = errors.Join(err, refused(t, o, "(401)", "tried with "))
	}
	refused(t, Options{Source: url, Auth: Auth{Env: []string{"GITOPS_GIT_TOKEN_FILE=/nowhere"}}}, "GITOPS_GIT_TOKEN_FILE", "cannot be read from /nowhere")
	if strings.Contains(err.Error(), secret) {
		t.Errorf("a secret is told: %v", err)
	}
}

func TestCredentialHelper(t *testing.T) {
	t.Parallel()
	const secret = "from-the-helper"
	s := newServed(t)
	env := home(t)
	dir := strings.TrimPrefix(env[0], "HOME=")
	asks := filepath.Join(dir, "log")
	helper := filepath.Join(dir, "helper")
	must(t, os.WriteFile(helper, []byte("#!/bin/sh\necho \"$@\" >> "+asks+"\n[ \"$1\" = get ] || exit 0\ncat >> "+asks+"\necho \"prompt=$GIT_TERMINAL_PROMPT askpass=$GIT_ASKPASS$SSH_ASKPASS\" >> "+asks+"\necho username=bot\necho password="+secret+"\n"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, ".gitconfig"), []byte("[credential]\n\thelper = "+helper+"\n\tuseHttpPath = true\n"), 0o644))
	var asked atomic.Int32
	url := serve(t, guard(gitserver.Backend(t, s.root), basic("bot", secret), &asked)) + "/fleet.git"
	env = append(env, "GIT_ASKPASS=/bin/echo", "SSH_ASKPASS=/bin/echo", "GIT_TERMINAL_PROMPT=1")
	is(t, "revision", open(t, Options{Source: url, Auth: Auth{Env: env}}).Revision, "main@sha1:"+s.third)
	text, err := os.ReadFile(asks)
	must(t, err)
	if !strings.HasPrefix(string(text), "get\n") || !strings.Contains(string(text), "path=fleet.git\n") || !strings.Contains(string(text), "prompt=0 askpass=\n") {
		t.Errorf("the helper was asked:\n%s", text)
	}

	must(t, os.Remove(asks))
	public := serve(t, gitserver.Backend(t, s.root)) + "/fleet.git"
	open(t, Options{Source: public, Auth: Auth{Env: env}})
	refused(t, Options{Source: url, Auth: Auth{Env: env, Username: "bot", Password: "wrong"}}, "tried with the password or token given")
	if _, err := os.Stat(asks); err == nil {
		t.Error("the helper was asked although the server did not ask, or something was given")
	}
	other := serve(t, guard(gitserver.Backend(t, s.root), basic("x", "y"), &asked)) + "/fleet.git"
	refused(t, Options{Source: other, Auth: Auth{Env: env}}, "(401)", "tried with Git's credential helper")
	// Nobody is asked on a terminal when no helper knows.
	must(t, os.Remove(filepath.Join(dir, ".gitconfig")))
	refused(t, Options{Source: url, Auth: Auth{Env: env}}, "(401)", "tried without credentials")
}

func TestAnswersOfAServer(t *testing.T) {
	t.Parallel()
	s := newServed(t)
	git := gitserver.Backend(t, s.root)
	url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, "/forbidden"):
			http.Error(w, "no: hunter2", http.StatusForbidden)
		case strings.HasPrefix(r.URL.Path, "/broken"):
			http.Error(w, "oops", http.StatusBadGateway)
		case strings.HasPrefix(r.URL.Path, "/page"):
			_, _ = io.WriteString(w, "<!DOCTYPE html><html>hello</html>")
		case strings.HasPrefix(r.URL.Path, "/cut") && r.Method == http.MethodPost:
			r.URL.Path = strings.TrimPrefix(r.URL.Path, "/cut")
			rec := httptest.NewRecorder()
			git.ServeHTTP(rec, r)
			w.Header().Set("Content-Type", rec.Header().Get("Content-Type"))
			_, _ = w.Write(rec.Body.Bytes()[:rec.Body.Len()-60])
		default:
			r.URL.Path = strings.TrimPrefix(r.URL.Path, "/cut")
			git.ServeHTTP(w, r)
		}
	}))
	auth := Auth{Username: "u", Password: "hunter2"}
	for path, want := range map[string][]string{
		"/nowhere.git":   {"no such repository (404)", "forges also say this of a private repository"},
		"/forbidden/x":   {"the server forbids it (403)", "tried with the password or token given", "check that the token may read"},
		"/broken/x":      {"the server answered 502"},
		"/page/x":        {"is not a Git repository"},
		"/empty.git":     {"the repository is empty", "push a first commit"},
		"/cut/fleet.git": {"fetching failed"},
	} {
		err := refused(t, Options{Source: url + path, Auth: auth}, append(want, url+path)...)
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("a secret is told: %v", err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	l.Close()
	refused(t, Options{Source: "http://u:hunter2@" + l.Addr().String() + "/x/y"}, "http://"+l.Addr().String()+"/x/y: "+l.Addr().String()+" cannot be reached", "connection refused", "HTTPS_PROXY")
	refused(t, Options{Source: "https://" + strings.TrimPrefix(url, "http://") + "/fleet.git"}, "cannot be reached")
}

func TestServerThatInsistsOnMultiAck(t *testing.T) {
	t.Parallel()
	s := newServed(t)
	git := gitserver.Backend(t, s.root)
	url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { // as Azure DevOps
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Method == http.MethodPost && !bytes.Contains(body, []byte(" multi_ack")) {
			http.Error(w, "multi_ack is required", http.StatusBadRequest)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		git.ServeHTTP(w, r)
	}))
	is(t, "revision", open(t, Options{Source: url + "/fleet.git"}).Revision, "main@sha1:"+s.third)
}

func TestRedirects(t *testing.T) {
	t.Parallel()
	s := newServed(t)
	var mu sync.Mutex
	var leaked []string
	elsewhere := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		if a := r.Header.Get("Authorization"); a != "" {
			leaked = append(leaked, r.URL.Path+" "+a)
		}
		mu.Unlock()
		gitserver.Backend(t, s.root).ServeHTTP(w, r)
	}))
	var asked atomic.Int32
	url := serve(t, guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, "/moved"):
			http.Redirect(w, r, strings.TrimPrefix(r.URL.RequestURI(), "/moved"), http.StatusMovedPermanently)
		case strings.HasPrefix(r.URL.Path, "/away"):
			http.Redirect(w, r, elsewhere+strings.TrimPrefix(r.URL.RequestURI(), "/away"), http.StatusFound)
		default:
			gitserver.Backend(t, s.root).ServeHTTP(w, r)
		}
	}), basic("bot", "pw"), &asked))
	auth := Auth{Username: "bot", Password: "pw"}
	is(t, "same host", open(t, Options{Source: url + "/moved/fleet.git", Auth: auth}).Revision, "main@sha1:"+s.third)
	is(t, "another host", open(t, Options{Source: url + "/away/fleet.git", Auth: auth}).Revision, "main@sha1:"+s.third)
	mu.Lock()
	defer mu.Unlock()
	same(t, "credentials that another host saw", leaked, nil)
}

func TestTLS(t *testing.T) {
	t.Parallel()
	s := newServed(t)
	srv := httptest.NewUnstartedServer(gitserver.Backend(t, s.root))
	quiet := log.New(io.Discard, "", 0)
	srv.Config.ErrorLog = quiet
	pool := x509.NewCertPool()
	srv.TLS = &tls.Config{ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: pool, MinVersion: tls.VersionTLS12}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	url := srv.URL + "/fleet.git"
	is(t, "revision", open(t, Options{Source: url, Auth: Auth{CACert: ca}}).Revision, "main@sha1:"+s.third)
	refused(t, Options{Source: url}, "the certificate of 127.0.0.1 is not trusted", "unknown authority", "ca.crt")
	refused(t, Options{Source: url, Auth: Auth{CACert: []byte("no PEM")}}, "the CA certificates hold no PEM certificate")
	refused(t, Options{Source: url, Auth: Auth{ClientCert: ca, ClientKey: []byte("x")}}, "the client certificate and its key do not fit")

	// A server that wants a client certificate.
	cert, key := clientCertificate(t)
	block, _ := pem.Decode(cert)
	parsed, err := x509.ParseCertificate(block.Bytes)
	must(t, err)
	pool.AddCert(parsed)
	strict := httptest.NewUnstartedServer(gitserver.Backend(t, s.root))
	strict.Config.ErrorLog = quiet
	strict.TLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, MinVersion: tls.VersionTLS12}
	strict.StartTLS()
	t.Cleanup(strict.Close)
	ca = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: strict.Certificate().Raw})
	open(t, Options{Source: strict.URL + "/fleet.git", Auth: Auth{CACert: ca, ClientCert: cert, ClientKey: key}})
	refused(t, Options{Source: strict.URL + "/fleet.git", Auth: Auth{CACert: ca}}, "certificate required")
}

func TestCancelWhileAServerHangs(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { l.Close() })
	accepted := make(chan net.Conn, 4)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- conn
		}
	}()
	addr := l.Addr().String()
	for _, url := range []string{"http://" + addr + "/x/y", "https://" + addr + "/x/y", "ssh://git@" + addr + "/x/y"} {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			_, err := Open(ctx, Options{Source: url, Auth: Auth{SSHKey: gitserver.NewKey(t).PEM(t, ""), KnownHosts: []byte("# none\n")}})
			done <- err
		}()
		conn := <-accepted
		cancel()
		select {
		case err := <-done:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v", url, err)
			}
		case <-time.After(20 * time.Second):
			t.Errorf("%s: not canceled", url)
		}
		conn.Close()
	}
}
