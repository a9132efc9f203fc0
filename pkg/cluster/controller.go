package cluster

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// fluxLease is the end of the name of the Lease of the leader among the
// controllers of one kind.
const fluxLease = "-leader-election"

// fluxNamespace is where Flux's controllers live.
const fluxNamespace = "flux-system"

// FluxLease is the Lease of the leader among the kustomize-controllers.
func FluxLease() (namespace, name string) { return fluxNamespace, "kustomize-controller" + fluxLease }

// Life tells whether a controller is alive.
type Life int

const (
	Dead    Life = iota
	Alive        // its leader-election Lease is being renewed, whatever its Deployment looks like
	Unknown      // its Lease may not be read: counts as alive
)

// FluxRunning tells whether a kustomize-controller is alive.
func (c *Cluster) FluxRunning(ctx context.Context) (Life, error) {
	return c.Running(ctx, "kustomize-controller")
}

// Running tells whether one of Flux's controllers is alive.
func (c *Cluster) Running(ctx context.Context, controller string) (Life, error) {
	u, err := c.at(leases, fluxNamespace).Get(ctx, controller+fluxLease, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return Dead, nil
	case apierrors.IsForbidden(err):
		return Unknown, nil
	case err != nil:
		return Dead, c.unreachable(err)
	}
	renewed, _, _ := unstructured.NestedString(u.Object, "spec", "renewTime")
	holder, _, _ := unstructured.NestedString(u.Object, "spec", "holderIdentity")
	seconds, _, _ := unstructured.NestedInt64(u.Object, "spec", "leaseDurationSeconds")
	at, err := time.Parse(time.RFC3339Nano, renewed)
	if holder == "" || err != nil {
		return Dead, nil // given up
	}
	if c.now().Sub(at) > 2*time.Duration(max(seconds, 15))*time.Second {
		return Dead, nil
	}
	return Alive, nil
}
