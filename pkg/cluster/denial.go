package cluster

import (
	"fmt"
	"regexp"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// denial is the server's no because of who asks: RBAC's, or another authorizer's.
type denial struct {
	user      string // as the server knows who asked
	verb      string
	resource  schema.GroupResource
	sub       string // subresource, "" for none
	namespace string // "" for the cluster scope
	err       error
}

// The API server words it like this, whoever authorizes (ForbiddenMessage of
// k8s.io/apiserver/pkg/endpoints/handlers/responsewriters).
var deniedText = regexp.MustCompile(`User "([^"]*)" cannot (\S+) resource "([^"/]*)/?([^"]*)" in API group "([^"]*)" (?:in the namespace "([^"]*)"|at the cluster scope)`)

// escalationText is what whoever writes a Role hears that allows more than they
// may.
var escalationText = regexp.MustCompile(`user "([^"]*)" \(groups=.*is attempting to grant RBAC permissions not currently held`)

// denied is err as a denial, nil where it is none.
func denied(err error) *denial {
	if !apierrors.IsForbidden(err) {
		return nil
	}
	m := deniedText.FindStringSubmatch(err.Error())
	if m == nil {
		return nil
	}
	return &denial{user: m[1], verb: m[2], resource: schema.GroupResource{Group: m[5], Resource: m[3]}, sub: m[4], namespace: m[6], err: err}
}

func (d *denial) Error() string {
	resource, where := d.resource.String(), "at the cluster scope"
	if d.sub != "" {
		resource += "/" + d.sub
	}
	if d.namespace != "" {
		where = "in namespace " + d.namespace
	}
	return fmt.Sprintf("forbidden: %s may not %s %s %s", who(d.user), d.verb, resource, where)
}

func (d *denial) Unwrap() error { return d.err }

const serviceAccountPrefix = "system:serviceaccount:"

// who is a user as people would say it: an account's name tells what it is.
func who(user string) string {
	switch {
	case user == "":
		return "this user"
	case strings.HasPrefix(user, serviceAccountPrefix):
		return user
	}
	return "user " + user
}

// granting is what to type so that user may do what a command takes: what prints
// the rights for it. "" where nothing does.
func (c *Cluster) granting(user string) string {
	if c.RightsCommand == "" || c.Impersonated != "" {
		return ""
	}
	if account, ok := strings.CutPrefix(user, serviceAccountPrefix); ok {
		return fmt.Sprintf("%s --service-account %s | kubectl apply --server-side -f -, by somebody who may", c.RightsCommand, strings.Replace(account, ":", "/", 1))
	}
	return fmt.Sprintf("%s prints the least rights for it, which somebody who may is to give to %s; or use --as or --context", c.RightsCommand, who(user))
}

// hint is what to type about d.
func (c *Cluster) hint(d *denial) string {
	if grant := c.granting(d.user); grant != "" {
		return grant
	}
	what := d.resource.String()
	if d.namespace != "" {
		what += " -n " + d.namespace
	}
	if d.sub != "" {
		what += " --subresource " + d.sub
	}
	ask := fmt.Sprintf("kubectl auth can-i %s %s", d.verb, what)
	if c.Impersonated != "" {
		return ask + " --as " + c.Impersonated
	}
	return ask + ", or use --as or --context"
}

// about is err, said of what: an object, or what is done with it.
func (c *Cluster) about(what string, err error) error {
	if d := denied(err); d != nil {
		return &Error{What: what, Why: d, Fix: c.hint(d)}
	}
	return fmt.Errorf("%s: %w", what, err)
}
