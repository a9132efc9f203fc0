// Package ui shows events and reports: on a terminal with a live region, in
// plain lines, or as JSON or YAML. stdout gets the answer; progress, warnings
// and errors go to stderr. Nothing that happens to a writer stops a run.
//
// The program must ignore SIGPIPE (signal.Ignore(syscall.SIGPIPE)): Go ends a
// process that writes to a closed stdout or stderr otherwise, in mid-apply.
package ui

import (
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/gitops"
)

// Options say where and how a UI writes. The zero value of each is a default.
type Options struct {
	Out, Err io.Writer // stdout: the answer; stderr: progress, warnings, errors
	Color    string    // auto (default) | always | never; auto heeds NO_COLOR and CLICOLOR_FORCE
	Progress string    // auto (default) | tty | plain | none; auto is tty where Err is a terminal and TERM is not dumb
	Output   string    // "" and text: for people; json, yaml: one object on Out, all else on Err
	Getenv   func(string) string
	// Width is the number of columns of both streams, 0 where lines have no
	// limit. nil asks the terminal, then COLUMNS, then takes 80; what is not a
	// terminal has no limit.
	Width   func() int
	Verbose int // 1 lists all changes, their reasons and the cost; 2 also tells of each object as it is done
	// Namespace is the one whose Kustomizations go by their name alone, others
	// are NAMESPACE/NAME; "" is flux-system.
	Namespace string
	// Typed is how the user typed this program; "" is "kubectl gitops".
	Typed string
	// DryRun words what happens as what would happen.
	DryRun bool

	height func() int       // rows of the terminal
	now    func() time.Time // the clock of what is still running
	first  time.Duration    // plainFirst; other in tests
}

// UI writes to two streams. All methods may be called from any goroutine.
type UI struct {
	o        Options
	github   bool
	progress string // tty | plain | none
	symbols  symbols

	queue  *queue
	start  sync.Once
	ending sync.Once
	stop   chan struct{}
	ended  chan struct{} // closed when the goroutine is gone

	mu     sync.Mutex // guards the writers and what follows
	out    stream
	err    stream
	run    run
	region region
	closed bool
}

// New makes a UI. Close it before the program ends.
func New(o Options) *UI {
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	if o.Namespace == "" {
		o.Namespace = "flux-system"
	}
	if o.now == nil {
		o.now = time.Now
	}
	if o.first == 0 {
		o.first = plainFirst
	}
	u := &UI{
		o:       o,
		github:  o.Getenv("GITHUB_ACTIONS") == "true",
		symbols: symbolsFor(o.Getenv),
		queue:   newQueue(),
		stop:    make(chan struct{}),
		ended:   make(chan struct{}),
		out:     newStream(o.Out, o),
		err:     newStream(o.Err, o),
		run:     newRun(),
	}
	u.progress = progressMode(o, u.err.tty)
	return u
}

// Sink takes events, in order, and returns at once whatever the writers do.
// Progress that was not shown yet gives way to newer Progress of the same
// Kustomization; nothing else is lost. After Close it does nothing.
func (u *UI) Sink() gitops.Sink {
	u.start.Do(func() { go u.loop() })
	return u.queue.put
}

// loop writes what is queued, and keeps what moves on its own up to date.
func (u *UI) loop() {
	defer close(u.ended)
	every := time.Second
	if u.progress == "tty" {
		every = time.Second / 10
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-u.stop:
			return
		case <-u.queue.wake:
			u.drain()
		case <-ticker.C:
			u.mu.Lock()
			u.tick()
			u.mu.Unlock()
		}
	}
}

// drain handles the events that wait, and gives way to others between two.
func (u *UI) drain() {
	for u.handleNext() {
	}
}

func (u *UI) handleNext() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	e, ok := u.queue.take()
	if ok {
		u.handle(e)
	}
	return ok
}

// Sync ends a run with its answer. For people that is what was not told yet,
// and a last line; otherwise the report as one object on stdout. The error is
// that of stdout, nil where its reader has gone away.
func (u *UI) Sync(r gitops.SyncReport) error {
	u.drain()
	u.mu.Lock()
	defer u.mu.Unlock()
	u.o.DryRun = u.o.DryRun || r.DryRun
	u.finish(r)
	if !u.structured() {
		return u.out.err()
	}
	return u.object(normalize(r))
}

// Object writes any report as the one object on stdout, for Output json and
// yaml. The error is that of stdout, nil where its reader has gone away.
func (u *UI) Object(v any) error {
	u.drain()
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.object(v)
}

func (u *UI) object(v any) error {
	b, err := encode(v, u.o.Output)
	if err != nil {
		return err
	}
	u.erase()
	u.out.write(string(b))
	u.draw()
	return u.out.err()
}

func (u *UI) structured() bool { return u.o.Output != "" && u.o.Output != "text" }

// Pause clears what is live and holds back all output until resume is called:
// the terminal is the caller's, to ask something. Events go on being taken; no
// other method may be called before resume.
func (u *UI) Pause() (resume func()) {
	u.drain()
	u.mu.Lock()
	u.erase()
	var once sync.Once
	return func() {
		once.Do(func() {
			u.draw()
			u.mu.Unlock()
		})
	}
}

// Close writes what is still queued, clears what is live, and takes no more
// events. It waits for a writer that is slow. Error and Sync still write.
func (u *UI) Close() {
	u.queue.close()
	u.ending.Do(func() {
		close(u.stop)
		u.start.Do(func() { close(u.ended) })
		<-u.ended
		u.drain()
		u.mu.Lock()
		defer u.mu.Unlock()
		u.releaseWarnings()
		u.erase()
		u.closed = true
	})
}

// layout is the layout of what goes to s.
func (u *UI) layout(s *stream) layout {
	return layout{
		paint: s.paint, symbols: u.symbols, width: s.width(), names: u.run.names,
		verbose: u.o.Verbose > 0, dryRun: u.o.DryRun, typed: u.o.Typed, hinted: u.run.problems,
	}
}

// put writes permanent lines to a stream, above the live region. Lines for
// GitHub that are commands follow as they are.
func (u *UI) put(s *stream, lines []string, commands ...string) {
	if len(lines) == 0 && len(commands) == 0 {
		return
	}
	if u.github {
		for i := range lines {
			lines[i] = disarm(lines[i])
		}
	}
	u.erase()
	if len(lines) > 0 {
		s.write(strings.Join(lines, "\n") + "\n")
	}
	if u.github {
		u.err.write(strings.Join(commands, ""))
	}
	u.draw()
}
