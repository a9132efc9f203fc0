package registry

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/fluxcd/pkg/auth"
	authutils "github.com/fluxcd/pkg/auth/utils"
	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
)

// login gets credentials for image from a cloud, with Flux's own code: what
// Flux's controller finds in its pod, this finds on the machine (environment,
// files of the cloud's command line tool, metadata service).
func login(ctx context.Context, provider, image string, proxy *url.URL) (authn.Authenticator, error) {
	// az, as a user has it, besides what a pod has.
	options := []auth.Option{auth.WithAllowShellOut()}
	if proxy != nil {
		options = append(options, auth.WithProxyURL(*proxy))
	}
	lazy, err := authutils.GetArtifactRegistryCredentials(ctx, provider, image, options...)
	if err != nil {
		return nil, &loginError{provider, err}
	}
	// Now, since ctx ends with this question, and the credentials serve the next, too.
	config, err := lazy.Authorization()
	if err != nil {
		return nil, &loginError{provider, err}
	}
	return authn.FromConfig(*config), nil
}

// loginTime is how long a cloud may take for a login: where the metadata service
// of a virtual machine is asked and there is none, nobody answers.
const loginTime = 20 * time.Second

// logins are those at clouds. Each is asked for once, for all repositories of a
// registry.
type logins struct {
	limit time.Duration // 0 is loginTime

	mu  sync.Mutex
	all map[string]*loggedIn
}

// loggedIn is a login, known when done is closed.
type loggedIn struct {
	done chan struct{}
	auth authn.Authenticator
	err  error
}

// at is the login for image, a repository of host.
func (l *logins) at(ctx context.Context, provider, host, image string, proxy *url.URL) (authn.Authenticator, error) {
	key := provider + " " + host
	if proxy != nil {
		key += " " + proxy.String()
	}
	l.mu.Lock()
	known := l.all[key]
	if known == nil {
		if l.all == nil {
			l.all = map[string]*loggedIn{}
		}
		known = &loggedIn{done: make(chan struct{})}
		l.all[key] = known
		// Not in the name of who asks first: when he gives up, the others still wait for it.
		limit := cmp.Or(l.limit, loginTime)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
		go func() {
			defer cancel()
			defer close(known.done)
			answer := make(chan loggedIn, 1)
			go func() { // Google's library does not always obey its context
				auth, err := login(ctx, provider, image, proxy)
				answer <- loggedIn{auth: auth, err: err}
			}()
			select {
			case got := <-answer:
				known.auth, known.err = got.auth, got.err
			case <-ctx.Done():
			}
			if known.auth == nil && ctx.Err() != nil {
				known.err = &loginError{provider, fmt.Errorf("no answer within %s", limit)}
			}
		}()
	}
	l.mu.Unlock()
	select {
	case <-known.done:
		return known.auth, known.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// loginError is a cloud that gave no credentials.
type loginError struct {
	provider string
	err      error
}

func (e *loginError) Error() string {
	return fmt.Sprintf("no login at %s: %s", e.provider, strings.Join(strings.Fields(e.err.Error()), " "))
}
func (e *loginError) Unwrap() error { return e.err }

// fix is what to type so that the machine has credentials.
func (e *loginError) fix() string {
	if strings.HasPrefix(e.err.Error(), "invalid ") { // the name of the registry, before anybody is asked
		return "spec.provider is for registries of that cloud: leave it out"
	}
	if login := flux.CloudLogin(e.provider); login != "" {
		return login + "; or docker login, and no spec.provider"
	}
	return "spec.provider is one of generic, aws, azure, gcp"
}
