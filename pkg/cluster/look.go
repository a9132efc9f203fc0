package cluster

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
)

var (
	pods = Resource{schema.GroupVersionResource{Version: "v1", Resource: "pods"}, "Pod", true}
	// The core group's Events: they have the message and the count of all writers.
	coreEvents = Resource{schema.GroupVersionResource{Version: "v1", Resource: "events"}, "Event", true}
)

// Pods lists the pods of a workload that are there now, the newest first; the
// pod itself for a Pod.
func (c *Cluster) Pods(ctx context.Context, u *unstructured.Unstructured) ([]*unstructured.Unstructured, error) {
	if u.GetKind() == "Pod" && u.GroupVersionKind().Group == "" {
		return []*unstructured.Unstructured{u}, nil
	}
	selector := object.PodSelector(u)
	if selector == "" {
		return nil, nil
	}
	list, err := c.at(pods, u.GetNamespace()).List(ctx, metav1.ListOptions{LabelSelector: selector, Limit: 100})
	if err != nil {
		return nil, err
	}
	out := make([]*unstructured.Unstructured, len(list.Items))
	for i := range list.Items {
		out[i] = &list.Items[i]
		out[i].SetGroupVersionKind(schema.GroupVersionKind{Version: "v1", Kind: "Pod"}) // not so in a list
	}
	slices.SortStableFunc(out, func(a, b *unstructured.Unstructured) int {
		return b.GetCreationTimestamp().Compare(a.GetCreationTimestamp().Time)
	})
	return out, nil
}

// Happened is something that a controller said of an object.
type Happened struct {
	Type, Reason, Message string // Type is Normal or Warning
	Count                 int64
	last                  time.Time
}

// Events are what was said of id of late, the oldest first, at most most.
func (c *Cluster) Events(ctx context.Context, id object.ID, most int) ([]Happened, error) {
	selector := fields.Set{"involvedObject.kind": id.Kind, "involvedObject.name": id.Name}.AsSelector().String()
	list, err := c.at(coreEvents, cmp.Or(id.Namespace, metav1.NamespaceDefault)).List(ctx, metav1.ListOptions{FieldSelector: selector, Limit: 200})
	if err != nil {
		return nil, err
	}
	var out []Happened
	for _, e := range list.Items {
		h := Happened{Count: 1}
		h.Type, _, _ = unstructured.NestedString(e.Object, "type")
		h.Reason, _, _ = unstructured.NestedString(e.Object, "reason")
		h.Message, _, _ = unstructured.NestedString(e.Object, "message")
		for _, path := range [][]string{{"count"}, {"series", "count"}} {
			if n, ok, _ := unstructured.NestedInt64(e.Object, path...); ok {
				h.Count = max(h.Count, n)
			}
		}
		for _, path := range [][]string{{"lastTimestamp"}, {"series", "lastObservedTime"}, {"eventTime"}, {"firstTimestamp"}} {
			text, _, _ := unstructured.NestedString(e.Object, path...)
			if at, err := time.Parse(time.RFC3339, text); err == nil && at.After(h.last) {
				h.last = at
			}
		}
		out = append(out, h)
	}
	slices.SortStableFunc(out, func(a, b Happened) int { return a.last.Compare(b.last) })
	return out[max(0, len(out)-most):], nil
}

// logBytes is how much of a log is read at most.
const logBytes = 16 << 10

// Logs are the last lines that a container wrote, those of its previous run
// where previous says so.
func (c *Cluster) Logs(ctx context.Context, namespace, pod, container string, previous bool, lines int) ([]byte, error) {
	client, err := c.core()
	if err != nil {
		return nil, err
	}
	data, err := client.Get().Namespace(namespace).Resource("pods").Name(pod).SubResource("log").
		Param("container", container).Param("previous", strconv.FormatBool(previous)).
		Param("tailLines", strconv.Itoa(lines)).Param("limitBytes", strconv.Itoa(logBytes)).DoRaw(ctx)
	if err != nil {
		return nil, fmt.Errorf("logs of container %s: %w", container, err)
	}
	return data, nil
}

// core is a client for what is below the objects of the core API.
func (c *Cluster) core() (*rest.RESTClient, error) {
	config := rest.CopyConfig(c.config)
	config.APIPath, config.GroupVersion = "/api", &schema.GroupVersion{Version: "v1"}
	config.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	return rest.RESTClientFor(config)
}

// FromService is what the server behind a port of a Service answers to a GET of
// path, in http or https as scheme says, asked through the API server: it can be had where the cluster's
// own network cannot. It takes the right to get services/proxy.
func (c *Cluster) FromService(ctx context.Context, scheme, namespace, name, port, path string) (io.ReadCloser, error) {
	client, err := c.core()
	if err != nil {
		return nil, err
	}
	body, err := client.Get().Namespace(namespace).Resource("services").Name(scheme + ":" + name + ":" + port).SubResource("proxy").Suffix(path).Stream(ctx)
	if err != nil {
		id := object.ID{Kind: "Service", Namespace: namespace, Name: name}
		return nil, c.refusal(ctx, err, "get", Resource{schema.GroupVersionResource{Version: "v1", Resource: "services/proxy"}, "Service", true}, id, nil)
	}
	return body, nil
}
