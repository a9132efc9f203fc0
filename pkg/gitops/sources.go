package gitops

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/source"
)

// artifact is a source as source-controller would serve it, or why it cannot be.
type artifact struct {
	snapshot *source.Snapshot
	atHand   bool
	err      *sourceError
}

// sourceError is a source that cannot be read, or not be trusted.
type sourceError struct{ code, message, hint string }

func (e *sourceError) Error() string { return e.message }

// Hint is what to type.
func (e *sourceError) Hint() string { return e.hint }

// sourceFailed is err as what became of the source id.
func sourceFailed(id object.ID, code string, err error) *sourceError {
	e := &sourceError{code: code, message: id.String() + ": " + err.Error(), hint: hintOf(err)}
	if already := (*sourceError)(nil); errors.As(err, &already) && already.code != "" {
		if e.code = already.code; strings.HasPrefix(already.message, id.String()) {
			return already
		}
	}
	return e
}

// leaveToFlux is the hint where a source cannot be had from here.
const leaveToFlux = "leave what uses it to Flux: name the others, as in kubectl gitops sync NAME…"

// resolveSource finds the files of p: those at hand where its source is the
// repository at hand, else those of the source, fetched. Either way they are
// what source-controller would put into the artifact.
func (e *Engine) resolveSource(ctx context.Context, r *Run, p *Planned) {
	kind, ref := p.SourceRef()
	rootKind, rootRef := r.Root.SourceRef()
	a := artifact{snapshot: r.atHand, atHand: true}
	if kind != rootKind || ref != rootRef {
		if e.compared != nil && !e.compared.atHand(ctx, e, r, sourceID(kind, ref)) {
			return // it is fetched when it is needed
		}
		a = e.artifact(ctx, r, p.Ref, sourceID(kind, ref), nil)
	}
	p.take(a)
}

// take makes the artifact p's source, or its problem.
func (p *Planned) take(a artifact) {
	if a.err != nil {
		p.problem(reasonArtifact, Problem{Code: a.err.code, File: p.Object.File, Line: p.Object.Line, Object: p.Ref.String(),
			Message: "its source " + a.err.message, Hint: a.err.hint})
		return
	}
	p.snapshot, p.Revision, p.atHand = a.snapshot, a.snapshot.Revision, a.atHand
}

func sourceID(kind string, ref flux.Ref) object.ID {
	return object.ID{Group: flux.SourceGroup, Kind: kind, Namespace: ref.Namespace, Name: ref.Name}
}

// artifact opens a source once in a run. within are the GitRepositories that
// include it.
func (e *Engine) artifact(ctx context.Context, r *Run, of flux.Ref, id object.ID, within []object.ID) artifact {
	if got, ok := r.artifacts[id]; ok {
		return got
	}
	fail := func(code string, err error) artifact { return artifact{err: sourceFailed(id, code, err)} }
	if slices.Contains(within, id) {
		return fail("no-source", errors.New("it includes itself"))
	}
	if id.Kind == sourcev1.ExternalArtifactKind {
		e.progress(of, "fetching "+id.String())
		a := artifact{}
		if s, err := e.fetchExternal(ctx, id); err != nil {
			a.err = sourceFailed(id, "source", err)
		} else {
			a.snapshot = s
		}
		r.artifacts[id] = a
		return a
	}
	var a artifact
	switch o, why := e.sourceObject(ctx, r, id); {
	case errors.As(why, new(*Refused)):
		a = fail("no-source", why)
	case why != nil:
		a = artifact{err: &sourceError{"no-source", fmt.Sprintf("%s is missing: %s", id, why), "declare it, or name the root's own source in sourceRef"}}
	case id.Kind == sourcev1.GitRepositoryKind:
		git, err := flux.ParseGitRepository(o)
		if err != nil {
			a = artifact{err: &sourceError{code: "no-source", message: err.Error()}}
			break
		}
		a = e.gitArtifact(ctx, r, of, id, git, within)
	case id.Kind == sourcev1.OCIRepositoryKind:
		oci, err := flux.ParseOCIRepository(o)
		if err != nil {
			a = artifact{err: &sourceError{code: "no-source", message: err.Error()}}
			break
		}
		a = e.ociArtifact(ctx, r, of, id, oci)
	case id.Kind == sourcev1.BucketKind:
		bucket, err := flux.ParseBucket(o)
		if err != nil {
			a = artifact{err: &sourceError{code: "no-source", message: err.Error()}}
			break
		}
		e.progress(of, "fetching "+id.String())
		if a.snapshot, err = e.fetchBucket(ctx, r, id, bucket); err != nil {
			a = artifact{err: sourceFailed(id, "source", err)}
		}
	default:
		a = artifact{err: &sourceError{"unsupported-source", id.String() + " is not of a kind that Flux has as a source", leaveToFlux}}
	}
	r.artifacts[id] = a
	return a
}

// sourceObject is the source that some Kustomization of the run declares, else
// the one in the cluster. why says why there is none.
func (e *Engine) sourceObject(ctx context.Context, r *Run, id object.ID) (o object.Object, why error) {
	if o, ok := e.declared(ctx, r, id); ok {
		return o, nil
	}
	if e.Cluster == nil {
		return o, errors.New("Git does not have it, and no cluster is asked")
	}
	live, err := e.lookUp(ctx, id)
	if err == nil && live == nil {
		err = errors.New("neither Git nor the cluster has it")
	}
	if err != nil {
		return o, nameless(err)
	}
	return object.Object{Unstructured: live}, nil
}

// gitArtifact is the repository at hand where the URL names it, and the ref does
// not say another state of it; else fetched.
func (e *Engine) gitArtifact(ctx context.Context, r *Run, of flux.Ref, id object.ID, git flux.GitRepository, within []object.ID) artifact {
	same := e.Source.Is(git.Spec.URL)
	a := artifact{snapshot: e.Source, atHand: same && !e.pinned(ctx, r, git)}
	var err error
	if !a.atHand {
		e.progress(of, "fetching "+source.ShownURL(git.Spec.URL))
		if a.snapshot, err = e.fetchGit(ctx, r, git, "", same); err != nil {
			return artifact{err: sourceFailed(id, "source", err)}
		}
	}
	if untrusted := e.verifyGit(ctx, r, id, git, a.snapshot); untrusted != nil {
		return artifact{err: untrusted}
	}
	content, failed := e.gitContent(ctx, r, of, id, git, within)
	if failed == nil {
		a.snapshot, err = a.snapshot.Artifact(content)
	}
	switch {
	case failed != nil:
		return artifact{err: failed}
	case err != nil:
		return artifact{err: sourceFailed(id, "source", err)}
	}
	return a
}

// pinned reports whether a GitRepository of the repository at hand is of another
// state of it than the one at hand: a commit, a tag or a range of them, or a
// branch that is neither the one at hand nor the one that the root follows. What
// runs from a release must not become what is being worked on.
func (e *Engine) pinned(ctx context.Context, r *Run, git flux.GitRepository) bool {
	ref := reference(git)
	if ref == (source.Reference{}) {
		return false
	}
	if r.Root != nil {
		if kind, name := r.Root.SourceRef(); kind == sourcev1.GitRepositoryKind {
			if o, why := e.sourceObject(ctx, r, sourceID(kind, name)); why == nil {
				root, err := flux.ParseGitRepository(o)
				if err == nil && e.Source.Is(root.Spec.URL) && reference(root) == ref {
					return false
				}
			}
		}
	}
	branchAlone := ref == source.Reference{Branch: ref.Branch}
	return !branchAlone || e.Source.Branch != "" && e.Source.Branch != ref.Branch
}

// reference is spec.ref.
func reference(git flux.GitRepository) source.Reference {
	ref := git.Spec.Reference
	if ref == nil {
		return source.Reference{}
	}
	return source.Reference{Branch: ref.Branch, Tag: ref.Tag, SemVer: ref.SemVer, Name: ref.Name, Commit: ref.Commit}
}

// verifyGit checks the signatures that spec.verify asks for.
func (e *Engine) verifyGit(ctx context.Context, r *Run, id object.ID, git flux.GitRepository, s *source.Snapshot) *sourceError {
	v := git.Spec.Verification
	if v == nil {
		return nil
	}
	keys, err := e.sourceSecret(ctx, r, git.Namespace, &v.SecretRef, "the keys of spec.verify")
	if err == nil {
		_, err = s.Verify(string(v.Mode), keys)
	}
	if err != nil {
		return sourceFailed(id, "source-not-trusted", err)
	}
	return nil
}

// gitContent is what goes into the artifact.
func (e *Engine) gitContent(ctx context.Context, r *Run, of flux.Ref, id object.ID, git flux.GitRepository, within []object.ID) (source.Content, *sourceError) {
	c := source.Content{Ignore: git.Spec.Ignore, Sparse: git.Spec.SparseCheckout, Submodules: git.Spec.RecurseSubmodules}
	for _, i := range git.Spec.Include {
		other := e.artifact(ctx, r, of, sourceID(sourcev1.GitRepositoryKind, flux.Ref{Namespace: git.Namespace, Name: i.GitRepositoryRef.Name}), append(within, id))
		if other.err != nil {
			err := *other.err
			err.message = fmt.Sprintf("%s: spec.include: %s", id, err.message)
			return c, &err
		}
		c.Include = append(c.Include, source.Include{Snapshot: other.snapshot, Name: i.GitRepositoryRef.Name, From: i.GetFromPath(), To: i.GetToPath()})
	}
	return c, nil
}

// fetchGit opens a GitRepository at its server: at other, where that is given,
// instead of its spec.ref. atHand says that it is to be the source at hand, for
// which the user's own credentials are, if there are any.
func (e *Engine) fetchGit(ctx context.Context, r *Run, git flux.GitRepository, other string, atHand bool) (*source.Snapshot, error) {
	s := git.Spec
	c := source.Credentials{Where: git.Where(), Provider: s.Provider}
	var err error
	if s.SecretRef != nil {
		if c.Data, err = e.sourceSecret(ctx, r, git.Namespace, s.SecretRef, "credentials"); err != nil {
			return nil, err
		}
		c.Where = "secret/" + s.SecretRef.Name + " in " + git.Namespace
	}
	if c.Proxy, err = e.sourceProxy(ctx, r, git.Namespace, s.ProxySecretRef); err != nil {
		return nil, err
	}
	if s.Timeout != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, s.Timeout.Duration, fmt.Errorf("no answer within spec.timeout, %s", s.Timeout.Duration))
		defer cancel()
	}
	if err := CloudLogin(ctx, s.URL, &c); err != nil {
		return nil, err
	}
	auth, err := e.Auth.WithSecret(ctx, s.URL, c)
	if err != nil {
		return nil, err
	}
	if atHand && e.Auth.Given() {
		auth = e.Auth
	}
	open := source.Options{Source: s.URL, Ref: other, Auth: auth, Submodules: s.RecurseSubmodules, CacheDir: e.SourceCache}
	if other != "" {
		return source.Open(ctx, open)
	}
	ref := reference(git)
	suspended, revision, err := e.suspendedAt(ctx, r, sourceID(sourcev1.GitRepositoryKind, git.Ref), s.Suspend)
	if err != nil {
		return nil, err
	}
	if suspended {
		ref.Commit = source.CommitOf(revision)
	}
	open.Reference = &ref
	return source.Open(ctx, open)
}

// suspendedAt reports whether a source is suspended, in Git or in the cluster,
// and at which revision: Flux goes on with the artifact that it has.
func (e *Engine) suspendedAt(ctx context.Context, r *Run, id object.ID, inGit bool) (suspended bool, revision string, err error) {
	if e.Options.IncludeSuspended {
		return false, "", nil
	}
	if r.hasFlux {
		live, err := e.lookUp(ctx, id)
		if err != nil {
			return false, "", err
		}
		if live != nil {
			byHand, _, _ := unstructured.NestedBool(live.Object, "spec", "suspend")
			suspended = byHand
			revision, _, _ = unstructured.NestedString(live.Object, "status", "artifact", "revision")
		}
	}
	if suspended = suspended || inGit; suspended && revision == "" {
		return false, "", &sourceError{"", "it is suspended, and has no artifact to go on with", "resume it, or --include-suspended"}
	}
	return suspended, revision, nil
}

// sourceSecret is the Secret that a source names for a use.
func (e *Engine) sourceSecret(ctx context.Context, r *Run, namespace string, ref *meta.LocalObjectReference, use string) (map[string]string, error) {
	id := object.ID{Kind: "Secret", Namespace: namespace, Name: ref.Name}
	data, why := e.data(ctx, r, id)
	if why == errNotFound {
		if found, ok := e.secretFile(id); ok {
			return found, nil
		}
		why = errors.New("neither the cluster nor the source at hand has it")
	}
	if why != nil {
		return nil, &sourceError{"", fmt.Sprintf("%s in %s: %s", use, id, why), firstOf(hintOf(why), fmt.Sprintf("kubectl -n %s get secret %s", namespace, ref.Name))}
	}
	return data, nil
}

// settleRoot applies what the root's source says of itself to the source at
// hand: signatures, and what is left out of the artifact. It reports whether
// that changed what there is to render.
func (e *Engine) settleRoot(ctx context.Context, r *Run, root *Planned) (changed bool, err error) {
	kind, ref := root.SourceRef()
	id := sourceID(kind, ref)
	if !e.isDeclared(r, id) && !r.hasFlux {
		return false, nil
	}
	o, why := e.sourceObject(ctx, r, id)
	if why != nil {
		return false, nil
	}
	refuse := func(f *sourceError) *Refused { return &Refused{Code: f.code, Msg: f.message, Fix: f.hint} }
	var content source.Content
	var failed, untrusted *sourceError
	switch kind {
	case sourcev1.GitRepositoryKind:
		git, err := flux.ParseGitRepository(o)
		if err != nil {
			return false, &Refused{Code: "no-source", Msg: err.Error(), Fix: "correct it: it is the source of the root"}
		}
		untrusted = e.verifyGit(ctx, r, id, git, e.Source)
		content, failed = e.gitContent(ctx, r, root.Ref, id, git, nil)
	case sourcev1.OCIRepositoryKind:
		oci, err := flux.ParseOCIRepository(o)
		if err != nil {
			return false, &Refused{Code: "no-source", Msg: err.Error(), Fix: "correct it: it is the source of the root"}
		}
		untrusted = e.verifyAtHand(ctx, r, id, oci)
		content = source.Content{Ignore: oci.Spec.Ignore, Submodules: true}
	default:
		return false, nil
	}
	if untrusted != nil {
		r.untrusted = refuse(untrusted)
	}
	if failed != nil {
		return false, refuse(failed)
	}
	if content.Ignore == nil && len(content.Sparse) == 0 && len(content.Include) == 0 && (content.Submodules || !r.atHand.HasSubmodules()) {
		return false, nil
	}
	if r.atHand, err = e.Source.Artifact(content); err != nil {
		return false, refuse(sourceFailed(id, "source", err))
	}
	root.snapshot = r.atHand
	return true, nil
}
