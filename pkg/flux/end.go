package flux

import (
	"github.com/fluxcd/pkg/apis/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// End is what has to be known of a Kustomization to finalize it once Git has it
// no longer: what becomes of its objects, where they are, and as whom they are
// deleted.
type End struct {
	Prune              bool                      `json:"prune"`
	DeletionPolicy     string                    `json:"deletionPolicy,omitempty"`
	ServiceAccountName string                    `json:"serviceAccountName,omitempty"`
	KubeConfig         *meta.KubeConfigReference `json:"kubeConfig,omitempty"`
	Timeout            *metav1.Duration          `json:"timeout,omitempty"`
}

// End is what is to be remembered of k.
func (k Kustomization) End() End {
	return End{k.Spec.Prune, k.Spec.DeletionPolicy, k.Spec.ServiceAccountName, k.Spec.KubeConfig, k.Spec.Timeout}
}

// Kustomization is the one of ref with that of its spec which e remembers.
func (e End) Kustomization(ref Ref) Kustomization {
	k := Kustomization{Ref: ref}
	k.Spec.Prune, k.Spec.DeletionPolicy, k.Spec.ServiceAccountName = e.Prune, e.DeletionPolicy, e.ServiceAccountName
	k.Spec.KubeConfig, k.Spec.Timeout = e.KubeConfig, e.Timeout
	return k
}
