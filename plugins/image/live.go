package image

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/cluster"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/gitops"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/image"
)

// readCluster reads the objects of the cluster: of all namespaces, or of the one
// of -n where the user may not list all.
func (s *session) readCluster(ctx context.Context) (*tree, error) {
	k8s, err := cluster.Connect(s.env.Kube, cli.UserAgent())
	if err != nil {
		return nil, err
	}
	s.where = fmt.Sprintf("cluster %s (%s)", k8s.Context, k8s.Server)
	s.report.Cluster = &gitops.ClusterReport{Context: k8s.Context, Server: k8s.Server}
	s.ui.Sink()(gitops.Event{Type: gitops.RunStarted, Message: fmt.Sprintf("cluster: %s (%s)", k8s.Context, k8s.Server)})
	t := &tree{fs: embed.FS{}, namespace: namespaceOf(s.env), live: true}
	for _, kind := range []string{image.RepositoryKind, image.PolicyKind} {
		gk := schema.GroupKind{Group: image.Group, Kind: kind}
		objects, err := k8s.List(ctx, gk, "")
		if refused := (*cluster.Refusal)(nil); errors.As(err, &refused) {
			if objects, err = k8s.List(ctx, gk, t.namespace); err == nil {
				s.warn(image.Problem{Code: "image-unread", Message: fmt.Sprintf("%s: read in namespace %s only: %s", kind, t.namespace, refused)})
			}
		}
		if err != nil {
			return nil, err
		}
		for _, u := range objects {
			if err := t.add(u); err != nil {
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
	return nil
}

// namespaceOf is -n, else Flux's own.
func namespaceOf(env *cli.Env) string {
	if ns := *env.Kube.Namespace; ns != "" {
		return ns
	}
	return cli.DefaultNamespace
}
