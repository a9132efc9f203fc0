package image

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/image"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/registry"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/source"
)

// facts finds out what the orders need that Flux does not have, for all open
// decisions at once.
func (s *session) facts(ctx context.Context, o *cli.Source, t *tree, all []decision) error {
	dates := openDates(s.env)
	history := &histories{auth: func(url string) (source.Auth, error) { return s.commitAuth(ctx, o, t, url) }}
	var wg sync.WaitGroup
	for i := range all {
		d := &all[i]
		own, err := d.policy.Own()
		if err != nil || !d.open() || own.By == image.ByPolicy {
			continue
		}
		candidates, err := image.Candidates(d.policy, d.repository.Exclusions(), d.tags)
		if err != nil {
			continue // choose will say so
		}
		wg.Go(func() {
			var err error
			if own.By == image.ByCreated {
				d.facts, err = created(ctx, d.registry, candidates, dates)
			} else {
				d.facts, err = history.facts(ctx, own, candidates)
			}
			if err != nil {
				d.problems = []*image.Problem{unanswered(d.policy.Declared, err)}
			}
		})
	}
	wg.Wait()
	dates.save()
	return ctx.Err()
}

// created asks when the images of candidates were built. A tag that is gone by
// now is no candidate; anything else that fails could hide the newest.
func created(ctx context.Context, r *registry.Repository, candidates []image.Candidate, dates *dates) (image.Facts, error) {
	facts := make([]image.Fact, len(candidates))
	failed := make([]error, len(candidates))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	for i, c := range candidates {
		wg.Go(func() {
			digest, at, err := r.Created(ctx, c.Tag, dates.get)
			e := (*registry.Error)(nil)
			switch {
			case err == nil:
				dates.put(digest, at)
				facts[i].Created = at
			case errors.As(err, &e) && e.Status == http.StatusNotFound:
				facts[i].Why = "it is gone since the tags were listed"
			default:
				failed[i] = err
				cancel() // one reason is enough
			}
		})
	}
	wg.Wait()
	out := image.Facts{}
	for i, c := range candidates {
		if failed[i] != nil && !errors.Is(failed[i], context.Canceled) {
			return nil, fmt.Errorf("when its images were built: %w", failed[i])
		}
		out[c.Tag] = facts[i]
	}
	return out, ctx.Err()
}

// histories are the commits of branches, each fetched once.
type histories struct {
	auth func(url string) (source.Auth, error)

	mu  sync.Mutex
	all map[image.Own]func() ([]string, error)
}

func (h *histories) facts(ctx context.Context, own image.Own, candidates []image.Candidate) (image.Facts, error) {
	h.mu.Lock()
	load := h.all[own]
	if load == nil {
		load = sync.OnceValues(func() ([]string, error) {
			auth, err := h.auth(own.Repository)
			if err != nil {
				return nil, err
			}
			_, commits, err := source.Commits(ctx, source.Options{Source: own.Repository, Ref: branchRef(own.Branch), Auth: auth})
			return commits, err
		})
		if h.all == nil {
			h.all = map[image.Own]func() ([]string, error){}
		}
		h.all[own] = load
	}
	h.mu.Unlock()
	commits, err := load()
	if err != nil {
		return nil, err
	}
	return image.CommitFacts(commits, candidates), nil
}

func branchRef(branch string) string {
	if branch == "" {
		return ""
	}
	return "refs/heads/" + branch
}

// commitAuth is what the server of a commit repository may be shown. Its URL
// stands in Git, so what the user gave for the source goes to the server of the
// source alone; ssh keys and credential helpers, which know hosts, go anywhere.
func (s *session) commitAuth(ctx context.Context, o *cli.Source, t *tree, url string) (source.Auth, error) {
	for _, remote := range t.remotes {
		if source.SameHost(remote, url) {
			return o.Auth(ctx, s.env)
		}
	}
	return source.Auth{Env: slices.DeleteFunc(slices.Clone(s.env.Environ), func(v string) bool { return strings.HasPrefix(v, "GITOPS_GIT_") })}, nil
}

// given are dates from a list of tags.
func given(tags map[string]time.Time) image.Facts {
	out := image.Facts{}
	for tag, at := range tags {
		out[tag] = image.Fact{Created: at}
	}
	return out
}
