package cluster

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

const (
	// rideOut is for how long a server that has answered before is asked again
	// while it does not answer: it restarts, or its leader moves.
	rideOut = 20 * time.Second
	// askAgain is how often is asked again after an answer. It may be a webhook
	// or an aggregated API that is down for good, which is to be told soon.
	askAgain = 5
	// firstPause is doubled each time, up to longestPause.
	firstPause, longestPause = 100 * time.Millisecond, 2 * time.Second
)

// retrying sends a request again that failed for a reason that passes, where
// doing it twice is doing it once: the server restarts, a connection breaks, a
// proxy in between has nobody to talk to. An answer with Retry-After is
// client-go's to obey. What Kubernetes refuses for a reason is never repeated.
type retrying struct {
	next http.RoundTripper
	// answered says that the server was there: one that never was is told at once.
	answered *atomic.Bool
}

func (t *retrying) RoundTrip(r *http.Request) (*http.Response, error) {
	begin, pause := time.Now(), firstPause
	for try := 1; ; try++ {
		resp, err := t.next.RoundTrip(r)
		if err == nil {
			t.answered.Store(true)
		}
		if !t.again(r, resp, err, try) || time.Since(begin) > rideOut || r.Body != nil && r.GetBody == nil {
			return resp, err
		}
		if resp != nil {
			_, _ = io.CopyN(io.Discard, resp.Body, 64<<10) // so that the connection can be used again
			_ = resp.Body.Close()
		}
		if stopped := sleep(r.Context(), pause); stopped != nil {
			return nil, stopped
		}
		pause = min(2*pause, longestPause)
		if r.GetBody != nil {
			r = r.Clone(r.Context())
			if r.Body, err = r.GetBody(); err != nil {
				return nil, err
			}
		}
	}
}

// again reports whether r may be sent once more, after try times.
func (t *retrying) again(r *http.Request, resp *http.Response, err error, try int) bool {
	switch {
	case r.Context().Err() != nil || r.URL.Query().Get("watch") != "":
		return false // who watches begins anew by itself, from where it was
	case err != nil:
		return t.answered.Load() && repeatable(r)
	case resp.Header.Get("Retry-After") != "" || try > askAgain:
		return false
	}
	switch resp.StatusCode {
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		return true // nothing was done
	case http.StatusInternalServerError, http.StatusBadGateway, http.StatusGatewayTimeout:
		return repeatable(r)
	}
	return false
}

// repeatable reports whether a request of which nobody knows whether it was
// done may be done again. Not a create: of a generated name there would be two.
// Nor a JSON patch, which says what to do rather than what is to be.
func repeatable(r *http.Request) bool {
	switch r.Method {
	case http.MethodPost:
		return r.URL.Query().Get("dryRun") != ""
	case http.MethodPatch:
		return !strings.HasPrefix(r.Header.Get("Content-Type"), string(types.JSONPatchType))
	}
	return true
}

// sleep is ctx's error where that ends first.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
