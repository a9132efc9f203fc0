package plan

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
)

func managed(u *unstructured.Unstructured, manager string, op metav1.ManagedFieldsOperationType, at time.Time, fields string) {
	u.SetManagedFields(append(u.GetManagedFields(), metav1.ManagedFieldsEntry{
		Manager: manager, Operation: op, APIVersion: "v1", FieldsType: "FieldsV1",
		Time: &metav1.Time{Time: at}, FieldsV1: &metav1.FieldsV1{Raw: []byte(fields)},
	}))
}

// The latest of those who set a field that would be set back is named; who set
// another field, or a status, is not.
func TestWhoTouchedIt(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	l, r := live(nil, "drifted"), live(nil, "1")
	managed(l, "kustomize-controller", metav1.ManagedFieldsOperationApply, now.Add(time.Hour), `{"f:data":{"f:v":{}}}`)
	managed(l, "kubectl-patch", metav1.ManagedFieldsOperationUpdate, now, `{"f:data":{"f:v":{}}}`)
	managed(l, "early", metav1.ManagedFieldsOperationUpdate, now.Add(-time.Hour), `{"f:data":{"f:v":{}}}`)
	managed(l, "elsewhere", metav1.ManagedFieldsOperationUpdate, now.Add(time.Hour), `{"f:data":{"f:other":{}}}`)
	c := Change{Action: Configure, Live: l, Result: r}
	if who, at := c.Touched("kustomize-controller"); who != "kubectl-patch" || !at.Equal(now) {
		t.Errorf("%s at %s, want kubectl-patch at %s", who, at, now)
	}
	fields := l.GetManagedFields()
	fields = append(fields[:0:0], fields[0]) // and one as kubectl scale leaves it: a subresource, without a time
	fields = append(fields, metav1.ManagedFieldsEntry{Manager: "kubectl", Operation: metav1.ManagedFieldsOperationUpdate, Subresource: "scale",
		FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:data":{"f:v":{}}}`)}})
	l.SetManagedFields(fields)
	if who, at := c.Touched("kustomize-controller"); who != "kubectl" || !at.IsZero() {
		t.Errorf("%s at %s, want kubectl at an unknown time", who, at)
	}
	if who, _ := (Change{Action: Unchanged, Live: l, Result: l}).Touched("x"); who != "" {
		t.Errorf("nothing differs, yet %s touched it", who)
	}
}

// What kubectl alone owns goes when we take over; what Git has too, or another
// manager owns as well, stays.
func TestForfeit(t *testing.T) {
	l := live(nil, "1")
	now := time.Now()
	managed(l, "kubectl-client-side-apply", metav1.ManagedFieldsOperationUpdate, now, `{"f:data":{"f:ours":{},"f:theirs":{},"f:shared":{}},"f:spec":{"f:list":{"k:{\"name\":\"a\"}":{".":{}}}}}`)
	r := l.DeepCopy()
	managed(r, "kustomize-controller", metav1.ManagedFieldsOperationApply, now, `{"f:data":{"f:ours":{}}}`)
	managed(r, "operator", metav1.ManagedFieldsOperationUpdate, now, `{"f:data":{"f:shared":{}}}`)
	got := Forfeit(l, r, "kustomize-controller", func(e metav1.ManagedFieldsEntry) bool { return strings.HasPrefix(e.Manager, "kubectl") })
	if len(got) != 1 || strings.Join(got[0], ".") != "data.theirs" {
		t.Errorf("got %v, want data.theirs", got)
	}
}

func TestSecretsAreMasked(t *testing.T) {
	secret := func(annotation string, data map[string]any) *unstructured.Unstructured {
		u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Secret", "data": data}}
		if annotation != "" {
			u.SetAnnotations(map[string]string{lastApplied: annotation})
		}
		return u
	}
	c := Change{ID: object.ID{Kind: "Secret", Name: "s"}, Action: Configure,
		Live:   secret("hunter2 in here too", map[string]any{"same": "aHVudGVyMg==", "changed": "b2xk", "gone": "Z29uZQ=="}),
		Result: secret("", map[string]any{"same": "aHVudGVyMg==", "changed": "bmV3", "new": "bmV3bmV3"})}
	got := c.Unified(false)
	for _, value := range []string{"hunter2", "aHVudGVyMg", "b2xk", "bmV3", "Z29uZQ"} {
		if strings.Contains(got, value) {
			t.Errorf("%s is shown:\n%s", value, got)
		}
	}
	for _, line := range []string{"-  changed: '*** (before)'", "+  changed: '*** (after)'", "-  gone: '***'", "+  new: '***'", "   same: '***'"} {
		if !strings.Contains(got, line) {
			t.Errorf("%s is not shown:\n%s", line, got)
		}
	}
	if data := c.Live.Object["data"].(map[string]any); data["same"] != "aHVudGVyMg==" {
		t.Error("masking changed the live object itself")
	}
}
