package ui

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// region is the part of the terminal below what is permanent. The cursor rests
// at the start of the line under it, so that what others write (a credential
// plugin, the ^C of the terminal) begins a line, and is never hidden.
type region struct {
	lines []string // as they were drawn
}

// rows is how many rows the region takes on a terminal of w columns now: after
// it was made narrower, terminals break the lines that no longer fit.
func (r region) rows(w int) int {
	n := 0
	for _, line := range r.lines {
		n += max(1, (columns(line)+w-1)/w)
	}
	return n
}

// erase clears the region, so that permanent lines can be written: row by row
// from below, since tmux takes a screen that is cleared from its very top for
// one to keep in its history.
func (u *UI) erase() {
	if len(u.region.lines) > 0 {
		w, _ := u.size()
		u.err.write("\r\x1b[2K" + strings.Repeat("\x1b[1A\x1b[2K", u.region.rows(w)))
		u.region.lines = nil
	}
}

// draw brings the region up to date, in one write, if it has changed.
func (u *UI) draw() {
	if u.progress != "tty" || u.closed {
		return
	}
	w, h := u.size()
	lines := u.frame(w, h)
	if slices.Equal(lines, u.region.lines) {
		return
	}
	if len(lines) == 0 {
		u.erase()
		return
	}
	var b strings.Builder
	if n := u.region.rows(w); n > 0 {
		fmt.Fprintf(&b, "\x1b[%dA\r", n)
	}
	for _, line := range lines {
		b.WriteString("\x1b[2K" + line + "\n")
	}
	b.WriteString("\x1b[J")
	u.err.write(b.String())
	u.region.lines = lines
}

// size is that of the terminal behind stderr.
func (u *UI) size() (w, h int) {
	fd := -1
	if u.err.tty {
		fd, _ = terminal(u.err.w)
	}
	w, h = terminalSize(fd, u.o.Getenv)
	if u.o.Width != nil && u.o.Width() > 0 {
		w = u.o.Width()
	}
	if u.o.height != nil {
		h = u.o.height()
	}
	return max(w, 2), h
}

// tick shows what time alone changes.
func (u *UI) tick() {
	u.draw()
	for _, t := range u.run.tasks {
		u.speak(t)
	}
	u.speak(&u.run.whole)
}

// frame is what the region shows on a terminal of that size: a line for each
// Kustomization that is running, and what the others wait for. A line stays one
// column short of the edge, where some terminals would wrap it.
func (u *UI) frame(w, h int) []string {
	l := u.layout(&u.err)
	limit := max(h-2, 1)
	var live, waiting []*task
	for _, t := range u.run.tasks {
		switch t.state {
		case running:
			live = append(live, t)
		case queued:
			waiting = append(waiting, t)
		}
	}
	var lines []string
	for _, t := range live {
		lines = append(lines, u.running(l, l.head(l.paint.cyan(l.symbols.running), t.name), t, w-1))
	}
	if whole := &u.run.whole; len(live) == 0 && whole.state == running && whole.message != "" {
		lines = append(lines, u.running(l, l.paint.cyan(l.symbols.running)+" ", whole, w-1))
	}
	tail := u.waits(waiting, len(lines)+3 <= limit)
	if len(lines)+len(tail) > limit {
		keep := max(limit-len(tail)-1, 0)
		more := fmt.Sprintf("%s and %d more running", l.symbols.ellipsis, len(lines)-keep)
		if keep == 0 {
			more = fmt.Sprintf("%d running", len(lines))
		}
		tail = append([]string{more}, tail...)
		lines = lines[:keep]
		if keep == 0 {
			tail = []string{strings.Join(tail, ", ")}
		}
	}
	indent := spaces(columns(l.symbols.running) + 1)
	for _, s := range tail {
		lines = append(lines, cut(indent+s, w-1, l.symbols.ellipsis))
	}
	return lines
}

// running is one line of w columns at most, in the columns of the line that
// will replace it. The message gives way to the time.
func (u *UI) running(l layout, head string, t *task, w int) string {
	clock := ""
	if d := u.o.now().Sub(t.since); d >= time.Second {
		clock = elapsed(d)
	}
	at := columns(head)
	if t.name != "" && columns(t.message) <= countsColumns && at+countsColumns+secondsColumns <= w {
		line := head + pad(t.message, countsColumns) + spaces(secondsColumns-len(clock)) + clock
		return strings.TrimRight(line, " ")
	}
	if clock != "" {
		clock = "  " + clock
	}
	return cut(head+brief(t.message, w-at-len(clock), l.symbols.ellipsis)+clock, w, l.symbols.ellipsis)
}

// brief shortens a message. Of "what: how far" the end is what changes, so it
// stays where it takes no more than half of the room.
func brief(message string, w int, ellipsis string) string {
	if i := strings.LastIndex(message, ": "); i >= 0 && columns(message[i:]) <= w/2 {
		return cut(message[:i], w-columns(message[i:]), ellipsis) + message[i:]
	}
	return cut(message, w, ellipsis)
}

// waits sums up the Kustomizations whose turn has not come: "2 waiting for
// infra", each reason on a line of its own where there is room for it.
func (u *UI) waits(tasks []*task, room bool) []string {
	var order, all []string
	count := map[string]int{}
	for _, t := range tasks {
		open := u.open(t)
		for _, name := range open {
			if !slices.Contains(all, name) {
				all = append(all, name)
			}
		}
		reason := "queued"
		if len(open) > 0 {
			reason = "waiting for " + strings.Join(open, ", ")
		}
		if count[reason]++; count[reason] == 1 {
			order = append(order, reason)
		}
	}
	if len(order) > 1 && (!room || len(order) > 3) {
		return []string{fmt.Sprintf("%d waiting for %s", len(tasks), strings.Join(all, ", "))}
	}
	lines := make([]string, 0, len(order))
	for _, reason := range order {
		lines = append(lines, fmt.Sprintf("%d %s", count[reason], reason))
	}
	return lines
}

// open is what a queued Kustomization says that it waits for, less what has
// been done since.
func (u *UI) open(t *task) []string {
	names, ok := strings.CutPrefix(t.message, "waiting for ")
	if !ok {
		return nil
	}
	var open []string
	for _, name := range strings.Split(names, ", ") {
		if on := u.run.byName[name]; on == nil || on.state != done {
			open = append(open, name)
		}
	}
	return open
}
