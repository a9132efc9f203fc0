package ui

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/gitops"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
)

const (
	countsColumns  = 39 // what stands between the name and the seconds
	secondsColumns = 8
	maxNameColumns = 40 // longer names push the rest of their line to the right
	foldAbove      = 10 // changes of one action that are listed without -v
)

// layout turns reports into lines for people.
type layout struct {
	paint   paint
	symbols symbols
	width   int // columns; 0: nothing is wrapped
	names   int // columns of the longest name
	verbose bool
	dryRun  bool
	typed   string
	hinted  map[string]bool // what was said to type already; nil for nothing
}

// head is what a line about a Kustomization begins with.
func (l layout) head(symbol, name string) string {
	return symbol + " " + pad(name, min(l.names, maxNameColumns)) + "  "
}

// kustomization is the line that a Kustomization ends with, and below it what
// was changed and what is wrong.
func (l layout) kustomization(name string, k gitops.KustomizationReport) []string {
	verdict, mark := l.verdict(k)
	lines := l.row(l.head(mark, name), verdict, l.seconds(k))
	if counts := l.counts(k.Written, "  "); counts != "" && k.Status == gitops.StatusFailed {
		lines = append(lines, fold(spaces(4), counts, 4, l.width)...)
	}
	lines = append(lines, l.changes(k)...)
	return append(lines, l.problems(k.Problems)...)
}

// row puts the seconds in a column of their own where the text leaves it free.
func (l layout) row(head, text, seconds string) []string {
	last := text[strings.LastIndexByte(text, '\n')+1:]
	at := columns(head)
	fits := last == text && columns(text) <= countsColumns &&
		(l.width == 0 || at+countsColumns+secondsColumns <= l.width)
	switch {
	case seconds == "":
	case fits:
		text = pad(text, countsColumns) + spaces(secondsColumns-len(seconds)) + seconds
	default:
		text += "  " + seconds
	}
	return fold(head, text, at, l.width)
}

// verdict is the status in words, and its symbol.
func (l layout) verdict(k gitops.KustomizationReport) (text, symbol string) {
	message := strings.TrimSpace(clean(Typed(l.typed, k.Message)))
	switch k.Status {
	case gitops.StatusReady:
		counts := l.counts(k.Written, "  ")
		if counts == "" {
			counts = "no objects"
		}
		return counts, l.paint.green(l.symbols.ready)
	case gitops.StatusSkipped:
		return say("skipped", message), l.paint.magenta(l.symbols.failed)
	case gitops.StatusSuspended:
		return say("suspended", message), l.paint.magenta(l.symbols.suspended)
	}
	// The problems below say more than a message that repeats one of them.
	repeats := func(p gitops.Problem) bool {
		what := strings.TrimSpace(clean(p.Message))
		return what != "" && strings.Contains(message, what)
	}
	if len(k.Problems) > 0 && (message == "" || slices.ContainsFunc(k.Problems, repeats)) {
		message = plural(len(k.Problems), "problem")
		if k.Reason != "" {
			message += " (" + cleanLine(k.Reason) + ")"
		}
	}
	text = strings.TrimPrefix(say("failed", message), "failed")
	return l.paint.boldRed("failed") + text, l.paint.boldRed(l.symbols.failed)
}

// say is "status: message", where the message does not begin with it already.
func say(status, message string) string {
	switch {
	case message == "":
		return status
	case strings.HasPrefix(message, status):
		return message
	}
	return status + ": " + message
}

func (l layout) seconds(k gitops.KustomizationReport) string {
	if k.Status == gitops.StatusSkipped || k.Status == gitops.StatusSuspended {
		return ""
	}
	return seconds(k.Seconds)
}

// counts is "3 created  38 unchanged", of a dry run "3 to create  38 unchanged".
func (l layout) counts(w gitops.WrittenReport, separator string) string {
	var parts []string
	for _, c := range actionCounts(w) {
		if c.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", c.n, l.word(c.action)))
		}
	}
	return strings.Join(parts, separator)
}

type actionCount struct {
	action string
	n      int
}

// actionCounts has every action in the order in which people are told of it.
func actionCounts(w gitops.WrittenReport) []actionCount {
	return []actionCount{
		{"created", w.Created}, {"configured", w.Configured}, {"recreated", w.Recreated}, {"deleted", w.Deleted},
		{"failed", w.Failed}, {"skipped", w.Skipped}, {"unchanged", w.Unchanged},
	}
}

// word is the action as it is said: a dry run has done nothing yet.
func (l layout) word(action string) string {
	if l.dryRun {
		switch action {
		case "created", "configured", "recreated":
			return "to " + strings.TrimSuffix(action, "d")
		case "deleted":
			return "to delete"
		}
	}
	return action
}

// changes lists what was done, action by action.
func (l layout) changes(k gitops.KustomizationReport) []string {
	byAction := map[string][]gitops.ChangeReport{}
	for _, c := range k.Changes {
		if c.Action != "failed" || !told(c, k.Problems) {
			byAction[c.Action] = append(byAction[c.Action], c)
		}
	}
	var lines []string
	for _, a := range actionCounts(k.Written) {
		all := byAction[a.action]
		if a.action == "unchanged" {
			continue
		}
		if a.action == "skipped" && !l.verbose {
			var folded []string
			folded, all = l.foldSkipped(all)
			lines = append(lines, folded...)
		}
		shown := all
		// A line that says "and 1 more" would take the place of that one.
		if !l.verbose && len(all) > foldAbove+1 {
			shown = all[:foldAbove]
		}
		for _, c := range shown {
			lines = append(lines, fold(spaces(4), l.change(c), 6, l.width)...)
		}
		if rest := len(all) - len(shown); rest > 0 {
			more := fmt.Sprintf("%s and %d more %s (-v lists them)", l.symbols.ellipsis, rest, l.word(a.action))
			lines = append(lines, fold(spaces(4), more, 6, l.width)...)
		}
	}
	return lines
}

// skipAbove is how many objects may be skipped for one reason before a line
// says it for all of them: they are skipped each time.
const skipAbove = 2

// foldSkipped gives a line for each reason that many share, and the rest.
func (l layout) foldSkipped(all []gitops.ChangeReport) (lines []string, rest []gitops.ChangeReport) {
	n := map[string]int{}
	for _, c := range all {
		n[c.Message]++
	}
	said := map[string]bool{}
	for _, c := range all {
		switch {
		case n[c.Message] <= skipAbove:
			rest = append(rest, c)
		case !said[c.Message]:
			said[c.Message] = true
			text := fmt.Sprintf("%d %s: %s (-v lists them)", n[c.Message], l.actionColor("skipped")("skipped"), clean(c.Message))
			lines = append(lines, fold(spaces(4), text, 6, l.width)...)
		}
	}
	return lines, rest
}

// change is "deployment.apps/web configured (shop)", with the reason where the
// action does not explain itself.
func (l layout) change(c gitops.ChangeReport) string {
	id := changeID(c)
	s := cleanLine(id.Short()) + " " + l.actionColor(c.Action)(l.word(c.Action))
	if id.Namespace != "" {
		s += " (" + cleanLine(id.Namespace) + ")"
	}
	explains := c.Action == "created" || c.Action == "configured" || c.Action == "deleted"
	if c.Message != "" && (l.verbose || !explains) {
		s += ": " + clean(c.Message)
	}
	return s
}

func (l layout) actionColor(action string) func(string) string {
	switch action {
	case "created":
		return l.paint.green
	case "configured":
		return l.paint.cyan
	case "recreated":
		return l.paint.magenta
	case "skipped":
		return func(s string) string { return s }
	}
	return l.paint.red
}

func changeID(c gitops.ChangeReport) object.ID {
	return object.ID{Group: c.Group, Kind: c.Kind, Namespace: c.Namespace, Name: c.Name}
}

// told reports whether a problem names the object of c already.
func told(c gitops.ChangeReport, problems []gitops.Problem) bool {
	id := changeID(c)
	return slices.ContainsFunc(problems, func(p gitops.Problem) bool {
		return p.Object == id.String() || p.Object == id.Short() || strings.Contains(p.Message, id.String())
	})
}

// seconds is a duration as people read it: 0.9s, 1m05s, 2h03m.
func seconds(s float64) string {
	if s = max(s, 0); math.Round(s*10) < 600 {
		return fmt.Sprintf("%.1fs", s)
	}
	return elapsed(time.Duration(math.Round(s)) * time.Second)
}

// elapsed is seconds for what is still running: whole ones.
func elapsed(d time.Duration) string {
	s := int(max(d, 0) / time.Second)
	switch {
	case s < 60:
		return fmt.Sprintf("%ds", s)
	case s < 3600:
		return fmt.Sprintf("%dm%02ds", s/60, s%60)
	}
	return fmt.Sprintf("%dh%02dm", s/3600, s/60%60)
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
