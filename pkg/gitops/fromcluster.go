package gitops

import (
	"context"
	"fmt"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cluster"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/registry"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/source"
)

// FromCluster takes the root from the cluster, where there is no source at hand:
// the Kustomization Options.Root as it is there, with its source, fetched. ref,
// where given, is read instead of the one that the source names. Source and,
// unless it is given, Options.Path are set.
func (e *Engine) FromCluster(ctx context.Context, ref string) error {
	hasFlux, err := e.Cluster.HasKustomizations()
	if err != nil {
		return err
	}
	rec, err := e.Cluster.Load(ctx, e.Options.Root)
	if err != nil {
		return err
	}
	const elsewhere = "cd into the repository, or name it: --source DIR|URL"
	if !hasFlux || rec.Live == nil {
		return &Refused{Code: "no-source", Fix: "--name [NAMESPACE/]NAME for another Kustomization; or " + elsewhere,
			Msg: fmt.Sprintf("no Git repository here or above, and cluster %s does not have %s to take one from", e.Cluster.Context, e.Options.Root)}
	}
	k, err := flux.ParseKustomization(object.Object{Unstructured: rec.Live})
	if err != nil {
		return err
	}
	e.clusterRoot = &k
	if e.Options.Path == "" {
		e.Options.Path = k.Path()
	}
	r := &Run{hasFlux: hasFlux, artifacts: map[object.ID]artifact{}}
	kind, name := k.SourceRef()
	id := sourceID(kind, name)
	o, why := e.sourceObject(ctx, r, id)
	if why != "" && kind != sourcev1.ExternalArtifactKind {
		return &Refused{Code: "no-source", Msg: fmt.Sprintf("%s, the source of %s: %s", id, k.Ref, why), Fix: elsewhere}
	}
	e.progress(k.Ref, "fetching "+id.String())
	if ref != "" && (kind == sourcev1.BucketKind || kind == sourcev1.ExternalArtifactKind) {
		return &Refused{Code: "source", Msg: id.String() + ": there is nothing that --ref could choose in it", Fix: "leave --ref out"}
	}
	switch kind {
	case sourcev1.GitRepositoryKind:
		var git flux.GitRepository
		if git, err = flux.ParseGitRepository(o); err == nil {
			e.Source, err = e.fetchGit(ctx, r, git, ref, true)
		}
	case sourcev1.OCIRepositoryKind:
		e.Source, err = e.rootArtifact(ctx, r, id, o, ref)
	case sourcev1.BucketKind:
		var bucket flux.Bucket
		if bucket, err = flux.ParseBucket(o); err == nil {
			e.Source, err = e.fetchBucket(ctx, r, id, bucket)
		}
	case sourcev1.ExternalArtifactKind:
		e.Source, err = e.fetchExternal(ctx, id)
	default:
		return &Refused{Code: "unsupported-source", Msg: id.String() + " is not of a kind that Flux has as a source", Fix: elsewhere}
	}
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		failed := sourceFailed(id, "source", err)
		return &Refused{Code: failed.code, Msg: failed.message, Fix: failed.hint}
	}
	return nil
}

// SecretData is what a Secret in the cluster has, decoded; ok is false where
// there is none.
func SecretData(ctx context.Context, c *cluster.Cluster, namespace, name string) (data map[string]string, ok bool, err error) {
	live, err := c.Get(ctx, object.ID{Kind: "Secret", Namespace: namespace, Name: name}, "v1")
	if err != nil || live == nil {
		return nil, false, err
	}
	return decodeData(live), true, nil
}

// rootArtifact pulls the root's OCIRepository.
func (e *Engine) rootArtifact(ctx context.Context, r *Run, id object.ID, o object.Object, ref string) (*source.Snapshot, error) {
	oci, err := flux.ParseOCIRepository(o)
	if err != nil {
		return nil, err
	}
	repository, want, err := e.openOCI(ctx, r, id, oci)
	if err != nil {
		return nil, err
	}
	if ref != "" {
		want = ociRef(ref)
	}
	return pull(ctx, repository, want, oci.Spec, func(found *registry.Artifact) error { return e.verifyOCI(ctx, r, id, oci, found) })
}
