// Package registry asks OCI registries what they have.
package registry

import (
	"context"
	"net/http"
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
	// Insecure allows http.
	Insecure bool
	// DockerConfig is the content of a .dockerconfigjson. Its credentials come
	// before those of the user's own Docker configuration. Programs that it names
	// (credHelpers, credsStore) are not run: it comes from Git or from a cluster.
	DockerConfig []byte
	// Timeout bounds the whole answer, retries included; 0 is none.
	Timeout time.Duration
}

// Client asks registries. The zero value is ready; it is safe for many
// goroutines, and what one of them learns of a rate limit holds for all.
type Client struct {
	// Transport is what requests go out by; nil is that of
	// go-containerregistry, which takes proxies from the environment.
	Transport http.RoundTripper
	UserAgent string
	// Keychain has the user's own credentials; nil is Docker's configuration
	// (config.json with its credential helpers), else Podman's.
	Keychain authn.Keychain
	// Concurrency is how many repositories are asked about at once, 0 is 16.
	Concurrency int
	// MaxWait is the longest Retry-After that is waited for, 0 is a minute. A
	// registry that asks for more has refused.
	MaxWait time.Duration

	once   sync.Once
	polite *polite
	wait   func(context.Context, time.Duration) error // for tests; nil waits
}

// attempts is how often a request is sent in all.
const attempts = 4

func (c *Client) transport() *polite {
	c.once.Do(func() {
		c.polite = &polite{inner: c.Transport, maxWait: c.MaxWait, wait: c.wait}
		if c.polite.inner == nil {
			c.polite.inner = remote.DefaultTransport
		}
		if c.polite.maxWait == 0 {
			c.polite.maxWait = time.Minute
		}
		if c.polite.wait == nil {
			c.polite.wait = sleep
		}
	})
	return c.polite
}

// Answer is what a registry said to one Request.
type Answer struct {
	Tags []string // in the registry's order; empty for a repository without tags
	Err  error    // an *Error, or the context's
}

// All asks about many repositories at once, and answers in their order. One that
// fails does not stop the others.
func (c *Client) All(ctx context.Context, requests []Request) []Answer {
	out := make([]Answer, len(requests))
	n := c.Concurrency
	if n <= 0 {
		n = 16
	}
	slots := make(chan struct{}, n)
	var wg sync.WaitGroup
	for i, r := range requests {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			out[i].Tags, out[i].Err = c.Tags(ctx, r)
		})
	}
	wg.Wait()
	return out
}

// Tags lists the tags of a repository, page by page.
func (c *Client) Tags(ctx context.Context, r Request) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if r.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, r.Timeout)
		defer cancel()
	}
	var options []name.Option
	if r.Insecure {
		options = append(options, name.Insecure)
	}
	repo, err := name.NewRepository(r.Image, options...)
	if err != nil {
		return nil, &Error{Image: r.Image, What: "is not the name of a repository", Why: err.Error(), Fix: "write HOST/PATH, without scheme, tag and digest"}
	}
	keys := &keychain{own: c.Keychain}
	if keys.own == nil {
		keys.own = authn.DefaultKeychain
	}
	if r.DockerConfig != nil {
		if keys.given, err = parseDockerConfig(r.DockerConfig); err != nil {
			return nil, &Error{Image: r.Image, What: "its credentials cannot be used", Why: err.Error()}
		}
	}
	puller, err := remote.NewPuller(
		remote.WithContext(ctx),
		remote.WithTransport(c.transport()),
		remote.WithAuthFromKeychain(keys),
		remote.WithUserAgent(c.UserAgent),
		// The transport retries, and knows for how long.
		remote.WithRetryBackoff(remote.Backoff{Steps: 1}),
		remote.WithRetryStatusCodes(),
		remote.WithRetryPredicate(func(error) bool { return false }),
	)
	if err != nil {
		return nil, explain(ctx, r, keys, err)
	}
	lister, err := puller.Lister(ctx, repo)
	if err != nil {
		return nil, explain(ctx, r, keys, err)
	}
	tags := []string{}
	seen := map[string]bool{}
	for lister.HasNext() {
		page, err := lister.Next(ctx)
		if err != nil {
			return nil, explain(ctx, r, keys, err)
		}
		tags = append(tags, page.Tags...)
		if page.Next != "" && seen[page.Next] {
			return nil, &Error{Image: r.Image, What: "its list of tags never ends", Why: "the registry sends the same page again: " + page.Next}
		}
		seen[page.Next] = true
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
