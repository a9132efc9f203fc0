package gitops

import (
	"context"
	"fmt"
	"strings"
)

// leaveWord leaves an Event of what this run wrote of t; where it wrote nothing
// there is none.
func (t *task) leaveWord(ctx context.Context) {
	var done []string
	for _, a := range []struct {
		word string
		n    int
	}{
		{"created", t.report.Written.Created}, {"configured", t.report.Written.Configured},
		{"recreated", t.report.Written.Recreated}, {"deleted", t.report.Written.Deleted},
	} {
		if a.n > 0 {
			done = append(done, fmt.Sprintf("%d %s", a.n, a.word))
		}
	}
	if len(done) == 0 || lost(ctx) {
		return
	}
	note := fmt.Sprintf("%s by %s: %s", strings.Join(done, ", "), t.e.Actor, t.report.Message)
	ectx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	if err := t.e.Cluster.Event(ectx, t.Ref, t.record.Live, t.report.Status != StatusReady, t.report.Reason, note, t.e.Actor.Host); err != nil {
		t.r.warn(t.e, Warning{Code: "event", Object: t.Ref.String(), Message: err.Error(), Hint: hintOf(err)})
	}
}
