package plugins

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// fault is what happens to one request on its way.
type fault string

const (
	none     fault = ""
	reset    fault = "reset"        // the stream ends before the server has the request
	lost     fault = "answer lost"  // the server did it, and the answer does not come
	conflict fault = "409"          // of a write
	throttle fault = "429"          // with Retry-After
	broken   fault = "500"          // the server's own fault
	away     fault = "503"          // with Retry-After or without
	slow     fault = "slow"         // up to a second
	cut      fault = "watch cut"    // a watch ends in the middle
	lame     fault = "watch slow"   // what a watch says comes late
	stale    fault = "watch is 410" // a watch is told that its resourceVersion is gone
)

// weather is what a run of the soak has to bear.
type weather struct {
	name string
	// chance of a fault, for each request and for each watch.
	requests, watches float64
	kinds             []fault // which ones requests get
}

var (
	anyFault = []fault{reset, lost, conflict, throttle, broken, away, slow}
	calm     = weather{name: "calm"}
	weathers = []weather{
		calm,
		{name: "drizzle", requests: 0.03, watches: 0.3, kinds: anyFault},
		{name: "storm", requests: 0.15, watches: 0.8, kinds: anyFault},
		{name: "throttled", requests: 0.08, kinds: []fault{throttle}},
		{name: "slow", requests: 0.15, watches: 0.8, kinds: []fault{slow}},
		{name: "bad watches", watches: 1},
	}
)

// sky is the proxy with faults in front of the API server.
type sky struct {
	mu       sync.Mutex
	rand     *rand.Rand
	now      weather
	n        int            // requests of the run so far
	strike   map[int]func() // by number of a request, called before it is passed on
	requests int
	writes   int // of requests that are no dry run
	faults   map[fault]int
}

// over begins a run: what its weather is, and what happens at which request.
func (s *sky) over(r *rand.Rand, w weather, strike map[int]func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rand, s.now, s.n, s.strike = r, w, 0, strike
}

func isWatch(r *http.Request) bool { return r.URL.Query().Get("watch") != "" }

// draw says what happens to the next request.
func (s *sky) draw(r *http.Request) (f fault, strike func(), wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n++
	s.requests++
	if (&gate{}).isWrite(r) {
		s.writes++
	}
	strike = s.strike[s.n]
	chance, kinds := s.now.requests, s.now.kinds
	if isWatch(r) {
		chance, kinds = s.now.watches, []fault{cut, lame, stale, throttle, broken}
	}
	if s.rand.Float64() < chance {
		f = kinds[s.rand.IntN(len(kinds))]
		if f == conflict && r.Method == http.MethodGet {
			f = broken
		}
		s.faults[f]++
	}
	return f, strike, time.Duration(s.rand.IntN(1000)) * time.Millisecond
}

func (s *sky) serve(w http.ResponseWriter, r *http.Request, pass http.HandlerFunc) {
	f, strike, wait := s.draw(r)
	if strike != nil {
		strike()
	}
	misfortune(w, r, f, wait, pass)
}

// misfortune lets f happen to one request.
func misfortune(w http.ResponseWriter, r *http.Request, f fault, wait time.Duration, pass http.HandlerFunc) {
	switch f {
	case none:
		pass(w, r)
	case reset:
		panic(http.ErrAbortHandler)
	case lost:
		pass(nowhere{http.Header{}}, r)
		panic(http.ErrAbortHandler)
	case slow:
		time.Sleep(wait)
		pass(w, r)
	case lame:
		pass(&limping{ResponseWriter: w, by: wait}, r)
	case cut:
		ctx, cancel := context.WithTimeout(r.Context(), wait)
		defer cancel()
		pass(w, r.WithContext(ctx))
	case stale:
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintln(w, `{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"too old resource version","reason":"Expired","code":410}}`)
	default:
		refuse(w, f, wait)
	}
}

// refuse answers as the API server does.
func refuse(w http.ResponseWriter, f fault, wait time.Duration) {
	var code int
	_, _ = fmt.Sscan(string(f), &code)
	reason := map[int]string{409: "Conflict", 429: "TooManyRequests", 500: "InternalError", 503: "ServiceUnavailable"}[code]
	if code == 429 || code == 503 && wait > 500*time.Millisecond {
		w.Header().Set("Retry-After", "1")
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"a fault of the soak","reason":%q,"code":%d}`, reason, code)
}

// nowhere takes an answer, and nobody gets it.
type nowhere struct{ header http.Header }

func (n nowhere) Header() http.Header         { return n.header }
func (n nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (n nowhere) WriteHeader(int)             {}

// limping passes each part of an answer on late.
type limping struct {
	http.ResponseWriter
	by time.Duration
}

func (l *limping) Write(b []byte) (int, error) {
	time.Sleep(l.by)
	return l.ResponseWriter.Write(b)
}

func (l *limping) Unwrap() http.ResponseWriter { return l.ResponseWriter }

// figures are the faults by kind.
func (s *sky) figures() string {
	var out []string
	for _, f := range slices.Sorted(maps.Keys(s.faults)) {
		out = append(out, fmt.Sprintf("%s %d", f, s.faults[f]))
	}
	return strings.Join(out, ", ")
}
