package ui

import (
	"time"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/gitops"
)

// run is what the events have told so far.
type run struct {
	started  bool             // the first line is out
	warnings []gitops.Warning // that came before it
	warned   map[gitops.Warning]bool
	hinted   map[string]bool // by a warning
	problems map[string]bool // hints that problems have given

	whole  task // what is done for the run as a whole, until a Kustomization starts
	tasks  []*task
	byRef  map[flux.Ref]*task
	byName map[string]*task
	names  int // columns of the longest name
}

// task is a Kustomization on its way from queued to done.
type task struct {
	name    string
	state   state
	message string // what it does, or waits for
	since   time.Time
	told    bool // its report is out

	said   string // plain: the message that was printed last, and when
	saidAt time.Time
}

type state int

const (
	queued state = iota
	running
	done
)

func newRun() run {
	return run{
		warned: map[gitops.Warning]bool{}, hinted: map[string]bool{}, problems: map[string]bool{},
		byRef: map[flux.Ref]*task{}, byName: map[string]*task{},
	}
}

// name is how people type the Kustomization.
func (u *UI) name(ref flux.Ref) string {
	if ref.Namespace == u.o.Namespace {
		return cleanLine(ref.Name)
	}
	return cleanLine(ref.Namespace + "/" + ref.Name)
}

// task is the one of ref, which is made when it is new.
func (u *UI) task(ref flux.Ref) *task {
	if ref == (flux.Ref{}) {
		return &u.run.whole
	}
	t := u.run.byRef[ref]
	if t == nil {
		t = &task{name: u.name(ref)}
		u.run.byRef[ref] = t
		u.run.byName[t.name] = t
		u.run.tasks = append(u.run.tasks, t)
		u.run.names = max(u.run.names, columns(t.name))
	}
	return t
}

// handle shows one event.
func (u *UI) handle(e gitops.Event) {
	switch e.Type {
	case gitops.RunStarted:
		u.begin(e.Message)
	case gitops.KustomizationQueued:
		// What was done to plan it is over; its turn to be applied comes.
		if t := u.task(e.Kustomization); t.state != done {
			t.state, t.message, t.said = queued, cleanLine(e.Message), ""
		}
	case gitops.Progress:
		t := u.task(e.Kustomization)
		switch t.state {
		case done:
			return
		case queued:
			t.state, t.since = running, u.o.now()
			if t != &u.run.whole {
				u.run.whole.message = ""
			}
		}
		t.message = cleanLine(e.Message)
		u.speak(t)
	case gitops.ObjectDone:
		if t := u.task(e.Kustomization); u.o.Verbose > 1 && u.progress != "none" {
			l := u.layout(&u.err)
			u.put(&u.err, fold("", t.name+": "+l.change(e.Change), 4, l.width))
		}
	case gitops.KustomizationDone:
		t := u.task(e.Kustomization)
		t.state = done
		if e.Report != nil {
			u.conclude(t, *e.Report)
		}
	case gitops.WarningFound:
		u.warn(e.Warning)
	}
}

// begin writes the line that is always the first on stderr.
func (u *UI) begin(message string) {
	u.run.started = true
	w := u.err.width()
	lines := fold("", clean(message), 2, w)
	if u.o.DryRun {
		lines = append(lines, fold("", u.err.paint.bold("dry run:")+" nothing is written", 2, w)...)
	}
	u.put(&u.err, lines)
	u.releaseWarnings()
}

// conclude writes what became of a Kustomization: part of the answer, unless
// that is an object for scripts.
func (u *UI) conclude(t *task, k gitops.KustomizationReport) {
	if t.told {
		return
	}
	t.told = true
	to := &u.out
	if u.structured() {
		to = &u.err
	}
	var lines []string
	if to == &u.out || u.progress != "none" {
		lines = u.layout(to).kustomization(t.name, k)
	}
	var commands []string
	for _, p := range k.Problems {
		commands = append(commands, u.annotate("error", p))
	}
	if k.Status == gitops.StatusFailed && len(k.Problems) == 0 {
		commands = append(commands, annotation("error", "", 0, t.name+": "+say("failed", k.Message)))
	}
	u.put(to, lines, commands...)
}

func (u *UI) annotate(level string, p gitops.Problem) string {
	l := layout{}
	text := l.finding(gitops.Problem{Object: p.Object, Message: p.Message, Code: p.Code}, true)
	if p.Hint != "" {
		text += "\nhint: " + p.Hint
	}
	return annotation(level, p.File, p.Line, text)
}

// warn writes a warning once, and each hint once. What comes before the first
// line waits for it.
func (u *UI) warn(w gitops.Warning) {
	if u.run.warned[w] {
		return
	}
	u.run.warned[w] = true
	if !u.run.started {
		u.run.warnings = append(u.run.warnings, w)
		return
	}
	l := u.layout(&u.err)
	lines := l.warning(w)
	if w.Hint != "" && !u.run.hinted[w.Hint] {
		u.run.hinted[w.Hint] = true
		lines = append(lines, l.hint(2, w.Hint)...)
	}
	u.put(&u.err, lines, u.annotate("warning", gitops.Problem(w)))
}

func (u *UI) releaseWarnings() {
	u.run.started = true
	held := u.run.warnings
	u.run.warnings = nil
	for _, w := range held {
		delete(u.run.warned, w)
		u.warn(w)
	}
}

// finish tells what no event has told, and the last line.
func (u *UI) finish(r gitops.SyncReport) {
	u.releaseWarnings()
	for _, w := range r.Warnings {
		u.warn(w)
	}
	for _, k := range r.Kustomizations {
		u.task(flux.Ref{Namespace: k.Namespace, Name: k.Name})
	}
	for _, k := range r.Kustomizations {
		t := u.task(flux.Ref{Namespace: k.Namespace, Name: k.Name})
		t.state = done
		u.conclude(t, k)
	}
	for _, t := range u.run.tasks {
		t.state = done
	}
	u.run.whole.state = done
	to := &u.out
	if u.structured() {
		to = &u.err
	}
	if to == &u.out || u.progress != "none" {
		l := u.layout(to)
		u.put(to, fold("", l.summary(r), 2, l.width))
	}
}
