package registry

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// transport is what the requests about r go out by. Those with the same
// certificates and proxy share one, and so its connections.
func (c *Client) transport(r Request) (http.RoundTripper, error) {
	key := strings.Join([]string{string(r.TLS.CA), string(r.TLS.Cert), string(r.TLS.Key)}, "\x00")
	if r.Proxy != nil {
		key += "\x00" + r.Proxy.String()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.transports[key]; t != nil {
		return t, nil
	}
	inner := c.Transport
	if inner == nil {
		inner = remote.DefaultTransport
	}
	config, err := r.TLS.config()
	if err != nil {
		return nil, &Error{Image: r.Image, What: "its certificates cannot be used", Why: err.Error()}
	}
	if base, ok := inner.(*http.Transport); ok && (config != nil || r.Proxy != nil) {
		own := base.Clone()
		if config != nil {
			own.TLSClientConfig = config
		}
		if r.Proxy != nil {
			own.Proxy = http.ProxyURL(r.Proxy)
		}
		inner = own
	}
	t := &polite{inner: inner, limits: c.limits}
	c.transports[key] = t
	return t, nil
}

// config is nil where there is nothing to configure. The CA is trusted besides
// those of the system, as in Flux.
func (t TLS) config() (*tls.Config, error) {
	if len(t.CA) == 0 && len(t.Cert) == 0 && len(t.Key) == 0 {
		return nil, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(t.CA) > 0 {
		pool, err := x509.SystemCertPool()
		if err != nil {
			return nil, err
		}
		if !pool.AppendCertsFromPEM(t.CA) {
			return nil, errors.New("ca.crt has no certificate in PEM")
		}
		config.RootCAs = pool
	}
	if len(t.Cert) == 0 && len(t.Key) == 0 {
		return config, nil
	}
	if len(t.Cert) == 0 || len(t.Key) == 0 {
		return nil, errors.New("tls.crt and tls.key come together, and one is missing")
	}
	pair, err := tls.X509KeyPair(t.Cert, t.Key)
	if err != nil {
		return nil, errors.New("tls.crt and tls.key are not a pair in PEM")
	}
	config.Certificates = []tls.Certificate{pair}
	return config, nil
}

// ParseProxy reads the address of a proxy, and who we are there. Schemes are
// Flux's.
func ParseProxy(address, user, password string) (*url.URL, error) {
	u, err := url.Parse(strings.TrimSpace(address))
	switch {
	case address == "":
		return nil, errors.New("has no address")
	case err != nil || u.Host == "":
		return nil, errors.New("has an address that is not a URL") // it may have a password in it
	case u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "socks5":
		return nil, errors.New("has an address of scheme " + u.Scheme + "; want http, https or socks5")
	case user != "" && password != "":
		u.User = url.UserPassword(user, password)
	case user != "":
		u.User = url.User(user)
	}
	return u, nil
}
