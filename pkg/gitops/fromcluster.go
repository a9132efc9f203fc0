package gitops

import (
	"context"
	"fmt"
	"strings"

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
	if hasFlux && rec.Live == nil {
		if rec, err = e.otherRoot(ctx, rec, elsewhere); err != nil {
			return err
		}
	}
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
	if why != nil && kind != sourcev1.ExternalArtifactKind {
		return &Refused{Code: "no-source", Msg: fmt.Sprintf("%s, the source of %s: %s", id, k.Ref, why), Fix: firstOf(hintOf(why), elsewhere)}
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

// otherRoot takes the one Kustomization of the cluster that is below no other where
// there is none of the name that a bootstrap gives; of several somebody has to
// choose.
func (e *Engine) otherRoot(ctx context.Context, rec *cluster.Record, elsewhere string) (*cluster.Record, error) {
	records, err := e.Cluster.RecordSet(ctx)
	if err != nil {
		return nil, err
	}
	roots := records.Roots()
	switch {
	case len(roots) == 0:
		return rec, nil
	case len(roots) == 1 && rec.Ref.Name == defaultRoot:
		e.Options.Root = roots[0]
		return records.Load(ctx, roots[0])
	}
	var names []string
	for _, r := range roots {
		names = append(names, r.Namespace+"/"+r.Name)
	}
	return nil, &Refused{Code: "no-source", Fix: "--name with one of " + strings.Join(names, ", ") + "; or " + elsewhere,
		Msg: fmt.Sprintf("no Git repository here or above, and cluster %s does not have %s, but %s that are below no other", e.Cluster.Context, e.Options.Root, count(len(roots), "Kustomization"))}
}

// defaultRoot is what Flux's bootstrap calls the root, and its namespace.
const defaultRoot = "flux-system"

// tellOtherRoots warns of the Kustomizations in the cluster that are not below the
// root, where that was taken from there: this run leaves them alone.
func (e *Engine) tellOtherRoots(r *Run, seen map[flux.Ref]*Planned) {
	if e.clusterRoot == nil {
		return
	}
	var names []string
	for _, ref := range r.records.Roots() {
		if seen[ref] == nil {
			names = append(names, ref.Namespace+"/"+ref.Name)
		}
	}
	if len(names) > 0 {
		r.warn(e, Warning{Code: "other-roots", Object: r.Root.Ref.String(),
			Message: "not below this root, and not looked at: " + some(names, 5), Hint: "--name " + names[0]})
	}
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
