package object

import (
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestJobsAreReadyWhenTheyAreComplete(t *testing.T) {
	job := func(conditions ...any) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "batch/v1", "kind": "Job", "status": map[string]any{"active": int64(1), "conditions": conditions},
		}}
	}
	condition := func(typ string) any {
		return map[string]any{"type": typ, "status": "True", "message": "because"}
	}
	for name, c := range map[string]struct {
		job           *unstructured.Unstructured
		ready, failed bool
	}{
		"running":   {job(), false, false},
		"complete":  {job(condition("Complete")), true, false},
		"suspended": {job(condition("Suspended")), true, false},
		"failed":    {job(condition("Failed")), false, true},
	} {
		if h := HealthOf(c.job); h.Ready() != c.ready || h.Failed() != c.failed {
			t.Errorf("%s: %+v", name, h)
		}
	}
}
