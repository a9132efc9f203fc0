package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// maxBody is the most that one answer may hold. A page of a thousand tags of the
// longest kind has 130 KB; some registries send all tags in one page.
const maxBody = 64 << 20

// polite sends requests again when that can help, a bounded number of times, and
// leaves a host alone for as long as it asks.
type polite struct {
	inner http.RoundTripper
	*limits
	pings struct {
		mu  sync.Mutex
		all map[string]*ping
	}
}

// limits are what all transports of a Client know of the hosts.
type limits struct {
	maxWait time.Duration
	wait    func(context.Context, time.Duration) error

	mu    sync.Mutex
	until map[string]time.Time // host: asked to be left alone until then
	busy  map[string]bool      // host: it was busy at least once
}

func (p *polite) RoundTrip(req *http.Request) (*http.Response, error) {
	if isPing(req) {
		return p.pinged(req, p.send)
	}
	return p.send(req)
}

func (p *polite) send(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	for attempt := 1; ; attempt++ {
		if rest := p.rest(req.URL.Host); rest > 0 {
			if err := p.wait(ctx, rest); err != nil {
				return nil, err
			}
		}
		resp, err := p.inner.RoundTrip(req)
		// Only what has no body can be sent again as it is; all of ours has none,
		// but for the form of a token request.
		again := req.Body == nil || req.Body == http.NoBody
		if err != nil {
			if !again || !temporary(err) || attempt == attempts || ctx.Err() != nil {
				return nil, err
			}
			if err := p.wait(ctx, backoff(attempt)); err != nil {
				return nil, err
			}
			continue
		}
		resp.Body = &limited{ReadCloser: resp.Body, left: maxBody}
		if !busy(resp.StatusCode) {
			return resp, nil
		}
		p.isBusy(req.URL.Host)
		pause, asked := retryAfter(resp)
		pause = max(pause, backoff(attempt)) // some ask for 0 seconds
		if asked && pause <= p.maxWait {
			p.leave(req.URL.Host, pause)
		}
		if !again || attempt == attempts || pause > p.maxWait {
			return resp, nil
		}
		_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection can be used again
		resp.Body.Close()
		if asked {
			continue // rest waits, together with all others that ask this host
		}
		if err := p.wait(ctx, pause); err != nil {
			return nil, err
		}
	}
}

func (p *limits) leave(host string, d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if until := time.Now().Add(d); until.After(p.until[host]) {
		if p.until == nil {
			p.until = map[string]time.Time{}
		}
		p.until[host] = until
	}
}

func (p *limits) isBusy(host string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.busy == nil {
		p.busy = map[string]bool{}
	}
	p.busy[host] = true
}

func (p *limits) wasBusy(host string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.busy[host]
}

func (p *limits) rest(host string) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Until(p.until[host])
}

// busy are the statuses that another attempt can change.
func busy(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

func temporary(err error) bool {
	if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
		return true
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// backoff is 0.5, 1, 2 seconds, each up to half as long again: requests that
// failed together do not come back together.
func backoff(attempt int) time.Duration {
	d := 500 * time.Millisecond << (attempt - 1)
	return d + rand.N(d/2)
}

// retryAfter reads the header, in seconds or as a date.
func retryAfter(resp *http.Response) (time.Duration, bool) {
	s := resp.Header.Get("Retry-After")
	if n, err := strconv.ParseUint(s, 10, 31); err == nil {
		return time.Duration(n) * time.Second, true
	}
	if t, err := http.ParseTime(s); err == nil {
		return max(0, time.Until(t)), true
	}
	return 0, false
}

// limited fails where an answer is longer than it can mean to be.
type limited struct {
	io.ReadCloser
	left int
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, fmt.Errorf("the answer is longer than %d MiB", maxBody>>20)
	}
	n, err := l.ReadCloser.Read(p[:min(len(p), l.left)])
	l.left -= n
	return n, err
}
