package cluster

import (
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"k8s.io/client-go/transport"
)

// Counts is how many requests were sent, by the verb of Kubernetes's
// authorization. Discovery and OpenAPI documents count as get.
type Counts struct {
	Total, Get, List, Watch, Patch, Create, Update, Delete int64
}

type counts struct {
	get, list, watch, patch, create, update, remove atomic.Int64

	// ahead is how far the server's clock is ahead of ours, in nanoseconds, as
	// its last answer said.
	ahead atomic.Int64
}

// now is the time by the server's clock, to about a second: two machines that
// do not agree on the time agree on that.
func (c *Cluster) now() time.Time {
	return time.Now().Add(time.Duration(c.counts.ahead.Load()))
}

// Requests counts what was sent so far.
func (c *Cluster) Requests() Counts {
	n := Counts{
		Get: c.counts.get.Load(), List: c.counts.list.Load(), Watch: c.counts.watch.Load(),
		Patch: c.counts.patch.Load(), Create: c.counts.create.Load(),
		Update: c.counts.update.Load(), Delete: c.counts.remove.Load(),
	}
	n.Total = n.Get + n.List + n.Watch + n.Patch + n.Create + n.Update + n.Delete
	return n
}

func (n *counts) add(method string, collection, watch bool) {
	switch method {
	case http.MethodGet, http.MethodHead:
		switch {
		case watch:
			n.watch.Add(1)
		case collection:
			n.list.Add(1)
		default:
			n.get.Add(1)
		}
	case http.MethodPatch:
		n.patch.Add(1)
	case http.MethodPost:
		n.create.Add(1)
	case http.MethodPut:
		n.update.Add(1)
	case http.MethodDelete:
		n.remove.Add(1)
	}
}

// wrap is for the clients of one server: what goes through is counted, and sent
// again where it may be (retrying).
func (n *counts) wrap() transport.WrapperFunc {
	answered := &atomic.Bool{}
	return func(next http.RoundTripper) http.RoundTripper {
		return &retrying{next: &counting{next: next, counts: n}, answered: answered}
	}
}

// counting counts requests as they leave; redirects and retries count again.
type counting struct {
	next   http.RoundTripper
	counts *counts
}

func (t *counting) RoundTrip(r *http.Request) (*http.Response, error) {
	q := r.URL.Query()
	t.counts.add(r.Method, isCollection(r.URL.Path), q.Get("watch") == "true" || q.Get("watch") == "1")
	resp, err := t.next.RoundTrip(r)
	if err == nil {
		if at, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
			t.counts.ahead.Store(int64(time.Until(at)))
		}
	}
	return resp, err
}

// isCollection tells /api/v1/namespaces/x/pods from …/pods/y, by counting the
// parts behind the version: (namespaces/NS/)RESOURCE or (…)RESOURCE/NAME.
func isCollection(path string) bool {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	skip := 2 // api/v1
	if len(parts) > 0 && parts[0] == "apis" {
		skip = 3 // apis/GROUP/v1
	} else if len(parts) == 0 || parts[0] != "api" {
		return false
	}
	if len(parts) <= skip {
		return false // discovery
	}
	rest := parts[skip:]
	if rest[0] == "namespaces" && len(rest) > 2 {
		rest = rest[2:]
	}
	return len(rest) == 1
}
