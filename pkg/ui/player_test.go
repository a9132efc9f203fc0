package ui

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/gitops"
)

var update = flag.Bool("update", false, "write the goldens in testdata")

// golden holds got to testdata/name. Escape characters are shown as ␛.
func golden(t *testing.T, name, got string) {
	t.Helper()
	got = strings.ReplaceAll(got, "\x1b", "␛")
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", path, got, want)
	}
}

// transcript records two streams in the order of what was written: lines of
// stdout begin with "1 ", those of stderr with "2 ".
type transcript struct {
	lines []string
}

func (tr *transcript) stream(mark string) *tape { return &tape{tr: tr, mark: mark} }

func (tr *transcript) String() string { return strings.Join(tr.lines, "\n") + "\n" }

type tape struct {
	tr   *transcript
	mark string
	rest string
}

func (t *tape) Write(b []byte) (int, error) {
	t.rest += string(b)
	for {
		line, rest, ok := strings.Cut(t.rest, "\n")
		if !ok {
			return len(b), nil
		}
		t.tr.lines = append(t.tr.lines, t.mark+line)
		t.rest = rest
	}
}

// player feeds events to a UI, one after another, on a clock of its own.
type player struct {
	ui  *UI
	now time.Time
	// after is called when an event, or a second without one, has been shown.
	after func(what string)
}

func env(pairs ...string) func(string) string {
	m := map[string]string{"LANG": "C.UTF-8", "TERM": "xterm"}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return func(name string) string { return m[name] }
}

func columnsOf(n int) func() int { return func() int { return n } }

func newPlayer(o Options) *player {
	p := &player{now: time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)}
	o.now = func() time.Time { return p.now }
	if o.Getenv == nil {
		o.Getenv = env()
	}
	p.ui = New(o)
	return p
}

func (p *player) event(what string, e gitops.Event) {
	p.ui.mu.Lock()
	p.ui.handle(e)
	p.ui.tick()
	p.ui.mu.Unlock()
	if p.after != nil {
		p.after(what)
	}
}

func (p *player) begin(message string) {
	p.event("started", gitops.Event{Type: gitops.RunStarted, Message: message})
}

func (p *player) queue(message string, names ...string) {
	for _, name := range names {
		p.event("queued "+name, gitops.Event{Type: gitops.KustomizationQueued, Kustomization: ref(name), Message: message})
	}
}

func (p *player) progress(name, message string) {
	p.event(name+": "+message, gitops.Event{Type: gitops.Progress, Kustomization: ref(name), Message: message})
}

func (p *player) done(k gitops.KustomizationReport) {
	p.event(k.Name+" done", gitops.Event{Type: gitops.KustomizationDone, Kustomization: flux.Ref{Namespace: k.Namespace, Name: k.Name}, Report: &k})
}

func (p *player) warning(w gitops.Warning) {
	p.event("warning "+w.Code, gitops.Event{Type: gitops.WarningFound, Warning: w})
}

func (p *player) wait(d time.Duration) {
	p.now = p.now.Add(d)
	p.ui.mu.Lock()
	p.ui.tick()
	p.ui.mu.Unlock()
	if p.after != nil {
		p.after(fmt.Sprintf("%s later", d))
	}
}

func ref(name string) flux.Ref {
	if name == "" {
		return flux.Ref{}
	}
	if ns, n, ok := strings.Cut(name, "/"); ok {
		return flux.Ref{Namespace: ns, Name: n}
	}
	return flux.Ref{Namespace: "flux-system", Name: name}
}
