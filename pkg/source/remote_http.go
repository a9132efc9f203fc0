package source

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
)

// httpSession fetches over http or https with go-git's transport, whose rules for redirects are
// Git's: followed for the first request only, never to cleartext, and no header that may hold a
// credential goes to another host, port or scheme.
type httpSession struct {
	transport.UploadPackSession
	client *http.Client
}

func (s *httpSession) advertised(ctx context.Context) (*packp.AdvRefs, error) {
	adv, err := s.AdvertisedReferencesContext(ctx)
	if errors.Is(err, transport.ErrEmptyRemoteRepository) {
		return nil, errEmpty
	}
	return adv, err
}

func (s *httpSession) fetch(ctx context.Context, req *packp.UploadPackRequest) (io.ReadCloser, error) {
	return s.UploadPack(ctx, req)
}

func (s *httpSession) close() { s.client.CloseIdleConnections() }

// connectHTTP opens a session to fetch.
func connectHTTP(ctx context.Context, o Options, r remote) (session, *packp.AdvRefs, error) {
	return dialHTTP(ctx, o, r, func(client *http.Client, c *credential) (session, *packp.AdvRefs, error) {
		s, err := newHTTPSession(client, r, c)
		if err != nil {
			return nil, nil, err
		}
		adv, err := s.advertised(ctx)
		return s, adv, err
	})
}

// dialHTTP tries what it was given, or nothing, and asks Git's credential helpers only when the
// server says that it must know who asks.
func dialHTTP[S any](ctx context.Context, o Options, r remote, open func(*http.Client, *credential) (S, *packp.AdvRefs, error)) (s S, adv *packp.AdvRefs, err error) {
	given, err := o.Auth.httpCredential(r)
	if err != nil {
		return s, nil, err
	}
	client, err := o.Auth.httpClient(r)
	if err != nil {
		return s, nil, err
	}
	var tried []string
	try := func(c *credential) (S, *packp.AdvRefs, error) {
		if c != nil {
			tried = append(tried, c.kind)
		}
		return open(client, c)
	}
	s, adv, err = try(given)
	if errors.Is(err, transport.ErrAuthenticationRequired) && given == nil && ctx.Err() == nil {
		if c := o.Auth.fromHelper(ctx, r, o.WorkDir); c != nil {
			given = c
			s, adv, err = try(c)
		}
	}
	if err != nil {
		client.CloseIdleConnections()
		secret := ""
		if given != nil {
			secret = given.password
		}
		return s, nil, httpError(r, err, tried, o.Auth, secret)
	}
	return s, adv, nil
}

// httpClient is one for this source alone: its certificates are its own.
func (a Auth) httpClient(r remote) (*http.Client, error) {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DialContext = dialNet
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if a.Proxy != nil {
		t.Proxy = http.ProxyURL(a.Proxy)
	}
	if len(a.CACert) > 0 {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM(a.CACert) {
			return nil, &Error{Where: r.String(), What: "the CA certificates hold no PEM certificate"}
		}
		t.TLSClientConfig.RootCAs = pool
	}
	if len(a.ClientCert) > 0 || len(a.ClientKey) > 0 {
		pair, err := tls.X509KeyPair(a.ClientCert, a.ClientKey)
		if err != nil {
			return nil, &Error{Where: r.String(), What: "the client certificate and its key do not fit", Why: err.Error(), err: err}
		}
		t.TLSClientConfig.Certificates = []tls.Certificate{pair}
	}
	return &http.Client{Transport: t}, nil
}

func newHTTPSession(client *http.Client, r remote, c *credential) (*httpSession, error) {
	ep, auth := r.endpoint(c)
	s, err := githttp.NewClient(client).NewUploadPackSession(ep, auth)
	if err != nil {
		return nil, err
	}
	return &httpSession{s, client}, nil
}

// endpoint is the remote as go-git's transport wants it, with what proves who asks.
func (r remote) endpoint(c *credential) (*transport.Endpoint, transport.AuthMethod) {
	host := r.host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	port, _ := strconv.Atoi(r.port) // url.Parse let digits only through
	ep := &transport.Endpoint{Protocol: r.scheme, Host: host, Port: port, Path: (&url.URL{Path: r.path}).EscapedPath()}
	switch {
	case c == nil && r.user != "":
		return ep, &githttp.BasicAuth{Username: r.user}
	case c == nil:
		return ep, nil
	case c.bearer != "":
		return ep, &githttp.TokenAuth{Token: c.bearer}
	}
	return ep, &githttp.BasicAuth{Username: c.username, Password: c.password}
}

// httpError says what the answer of an http server, or its lack, means for the user.
func httpError(r remote, err error, tried []string, a Auth, secret string) error {
	const login = "--git-username USER --git-token-file FILE, or set GITOPS_GIT_USERNAME and GITOPS_GIT_TOKEN"
	if errors.Is(err, errEmpty) {
		return err
	}
	var wrapped *plumbing.UnexpectedError // it does not unwrap
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	e := &Error{Where: r.String(), err: err}
	with := "tried without credentials"
	if len(tried) > 0 {
		with = "tried with " + strings.Join(tried, ", then ")
	}
	var status *githttp.Err
	var verify *tls.CertificateVerificationError
	var network *url.Error
	switch {
	case errors.Is(err, transport.ErrAuthenticationRequired):
		e.What, e.Why, e.Fix = "the server refused who asks (401)", with, login
	case errors.Is(err, transport.ErrAuthorizationFailed):
		e.What, e.Why, e.Fix = "the server forbids it (403)", with, "check that the token may read this repository; "+login
	case errors.Is(err, transport.ErrRepositoryNotFound):
		e.What, e.Why, e.Fix = "no such repository (404)", with, "check the URL; forges also say this of a private repository: "+login
	case errors.As(err, &verify):
		e.What, e.Why = "the certificate of "+r.host+" is not trusted", verify.Err.Error()
		e.Fix = "set SSL_CERT_FILE to the CA's certificate, or put it as ca.crt into the secret of --git-secret"
	case errors.As(err, &status):
		e.What = "the server answered " + strconv.Itoa(status.StatusCode())
		e.Fix = "try again later, or check the URL"
	case errors.As(err, &network) && !strings.Contains(network.Err.Error(), "http redirect"):
		return unreachable(r, err, a)
	case strings.Contains(err.Error(), "http redirect"):
		e.What, e.Why, e.Fix = "the server sends elsewhere", a.scrub(cause(err), secret, r.password), "give the URL that it sends to"
	default:
		e.What, e.Why = "is not a Git repository", "the answer is not Git's: "+a.scrub(cause(err), secret, r.password)
		e.Fix = "check the URL; a page in a browser is not the address to clone"
	}
	return e
}
