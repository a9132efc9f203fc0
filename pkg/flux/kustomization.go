// Package flux reads the Flux API objects of a repository as values, whatever
// version they are written in, and puts Kustomizations in order. It imports
// Flux's own API types, so that a field has here the meaning it has there.
package flux

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path"
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

	// Unknown are fields that no version of the API that we know has.
	Unknown []string
}

// legacySpec is what the beta versions had beyond v1.
type legacySpec struct {
	kustomizev1.KustomizationSpec `json:",inline"`
	PatchesStrategicMerge         []apiextensionsv1.JSON    `json:"patchesStrategicMerge,omitempty"`
	PatchesJSON6902               []kustomize.JSON6902Patch `json:"patchesJson6902,omitempty"`
	Validation                    string                    `json:"validation,omitempty"`
}

// ParseKustomization reads o into the model. A field of a wrong type is an
// error that names it; unknown fields are listed, not refused: a newer version
// of the API may have them.
func ParseKustomization(o object.Object) (Kustomization, error) {
	k := Kustomization{Ref: Ref{o.GetNamespace(), o.GetName()}, Object: o}
	spec, ok := o.Object["spec"].(map[string]any)
	if !ok {
		return k, fmt.Errorf("%s: spec is missing or not a mapping", k.Ref)
	}
	data, err := json.Marshal(spec)
	if err != nil {
		return k, err
	}
	var s legacySpec
	if err := utiljson.Unmarshal(data, &s); err != nil {
		return k, fmt.Errorf("%s: spec: %s", k.Ref, typeError(err))
	}
	k.Spec, k.PatchesStrategicMerge, k.PatchesJSON6902 = s.KustomizationSpec, s.PatchesStrategicMerge, s.PatchesJSON6902
	k.Unknown = unknownFields(data, &s)
	beta1 := strings.HasSuffix(o.GetAPIVersion(), "/v1beta1")
	for i := range k.Spec.HealthChecks {
		if beta1 && k.Spec.HealthChecks[i].APIVersion == "" {
			k.Spec.HealthChecks[i].APIVersion = "apps/v1" // v1beta1 let it be left out
		}
	}
	return k, nil
}

func typeError(err error) string {
	if t, ok := err.(*json.UnmarshalTypeError); ok {
		return fmt.Sprintf("%s: is a %s, want %s", t.Field, t.Value, t.Type)
	}
	return strings.TrimPrefix(err.Error(), "json: ")
}

// unknownFields finds the fields of data that v does not have. The strict
// decoder stops at the first; each is taken out in turn.
func unknownFields(data []byte, v any) []string {
	var out []string
	var m map[string]any
	if json.Unmarshal(data, &m) != nil {
		return nil
	}
	for range len(m) {
		dec := json.NewDecoder(bytes.NewReader(data))
		dec.DisallowUnknownFields()
		err := dec.Decode(v)
		if err == nil {
			return out
		}
		name, ok := strings.CutPrefix(err.Error(), "json: unknown field ")
		if !ok {
			return out
		}
		name = strings.Trim(name, `"`)
		out = append(out, "spec."+name)
		if _, top := m[name]; !top {
			return out
		}
		delete(m, name)
		data, _ = json.Marshal(m)
	}
	return out
}

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
