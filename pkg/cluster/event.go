package cluster

import (
	"context"
	"strings"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
)

var events = Resource{schema.GroupVersionResource{Group: "events.k8s.io", Version: "v1", Resource: "events"}, "Event", true}

// maxNote is how long the API lets the note of an Event be.
const maxNote = 1024

// Event leaves word of what was done to a Kustomization: on it, or on the
// ConfigMap that stands in for it. live is nil for the latter; by names who did
// it, reason is a word of Flux's.
func (c *Cluster) Event(ctx context.Context, ref flux.Ref, live *unstructured.Unstructured, warning bool, reason, note, by string) error {
	e := eventsv1.Event{
		TypeMeta:            metav1.TypeMeta{APIVersion: "events.k8s.io/v1", Kind: "Event"},
		ObjectMeta:          metav1.ObjectMeta{GenerateName: ref.Name + "-", Namespace: ref.Namespace, Labels: map[string]string{managedBy: managedByUs}},
		EventTime:           metav1.NewMicroTime(c.now()),
		ReportingController: managedByUs, ReportingInstance: by, Action: "Sync", Reason: reason, Note: note, Type: corev1.EventTypeNormal,
		Regarding: corev1.ObjectReference{APIVersion: "v1", Kind: "ConfigMap", Namespace: ref.Namespace, Name: recordPrefix + ref.Name},
	}
	if warning {
		e.Type = corev1.EventTypeWarning
	}
	if len(e.Note) > maxNote {
		e.Note = strings.ToValidUTF8(e.Note[:maxNote-len("…")], "") + "…"
	}
	if len(e.ReportingInstance) > 128 { // as the API allows
		e.ReportingInstance = strings.ToValidUTF8(e.ReportingInstance[:128], "")
	}
	if live != nil {
		e.Regarding = corev1.ObjectReference{APIVersion: live.GetAPIVersion(), Kind: live.GetKind(), Namespace: ref.Namespace, Name: ref.Name, UID: live.GetUID()}
	}
	m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&e)
	if err != nil {
		return err
	}
	if _, err := c.at(events, ref.Namespace).Create(ctx, &unstructured.Unstructured{Object: m}, metav1.CreateOptions{FieldManager: managerName}); err != nil {
		return c.about("an Event for "+ref.String(), err)
	}
	return nil
}
