package registry

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"sync"
)

// ping is what a host answered to the question that comes before all others:
// which way of login it wants. It is asked without credentials, and its answer is
// the same for every repository.
type ping struct {
	mu     sync.Mutex
	status int // 0: not asked yet
	header http.Header
	body   []byte
	err    error // it speaks http, and https was tried: so it will be for each repository
}

// isPing reports whether a request is that question.
func isPing(r *http.Request) bool {
	return r.Method == http.MethodGet && r.URL.Path == "/v2/" && r.URL.RawQuery == "" && r.Header.Get("Authorization") == ""
}

// pinged answers r from memory, or asks and remembers. What another attempt could
// change is not remembered.
func (p *polite) pinged(r *http.Request, ask func(*http.Request) (*http.Response, error)) (*http.Response, error) {
	key := r.URL.Scheme + "://" + r.URL.Host
	p.pings.mu.Lock()
	known := p.pings.all[key]
	if known == nil {
		known = &ping{}
		if p.pings.all == nil {
			p.pings.all = map[string]*ping{}
		}
		p.pings.all[key] = known
	}
	p.pings.mu.Unlock()

	known.mu.Lock()
	defer known.mu.Unlock()
	if known.err != nil {
		return nil, known.err
	}
	if known.status == 0 {
		resp, err := ask(r)
		if plain := (tls.RecordHeaderError{}); errors.As(err, &plain) && string(plain.RecordHeader[:]) == "HTTP/" {
			known.err = err
		}
		if err != nil || resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusUnauthorized {
			return resp, err
		}
		body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
		resp.Body.Close()
		if err != nil {
			return nil, err
		}
		known.status, known.header, known.body = resp.StatusCode, resp.Header, body
	}
	return &http.Response{Status: http.StatusText(known.status), StatusCode: known.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: known.header.Clone(), Body: io.NopCloser(bytes.NewReader(known.body)), ContentLength: int64(len(known.body)), Request: r}, nil
}
