package flux

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
)

func parse(t *testing.T, text string) (Kustomization, error) {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
		t.Fatal(err)
	}
	return ParseKustomization(object.Object{Unstructured: u, File: "ks.yaml", Line: 1})
}

func TestKustomizationsOfEveryVersion(t *testing.T) {
	k, err := parse(t, `
apiVersion: kustomize.toolkit.fluxcd.io/v1beta1
kind: Kustomization
metadata: {name: apps, namespace: flux-system}
spec:
  interval: 10m0s
  path: /apps/
  prune: true
  validation: client
  novelty: true
  timeout: 10s
  healthChecks: [{kind: Deployment, name: web, namespace: shop}]
  patchesStrategicMerge: [{kind: Deployment}]
  dependsOn: [{name: infra}, {name: x, namespace: other}]
  sourceRef: {kind: GitRepository, name: flux-system}
`)
	if err != nil {
		t.Fatal(err)
	}
	if k.Path() != "apps" || len(k.PatchesStrategicMerge) != 1 {
		t.Errorf("path %q, %d patches", k.Path(), len(k.PatchesStrategicMerge))
	}
	if h := k.Spec.HealthChecks[0]; h.APIVersion != "apps/v1" {
		t.Errorf("v1beta1's health checks default to apps/v1, got %q", h.APIVersion)
	}
	if k.Timeout(time.Minute) != 30*time.Second {
		t.Errorf("timeout %s, want Flux's least of 30s", k.Timeout(time.Minute))
	}
	if len(k.Unknown) != 1 || k.Unknown[0].Path != "spec.novelty" {
		t.Errorf("unknown fields %v", k.Unknown)
	}
	if d := k.DependsOn(); len(d) != 2 || d[0] != (Ref{"flux-system", "infra"}) || d[1] != (Ref{"other", "x"}) {
		t.Errorf("depends on %v", d)
	}
	if kind, ref := k.SourceRef(); kind != "GitRepository" || ref != (Ref{"flux-system", "flux-system"}) {
		t.Errorf("source %s %s", kind, ref)
	}
	if _, err := parse(t, "kind: Kustomization\nmetadata: {name: a, namespace: b}\nspec: {prune: maybe}\n"); err == nil || !strings.Contains(err.Error(), "prune") {
		t.Errorf("a wrong type: %v", err)
	}
	if _, err := parse(t, "kind: Kustomization\nmetadata: {name: a, namespace: b}\n"); err == nil {
		t.Error("no spec: no error")
	}
}

func TestCleanPath(t *testing.T) {
	for in, want := range map[string]string{"": ".", "./": ".", "/": ".", "./apps": "apps", "apps/": "apps", "/apps//x": "apps/x", "../../etc": "etc", "./a/../b": "b"} {
		if got := CleanPath(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestOrderFindsCyclesAndMissingNames(t *testing.T) {
	ks := func(edges ...string) (out []Kustomization) {
		for _, e := range edges {
			name, deps, _ := strings.Cut(e, ":")
			text := "kind: Kustomization\nmetadata: {name: " + name + ", namespace: ns}\nspec:\n  prune: true\n  sourceRef: {kind: GitRepository, name: g}\n  dependsOn:\n"
			for _, d := range strings.Fields(deps) {
				text += "  - name: " + d + "\n"
			}
			k, err := parse(t, text)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, k)
		}
		return out
	}
	none := func(Ref) bool { return false }
	for name, c := range map[string]struct {
		ks   []Kustomization
		want []string
	}{
		"fine":         {ks("a:", "b: a", "c: a b"), nil},
		"itself":       {ks("a: a"), []string{"ks.yaml:1: dependsOn goes round in a circle: a → a"}},
		"round":        {ks("a: b", "b: c", "c: a", "d: a"), []string{"ks.yaml:1: dependsOn goes round in a circle: a → b → c → a"}},
		"two circles":  {ks("a: b", "b: a", "c: d", "d: c"), []string{"circle: a → b → a", "circle: c → d → c"}},
		"missing":      {ks("a: infar", "infra:"), []string{"depends on kustomization/infar in ns, which nothing declares"}},
		"both at once": {ks("a: a", "b: zzz"), []string{"which nothing declares", "circle"}},
	} {
		errs := CheckOrder(c.ks, none)
		if len(errs) != len(c.want) {
			t.Errorf("%s: %v, want %v", name, errs, c.want)
			continue
		}
		for i := range errs {
			if !strings.Contains(errs[i].Error(), c.want[i]) || errs[i].Hint() == "" {
				t.Errorf("%s: %q (hint %q), want %q", name, errs[i].Error(), errs[i].Hint(), c.want[i])
			}
		}
	}
	if errs := CheckOrder(ks("a: infar", "infra:"), none); errs[0].Hint() != "did you mean infra?" {
		t.Errorf("hint %q", errs[0].Hint())
	}
	if errs := CheckOrder(ks("a: elsewhere"), func(r Ref) bool { return r.Name == "elsewhere" }); errs != nil {
		t.Errorf("what the cluster has is not missing: %v", errs)
	}
}

func TestClouds(t *testing.T) {
	for provider, want := range map[string]bool{"aws": true, "azure": true, "gcp": true, "generic": false, "github": false, "": false} {
		if IsCloud(provider) != want {
			t.Errorf("%q: %v", provider, !want)
		}
	}
}
