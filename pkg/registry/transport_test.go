package registry

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// authority signs certificates for as long as a test runs.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	a.key = newKey(t)
	a.cert, a.pem = sign(t, template, template, a.key, a.key)
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t *testing.T, template, parent *x509.Certificate, key, parentKey *ecdsa.PrivateKey) (*x509.Certificate, []byte) {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// issue makes a certificate with its key, both in PEM.
func (a *authority) issue(t *testing.T, usage x509.ExtKeyUsage) (cert, key []byte) {
	t.Helper()
	k := newKey(t)
	_, cert = sign(t, &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "registry.example.com"}, DNSNames: []string{"registry.example.com"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{usage}}, a.cert, k, a.key)
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return cert, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// certSecretRef: a registry with a certificate of its own, that wants to see ours.
func TestCertificates(t *testing.T) {
	ca, stranger := newAuthority(t), newAuthority(t)
	serverCert, serverKey := ca.issue(t, x509.ExtKeyUsageServerAuth)
	pair, err := tls.X509KeyPair(serverCert, serverKey)
	if err != nil {
		t.Fatal(err)
	}
	clients := x509.NewCertPool()
	clients.AddCert(ca.cert)
	s := newServer(t)
	s.push(t, "team/api", "1.0.0")
	https := httptest.NewUnstartedServer(s)
	https.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: clients, ClientAuth: tls.RequireAndVerifyClientCert}
	https.Config.ErrorLog = quiet
	https.StartTLS()
	t.Cleanup(https.Close)
	at := https.Listener.Addr().String()
	elsewhere := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, at)
	}}

	cert, key := ca.issue(t, x509.ExtKeyUsageClientAuth)
	_, otherKey := ca.issue(t, x509.ExtKeyUsageClientAuth)
	strange, strangeKey := stranger.issue(t, x509.ExtKeyUsageClientAuth)
	for _, test := range []struct {
		name string
		tls  TLS
		want string // of the error, "" for none
	}{
		{"all of them", TLS{CA: ca.pem, Cert: cert, Key: key}, ""},
		{"none", TLS{}, "the registry's certificate is not trusted: "},
		{"another CA", TLS{CA: stranger.pem, Cert: cert, Key: key}, "the registry's certificate is not trusted: "},
		{"none of ours", TLS{CA: ca.pem}, "certificate"},
		{"a stranger's", TLS{CA: ca.pem, Cert: strange, Key: strangeKey}, "certificate"},
		{"a certificate without its key", TLS{CA: ca.pem, Cert: cert}, "tls.crt and tls.key come together"},
		{"another's key", TLS{CA: ca.pem, Cert: cert, Key: otherKey}, "its certificates cannot be used: tls.crt and tls.key are not a pair in PEM"},
		{"no PEM", TLS{CA: []byte("hunter2")}, "ca.crt has no certificate in PEM"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, _ := client()
			c.Transport = elsewhere
			got, err := tags(t.Context(), c, Request{Image: "registry.example.com/team/api", TLS: test.tls})
			if test.want == "" && (err != nil || len(got) != 1) || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("%v %v, want %s", got, err, test.want)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Error("the error tells what was in the Secret")
			}
		})
	}
}

// proxySecretRef: the request for a host that only the proxy knows.
func TestProxy(t *testing.T) {
	s := newServer(t)
	s.push(t, "team/api", "1.0.0")
	var mu sync.Mutex
	var asked []string
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked = append(asked, r.Host)
		mu.Unlock()
		if r.Header.Get("Proxy-Authorization") != "Basic "+base64.StdEncoding.EncodeToString([]byte("ada:hunter2")) {
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		if r.Method == http.MethodConnect { // https is tried first
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		s.ServeHTTP(w, r)
	}))
	t.Cleanup(proxy.Close)

	u, err := ParseProxy(proxy.URL, "ada", "hunter2")
	if err != nil {
		t.Fatal(err)
	}
	c, _ := client()
	request := Request{Image: "registry.internal:5000/team/api", Insecure: true, Proxy: u}
	got, err := tags(t.Context(), c, request)
	if err != nil || len(got) != 1 || len(asked) == 0 || asked[0] != "registry.internal:5000" {
		t.Errorf("%v %v %q", got, err, asked)
	}
	request.Proxy, _ = url.Parse(proxy.URL)
	if _, err = tags(t.Context(), c, request); err == nil || !strings.Contains(err.Error(), "407") {
		t.Errorf("%v", err)
	}
	proxy.Close()
	request.Proxy = u
	if _, err = tags(t.Context(), c, request); err == nil || !strings.Contains(err.Error(), "out of reach") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("%v", err)
	}

	for _, test := range []struct{ address, want string }{
		{"", "has no address"}, {"proxy:3128", "has an address"}, {"ftp://proxy", "scheme ftp"}, {"http://[", "is not a URL"}, {"http://u:hunter2@", "is not a URL"},
	} {
		if _, err := ParseProxy(test.address, "", ""); err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v, want %s", test.address, err, test.want)
		}
	}
}

// One host is asked as many questions at once as it may be, and not more.
func TestAsManyAtOnceAsAHostMayBeAsked(t *testing.T) {
	s := newServer(t)
	var requests []Request
	for i := range 12 {
		repository := fmt.Sprintf("team/app%d", i)
		s.push(t, repository, "1.0.0")
		requests = append(requests, Request{Image: s.host() + "/" + repository})
	}
	c, _ := client()
	c.Concurrency = 3
	var mu sync.Mutex
	inside, most := 0, 0
	full := make(chan struct{})
	s.mood = func(_ http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/tags/list") { // how to log in is asked once
			return false
		}
		mu.Lock()
		if inside++; inside > most {
			if most = inside; most == c.Concurrency {
				close(full)
			}
		}
		mu.Unlock()
		<-full // the first wait for as many as there may be
		mu.Lock()
		inside--
		mu.Unlock()
		return false
	}
	for _, a := range c.All(t.Context(), requests) {
		if a.Err != nil {
			t.Error(a.Err)
		}
	}
	if most != 3 {
		t.Errorf("%d questions at once, want 3", most)
	}
}

// A host that answers is asked more at once, up to an end; one that was busy once is not.
func TestMoreAtOnceForAsLongAsAHostAnswers(t *testing.T) {
	for _, test := range []struct {
		name       string
		busy, most int
	}{{"answers", 0, mostAtOnce}, {"was busy", 1, startAtOnce}} {
		t.Run(test.name, func(t *testing.T) {
			s := newServer(t)
			var requests []Request
			for i := range 3 * mostAtOnce {
				repository := fmt.Sprintf("team/app%d", i)
				s.push(t, repository, "1.0.0")
				requests = append(requests, Request{Image: s.host() + "/" + repository})
			}
			c, _ := client()
			var mu sync.Mutex
			asked, inside, most := 0, 0, 0
			full, again := make(chan struct{}), make(chan struct{})
			first := ""
			s.mood = func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.HasSuffix(r.URL.Path, "/tags/list") {
					return false
				}
				mu.Lock()
				asked++
				n := asked
				if inside++; inside > most {
					if most = inside; most == test.most && n > mostAtOnce {
						close(full)
					}
				}
				if n == 1 {
					first = r.URL.Path
				} else if r.URL.Path == first {
					close(again)
				}
				mu.Unlock()
				defer func() { mu.Lock(); inside--; mu.Unlock() }()
				if n <= test.busy {
					refuse(w, http.StatusTooManyRequests, "TOOMANYREQUESTS", "slow down")
					return true
				}
				if test.busy > 0 {
					<-again // it knows of that
				}
				if n > mostAtOnce && test.busy == 0 { // the first answers let the others in: these wait until as many are here as may be
					select {
					case <-full:
					case <-time.After(20 * time.Second):
					}
				}
				return false
			}
			for _, a := range c.All(t.Context(), requests) {
				if a.Err != nil {
					t.Error(a.Err)
				}
			}
			if most > test.most || test.busy == 0 && most < test.most {
				t.Errorf("%d questions at once, want %d", most, test.most)
			}
		})
	}
}
