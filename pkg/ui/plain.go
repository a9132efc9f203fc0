package ui

import "time"

const (
	// What is over sooner is told by its line at the end alone.
	plainFirst = 2 * time.Second
	// A Kustomization speaks up again when what it does has changed, and it has
	// been silent for that long.
	plainEvery = 5 * time.Second
	// It repeats itself after that long, so that a log shows that it goes on.
	plainStill = 30 * time.Second
)

// speak writes a line on what t does, where there is no live region. It keeps
// quiet before the first line is out, which names the cluster.
func (u *UI) speak(t *task) {
	if u.progress != "plain" || u.closed || !u.run.started || t.state != running || t.message == "" {
		return
	}
	now := u.o.now()
	silent := now.Sub(t.saidAt)
	text := t.message
	switch {
	case t.said == "" && now.Sub(t.since) < u.o.first:
		return
	case t.said == "":
	case t.said != t.message && silent >= plainEvery:
	case silent >= plainStill && (t != &u.run.whole || !u.anyRunning()):
		text += " (" + elapsed(now.Sub(t.since)) + ")"
	default:
		return
	}
	t.said, t.saidAt = t.message, now
	if t.name != "" {
		text = t.name + ": " + text
	}
	u.put(&u.err, fold("", text, 2, u.err.width()))
}

func (u *UI) anyRunning() bool {
	for _, t := range u.run.tasks {
		if t.state == running {
			return true
		}
	}
	return false
}
