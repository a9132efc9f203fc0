package gitops

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cluster"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
)

// What an explanation costs at most.
const (
	explainTimeout = 10 * time.Second // for all of a Kustomization
	renderTimeout  = time.Minute      // before that, for what was not rendered yet
	logsTimeout    = 3 * time.Second  // for the logs of one container: the kubelet may not answer
	explained      = 5                // objects
	logLines       = 10
	eventLines     = 3
	lineBytes      = 300
)

// unhealthy is an object that did not become healthy.
type unhealthy struct {
	id   object.ID
	why  string // "not ready within 5m0s: Available: 0/1"
	live *unstructured.Unstructured

	detail []string
	hint   string
}

func (e *unhealthy) Error() string { return fmt.Sprintf("%s: %s", e.id, e.why) }

// Hint is the command to look further.
func (e *unhealthy) Hint() string { return e.hint }

// explain adds to each unhealthy object in err what a person would look for:
// its conditions, the pod and the container at fault, their last words, recent
// Events, and the command that shows more. Whatever cannot be had is left out.
func (t *task) explain(ctx context.Context, err error) {
	if errors.Is(ctx.Err(), context.Canceled) {
		return // nobody waits for it any more
	}
	secrets, unread := t.r.secrets()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), explainTimeout)
	defer cancel()
	for i, e := range unhealthyIn(err) {
		if i == explained {
			return
		}
		t.e.progress(t.Ref, "looking at "+e.id.String())
		if unread != nil {
			e.detail = []string{"more is not shown, since it may quote a Secret that cannot be read here: " + oneLine(unread)}
			continue
		}
		t.look(ctx, e)
		for j, line := range e.detail {
			e.detail[j] = cut(object.Mask(line, secrets))
		}
		e.why = object.Mask(e.why, secrets)
	}
}

func unhealthyIn(err error) []*unhealthy {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var out []*unhealthy
		for _, e := range joined.Unwrap() {
			out = append(out, unhealthyIn(e)...)
		}
		return out
	}
	var e *unhealthy
	if errors.As(err, &e) {
		return []*unhealthy{e}
	}
	return nil
}

// look fills in the detail of e. It looks as oneself: whoever runs this wants to
// know, whatever a ServiceAccount may see.
func (t *task) look(ctx context.Context, e *unhealthy) {
	c := t.cluster.Self()
	e.hint = fmt.Sprintf("kubectl%s describe %s", namespaced(e.id), e.id.Short())
	if e.live == nil {
		return
	}
	for _, condition := range object.Unhappy(e.live) {
		if !strings.Contains(e.why, condition) {
			e.detail = append(e.detail, condition)
		}
	}
	t.events(ctx, c, e, e.id)
	list, err := c.Pods(ctx, e.live)
	if err != nil {
		e.detail = append(e.detail, "its pods cannot be listed: "+oneLine(err))
		return
	}
	pod, trouble := worst(list)
	if pod == nil {
		return
	}
	id := object.IDOf(pod)
	where := id.Short()
	if trouble.Container != "" {
		where += ", container " + trouble.Container
	}
	e.detail = append(e.detail, where+": "+trouble.Text)
	if id != e.id {
		t.events(ctx, c, e, id)
		e.hint = fmt.Sprintf("kubectl%s describe %s", namespaced(id), id.Short())
	}
	if !trouble.Logs {
		return
	}
	previous := ""
	if trouble.Previous {
		previous = " --previous"
	}
	e.hint = fmt.Sprintf("kubectl%s logs %s -c %s%s", namespaced(id), id.Short(), trouble.Container, previous)
	lctx, cancel := context.WithTimeout(ctx, logsTimeout)
	defer cancel()
	data, err := c.Logs(lctx, id.Namespace, id.Name, trouble.Container, trouble.Previous, logLines)
	if err != nil {
		e.detail = append(e.detail, "its logs cannot be read: "+oneLine(err))
		return
	}
	if len(data) == 0 {
		e.detail = append(e.detail, "it has left no logs")
	}
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimRight(line, "\r\n"); line != "" {
			e.detail = append(e.detail, "| "+line)
		}
	}
}

func (t *task) events(ctx context.Context, c *cluster.Cluster, e *unhealthy, id object.ID) {
	found, err := c.Events(ctx, id, eventLines)
	if err != nil {
		return
	}
	for _, h := range found {
		if h.Type == "Normal" {
			continue // all goes well as far as that one knows
		}
		line := fmt.Sprintf("event: %s: %s", h.Reason, strings.Join(strings.Fields(h.Message), " "))
		if h.Count > 1 {
			line += fmt.Sprintf(" (%d times)", h.Count)
		}
		e.detail = append(e.detail, line)
	}
}

// worst is the pod that tells most: the newest whose container has failed, else
// the newest with any trouble.
func worst(pods []*unstructured.Unstructured) (*unstructured.Unstructured, object.Trouble) {
	var pod *unstructured.Unstructured
	var trouble object.Trouble
	for _, p := range pods {
		if p.GetDeletionTimestamp() != nil {
			continue
		}
		found, ok := object.PodTrouble(p)
		if ok && (pod == nil || found.Logs && !trouble.Logs) {
			pod, trouble = p, found
		}
	}
	return pod, trouble
}

// secretValues are the values of the run that are not to be shown: what an
// application writes to its log may be one of them. What was not rendered, since
// nothing had changed, is rendered for them.
func (e *Engine) secretValues(ctx context.Context, r *Run) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, renderTimeout)
	defer cancel()
	var values []string
	for _, p := range r.Kustomizations {
		if p.recalled != nil {
			if p = e.apart(ctx, p); len(p.Problems) > 0 {
				return nil, errors.New(p.Problems[0].Message)
			}
		}
		for _, v := range p.secrets(object.Object{}) {
			if len(v) >= object.Within {
				values = append(values, v)
			}
		}
		for _, o := range p.objects {
			values = append(values, object.SecretValues(o.Unstructured)...)
		}
	}
	return values, nil
}

func namespaced(id object.ID) string {
	if id.Namespace == "" {
		return ""
	}
	return " -n " + id.Namespace
}

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

func cut(line string) string {
	if len(line) <= lineBytes {
		return line
	}
	return strings.ToValidUTF8(line[:lineBytes], "") + "…"
}
