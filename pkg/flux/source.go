package flux

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
)

// GitRepository is a Flux GitRepository of any version.
type GitRepository struct {
	Ref
	Object object.Object
	Spec   sourcev1.GitRepositorySpec
}

// Revision is the ref to fetch, by Flux's precedence: commit, name, tag, semver,
// branch; "" where none is given (Flux then takes the branch master).
func (g GitRepository) Revision() string {
	r := g.Spec.Reference
	if r == nil {
		return ""
	}
	return cmp.Or(r.Commit, r.Name, r.Tag, r.SemVer, r.Branch)
}

// Where names it in messages.
func (g GitRepository) Where() string { return describe(g.Object) }

// OCIRepository is a Flux OCIRepository of any version.
type OCIRepository struct {
	Ref
	Object object.Object
	Spec   sourcev1.OCIRepositorySpec
}

// Bucket is a Flux Bucket of any version.
type Bucket struct {
	Ref
	Object object.Object
	Spec   sourcev1.BucketSpec
}

// ExternalArtifact is an artifact that some other controller makes; only its status says where.
type ExternalArtifact struct {
	Ref
	Object object.Object
	Status sourcev1.ExternalArtifactStatus
}

// ParseGitRepository reads o into the model.
func ParseGitRepository(o object.Object) (GitRepository, error) {
	g := GitRepository{Ref: Ref{o.GetNamespace(), o.GetName()}, Object: o}
	if err := decodePart(o, "spec", &g.Spec); err != nil {
		return g, err
	}
	return g, required(o, "spec.url", g.Spec.URL)
}

// ParseOCIRepository reads o into the model.
func ParseOCIRepository(o object.Object) (OCIRepository, error) {
	r := OCIRepository{Ref: Ref{o.GetNamespace(), o.GetName()}, Object: o}
	if err := decodePart(o, "spec", &r.Spec); err != nil {
		return r, err
	}
	if err := required(o, "spec.url", r.Spec.URL); err != nil {
		return r, err
	}
	if strings.Contains(r.Spec.URL, "@") { // what stands before it may be a password
		return r, fmt.Errorf("%s: spec.url has a user or a digest in it: spec.secretRef and spec.ref.digest are for those", describe(o))
	}
	if !strings.HasPrefix(r.Spec.URL, sourcev1.OCIRepositoryPrefix) {
		return r, fmt.Errorf("%s: spec.url %q does not begin with oci://", describe(o), r.Spec.URL)
	}
	return r, nil
}

// ParseBucket reads o into the model.
func ParseBucket(o object.Object) (Bucket, error) {
	b := Bucket{Ref: Ref{o.GetNamespace(), o.GetName()}, Object: o}
	if err := decodePart(o, "spec", &b.Spec); err != nil {
		return b, err
	}
	if err := required(o, "spec.endpoint", b.Spec.Endpoint); err != nil {
		return b, err
	}
	return b, required(o, "spec.bucketName", b.Spec.BucketName)
}

// ParseExternalArtifact reads o into the model.
func ParseExternalArtifact(o object.Object) (ExternalArtifact, error) {
	a := ExternalArtifact{Ref: Ref{o.GetNamespace(), o.GetName()}, Object: o}
	return a, decodePart(o, "status", &a.Status)
}

// describe names an object as people type it.
func describe(o object.Object) string {
	return fmt.Sprintf("%s/%s in %s", strings.ToLower(o.GetKind()), o.GetName(), o.GetNamespace())
}

func decodePart(o object.Object, part string, into any) error {
	data, err := json.Marshal(o.Object[part])
	if err != nil {
		return err
	}
	if err := utiljson.Unmarshal(data, into); err != nil {
		return fmt.Errorf("%s: %s: %s", describe(o), part, typeError(err))
	}
	return nil
}

func required(o object.Object, field, value string) error {
	if value == "" {
		return fmt.Errorf("%s: %s is missing", describe(o), field)
	}
	return nil
}
