package plan

import (
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
)

// Owner is who else than the Kustomization that declares an object has marked
// it as theirs.
type Owner struct {
	Name string   // as people name it: "Helm release web in shop"
	Ref  flux.Ref // where it is a Kustomization; zero otherwise
}

// marks are the labels and annotations by which other tools know what is theirs.
var marks = []struct {
	key  string
	name func(value string, annotations map[string]string) string
}{
	// argo-cd, docs/user-guide/resource_tracking.md: <application>:<group>/<kind>:<namespace>/<name>
	{"argocd.argoproj.io/tracking-id", func(v string, _ map[string]string) string {
		app, _, _ := strings.Cut(v, ":")
		return "Argo CD application " + app
	}},
	{"argocd.argoproj.io/instance", func(v string, _ map[string]string) string { return "Argo CD application " + v }},
	// helm, pkg/action/validate.go
	{"meta.helm.sh/release-name", func(v string, annotations map[string]string) string {
		return "Helm release " + v + " in " + annotations["meta.helm.sh/release-namespace"]
	}},
	{"kapp.k14s.io/app", func(v string, _ map[string]string) string { return "kapp app " + v }},
	{"kluctl.io/discriminator", func(v string, _ map[string]string) string { return "kluctl deployment " + v }},
}

// OtherOwner is who else has marked live as theirs, ok false for nobody. What
// already carries both labels of own is own's, and a mark that Git itself
// declares is nobody's: it was rendered from a chart, say.
func OtherOwner(desired, live *unstructured.Unstructured, own flux.Ref) (o Owner, ok bool) {
	if Owned(live, own) {
		return Owner{}, false
	}
	labels, annotations := live.GetLabels(), live.GetAnnotations()
	if name := labels[flux.OwnerNameLabel]; name != "" {
		o.Ref = flux.Ref{Namespace: labels[flux.OwnerNamespaceLabel], Name: name}
		o.Name = o.Ref.String()
		return o, true
	}
	for _, m := range marks {
		if v := labels[m.key]; v != "" && v != desired.GetLabels()[m.key] {
			return Owner{Name: m.name(v, annotations)}, true
		}
		if v := annotations[m.key]; v != "" && v != desired.GetAnnotations()[m.key] {
			return Owner{Name: m.name(v, annotations)}, true
		}
	}
	return Owner{}, false
}
