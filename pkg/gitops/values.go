package gitops

import (
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/source"
)

// data is the content of a ConfigMap or a Secret, decoded: from Git where a
// Kustomization of the run declares it, else from the cluster. why says why
// there is none.
func (e *Engine) data(ctx context.Context, r *Run, id object.ID) (data map[string]string, why string) {
	if o, ok := e.declared(r, id); ok {
		return decodeData(o.Unstructured), ""
	}
	live, err := e.Cluster.Get(ctx, id, "v1")
	switch {
	case err != nil:
		return nil, err.Error()
	case live == nil:
		return nil, "not found"
	}
	return decodeData(live), ""
}

func decodeData(u *unstructured.Unstructured) map[string]string {
	out := map[string]string{}
	plain := "data"
	if object.IsSecret(u.GroupVersionKind().GroupKind()) {
		plain = "stringData"
		m, _, _ := unstructured.NestedStringMap(u.Object, "data")
		for k, v := range m {
			if b, err := base64.StdEncoding.DecodeString(v); err == nil {
				out[k] = string(b)
			}
		}
	}
	m, _, _ := unstructured.NestedStringMap(u.Object, plain)
	maps.Copy(out, m)
	return out
}

// variables merges spec.postBuild as Flux does: substituteFrom in order, the
// later wins, then substitute over all.
func (e *Engine) variables(ctx context.Context, r *Run, p *Planned) (map[string]string, []Problem) {
	post := p.Spec.PostBuild
	if post == nil {
		return nil, nil
	}
	vars := map[string]string{}
	var problems []Problem
	for _, ref := range post.SubstituteFrom {
		id := object.ID{Kind: ref.Kind, Namespace: p.Namespace, Name: ref.Name}
		data, why := e.data(ctx, r, id)
		if why == "not found" && ref.Optional {
			continue
		}
		if why != "" {
			problems = append(problems, Problem{
				Code: "substitute-from", File: p.Object.File, Line: p.Object.Line, Object: p.Ref.String(),
				Message: fmt.Sprintf("postBuild.substituteFrom needs %s: %s, in Git and in the cluster", id, why),
				Hint:    "declare it, create it in the cluster, or set optional: true",
			})
			continue
		}
		maps.Copy(vars, data)
	}
	maps.Copy(vars, post.Substitute)
	return vars, problems
}

type fetched struct {
	snapshot *source.Snapshot
	err      error
}

// resolveSource finds the files of p: those at hand where its source is the
// repository at hand, else those of the source, fetched.
func (e *Engine) resolveSource(ctx context.Context, r *Run, p *Planned) {
	kind, ref := p.SourceRef()
	rootKind, rootRef := r.Root.SourceRef()
	if kind == rootKind && ref == rootRef {
		p.snapshot, p.Revision = e.Source, e.Source.Revision
		return
	}
	fail := func(code, message, hint string) {
		p.problem(reasonArtifact, Problem{Code: code, File: p.Object.File, Line: p.Object.Line, Object: p.Ref.String(), Message: message, Hint: hint})
	}
	if kind != sourcev1.GitRepositoryKind {
		fail("unsupported-source", fmt.Sprintf("its source is %s/%s: this version reads GitRepository only", strings.ToLower(kind), ref.Name),
			"leave this Kustomization to Flux: name the others, as in kubectl gitops sync NAME…")
		return
	}
	id := object.ID{Group: flux.SourceGroup, Kind: kind, Namespace: ref.Namespace, Name: ref.Name}
	o, ok := e.declared(r, id)
	if !ok {
		live, err := e.Cluster.Get(ctx, id, "v1")
		if err != nil || live == nil {
			why := "neither Git nor the cluster has it"
			if err != nil {
				why = err.Error()
			}
			fail("no-source", fmt.Sprintf("its source %s is missing: %s", id, why), "declare it, or name the root's own source in sourceRef")
			return
		}
		o = object.Object{Unstructured: live}
	}
	git, err := flux.ParseGitRepository(o)
	if err != nil {
		fail("no-source", err.Error(), "")
		return
	}
	if e.Source.Is(git.Spec.URL) {
		p.snapshot, p.Revision = e.Source, e.Source.Revision
		return
	}
	got, ok := r.fetched[ref]
	if !ok {
		e.progress(p.Ref, "fetching "+redactURL(git.Spec.URL))
		got.snapshot, got.err = e.fetch(ctx, r, git)
		r.fetched[ref] = got
	}
	if got.err != nil {
		hint := ""
		if h, ok := got.err.(interface{ Hint() string }); ok {
			hint = h.Hint()
		}
		fail("source", got.err.Error(), hint)
		return
	}
	p.snapshot, p.Revision = got.snapshot, got.snapshot.Revision
}

func redactURL(s string) string {
	if u, err := url.Parse(s); err == nil {
		return u.Redacted()
	}
	return s
}

// fetch opens a GitRepository that is not the one at hand, with the
// credentials of its secretRef.
func (e *Engine) fetch(ctx context.Context, r *Run, git flux.GitRepository) (*source.Snapshot, error) {
	s := git.Spec
	for used, field := range map[bool]string{s.Verification != nil: "verify", len(s.Include) > 0: "include", s.RecurseSubmodules: "recurseSubmodules"} {
		if used {
			return nil, fmt.Errorf("gitrepository/%s in %s: spec.%s is not supported by this version", git.Name, git.Namespace, field)
		}
	}
	// The user's own token is for the repository at hand: another server gets
	// what its secretRef has, else what ssh and Git keep for that server.
	auth := source.Auth{Env: slices.DeleteFunc(slices.Clone(e.Auth.Env), func(kv string) bool { return strings.HasPrefix(kv, "GITOPS_GIT_") })}
	if s.SecretRef != nil {
		id := object.ID{Kind: "Secret", Namespace: git.Namespace, Name: s.SecretRef.Name}
		data, why := e.data(ctx, r, id)
		if why != "" {
			return nil, fmt.Errorf("gitrepository/%s in %s: credentials in %s: %s", git.Name, git.Namespace, id, why)
		}
		auth = authOf(auth, data)
	}
	ref := git.Revision()
	if ref == "" {
		ref = "master" // Flux's default, whatever the remote's
	}
	return source.Open(ctx, source.Options{Source: s.URL, Ref: ref, Auth: auth})
}

// checkEmpty refuses a root that declares nothing and owns nothing: a path that
// was mistyped. One that owned something is the guards' affair.
func (e *Engine) checkEmpty(r *Run) error {
	for _, p := range r.Kustomizations {
		if p.rendered == nil || len(p.rendered.Objects) > 0 || len(p.Problems) > 0 || p.record == nil || len(p.record.Inventory) > 0 {
			continue
		}
		if p == r.Root {
			return &Refused{Code: "no-manifests", Msg: fmt.Sprintf("there are no manifests in %s at %s", p.Path(), ShortRevision(p.Revision)), Fix: "--path DIR: where the Kustomizations of this cluster are"}
		}
		r.warn(e, Warning{Code: "no-manifests", File: p.Object.File, Line: p.Object.Line, Object: p.Ref.String(), Message: "its path " + p.Path() + " has no manifests"})
	}
	return nil
}

// checkDirty refuses edits that are not committed under what is rendered: a
// sync applies what others can see.
func (e *Engine) checkDirty(r *Run) error {
	var paths []string
	read := map[string]bool{}
	for _, p := range r.Kustomizations {
		if p.snapshot != e.Source || p.rendered == nil {
			continue
		}
		paths = append(paths, p.Path())
		for _, f := range p.rendered.Files {
			read[f] = true
		}
	}
	under := func(file string) bool {
		return read[file] || slices.ContainsFunc(paths, func(p string) bool { return p == "." || strings.HasPrefix(path.Clean(file), p+"/") })
	}
	var dirty []string
	for _, f := range e.Source.Dirty {
		if under(f) {
			dirty = append(dirty, f)
		}
	}
	for _, f := range e.Source.Untracked {
		if under(f) {
			r.warn(e, Warning{Code: "untracked-file", File: f, Message: f + " is not tracked by Git and is not applied", Hint: "git add " + f})
		}
	}
	if len(dirty) == 0 || e.Options.AllowDirty {
		return nil
	}
	return &Refused{
		Code: "dirty",
		Msg:  fmt.Sprintf("%s changed and not committed: %s", count(len(dirty), "file"), some(dirty, 5)),
		Fix:  "git commit, or --allow-dirty to apply the work tree as it is",
	}
}

// Refused is a run that a guard did not let start. Nothing was written.
type Refused struct {
	Code string
	Msg  string
	Fix  string
}

func (e *Refused) Error() string { return e.Msg }

// Hint is what to type to go on.
func (e *Refused) Hint() string { return e.Fix }

// count says how many, in words that agree: "1 file", "3 files".
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// some lists at most n names.
func some(names []string, n int) string {
	if len(names) <= n {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:n], ", "), len(names)-n)
}

// authOf are the credentials in a Flux Secret for a GitRepository.
func authOf(base source.Auth, data map[string]string) source.Auth {
	bytes := func(keys ...string) []byte {
		for _, k := range keys {
			if v := data[k]; v != "" {
				return []byte(v)
			}
		}
		return nil
	}
	auth := source.Auth{Env: base.Env, Username: data["username"], Password: data["password"], BearerToken: data["bearerToken"],
		CACert: bytes("ca.crt", "caFile"), ClientCert: bytes("tls.crt", "certFile"), ClientKey: bytes("tls.key", "keyFile"),
		SSHKey: bytes("identity"), KnownHosts: bytes("known_hosts")}
	if auth.SSHKey != nil {
		// In a Secret with an identity the password is its passphrase.
		auth.SSHPassphrase, auth.Password = bytes("password"), ""
	}
	return auth
}
