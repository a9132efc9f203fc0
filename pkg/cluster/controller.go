package cluster

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var leases = Resource{schema.GroupVersionResource{Group: "coordination.k8s.io", Version: "v1", Resource: "leases"}, "Lease", true}

// fluxNamespace is where Flux's controllers live.
const fluxNamespace = "flux-system"

// FluxRunning reports whether a kustomize-controller is alive. It is when its
// leader-election Lease is being renewed, not when its Deployment looks ready;
// a Lease that may not be read counts as alive.
func (c *Cluster) FluxRunning(ctx context.Context) (bool, error) {
	u, err := c.at(leases, fluxNamespace).Get(ctx, "kustomize-controller-leader-election", metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return false, nil
	case apierrors.IsForbidden(err):
		return true, nil
	case err != nil:
		return false, c.unreachable(err)
	}
	renewed, _, _ := unstructured.NestedString(u.Object, "spec", "renewTime")
	holder, _, _ := unstructured.NestedString(u.Object, "spec", "holderIdentity")
	seconds, _, _ := unstructured.NestedInt64(u.Object, "spec", "leaseDurationSeconds")
	at, err := time.Parse(time.RFC3339Nano, renewed)
	if holder == "" || err != nil {
		return false, nil // given up
	}
	return time.Since(at) < 2*time.Duration(max(seconds, 15))*time.Second, nil
}
