package source

import (
	"context"
	"errors"
	"path"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/config"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
)

// submoduleDepth is how deep submodules are followed, as go-git and Flux do.
const submoduleDepth = 10

// fetchSubmodule fetches the commit h of the submodule at a path of a fetched repository, from where
// .gitmodules says. Credentials go along to the same server alone.
func (s *Snapshot) fetchSubmodule(ctx context.Context, c *object.Commit, inRepo string, h plumbing.Hash) (*repository, error) {
	fail := func(what, why string) error { return &Error{Where: inRepo, What: what, Why: why} }
	if !s.options.Submodules {
		return nil, fail("is a submodule", "submodules were not asked for")
	}
	entries := map[string]treeEntry{}
	if err := s.repo.objects.flatten(ctx, c.TreeHash, "", entries); err != nil {
		return nil, err
	}
	e, ok := entries[".gitmodules"]
	if !ok {
		return nil, fail("is a submodule that no .gitmodules describes", "")
	}
	text, err := s.repo.objects.blob(e.hash)
	if err != nil {
		return nil, err
	}
	modules := config.NewModules()
	if err := modules.Unmarshal(text); err != nil {
		return nil, fail(".gitmodules cannot be read", err.Error())
	}
	url := ""
	for _, m := range modules.Submodules {
		if path.Clean(m.Path) == inRepo {
			url = m.URL
		}
	}
	if url == "" {
		return nil, fail("is a submodule that .gitmodules does not describe", "")
	}
	parent, _, err := parseRemote(s.remote)
	if err != nil {
		return nil, err
	}
	r := parent
	if strings.HasPrefix(url, "./") || strings.HasPrefix(url, "../") {
		r.path = path.Join(parent.path, url)
	} else if r, ok, err = parseRemote(url); err != nil {
		return nil, err
	} else if !ok || r.scheme == "file" {
		return nil, fail("is a submodule of a path on a disk", url)
	}
	o := s.options
	o.Ref, o.Reference = "", &Reference{Commit: h.String()}
	if o.depth++; o.depth > submoduleDepth {
		return nil, fail("is a submodule in too many others", "")
	}
	if r.scheme != parent.scheme || r.host != parent.host || r.port != parent.port {
		o.Auth = Auth{Proxy: o.Auth.Proxy, Env: slices.DeleteFunc(slices.Clone(o.Auth.Env), func(kv string) bool { return strings.HasPrefix(kv, "GITOPS_GIT_") })}
	} else if r.user == "" {
		r.user, r.password, r.hasPass = parent.user, parent.password, parent.hasPass
	}
	sub, err := openRemote(ctx, o, r)
	if err != nil {
		var e *Error
		if errors.As(err, &e) {
			moved := *e
			moved.Where, moved.What = inRepo, "the submodule cannot be fetched: "+e.Where+": "+e.What
			return nil, &moved
		}
		return nil, err
	}
	return sub.repo, nil
}
