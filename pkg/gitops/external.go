package gitops

import (
	"context"
	"fmt"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/source"
)

// fetchExternal fetches what an ExternalArtifact in the cluster is at: some
// controller there made it, and says where in the status. An address inside of
// the cluster is asked through the API server.
func (e *Engine) fetchExternal(ctx context.Context, id object.ID) (*source.Snapshot, error) {
	if e.Cluster == nil {
		return nil, &sourceError{"", "where its artifact is, the cluster alone knows, and none is asked", leaveToFlux}
	}
	live, err := e.Cluster.Get(ctx, id, "v1")
	if err != nil {
		return nil, err
	}
	if live == nil {
		return nil, &sourceError{"no-source", "the cluster does not have it, and it alone knows where the artifact is", "see to the controller that makes it"}
	}
	external, err := flux.ParseExternalArtifact(object.Object{Unstructured: live})
	if err != nil {
		return nil, err
	}
	a := external.Status.Artifact
	if a == nil || a.URL == "" || a.Digest == "" || a.Revision == "" {
		return nil, &sourceError{"", "it has no artifact yet", fmt.Sprintf("kubectl -n %s describe externalartifact %s", id.Namespace, id.Name)}
	}
	return source.Served{URL: a.URL, Revision: a.Revision, Digest: a.Digest, FromService: e.Cluster.FromService}.Open(ctx)
}
