package object

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Trouble is what keeps a pod from being ready, as its own status tells it.
type Trouble struct {
	// Container is the one at fault; "" where it is the pod as a whole.
	Container string
	// Text says it: "CrashLoopBackOff: back-off 40s restarting failed container; exit code 1, 4 restarts".
	Text string
	// Logs says that the container has run, and so may have left logs; Previous
	// that they are those of its last run rather than of the present one.
	Logs, Previous bool
}

// PodTrouble finds what keeps a pod from being ready, false where nothing does.
func PodTrouble(pod *unstructured.Unstructured) (Trouble, bool) {
	for _, field := range []string{"initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"} {
		statuses, _, _ := unstructured.NestedSlice(pod.Object, "status", field)
		for _, s := range statuses {
			s, _ := s.(map[string]any)
			if t, ok := containerTrouble(s, field == "initContainerStatuses"); ok {
				return t, true
			}
		}
	}
	conditions, _, _ := unstructured.NestedSlice(pod.Object, "status", "conditions")
	for _, c := range conditions {
		c, _ := c.(map[string]any)
		if c["type"] == "PodScheduled" && c["status"] == "False" {
			return Trouble{Text: said(text(c, "reason"), text(c, "message"))}, true
		}
	}
	reason, _, _ := unstructured.NestedString(pod.Object, "status", "reason")
	message, _, _ := unstructured.NestedString(pod.Object, "status", "message")
	phase, _, _ := unstructured.NestedString(pod.Object, "status", "phase")
	switch {
	case reason != "" || message != "": // evicted, and the like
		return Trouble{Text: said(reason, message)}, true
	case phase == "Pending", phase == "Failed", phase == "Unknown":
		return Trouble{Text: "is " + strings.ToLower(phase)}, true
	}
	return Trouble{}, false
}

func containerTrouble(s map[string]any, init bool) (Trouble, bool) {
	t := Trouble{Container: text(s, "name")}
	last, _, _ := unstructured.NestedMap(s, "lastState", "terminated")
	restarts, _ := s["restartCount"].(int64)
	if waiting, ok, _ := unstructured.NestedMap(s, "state", "waiting"); ok {
		reason := text(waiting, "reason")
		if reason == "" || reason == "PodInitializing" || reason == "ContainerCreating" && text(waiting, "message") == "" {
			return t, false
		}
		t.Text = said(reason, text(waiting, "message"))
		t.Previous = last != nil || restarts > 0
		t.Logs = t.Previous
		t.Text += ended(last, restarts)
		return t, true
	}
	if over, ok, _ := unstructured.NestedMap(s, "state", "terminated"); ok {
		if code, _ := over["exitCode"].(int64); code == 0 && text(over, "reason") != "Error" {
			return t, false
		}
		t.Text, t.Logs = said(text(over, "reason"), text(over, "message"))+ended(over, restarts), true
		return t, true
	}
	ready, _ := s["ready"].(bool)
	if running, ok, _ := unstructured.NestedMap(s, "state", "running"); ok && running != nil && !ready && !init {
		t.Text, t.Logs = "is running, and not ready", true
		if last != nil {
			t.Text += ended(last, restarts)
		}
		return t, true
	}
	return t, false
}

// ended says how a run of a container ended, and how often it was begun anew.
func ended(run map[string]any, restarts int64) string {
	var parts []string
	if run != nil {
		code, _ := run["exitCode"].(int64)
		how := fmt.Sprintf("exit code %d", code)
		if reason := text(run, "reason"); reason != "" && reason != "Error" && reason != "Completed" {
			how = reason + ", " + how // OOMKilled says more than 137
		}
		parts = append(parts, how)
	}
	if restarts > 0 {
		parts = append(parts, fmt.Sprintf("%d restarts", restarts))
	}
	if len(parts) == 0 {
		return ""
	}
	return "; " + strings.Join(parts, ", ")
}

// Unhappy are the conditions of an object that say no, or that something is
// wrong: "Available is False: MinimumReplicasUnavailable: 0 of 3".
func Unhappy(u *unstructured.Unstructured) []string {
	if u == nil {
		return nil
	}
	conditions, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	var out []string
	for _, c := range conditions {
		c, _ := c.(map[string]any)
		typ, state := text(c, "type"), text(c, "status")
		bad := state == "False"
		for _, word := range []string{"Failed", "Failure", "Stalled", "Error", "Degraded", "Pressure", "NotReady", "Progressing", "Reconciling", "Suspended", "Dangling"} {
			if strings.Contains(typ, word) {
				bad = state == "True" // such a condition is bad news when it is true
			}
		}
		if typ == "Progressing" {
			bad = state == "False"
		}
		if bad {
			out = append(out, fmt.Sprintf("%s is %s: %s", typ, state, said(text(c, "reason"), text(c, "message"))))
		}
	}
	return out
}

// PodSelector is the label selector of the pods of a workload, "" for what has
// none.
func PodSelector(u *unstructured.Unstructured) string {
	switch u.GroupVersionKind().Group {
	case "apps", "batch":
	default:
		return ""
	}
	labels, _, _ := unstructured.NestedStringMap(u.Object, "spec", "selector", "matchLabels")
	var parts []string
	for k, v := range labels {
		parts = append(parts, k+"="+v)
	}
	return strings.Join(parts, ",")
}

func text(m map[string]any, key string) string {
	s, _ := m[key].(string)
	return s
}

// said joins a reason in one word and a message, either of which may be missing.
func said(reason, message string) string {
	message = strings.Join(strings.Fields(message), " ")
	switch {
	case reason == "":
		return message
	case message == "" || strings.HasPrefix(message, reason):
		return strings.TrimSpace(strings.Join([]string{reason, strings.TrimPrefix(message, reason)}, ""))
	}
	return reason + ": " + message
}
