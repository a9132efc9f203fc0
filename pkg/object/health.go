package object

import (
	"fmt"
	"strings"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Health is what one object says of itself.
type Health struct {
	// Status is one of kstatus's: Current, InProgress, Failed, Terminating.
	Status  status.Status
	Message string
}

// Ready reports whether nothing is left to wait for.
func (h Health) Ready() bool { return h.Status == status.CurrentStatus }

// Failed reports whether waiting longer is in vain.
func (h Health) Failed() bool { return h.Status == status.FailedStatus }

// HealthOf computes health from one live object, without I/O. The rules are
// kstatus's, but for Jobs, which are ready when they are complete rather than
// when they have started (as Flux's CustomJobStatusReader has it).
func HealthOf(u *unstructured.Unstructured) Health {
	if gk := u.GroupVersionKind().GroupKind(); gk.Group == "batch" && gk.Kind == "Job" && u.GetDeletionTimestamp() == nil {
		return jobHealth(u)
	}
	r, err := status.Compute(u)
	if err != nil {
		return Health{Status: status.UnknownStatus, Message: err.Error()}
	}
	if f := u.GetFinalizers(); r.Status == status.TerminatingStatus && len(f) > 0 {
		r.Message = "is being deleted, and held by the finalizer " + strings.Join(f, ", ")
	}
	return Health{Status: r.Status, Message: r.Message}
}

func jobHealth(u *unstructured.Unstructured) Health {
	conditions, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	for _, c := range conditions {
		c, ok := c.(map[string]any)
		if !ok || c["status"] != "True" {
			continue
		}
		message, _ := c["message"].(string)
		switch c["type"] {
		case "Complete":
			return Health{status.CurrentStatus, "completed"}
		case "Suspended":
			return Health{status.CurrentStatus, "suspended"}
		case "Failed":
			return Health{status.FailedStatus, message}
		}
	}
	active, _, _ := unstructured.NestedInt64(u.Object, "status", "active")
	return Health{status.InProgressStatus, fmt.Sprintf("%d active", active)}
}
