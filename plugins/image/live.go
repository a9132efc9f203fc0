package image

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/cluster"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/gitops"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/image"
)

// live is a cluster, with Flux's objects in it by kind and name.
type live struct {
	*cluster.Cluster
	objects   map[string]map[image.Ref]*unstructured.Unstructured
	reflector bool // an image-reflector-controller is alive, and scans itself
}

// connect makes the clients, and says which cluster it is.
func (s *session) connect(ctx context.Context) (*live, error) {
	k8s, err := cluster.Connect(s.env.Kube, cli.UserAgent())
	if err != nil {
		return nil, err
	}
	if err := k8s.Reach(ctx); err != nil {
		return nil, err
	}
	s.report.Cluster = &gitops.ClusterReport{Context: k8s.Context, Server: k8s.Server}
	s.ui.Sink()(gitops.Event{Type: gitops.RunStarted, Message: fmt.Sprintf("cluster: %s (%s)", k8s.Context, k8s.Server)})
	return &live{Cluster: k8s, objects: map[string]map[image.Ref]*unstructured.Unstructured{}}, nil
}

// list reads the objects of a kind, of all namespaces or of one.
func (l *live) list(ctx context.Context, kind, namespace string) error {
	found, err := l.List(ctx, schema.GroupKind{Group: image.Group, Kind: kind}, namespace)
	if err != nil {
		return err
	}
	l.objects[kind] = map[image.Ref]*unstructured.Unstructured{}
	for _, o := range found {
		l.objects[kind][image.Ref{Namespace: o.GetNamespace(), Name: o.GetName()}] = o
	}
	return nil
}

// readCluster reads the objects of the cluster: of all namespaces, or of the one
// of -n where the user may not list all.
func (s *session) readCluster(ctx context.Context, kinds ...string) (*tree, error) {
	l, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	s.where = fmt.Sprintf("cluster %s (%s)", l.Context, l.Server)
	t := &tree{fs: embed.FS{}, namespace: namespaceOf(s.env), live: l}
	for _, kind := range kinds {
		err := l.list(ctx, kind, "")
		if refused := (*cluster.Refusal)(nil); errors.As(err, &refused) {
			if err = l.list(ctx, kind, t.namespace); err == nil {
				s.warn(image.Problem{Code: "image-unread", Message: fmt.Sprintf("%s: read in namespace %s only: %s", kind, t.namespace, refused), Hint: refused.Fix})
			}
		}
		if err != nil {
			return nil, err
		}
		for _, ref := range slices.SortedFunc(maps.Keys(l.objects[kind]), func(a, b image.Ref) int { return strings.Compare(a.String(), b.String()) }) {
			if err := t.add(l.objects[kind][ref]); err != nil {
				return nil, err
			}
		}
	}
	return t, nil
}

// add reads one object of the cluster.
func (t *tree) add(u *unstructured.Unstructured) error {
	u.SetManagedFields(nil)
	data, err := json.Marshal(u.Object)
	if err != nil {
		return err
	}
	objects, problems := image.ReadLive(data)
	t.problems = append(t.problems, problems...)
	t.Policies = append(t.Policies, objects.Policies...)
	t.Repositories = append(t.Repositories, objects.Repositories...)
	t.Automations = append(t.Automations, objects.Automations...)
	return nil
}

// namespaceOf is -n, else Flux's own.
func namespaceOf(env *cli.Env) string {
	if ns := *env.Kube.Namespace; ns != "" {
		return ns
	}
	return cli.DefaultNamespace
}
