package cluster

import (
	"errors"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// What is forbidden says who may not do what, and what to type: the rbac of the command at
// hand where that is enough, never for an account that a Kustomization names, whose rights
// are not those of who runs it.
func TestForbiddenSaysWhatToType(t *testing.T) {
	const sync = "kubectl gitops rbac --path root"
	says := func(text string) error {
		return apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "web", errors.New(text))
	}
	for title, c := range map[string]struct {
		rights, as    string
		err           error
		message, hint string
	}{
		"a user": {sync, "", says(`User "ada" cannot patch resource "services" in API group "" in the namespace "shop"`),
			"x: forbidden: user ada may not patch services in namespace shop", sync + " prints the least rights for it, which somebody who may is to give to user ada; or use --as or --context"},
		"an account": {sync, "", says(`User "system:serviceaccount:shop:deploy" cannot create resource "namespaces" in API group "" at the cluster scope`),
			"x: forbidden: system:serviceaccount:shop:deploy may not create namespaces at the cluster scope", sync + " --service-account shop/deploy | kubectl apply --server-side -f -, by somebody who may"},
		"nobody": {sync, "", says(`User "" cannot get resource "pods" in API group "" in the namespace "shop"`),
			"x: forbidden: this user may not get pods in namespace shop", sync + " prints the least rights for it, which somebody who may is to give to this user; or use --as or --context"},
		"a command that rbac is not about": {"", "", says(`User "ada" cannot create resource "serviceaccounts/token" in API group "" in the namespace "shop"`),
			"x: forbidden: user ada may not create serviceaccounts/token in namespace shop", "kubectl auth can-i create serviceaccounts -n shop --subresource token, or use --as or --context"},
		"at the cluster scope": {"", "", says(`User "ada" cannot list resource "nodes.example.com" in API group "example.com" at the cluster scope`),
			"x: forbidden: user ada may not list nodes.example.com.example.com at the cluster scope", "kubectl auth can-i list nodes.example.com.example.com, or use --as or --context"},
		"an account that a Kustomization names": {sync, "system:serviceaccount:shop:tenant", says(`User "system:serviceaccount:shop:tenant" cannot patch resource "deployments" in API group "apps" in the namespace "shop"`),
			"x: forbidden: system:serviceaccount:shop:tenant may not patch deployments.apps in namespace shop", "kubectl auth can-i patch deployments.apps -n shop --as system:serviceaccount:shop:tenant"},
		"no right that is missing, but a quota": {sync, "", says("exceeded quota: small"), `x: pods "web" is forbidden: exceeded quota: small`, ""},
		"another error":                         {sync, "", errors.New(`User "ada" cannot get resource "pods" in API group "" in the namespace "shop"`), `x: User "ada" cannot get resource "pods" in API group "" in the namespace "shop"`, ""},
	} {
		cl := &Cluster{RightsCommand: c.rights, Impersonated: c.as}
		err := cl.about("x", c.err)
		hint := ""
		var hinted interface{ Hint() string }
		if errors.As(err, &hinted) {
			hint = hinted.Hint()
		}
		if err.Error() != c.message || hint != c.hint || !errors.Is(err, c.err) {
			t.Errorf("%s: %v\nhint: %s\nwant %s\nhint: %s", title, err, hint, c.message, c.hint)
		}
	}
}
