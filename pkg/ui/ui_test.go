package ui

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/gitops"
)

// stuck is a writer that takes nothing until it is released.
type stuck struct {
	entered  chan struct{} // gets a token when a write has begun
	released chan struct{}
	text     bytes.Buffer
}

func newStuck() *stuck {
	return &stuck{entered: make(chan struct{}, 1), released: make(chan struct{})}
}

func (s *stuck) Write(b []byte) (int, error) {
	select {
	case s.entered <- struct{}{}:
	default:
	}
	<-s.released
	return s.text.Write(b)
}

func TestStuckWriterBlocksNoEmitterAndLosesNothing(t *testing.T) {
	w := newStuck()
	u := New(Options{Out: w, Err: w, Getenv: env(), Progress: "plain", first: 1})
	sink := u.Sink()
	sink(gitops.Event{Type: gitops.RunStarted, Message: firstLine})
	<-w.entered

	const ks = 20
	var wg sync.WaitGroup
	for i := range ks {
		wg.Go(func() {
			k := kustomization(fmt.Sprintf("k%02d", i), "ready", 1, 3)
			for n := range 1000 {
				sink(gitops.Event{Type: gitops.Progress, Kustomization: ref(k.Name), Message: fmt.Sprintf("step %d", n)})
			}
			sink(gitops.Event{Type: gitops.WarningFound, Warning: gitops.Warning{Code: k.Name, Message: "odd"}})
			sink(gitops.Event{Type: gitops.KustomizationDone, Kustomization: ref(k.Name), Report: &k})
		})
	}
	wg.Wait()
	if n := u.queue.events.Len(); n != 3*ks {
		t.Errorf("%d events wait, want the last progress, the warning and the report of each: %d", n, 3*ks)
	}
	close(w.released)
	u.Close()
	for i := range ks {
		name := fmt.Sprintf("k%02d", i)
		at := -1
		for _, want := range []string{name + ": step 999\n", "warning: odd (" + name + ")\n", "✔ " + name} {
			next := strings.Index(w.text.String(), want)
			if next <= at {
				t.Errorf("%q is missing or out of order", want)
			}
			at = next
		}
	}
}

func TestConcurrentEmittersKeepTheirOrder(t *testing.T) {
	for _, progress := range []string{"plain", "tty"} {
		var tr transcript
		u := New(Options{Out: tr.stream("1 "), Err: tr.stream("2 "), Getenv: env(), Progress: progress, Verbose: 2})
		sink := u.Sink()
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for n := range 200 {
					sink(gitops.Event{Type: gitops.Progress, Kustomization: ref(fmt.Sprint("k", i)), Message: "working"})
					sink(gitops.Event{Type: gitops.ObjectDone, Kustomization: ref(fmt.Sprint("k", i)),
						Change: change("created", "", "ConfigMap", "", fmt.Sprintf("c%03d", n), "")})
				}
			})
			wg.Go(func() { u.Error(errors.New("in between")) })
		}
		wg.Wait()
		u.Close()
		for i := range 8 {
			var got []string
			for _, line := range tr.lines {
				if _, rest, ok := strings.Cut(line, fmt.Sprintf("k%d: configmap/", i)); ok {
					got = append(got, rest)
				}
			}
			if len(got) != 200 || !slices.IsSorted(got) {
				t.Errorf("%s: k%d: %d lines, sorted %t", progress, i, len(got), slices.IsSorted(got))
			}
		}
	}
}

func TestClosedUI(t *testing.T) {
	var out, err bytes.Buffer
	u := New(Options{Out: &out, Err: &err, Getenv: env(), Progress: "tty"})
	sink := u.Sink()
	sink(gitops.Event{Type: gitops.Progress, Kustomization: ref("apps"), Message: "rendering"})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(u.Close)
	}
	wg.Wait()
	sink(gitops.Event{Type: gitops.WarningFound, Warning: gitops.Warning{Message: "too late"}})
	u.Error(errors.New("still said"))
	if got := err.String(); strings.Contains(got, "too late") || !strings.HasSuffix(got, "error: still said\n") {
		t.Errorf("stderr: %q", got)
	}
	New(Options{Getenv: env()}).Close() // never used, no streams
}

// failing takes some bytes, then fails.
type failing struct {
	left int
	err  error
}

func (f *failing) Write(b []byte) (int, error) {
	if len(b) > f.left {
		return 0, f.err
	}
	f.left -= len(b)
	return len(b), nil
}

func TestFailingStdout(t *testing.T) {
	full := errors.New("no space left on device")
	for _, tt := range []struct {
		name string
		err  error
		want error
	}{
		{"closed pipe", &os.PathError{Op: "write", Path: "/dev/stdout", Err: syscall.EPIPE}, nil},
		{"closed in process", io.ErrClosedPipe, nil},
		{"full disk", full, full},
	} {
		for _, output := range []string{"", "json", "yaml"} {
			t.Run(tt.name+" "+output, func(t *testing.T) {
				var stderr bytes.Buffer
				out := &failing{left: 10, err: tt.err}
				p := newPlayer(Options{Out: out, Err: &stderr, Output: output})
				p.done(infra())
				p.done(apps())
				if err := p.ui.Sync(report(gitops.Succeeded, infra(), apps())); !errors.Is(err, tt.want) {
					t.Errorf("got %v, want %v", err, tt.want)
				}
				p.ui.Error(errors.New("stderr goes on"))
				if !strings.Contains(stderr.String(), "stderr goes on") {
					t.Errorf("stderr: %q", stderr.String())
				}
			})
		}
	}
}

func TestClosedPipeOfTheSystem(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	r.Close()
	p := newPlayer(Options{Out: w, Err: w})
	p.begin(firstLine)
	p.done(infra())
	if err := p.ui.Sync(report(gitops.Succeeded, infra())); err != nil {
		t.Error(err)
	}
	p.ui.Error(errors.New("nobody listens"))
	p.ui.Close()
}

func TestFailingStderrLeavesTheAnswer(t *testing.T) {
	var out bytes.Buffer
	p := newPlayer(Options{Out: &out, Err: &failing{err: syscall.EPIPE}, Progress: "tty"})
	p.begin(firstLine)
	p.progress("infra", "rendering")
	p.done(infra())
	if err := p.ui.Sync(report(gitops.Succeeded, infra())); err != nil {
		t.Error(err)
	}
	if !strings.HasSuffix(out.String(), "succeeded: 1 of 1 ready\n") {
		t.Errorf("stdout: %q", out.String())
	}
}

// What no event told, because it was lost with a failed run, the report tells.
func TestReportFillsTheGaps(t *testing.T) {
	var tr transcript
	p := newPlayer(Options{Out: tr.stream("1 "), Err: tr.stream("2 "), Color: "never", Verbose: 1})
	p.done(infra())
	r := report(gitops.Interrupted, infra(), apps())
	r.Warnings = []gitops.Warning{hpaWarning}
	if err := p.ui.Sync(r); err != nil {
		t.Fatal(err)
	}
	golden(t, "report_fills_gaps.txt", tr.String())
}

func TestDryRunIsKnownFromTheReport(t *testing.T) {
	var tr transcript
	p := newPlayer(Options{Out: tr.stream("1 "), Err: tr.stream("2 ")})
	r := report(gitops.Succeeded, apps())
	r.DryRun = true
	if err := p.ui.Sync(r); err != nil {
		t.Fatal(err)
	}
	golden(t, "dryrun_report.txt", tr.String())
}

func TestNothingIsNullInJSON(t *testing.T) {
	var out bytes.Buffer
	p := newPlayer(Options{Out: &out, Output: "json"})
	k := gitops.KustomizationReport{Name: "apps", Message: "a \x9b31m\u009b <&> \x1b[31m"}
	in := []gitops.KustomizationReport{k}
	if err := p.ui.Sync(gitops.SyncReport{Kustomizations: in}); err != nil {
		t.Fatal(err)
	}
	golden(t, "empty.json", out.String())
	if in[0].Changes != nil {
		t.Error("the caller's report was changed")
	}
	out.Reset()
	if err := p.ui.Sync(gitops.SyncReport{}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), `"kustomizations": []`) {
		t.Error(out.String())
	}
	p.ui.o.Output = "name"
	if err := p.ui.Object(1); err == nil {
		t.Error("an output that there is none for was taken")
	}
}

// A log gets a line when a Kustomization starts, then at most one in five
// seconds, and one in thirty where nothing changes.
func TestPlainProgressIsNoWallOfLog(t *testing.T) {
	var tr transcript
	p := newPlayer(Options{Err: tr.stream(""), Progress: "plain"})
	p.begin(firstLine)
	p.queue("", "apps")
	for i := range 100 {
		p.progress("apps", fmt.Sprintf("applying %d of 200", i))
		p.wait(time.Second / 10)
	}
	p.progress("apps", "waiting for deployment.apps/web in shop: 1 of 2 available")
	for range 70 {
		p.wait(time.Second)
	}
	p.done(kustomization("apps", "ready", 80, 3))
	p.wait(time.Minute)
	p.ui.Close()
	golden(t, "plain_pace.txt", tr.String())
}

func TestPauseLeavesTheTerminalToTheCaller(t *testing.T) {
	s := newScreen(80, 10)
	u := New(Options{Out: s, Err: s, Getenv: env(), Progress: "tty", Width: columnsOf(80)})
	sink := u.Sink()
	sink(gitops.Event{Type: gitops.Progress, Kustomization: ref("apps"), Message: "planning"})
	resume := u.Pause()
	sink(gitops.Event{Type: gitops.WarningFound, Warning: gitops.Warning{Message: "meanwhile"}})
	fmt.Fprint(s, "go on? ")
	if got := s.String(); got != "go on?\n" {
		t.Errorf("while paused:\n%s", got)
	}
	fmt.Fprint(s, "y\n")
	resume()
	resume()
	u.Close()
	if got, want := s.String(), "go on? y\nwarning: meanwhile\n\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
