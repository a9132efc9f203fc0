package plan

import (
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
)

func TestOtherOwner(t *testing.T) {
	own := flux.Ref{Namespace: "flux-system", Name: "apps"}
	ours := map[string]string{flux.OwnerNameLabel: "apps", flux.OwnerNamespaceLabel: "flux-system"}
	helm := map[string]string{"meta.helm.sh/release-name": "web", "meta.helm.sh/release-namespace": "shop"}
	for title, c := range map[string]struct {
		labels, annotations, declared map[string]string
		want                          string
	}{
		"made by kubectl":             {nil, map[string]string{"kubectl.kubernetes.io/last-applied-configuration": "{}"}, nil, ""},
		"ours":                        {ours, nil, nil, ""},
		"ours, and marked since":      {ours, helm, nil, ""},
		"another Kustomization's":     {map[string]string{flux.OwnerNameLabel: "infra", flux.OwnerNamespaceLabel: "flux-system"}, nil, nil, "kustomization/infra in flux-system"},
		"the same name elsewhere":     {map[string]string{flux.OwnerNameLabel: "apps", flux.OwnerNamespaceLabel: "tenant"}, nil, nil, "kustomization/apps in tenant"},
		"Helm's":                      {map[string]string{"app.kubernetes.io/managed-by": "Helm"}, helm, nil, "Helm release web in shop"},
		"rendered from a chart":       {nil, helm, helm, ""},
		"another release is declared": {nil, helm, map[string]string{"meta.helm.sh/release-name": "other"}, "Helm release web in shop"},
		"Argo CD's, by annotation":    {nil, map[string]string{"argocd.argoproj.io/tracking-id": "web:/Service:shop/web"}, nil, "Argo CD application web"},
		"Argo CD's, by label":         {map[string]string{"argocd.argoproj.io/instance": "web"}, nil, nil, "Argo CD application web"},
		"kapp's":                      {map[string]string{"kapp.k14s.io/app": "1699"}, nil, nil, "kapp app 1699"},
		"kluctl's":                    {map[string]string{"kluctl.io/discriminator": "prod"}, nil, nil, "kluctl deployment prod"},
	} {
		live, desired := &unstructured.Unstructured{Object: map[string]any{}}, &unstructured.Unstructured{Object: map[string]any{}}
		live.SetLabels(c.labels)
		live.SetAnnotations(c.annotations)
		desired.SetAnnotations(c.declared)
		if got, ok := OtherOwner(desired, live, own); got.Name != c.want || ok != (c.want != "") {
			t.Errorf("%s: %q, want %q", title, got.Name, c.want)
		}
	}
}
