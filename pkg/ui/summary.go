package ui

import (
	"fmt"
	"strings"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/gitops"
)

// summary is the last line: "failed: 2 of 3 ready".
func (l layout) summary(r gitops.SyncReport) string {
	ready, suspended := 0, 0
	var written gitops.WrittenReport
	for _, k := range r.Kustomizations {
		switch k.Status {
		case gitops.StatusReady:
			ready++
		case gitops.StatusSuspended:
			suspended++
		}
		written.Created += k.Written.Created
		written.Configured += k.Written.Configured
		written.Recreated += k.Written.Recreated
		written.Deleted += k.Written.Deleted
	}
	what := "ready"
	if l.dryRun {
		what = "planned"
	}
	text := fmt.Sprintf(": %d of %d %s", ready, len(r.Kustomizations), what)
	if suspended > 0 {
		text += fmt.Sprintf(", %d suspended", suspended)
	}
	if l.dryRun {
		if counts := l.counts(written, ", "); counts != "" {
			text += ", " + counts
		} else if r.Result == gitops.Succeeded {
			text += ", nothing to change"
		}
	}
	if l.verbose {
		text += fmt.Sprintf(" (%s, %s)", seconds(r.Seconds), requests(r.Requests))
	}
	result := cleanLine(r.Result)
	if r.Result == gitops.Succeeded {
		return l.paint.green(result) + text
	}
	return l.paint.boldRed(result) + text
}

// requests is what the run asked of the API server, verb by verb.
func requests(r gitops.RequestReport) string {
	var parts []string
	for _, v := range []struct {
		verb string
		n    int64
	}{
		{"get", r.Get}, {"list", r.List}, {"watch", r.Watch}, {"patch", r.Patch},
		{"create", r.Create}, {"update", r.Update}, {"delete", r.Delete},
	} {
		if v.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", v.n, v.verb))
		}
	}
	s := plural(int(r.Total), "request")
	if len(parts) > 0 {
		s += ": " + strings.Join(parts, ", ")
	}
	return s
}
