package plan

import (
	"encoding/json"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func fromJSON(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON([]byte(text)); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return u
}

// applied is a Deployment as our manager left it, replicas scaled by another
// since.
const appliedDeployment = `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web","namespace":"n","labels":{"app":"x"},"resourceVersion":"7",
"managedFields":[
{"manager":"kustomize-controller","operation":"Apply","apiVersion":"apps/v1","fieldsType":"FieldsV1","fieldsV1":{
 "f:metadata":{"f:labels":{"f:app":{}}},
 "f:spec":{"f:strategy":{},"f:selector":{},"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"a\"}":{".":{},"f:name":{},"f:image":{},"f:ports":{"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{},"f:protocol":{}}}},"k:{\"name\":\"b\"}":{".":{},"f:name":{},"f:image":{}}}}}}}},
{"manager":"hpa","operation":"Update","subresource":"scale","apiVersion":"apps/v1","fieldsType":"FieldsV1","fieldsV1":{"f:spec":{"f:replicas":{}}}}]},
"spec":{"replicas":3,"strategy":{"type":"RollingUpdate"},"selector":{"matchLabels":{"app":"x"}},"template":{"spec":{"containers":[
 {"name":"a","image":"i:1","ports":[{"containerPort":80,"protocol":"TCP"}],"imagePullPolicy":"Always"},{"name":"sidecar","image":"s"},{"name":"b","image":"j:1"}]}}}}`

const declaredDeployment = `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web","namespace":"n","labels":{"app":"x"}},
"spec":{"strategy":{},"selector":{"matchLabels":{"app":"x"}},"template":{"spec":{"containers":[
 {"name":"a","image":"i:1","ports":[{"containerPort":80,"protocol":"TCP"}]},{"name":"b","image":"j:1"}]}}}}`

// What others added beside ours is no doubt; all that an apply would set,
// remove, reorder, or that only a server can tell, is.
func TestInSync(t *testing.T) {
	for title, c := range map[string]struct {
		desired, live [2]string // replaced in it: old, new
		doubt         string
	}{
		"in sync":                        {doubt: ""},
		"a value differs":                {desired: [2]string{"i:1", "i:2"}, doubt: "spec.template.spec.containers[0].image differs"},
		"a value drifted":                {live: [2]string{`"image":"j:1"`, `"image":"hacked"`}, doubt: "spec.template.spec.containers[1].image differs"},
		"a new field":                    {desired: [2]string{`"strategy":{}`, `"strategy":{},"replicas":3`}, doubt: "spec.replicas is not a field of the last apply"},
		"a field that goes":              {desired: [2]string{`"strategy":{},`, ``}, doubt: "spec.strategy was applied before and is no longer declared"},
		"an entry that goes":             {desired: [2]string{`,{"name":"b","image":"j:1"}`, ``}, doubt: "containers has entries more or less"},
		"entries in another order":       {desired: [2]string{`{"name":"b","image":"j:1"}]`, `{"name":"a","image":"i:1"}]`}, doubt: "containers[1] stands in another order"},
		"a key that has a default":       {desired: [2]string{`,"protocol":"TCP"`, ``}, doubt: "ports[0] is not an entry of the last apply"},
		"a null":                         {desired: [2]string{`"strategy":{}`, `"strategy":null`}, doubt: "spec.strategy is null"},
		"taken whole, and more in it":    {live: [2]string{`"selector":{"matchLabels":{"app":"x"}}`, `"selector":{"matchLabels":{"app":"x","y":"z"}}`}, doubt: "spec.selector differs"},
		"another version of the kind":    {desired: [2]string{"apps/v1", "apps/v1beta1"}, doubt: "another version"},
		"applied in another version":     {live: [2]string{`"Apply","apiVersion":"apps/v1"`, `"Apply","apiVersion":"apps/v1beta1"`}, doubt: "was last applied in another version"},
		"never applied by us":            {live: [2]string{"kustomize-controller", "argocd"}, doubt: "was never applied by kustomize-controller"},
		"being deleted":                  {live: [2]string{`"resourceVersion":"7"`, `"deletionTimestamp":"2026-01-01T00:00:00Z"`}, doubt: "is being deleted"},
		"a label that somebody took off": {live: [2]string{`"labels":{"app":"x"}`, `"labels":{}`}, doubt: "metadata.labels.app is not in the cluster"},
	} {
		replace := func(s string, r [2]string) string {
			if r[0] != "" && !strings.Contains(s, r[0]) {
				t.Fatalf("%s: %q is not in it", title, r[0])
			}
			return strings.Replace(s, r[0], r[1], 1)
		}
		desired := fromJSON(t, replace(declaredDeployment, c.desired))
		live := fromJSON(t, replace(appliedDeployment, c.live))
		got := string(InSync(desired, live, "kustomize-controller"))
		if c.doubt == "" && got != "" || c.doubt != "" && !strings.Contains(got, c.doubt) {
			t.Errorf("%s: doubt %q, want %q", title, got, c.doubt)
		}
	}
}

// Where the server may not be asked, what it would probably do is told: what is
// ours is set and removed, what others set stays, notations do not count.
func TestPredict(t *testing.T) {
	live := fromJSON(t, appliedDeployment)
	for title, c := range map[string]struct {
		old, new string
		want     string // in the result, as JSON; "" for no change at all
	}{
		"in sync":            {"", "", ""},
		"an image":           {"i:1", "i:2", `"image":"i:2"`},
		"an entry goes":      {`,{"name":"b","image":"j:1"}`, ``, `{"image":"s","name":"sidecar"}]`},
		"an entry comes":     {`{"name":"b","image":"j:1"}`, `{"name":"b","image":"j:1"},{"name":"c","image":"k"}`, `{"image":"k","name":"c"}]`},
		"a label goes":       {`"labels":{"app":"x"}`, `"labels":{"tier":"y"}`, `"labels":{"tier":"y"}`},
		"taken whole":        {`"matchLabels":{"app":"x"}`, `"matchLabels":{"tier":"y"}`, `"matchLabels":{"tier":"y"}`},
		"a default may stay": {`"image":"j:1"`, `"image":"j:1","env":[]`, ""},
	} {
		desired := fromJSON(t, strings.Replace(declaredDeployment, c.old, c.new, 1))
		result := Predict(desired, live, "kustomize-controller")
		action, _ := Decide(live, result)
		text, _ := json.Marshal(result.Object)
		if (c.want == "") != (action == Unchanged) || !strings.Contains(string(text), c.want) {
			t.Errorf("%s: %s\n%s", title, action, text)
		}
	}
}
