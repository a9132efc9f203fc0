// Package flux reads the Flux API objects of a repository as values, whatever
// version they are written in, and puts Kustomizations in order. It imports
// Flux's own API types, so that a field has here the meaning it has there.
package flux

import (
	"encoding/json"
	"path"
	"reflect"
	"slices"
	"strings"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/kustomize"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
)

// Groups of Flux's API.
const (
	KustomizeGroup = "kustomize.toolkit.fluxcd.io"
	SourceGroup    = "source.toolkit.fluxcd.io"
	groupSuffix    = ".toolkit.fluxcd.io"
)

// Labels and annotations that Flux reads on any object (value compared without
// regard to case; a label or an annotation, alike).
const (
	OwnerNameLabel      = KustomizeGroup + "/name"
	OwnerNamespaceLabel = KustomizeGroup + "/namespace"
	ReconcileKey        = KustomizeGroup + "/reconcile"
	PruneKey            = KustomizeGroup + "/prune"
	SSAKey              = KustomizeGroup + "/ssa"
	ForceKey            = KustomizeGroup + "/force"
	SubstituteKey       = KustomizeGroup + "/substitute"
	DecryptKey          = KustomizeGroup + "/decrypt"
)

// RequestKey is the annotation that asks a controller to reconcile now, at any
// change of its value; status.lastHandledReconcileAt repeats the value then.
const RequestKey = "reconcile.fluxcd.io/requestedAt"

// FieldManager is the manager of Flux's server-side apply, deliberately ours
// too: whoever applies next finds its own fields.
const FieldManager = "kustomize-controller"

// StatusManager is the manager of what Flux writes to status.
const StatusManager = "gotk-kustomize-controller"

// IsKustomization reports whether gk is Flux's Kustomization (not kustomize's).
func IsKustomization(gk schema.GroupKind) bool {
	return gk.Group == KustomizeGroup && gk.Kind == kustomizev1.KustomizationKind
}

// IsFluxGroup reports whether group is one of Flux's own API groups.
func IsFluxGroup(group string) bool { return strings.HasSuffix(group, groupSuffix) }

// Ref names a Kustomization.
type Ref struct{ Namespace, Name string }

func (r Ref) String() string { return "kustomization/" + r.Name + " in " + r.Namespace }

// Kustomization is a Flux Kustomization of any version: v1, v1beta2, v1beta1.
type Kustomization struct {
	Ref
	// Object is the object as Git declares it; nil Unstructured for a root that
	// Git does not declare.
	Object object.Object
	Spec   kustomizev1.KustomizationSpec

	// Fields that v1 dropped and Flux's generator still honors where it finds them.
	PatchesStrategicMerge []apiextensionsv1.JSON
	PatchesJSON6902       []kustomize.JSON6902Patch

	// Unknown are fields that its version of the API does not have, as far as it
	// is known here.
	Unknown []FieldError
}

// betaSpec is what the beta versions had beyond v1.
type betaSpec struct {
	kustomizev1.KustomizationSpec `json:",inline"`
	PatchesStrategicMerge         []apiextensionsv1.JSON    `json:"patchesStrategicMerge,omitempty"`
	PatchesJSON6902               []kustomize.JSON6902Patch `json:"patchesJson6902,omitempty"`
	Validation                    string                    `json:"validation,omitempty"`
}

// versions are those of the API that are known here: in a newer one a field may
// be what is not known.
var versions = []string{"v1", "v1beta2", "v1beta1"}

// Newer reports whether k is written in a version of the API that is not known.
func (k Kustomization) Newer() bool {
	gv := k.Object.GroupVersionKind()
	return gv.Version != "" && !slices.Contains(versions, gv.Version)
}

// ParseKustomization reads o into the model. Fields of a wrong type, or with a
// value that the API does not take, are an *InvalidError with all of them; the
// fields that the API does not have are listed in Unknown. What can be read is
// read all the same.
func ParseKustomization(o object.Object) (Kustomization, error) {
	k := Kustomization{Ref: Ref{o.GetNamespace(), o.GetName()}, Object: o}
	spec, ok := o.Object["spec"].(map[string]any)
	if !ok {
		return k, &InvalidError{k.Ref, []FieldError{{Path: "spec", Msg: "is missing or not a mapping"}}}
	}
	beta := o.GetAPIVersion() != kustomizev1.GroupVersion.String() && !k.Newer()
	t := reflect.TypeFor[kustomizev1.KustomizationSpec]()
	if beta {
		t = reflect.TypeFor[betaSpec]()
	}
	var wrong []FieldError
	wrong, k.Unknown = checkFields(spec, t, "spec")
	for i, f := range k.Unknown {
		if strings.HasPrefix(f.Path, "spec.patchesStrategicMerge") || strings.HasPrefix(f.Path, "spec.patchesJson6902") {
			k.Unknown[i].Fix = "v1 has spec.patches for both"
		}
	}
	data, err := json.Marshal(spec)
	if err != nil {
		return k, err
	}
	var s betaSpec
	err = utiljson.Unmarshal(data, &s)
	if err != nil && len(wrong) == 0 {
		wrong = append(wrong, FieldError{Path: "spec", Msg: strings.TrimPrefix(err.Error(), "json: ")})
	}
	k.Spec = s.KustomizationSpec
	if beta {
		k.PatchesStrategicMerge, k.PatchesJSON6902 = s.PatchesStrategicMerge, s.PatchesJSON6902
	}
	for i := range k.Spec.HealthChecks {
		if k.Spec.HealthChecks[i].APIVersion == "" {
			k.Spec.HealthChecks[i].APIVersion = defaultHealthCheck
		}
	}
	if len(wrong) == 0 {
		wrong = k.check()
	}
	if len(wrong) > 0 {
		return k, &InvalidError{k.Ref, wrong}
	}
	return k, nil
}

// defaultHealthCheck is what v1beta1 let be left out, and Flux still takes so.
const defaultHealthCheck = "apps/v1"

// Path is where the manifests are: slash-separated, from the source's root,
// "." for the root itself. The API allows "./apps", "apps/" and "/apps".
func (k Kustomization) Path() string {
	return CleanPath(k.Spec.Path)
}

// CleanPath brings the spellings of spec.path to one: no leading "/" or "./",
// no trailing "/", "." for the root. A path that climbs out with ".." is kept
// inside, as Flux's securejoin does.
func CleanPath(p string) string {
	p = strings.TrimPrefix(path.Clean("/"+strings.TrimSpace(p)), "/")
	if p == "" {
		return "."
	}
	return p
}

// Timeout is how long its health is waited for: spec.timeout, else fallback;
// never less than 30 s, as Flux clamps it.
func (k Kustomization) Timeout(fallback time.Duration) time.Duration {
	if k.Spec.Timeout != nil {
		return max(k.Spec.Timeout.Duration, 30*time.Second)
	}
	return fallback
}

// DependsOn are the Kustomizations that must be ready first.
func (k Kustomization) DependsOn() []Ref {
	refs := make([]Ref, 0, len(k.Spec.DependsOn))
	for _, d := range k.Spec.DependsOn {
		r := Ref{d.Namespace, d.Name}
		if r.Namespace == "" {
			r.Namespace = k.Namespace
		}
		refs = append(refs, r)
	}
	return refs
}

// SourceRef is the source's kind, namespace (its own where none is given) and name.
func (k Kustomization) SourceRef() (kind string, ref Ref) {
	r := Ref{k.Spec.SourceRef.Namespace, k.Spec.SourceRef.Name}
	if r.Namespace == "" {
		r.Namespace = k.Namespace
	}
	return k.Spec.SourceRef.Kind, r
}

// Marked reports whether o carries key with value as a label or an annotation
// (value without regard to case, as ssa's AnyInMetadata).
func Marked(o interface {
	GetLabels() map[string]string
	GetAnnotations() map[string]string
}, key, value string) bool {
	return strings.EqualFold(o.GetLabels()[key], value) && o.GetLabels()[key] != "" ||
		strings.EqualFold(o.GetAnnotations()[key], value) && o.GetAnnotations()[key] != ""
}
