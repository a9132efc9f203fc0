package gitops

import (
	"context"
	"fmt"
	"net/url"
	"path"
	"strings"

	"github.com/Masterminds/semver/v3"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/registry"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/source"
)

// OpenOCI fetches the artifact at an oci:// URL, with the user's own
// credentials. ref is a tag, a digest or a range of versions; without one it is
// the tag in the URL, else latest.
func OpenOCI(ctx context.Context, c *registry.Client, url, ref string) (*source.Snapshot, error) {
	image := strings.TrimPrefix(url, sourcev1.OCIRepositoryPrefix)
	if at, digest, ok := strings.Cut(image, "@"); ok {
		if !strings.HasPrefix(digest, "sha256:") { // what stands before it may be a password
			return nil, &Refused{Code: "source", Msg: "an oci:// URL has no user and no password", Fix: "docker login HOST, then --source oci://HOST/PATH"}
		}
		image, ref = at, firstOf(ref, digest)
	} else if i := strings.LastIndexByte(image, ':'); i > strings.LastIndexByte(image, '/') {
		image, ref = image[:i], firstOf(ref, image[i+1:])
	}
	r, err := c.Open(registry.Request{Image: image, Of: sourcev1.OCIRepositoryKind})
	if err != nil {
		return nil, err
	}
	s, err := pull(ctx, r, ociRef(ref), sourcev1.OCIRepositorySpec{URL: sourcev1.OCIRepositoryPrefix + image}, nil)
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("%s%w", sourcev1.OCIRepositoryPrefix, err) // the image's name begins it
	}
	return s, err
}

// ociRef is what --ref means of an artifact.
func ociRef(ref string) registry.Ref {
	if strings.HasPrefix(ref, "sha256:") {
		return registry.Ref{Digest: ref}
	}
	if _, err := semver.NewConstraint(ref); ref != "" && err == nil && strings.ContainsAny(ref, "<>=~^*x, ") {
		return registry.Ref{SemVer: ref}
	}
	return registry.Ref{Tag: ref}
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// pull fetches what want names, once verify trusts it.
func pull(ctx context.Context, r *registry.Repository, want registry.Ref, s sourcev1.OCIRepositorySpec, verify func(*registry.Artifact) error) (*source.Snapshot, error) {
	layer := s.LayerSelector
	if layer == nil {
		layer = &sourcev1.OCILayerSelector{}
	}
	found, err := r.Find(ctx, want, layer.MediaType)
	if err != nil {
		return nil, err
	}
	if verify != nil {
		if err := verify(found); err != nil {
			return nil, err
		}
	}
	data, err := found.Layer(ctx, layer.MediaType)
	if err != nil {
		return nil, err
	}
	return source.Unpack(data, found.Revision(), s.URL)
}

// ociArtifact is the artifact at hand where the URL names it, and the ref does not
// say another one of that name; else fetched.
func (e *Engine) ociArtifact(ctx context.Context, r *Run, of flux.Ref, id object.ID, oci flux.OCIRepository) artifact {
	s := oci.Spec
	a := artifact{snapshot: e.Source, atHand: e.Source.Is(s.URL) && !e.pinnedArtifact(ctx, r, oci)}
	if a.atHand {
		if untrusted := e.verifyAtHand(ctx, r, id, oci); untrusted != nil {
			return artifact{err: untrusted}
		}
	} else {
		e.progress(of, "fetching "+s.URL)
		repository, want, err := e.openOCI(ctx, r, id, oci)
		if err == nil {
			a.snapshot, err = pull(ctx, repository, want, s, func(found *registry.Artifact) error { return e.verifyOCI(ctx, r, id, oci, found) })
		}
		if err != nil {
			return artifact{err: sourceFailed(id, "source", err)}
		}
	}
	if l := s.LayerSelector; l != nil && l.Operation == sourcev1.OCILayerCopy {
		return a // it is served as it was made: nothing is left out
	}
	var err error
	if a.snapshot, err = a.snapshot.Artifact(source.Content{Ignore: s.Ignore, Submodules: true}); err != nil {
		return artifact{err: sourceFailed(id, "source", err)}
	}
	return a
}

// pinnedArtifact is pinned, of an OCIRepository with the URL of the artifact at
// hand: a tag or a digest that the artifact at hand does not have, a range of
// versions, or another layer; unless the root's own OCIRepository says the same.
func (e *Engine) pinnedArtifact(ctx context.Context, r *Run, oci flux.OCIRepository) bool {
	layer := func(s *sourcev1.OCILayerSelector) string {
		if s == nil {
			return ""
		}
		return s.MediaType
	}
	ref := artifactReference(oci)
	if r.Root != nil {
		if kind, name := r.Root.SourceRef(); kind == sourcev1.OCIRepositoryKind {
			if o, why := e.sourceObject(ctx, r, sourceID(kind, name)); why == nil {
				root, err := flux.ParseOCIRepository(o)
				if err == nil && e.Source.Is(root.Spec.URL) && artifactReference(root) == ref && layer(root.Spec.LayerSelector) == layer(oci.Spec.LayerSelector) {
					return false
				}
			}
		}
	}
	tag, digest, named := strings.Cut(e.Source.Revision, "@")
	if !named {
		tag, digest = "", e.Source.Revision
	}
	same := ref == registry.Ref{Digest: digest} || ref == registry.Ref{Tag: tag}
	return !same || layer(oci.Spec.LayerSelector) != ""
}

// artifactReference is spec.ref: what of it counts.
func artifactReference(oci flux.OCIRepository) registry.Ref {
	ref := oci.Spec.Reference
	switch {
	case ref == nil:
		return registry.Ref{Tag: "latest"}
	case ref.Digest != "":
		return registry.Ref{Digest: ref.Digest}
	case ref.SemVer != "":
		return registry.Ref{SemVer: ref.SemVer, Filter: ref.SemverFilter}
	}
	return registry.Ref{Tag: firstOf(ref.Tag, "latest")}
}

// openOCI has the credentials and certificates of an OCIRepository's Secrets, and
// says what of it is wanted.
func (e *Engine) openOCI(ctx context.Context, r *Run, id object.ID, oci flux.OCIRepository) (*registry.Repository, registry.Ref, error) {
	s := oci.Spec
	want := artifactReference(oci)
	request := registry.Request{Image: strings.TrimPrefix(s.URL, sourcev1.OCIRepositoryPrefix), Of: id.Kind, Insecure: s.Insecure, Provider: s.Provider}
	if s.Timeout != nil {
		request.Timeout = s.Timeout.Duration
	}
	suspended, revision, err := e.suspendedAt(ctx, r, id, s.Suspend)
	if err != nil {
		return nil, want, err
	}
	if suspended {
		tag, digest, ok := strings.Cut(revision, "@")
		if !ok {
			tag, digest = "", revision
		}
		want = registry.Ref{Digest: digest, Tag: tag}
	}
	pulls := []*meta.LocalObjectReference{s.SecretRef}
	if s.ServiceAccountName != "" && (s.Provider == "" || s.Provider == sourcev1.GenericOCIProvider) {
		more, err := e.pullSecrets(ctx, r, object.ID{Kind: "ServiceAccount", Namespace: oci.Namespace, Name: s.ServiceAccountName})
		if err != nil {
			return nil, want, err
		}
		pulls = append(pulls, more...)
	}
	for _, ref := range pulls {
		if ref == nil {
			continue
		}
		data, err := e.sourceSecret(ctx, r, oci.Namespace, ref, "credentials")
		if err != nil {
			return nil, want, err
		}
		config := firstOf(data[".dockerconfigjson"], data[".dockercfg"])
		if config == "" {
			return nil, want, &sourceError{"", fmt.Sprintf("secret/%s in %s has no .dockerconfigjson", ref.Name, oci.Namespace), "kubectl create secret docker-registry"}
		}
		request.DockerConfigs = append(request.DockerConfigs, []byte(config))
	}
	if request.TLS.CA, request.TLS.Cert, request.TLS.Key, err = e.sourceCertificates(ctx, r, oci.Namespace, s.CertSecretRef); err != nil {
		return nil, want, err
	}
	if request.Proxy, err = e.sourceProxy(ctx, r, oci.Namespace, s.ProxySecretRef); err != nil {
		return nil, want, err
	}
	repository, err := e.registry().Open(request)
	return repository, want, err
}

// sourceProxy is the proxy that a source names, nil for none.
func (e *Engine) sourceProxy(ctx context.Context, r *Run, namespace string, ref *meta.LocalObjectReference) (*url.URL, error) {
	if ref == nil {
		return nil, nil
	}
	data, err := e.sourceSecret(ctx, r, namespace, ref, "the proxy")
	if err != nil {
		return nil, err
	}
	return source.ProxyOf("secret/"+ref.Name+" in "+namespace, data)
}

// pullSecrets are the Secrets that a ServiceAccount pulls with.
func (e *Engine) pullSecrets(ctx context.Context, r *Run, id object.ID) ([]*meta.LocalObjectReference, error) {
	o, ok := e.declared(ctx, r, id)
	if !ok {
		live, err := e.lookUp(ctx, id)
		if err != nil {
			return nil, err
		}
		if live == nil {
			return nil, &sourceError{"", id.String() + " is missing: neither Git nor the cluster has it", "create it, or use spec.secretRef"}
		}
		o = object.Object{Unstructured: live}
	}
	var out []*meta.LocalObjectReference
	list, _, _ := unstructured.NestedSlice(o.Object, "imagePullSecrets")
	for _, item := range list {
		if m, ok := item.(map[string]any); ok {
			if name, ok := m["name"].(string); ok {
				out = append(out, &meta.LocalObjectReference{Name: name})
			}
		}
	}
	return out, nil
}

// verifyOCI checks the signature that spec.verify asks for.
func (e *Engine) verifyOCI(ctx context.Context, r *Run, id object.ID, oci flux.OCIRepository, found *registry.Artifact) error {
	v := oci.Spec.Verify
	if v == nil {
		return nil
	}
	untrusted := func(why, hint string) error {
		return &sourceError{"source-not-trusted", id.String() + ": " + why, hint}
	}
	switch {
	case v.Provider != "cosign" && v.Provider != "notation":
		return untrusted("spec.verify.provider: "+v.Provider+" is neither cosign nor notation", leaveToFlux)
	case v.SecretRef == nil && v.Provider == "notation":
		return untrusted("spec.verify.secretRef is missing: notation wants trustpolicy.json and certificates", "flux create secret notation")
	case v.SecretRef == nil:
		return untrusted("spec.verify without a key (keyless) is not supported by this version", "sign with a key and name its Secret in spec.verify.secretRef; or "+leaveToFlux)
	}
	data, err := e.sourceSecret(ctx, r, oci.Namespace, v.SecretRef, "the keys of spec.verify")
	keys, certificates := map[string]string{}, map[string]string{}
	for name, key := range data {
		switch path.Ext(name) {
		case ".pub":
			keys[name] = key
		case ".crt", ".pem":
			certificates[name] = key
		}
	}
	switch {
	case err != nil:
	case v.Provider == "cosign":
		_, err = found.VerifyCosign(ctx, keys)
	default:
		err = found.VerifyNotation(ctx, data["trustpolicy.json"], certificates)
	}
	if err != nil {
		return sourceFailed(id, "source-not-trusted", err)
	}
	return nil
}

// verifyAtHand checks the source at hand where the root's OCIRepository wants it
// signed.
func (e *Engine) verifyAtHand(ctx context.Context, r *Run, id object.ID, oci flux.OCIRepository) *sourceError {
	if oci.Spec.Verify == nil {
		return nil
	}
	if !e.Source.Is(oci.Spec.URL) {
		return &sourceError{"source-not-trusted", id.String() + ": spec.verify is about an artifact, and the source at hand is none", "--source " + oci.Spec.URL}
	}
	repository, _, err := e.openOCI(ctx, r, id, oci)
	var found *registry.Artifact
	if err == nil {
		digest := e.Source.Revision[strings.LastIndexByte(e.Source.Revision, '@')+1:]
		found, err = repository.Find(ctx, registry.Ref{Digest: digest}, "")
	}
	if err == nil {
		err = e.verifyOCI(ctx, r, id, oci, found)
	}
	if err != nil {
		return sourceFailed(id, "source-not-trusted", err)
	}
	return nil
}

// registry is the client of all registries.
func (e *Engine) registry() *registry.Client {
	if e.Registries == nil {
		e.Registries = &registry.Client{}
	}
	return e.Registries
}
