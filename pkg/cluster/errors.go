package cluster

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
)

type runtimeObject = runtime.Object

// Refusal is the server's no to one request about one object.
type Refusal struct {
	ID   object.ID
	Verb string // get, patch, create, delete…: the verb of RBAC
	// Reasons are the server's, one a line, without the prefix that repeats the
	// object's name, and without the values of a Secret.
	Reasons []string
	Fix     string
	Err     error
}

func (e *Refusal) Error() string {
	return fmt.Sprintf("%s: %s", e.ID, strings.Join(e.Reasons, "; "))
}
func (e *Refusal) Unwrap() error { return e.Err }

// Hint is what to type next.
func (e *Refusal) Hint() string { return e.Fix }

// refusal explains err, the answer to verb on id. u is what was sent, nil for
// a read.
func (c *Cluster) refusal(ctx context.Context, err error, verb string, r Resource, id object.ID, u *unstructured.Unstructured) error {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return fmt.Errorf("%s: %s: %w", id, verb, err)
	}
	e := &Refusal{ID: id, Verb: verb, Err: err}
	if d := denied(err); d != nil {
		e.Reasons, e.Fix = []string{d.Error()}, c.hint(d)
		return e
	}
	passwords, unread := c.passwordsOf(ctx, u)
	if unread != nil && ctx.Err() != nil {
		return fmt.Errorf("%s: %s: %w", id, verb, ctx.Err()) // the server quotes values, and nobody knows which are passwords
	}
	e.Reasons = reasons(status.Status(), u, passwords)
	said := status.Status().Message
	switch {
	case IsImmutable(err):
		e.Fix = "kubectl gitops sync --force recreates it (its data, if it has any, is lost)"
	case quotaError.MatchString(said):
		e.Fix = fmt.Sprintf("kubectl%s describe resourcequota %s", namespaceFlag(r, id), quotaError.FindStringSubmatch(said)[1])
	case strings.Contains(said, "failed calling webhook"):
		e.Fix = "whatever serves this webhook does not answer: " + webhooks
	case escalationText.MatchString(said):
		e.Fix = c.granting(escalationText.FindStringSubmatch(said)[1])
	case strings.Contains(said, "denied the request"):
		e.Fix = "the rule is that webhook's or policy's; " + webhooks
	}
	return e
}

func namespaceFlag(r Resource, id object.ID) string {
	switch {
	case r.Namespaced && id.Namespace != "":
		return " -n " + id.Namespace
	case r.Namespaced:
		return " -A"
	}
	return ""
}

// webhooks finds a webhook by its name.
const webhooks = "kubectl get validatingwebhookconfigurations,mutatingwebhookconfigurations -o yaml names what serves it"

// quotaError names the ResourceQuota that has no room for an object.
var quotaError = regexp.MustCompile(`(?:exceeded|failed) quota: ([^,:]+)[,:]`)

var (
	// typedErrors opens the list that server-side apply gives of fields it does
	// not know: one a line, each with its path.
	typedErrors = regexp.MustCompile(`(?s)^failed to create typed patch object \([^)]*\): (?:errors:\n)?(.*)$`)
	strictError = regexp.MustCompile(`(?s)^.*strict decoding error: (.*)$`)
)

// reasons are what the server says, without the values of u that are not to be shown:
// those of fields at paths among them.
func reasons(s metav1.Status, u *unstructured.Unstructured, paths [][]string) []string {
	var out []string
	switch {
	case typedErrors.MatchString(s.Message):
		for _, line := range strings.Split(typedErrors.FindStringSubmatch(s.Message)[1], "\n") {
			if line = strings.TrimSpace(line); line != "" {
				out = append(out, strings.TrimPrefix(line, "."))
			}
		}
	case strictError.MatchString(s.Message):
		out = strings.Split(strictError.FindStringSubmatch(s.Message)[1], ", ")
	case s.Reason == metav1.StatusReasonInvalid && s.Details != nil && len(s.Details.Causes) > 0:
		for _, c := range s.Details.Causes {
			out = append(out, strings.TrimPrefix(c.Field+": "+c.Message, ": "))
		}
	default:
		out = []string{s.Message}
	}
	for i := range out {
		out[i] = object.Redact(u, out[i], paths...)
	}
	return out
}

// MayNot reports whether the server refused because of who asks: RBAC, not what
// was asked.
func MayNot(err error) bool {
	var no *Refusal
	if !errors.As(err, &no) {
		return false
	}
	d := denied(no.Err)
	return d != nil && d.verb == no.Verb
}

// IsImmutable reports whether the server refused because a field cannot be
// changed on an object that exists. A 422 alone is not proof: an invalid
// manifest answers the same, and must never cost the live object.
func IsImmutable(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || !apierrors.IsInvalid(err) {
		return false
	}
	msg := status.Status().Message
	for _, s := range []string{"immutable", "may not change", "may not be changed", "cannot change", "cannot be changed", "updates to "} {
		if strings.Contains(msg, s) {
			return true
		}
	}
	return false
}

func isUnauthorized(err error) bool {
	return apierrors.IsUnauthorized(err) || strings.Contains(err.Error(), "Unauthorized") || strings.Contains(err.Error(), "provide credentials")
}

func asNoKind(err error, target **NoKindError) bool { return errors.As(err, target) }
