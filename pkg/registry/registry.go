// Package registry asks OCI registries what they have.
package registry

import (
	"context"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Request names a repository to ask about.
type Request struct {
	// Image is the repository without scheme and tag: ghcr.io/team/api. One
	// without a host is of Docker Hub.
	Image string
	// Of is the kind that asks, for hints; "" is an ImageRepository.
	Of string
	// Insecure allows http.
	Insecure bool
	// DockerConfigs are the contents of .dockerconfigjson or .dockercfg, one a
	// Secret. Their credentials come before those of the user's own Docker
	// configuration. Programs that they name (credHelpers, credsStore) are not
	// run: they come from Git or from a cluster.
	DockerConfigs [][]byte
	// Provider is a cloud whose login counts instead of all others: aws, azure or
	// gcp; "" and generic are none.
	Provider string
	// TLS has what the registry's certificate is checked with, and our own.
	TLS TLS
	// Proxy is where requests go by; nil is what the environment says.
	Proxy *url.URL
	// Timeout bounds each answer, retries included; 0 is none.
	Timeout time.Duration
}

// TLS are certificates and a key in PEM, each of them may be empty.
type TLS struct {
	CA        []byte // besides those that the system trusts
	Cert, Key []byte // ours, both or none
}

// Client asks registries. The zero value is ready; it is safe for many
// goroutines, and what one of them learns of a rate limit holds for all.
type Client struct {
	// Transport is what requests go out by; nil is that of
	// go-containerregistry, which takes proxies from the environment. Requests
	// with certificates or a proxy go out by a copy of it, if it is an
	// *http.Transport.
	Transport http.RoundTripper
	UserAgent string
	// Keychain has the user's own credentials; nil is Docker's configuration
	// (config.json with its credential helpers), else Podman's.
	Keychain authn.Keychain
	// Concurrency is how many questions one host is asked at once. 0 is 16, and up
	// to 48 for as long as the host answers and is never busy.
	Concurrency int
	// MaxWait is the longest Retry-After that is waited for, 0 is a minute. A
	// registry that asks for more has refused.
	MaxWait time.Duration

	once   sync.Once
	limits *limits
	logins logins
	wait   func(context.Context, time.Duration) error // for tests; nil waits

	mu         sync.Mutex
	transports map[string]http.RoundTripper // by certificates and proxy
	turns      map[string]*turn
	all        chan struct{}
}

// attempts is how often a request is sent in all.
const attempts = 4

func (c *Client) init() {
	c.once.Do(func() {
		c.limits = &limits{maxWait: c.MaxWait, wait: c.wait}
		if c.limits.maxWait == 0 {
			c.limits.maxWait = time.Minute
		}
		if c.limits.wait == nil {
			c.limits.wait = sleep
		}
		c.transports = map[string]http.RoundTripper{}
		c.turns = map[string]*turn{}
		_, most := c.bounds()
		c.all = make(chan struct{}, max(allAtOnce, most))
	})
}

// Repository is a repository that can be asked. Tokens are kept, so that the
// second question costs no second login. Safe for many goroutines.
type Repository struct {
	client  *Client
	request Request
	name    name.Repository
	keys    *keychain
	puller  *remote.Puller
}

// Open checks a request, and sends nothing.
func (c *Client) Open(r Request) (*Repository, error) {
	c.init()
	var options []name.Option
	if r.Insecure {
		options = append(options, name.Insecure)
	}
	repo, err := name.NewRepository(r.Image, options...)
	if err != nil {
		return nil, &Error{Image: r.Image, What: "is not the name of a repository", Why: err.Error(), Fix: "write HOST/PATH, without scheme, tag and digest"}
	}
	keys := &keychain{own: c.Keychain, provider: r.Provider, proxy: r.Proxy, logins: &c.logins}
	if keys.own == nil {
		keys.own = authn.DefaultKeychain
	}
	if keys.given, err = parseDockerConfigs(r.DockerConfigs); err != nil {
		return nil, &Error{Image: r.Image, What: "its credentials cannot be used", Why: err.Error()}
	}
	transport, err := c.transport(r)
	if err != nil {
		return nil, err
	}
	puller, err := remote.NewPuller(
		remote.WithTransport(transport),
		remote.WithAuthFromKeychain(keys),
		remote.WithUserAgent(c.UserAgent),
		// The transport retries, and knows for how long.
		remote.WithRetryBackoff(remote.Backoff{Steps: 1}),
		remote.WithRetryStatusCodes(),
		remote.WithRetryPredicate(func(error) bool { return false }),
	)
	if err != nil {
		return nil, &Error{Image: r.Image, What: "cannot be asked", Why: err.Error(), err: err}
	}
	return &Repository{client: c, request: r, name: repo, keys: keys, puller: puller}, nil
}

// Canonical is the name with what it implies: index.docker.io/library/alpine.
func (r *Repository) Canonical() string { return r.name.String() }

// ask sends one question, which may be many requests, when its turn has come.
func (r *Repository) ask(ctx context.Context, question func(context.Context) error) error {
	leave, err := r.client.enter(ctx, r.name.RegistryStr())
	if err != nil {
		return err
	}
	answered := false
	defer func() { leave(answered) }()
	if r.request.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, r.request.Timeout)
		defer cancel()
	}
	if err := question(ctx); err != nil {
		return r.explain(ctx, err)
	}
	answered = true
	return nil
}

// Answer is what a registry said to one Request.
type Answer struct {
	Repository *Repository // to ask more of; nil if the request was refused
	Tags       []string    // in the registry's order; empty for a repository without tags
	Err        error       // an *Error, or the context's
}

// All lists the tags of many repositories at once, and answers in their order.
// One that fails does not stop the others.
func (c *Client) All(ctx context.Context, requests []Request) []Answer {
	out := make([]Answer, len(requests))
	var wg sync.WaitGroup
	for i, r := range requests {
		wg.Go(func() {
			a := &out[i]
			if a.Repository, a.Err = c.Open(r); a.Err == nil {
				a.Tags, a.Err = a.Repository.Tags(ctx)
			}
		})
	}
	wg.Wait()
	return out
}

// Tags lists the tags of a repository, page by page.
func (r *Repository) Tags(ctx context.Context) ([]string, error) {
	var tags []string
	err := r.ask(ctx, func(ctx context.Context) error {
		lister, err := r.puller.Lister(ctx, r.name)
		if err != nil {
			return err
		}
		tags = []string{}
		seen := map[string]bool{}
		for lister.HasNext() {
			page, err := lister.Next(ctx)
			if err != nil {
				return err
			}
			tags = append(tags, page.Tags...)
			if page.Next != "" && seen[page.Next] {
				return &Error{Image: r.request.Image, What: "its list of tags never ends", Why: "the registry sends the same page again: " + page.Next}
			}
			seen[page.Next] = true
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return tags, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
