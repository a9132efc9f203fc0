package gitops

import (
	"context"
	"fmt"
	"path"
	"strings"
	"time"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cluster"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/source"
)

// What the cluster remembers beyond Flux's status: annotations on the
// Kustomization, or on the ConfigMap that stands in for it.
const (
	rootSourceKey = cluster.NotePrefix + "root-source" // of the root: source.Snapshot.RootIdentity, or plainDirectory
	rootPathKey   = cluster.NotePrefix + "root-path"   // of the root: from the top of the source
	appliedByKey  = cluster.NotePrefix + "applied-by"  // user@host, version, time
)

// plainDirectory stands for the identity of a source that has none.
const plainDirectory = "directory"

// notes are what is to be remembered of p; wrote says that this run has written
// objects, or is about to.
func (e *Engine) notes(p *Planned, wrote bool) map[string]string {
	notes := map[string]string{}
	if by := p.record.Notes[appliedByKey]; by != "" {
		notes[appliedByKey] = by
	}
	if a := e.Actor; wrote {
		notes[appliedByKey] = fmt.Sprintf("%s@%s, %s, %s", a.User, a.Host, a.Version, time.Now().UTC().Format(time.RFC3339))
	}
	if p.Parent == nil {
		notes[rootSourceKey], notes[rootPathKey] = e.identity, path.Join(e.Source.Prefix, e.Options.Path)
	}
	return notes
}

// RememberedPath is where the root is in a source whose top is prefix above
// what was named, as far as the cluster remembers; "" for nothing.
func RememberedPath(rec *cluster.Record, prefix string) string {
	if p := rec.Notes[rootPathKey]; p != "" {
		if prefix == "" {
			return p
		}
		rest, below := strings.CutPrefix(p, prefix+"/")
		if !below {
			return ""
		}
		return rest
	}
	if rec.Live != nil {
		if k, err := flux.ParseKustomization(object.Object{Unstructured: rec.Live}); err == nil {
			return k.Path()
		}
	}
	return ""
}

// checkRoot refuses another root than the one that the cluster remembers: the
// wrong repository, or the directory of another cluster, onto this one.
func (e *Engine) checkRoot(ctx context.Context, r *Run) error {
	var err error
	if e.identity, err = e.Source.RootIdentity(ctx); err != nil {
		return err
	}
	if e.identity == "" {
		e.identity = plainDirectory
	}
	rec := r.Root.record
	wasSource, same, err := e.rememberedSource(ctx, rec)
	if err != nil {
		return err
	}
	wasPath, nowPath := RememberedPath(rec, ""), path.Join(e.Source.Prefix, e.Options.Path)
	if rec.Notes[rootPathKey] == "" {
		nowPath = e.Options.Path // as Flux's own spec.path has it
	}
	if same && (wasPath == "" || wasPath == nowPath) {
		return nil
	}
	was, now := wasPath+" of "+ShortRevision(wasSource), nowPath+" of "+ShortRevision(e.identity)
	if same {
		was, now = wasPath, nowPath
	}
	r.Root.otherRoot, r.otherSource = true, !same
	if e.Options.ChangeRoot {
		r.warn(e, Warning{Code: "root-changed", Object: r.Root.Ref.String(),
			Message: fmt.Sprintf("the root of cluster %s is %s; this is %s", e.Cluster.Context, was, now)})
		return nil
	}
	fix := "choose the cluster with --context; or, if its root is to be another from now on: --change-root"
	if same {
		fix = fmt.Sprintf("--path %s; or %s", wasPath, fix)
	}
	return &Refused{Code: "other-root", Fix: fix,
		Msg: fmt.Sprintf("the root of cluster %s is %s; this is %s", e.Cluster.Context, was, now)}
}

// rememberedSource names the source that the cluster remembers of its root, and
// tells whether it is the one at hand; what it does not remember is.
func (e *Engine) rememberedSource(ctx context.Context, rec *cluster.Record) (name string, same bool, err error) {
	switch was := rec.Notes[rootSourceKey]; {
	case was == plainDirectory:
		return was, true, nil // could have been anything
	case strings.HasPrefix(was, "root@"):
		root, err := e.Source.RootCommit(ctx)
		return was, was == "root@sha1:"+root, err
	case strings.HasPrefix(was, "file:"):
		return was, e.Source.Is("file://" + strings.TrimPrefix(was, "file:")), nil
	case strings.HasPrefix(was, "oci:"):
		return was, e.Source.Is("oci://" + strings.TrimPrefix(was, "oci:")), nil
	case was != "":
		return was, e.Source.Is("ssh://" + was), nil
	case rec.Live == nil:
		return "", true, nil
	}
	// Flux's own record: the GitRepository of the root.
	k, err := flux.ParseKustomization(object.Object{Unstructured: rec.Live})
	if err != nil {
		return "", true, nil
	}
	kind, ref := k.SourceRef()
	if kind != sourcev1.GitRepositoryKind {
		return "", true, nil
	}
	u, err := e.lookUp(ctx, sourceID(kind, ref))
	if err != nil || u == nil {
		return "", true, err
	}
	git, err := flux.ParseGitRepository(object.Object{Unstructured: u})
	if err != nil {
		return "", true, nil
	}
	return source.ShownURL(git.Spec.URL), e.Source.Is(git.Spec.URL), nil
}
