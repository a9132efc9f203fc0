package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Error is a repository that could not be asked about.
type Error struct {
	Image  string
	Status int    // of the registry's answer, 0 where there was none
	What   string // "asks for credentials"
	Why    string // in the registry's or the network's words
	Fix    string

	err error
}

func (e *Error) Error() string {
	s := e.Image + ": " + e.What
	if e.Why != "" {
		s += ": " + e.Why
	}
	return s
}

// Hint is what can be done about it.
func (e *Error) Hint() string { return e.Fix }

func (e *Error) Unwrap() error { return e.err }

// explain says what err means to somebody who asks about r.
func (r *Repository) explain(ctx context.Context, err error) error {
	image, keys := r.request.Image, r.keys
	kind, field := cmp.Or(r.request.Of, "ImageRepository"), "spec.image"
	if r.request.Of != "" {
		field = "spec.url"
	}
	if ctx.Err() != nil {
		if r.request.Timeout > 0 && errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return &Error{Image: image, What: fmt.Sprintf("no answer within %s", r.request.Timeout), err: err}
		}
		return ctx.Err()
	}
	if told := (*Error)(nil); errors.As(err, &told) {
		return told
	}
	e := &Error{Image: image, err: err}
	if answer := (*transport.Error)(nil); errors.As(err, &answer) {
		e.Status = answer.StatusCode
		e.Why = answerText(answer)
		switch {
		case e.Status == http.StatusUnauthorized:
			e.What, e.Fix = "the registry asks for credentials; used: "+keys.used(), "docker login "+r.host()+"; or spec.secretRef of the "+kind
		case e.Status == http.StatusForbidden:
			e.What = "the registry forbids it; credentials used: " + keys.used()
			e.Fix = "the user needs the right to pull; some registries say this of a repository that does not exist"
		case e.Status == http.StatusNotFound:
			e.What, e.Fix = "there is no such repository, or it has no tags yet", "check "+field
		case e.Status == http.StatusTooManyRequests:
			e.What, e.Fix = "the registry's rate limit is reached", "try again later, or use credentials: they have limits of their own"
		case e.Status >= 500:
			e.What = fmt.Sprintf("the registry failed %d times", attempts)
		default:
			e.What = "the registry refuses"
		}
		return e
	}
	if cloud := (*loginError)(nil); errors.As(err, &cloud) {
		e.What, e.Fix = cloud.Error(), cloud.fix()
		return e
	}
	var dns *net.DNSError
	var dial *net.OpError
	switch why := cause(err); {
	case strings.Contains(why, "server gave HTTP response to HTTPS client"):
		e.What, e.Why, e.Fix = "the registry speaks http, not https", "", "spec.insecure: true on the "+kind
	case strings.Contains(why, "x509:") || strings.Contains(why, "certificate"):
		e.What, e.Why = "the registry's certificate is not trusted", why
		e.Fix = "spec.certSecretRef with the ca.crt that signed it"
	case errors.As(err, &dns):
		e.What, e.Why = "the name "+dns.Name+" cannot be looked up", dns.Err
		if dns.IsNotFound {
			e.Fix = "check the name, and whether this machine has a network"
		}
	case errors.As(err, &dial):
		e.What, e.Why, e.Fix = "the registry is out of reach", why, "check "+field+", the network and a proxy (HTTPS_PROXY)"
	default:
		e.What, e.Why = "cannot be listed", why
	}
	return e
}

// answerText is what the registry said, without the address, which the message
// has already.
func answerText(answer *transport.Error) string {
	var said []string
	for _, d := range answer.Errors {
		said = append(said, strings.TrimSuffix(strings.TrimSpace(string(d.Code)+": "+d.Message), ":"))
	}
	status := fmt.Sprintf("%d %s", answer.StatusCode, http.StatusText(answer.StatusCode))
	if len(said) == 0 {
		return status
	}
	return status + ", " + strings.Join(said, "; ")
}

// cause is the innermost reason of a request that got no answer.
func cause(err error) string {
	if u := (*url.Error)(nil); errors.As(err, &u) {
		return u.Err.Error()
	}
	return err.Error()
}

// host is the registry as people type it.
func (r *Repository) host() string {
	if h := r.name.RegistryStr(); h != name.DefaultRegistry {
		return h
	}
	return "docker.io"
}
