package source

import (
	"container/heap"
	"context"
	"errors"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/config"
	"github.com/go-git/go-git/v5/storage/memory"
)

// Commits lists all commits that o.Ref of the remote o.Source contains, 40 hex
// each, a commit before its parents and the younger of two lines first, as git
// log --date-order does. branch is "" where o.Ref is none. Only commits are
// fetched, into memory, where the server can leave out the rest. A shallow
// repository on the disk lists what it has.
func Commits(ctx context.Context, o Options) (branch string, commits []string, err error) {
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	r, ok, err := parseRemote(o.Source)
	if err != nil {
		return "", nil, err
	}
	if !ok {
		return "", nil, &Error{Where: o.Source, What: "is not a URL", Fix: "https://HOST/PATH, ssh://git@HOST/PATH or git@HOST:PATH"}
	}
	var repo *repository
	var tip target
	if r.scheme == "file" {
		if repo, err = openDisk(r, o.Auth); err == nil {
			tip, err = repo.resolve(ctx, o.Ref)
		}
	} else {
		repo, tip, err = fetchCommits(ctx, o, r)
	}
	if err != nil {
		return "", nil, err
	}
	commits, err = repo.dateOrder(ctx, tip.hash)
	return tip.branch, commits, err
}

func fetchCommits(ctx context.Context, o Options, r remote) (*repository, target, error) {
	o.Progress("fetching the history of " + r.String())
	s, adv, err := connect(ctx, o, r)
	if err != nil {
		return nil, target{}, stopped(ctx, err)
	}
	defer s.close()
	pick, err := pickRemote(refSet(adv.References), adv, o.Ref, r)
	if err != nil {
		return nil, target{}, err
	}
	pick.deep = true
	if adv.Capabilities.Supports("filter") {
		pick.filter = "tree:0"
	}
	store := memory.NewStorage()
	if err := fetch(ctx, s, adv, pick, store); err != nil {
		return nil, target{}, fetchError(r, stopped(ctx, err), o.Auth)
	}
	repo := &repository{config: config.New(), refs: store, env: o.Auth.Env, gitDir: r.String(),
		objects: &objects{stores: []objectStore{&store.ObjectStorage}, where: r.String()}}
	tip, err := newest(repo.objects, pick.targets)
	return repo, tip, err
}

// dateOrder lists what tip contains. A commit comes up when all that have it as
// a parent have; of those that may, the youngest.
func (r *repository) dateOrder(ctx context.Context, tip plumbing.Hash) ([]string, error) {
	cut := len(r.boundary()) > 0
	first, err := r.objects.commit(tip)
	if err != nil {
		return nil, err
	}
	all := map[plumbing.Hash]reached{first.Hash: {commit: first}}
	children := map[plumbing.Hash]int{}
	for todo := []plumbing.Hash{first.Hash}; len(todo) > 0; {
		if len(all)%256 == 0 && ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		at := all[todo[len(todo)-1]]
		todo = todo[:len(todo)-1]
		for _, h := range at.commit.ParentHashes {
			children[h]++
			if _, seen := all[h]; seen {
				continue
			}
			c, err := r.objects.commit(h)
			switch {
			case cut && errors.Is(err, plumbing.ErrObjectNotFound):
				continue
			case err != nil:
				return nil, err
			}
			all[h] = reached{commit: c}
			todo = append(todo, h)
		}
	}
	out := make([]string, 0, len(all))
	for ready := (&youngest{{commit: first}}); ready.Len() > 0; {
		c := heap.Pop(ready).(reached).commit
		out = append(out, c.Hash.String())
		for _, h := range c.ParentHashes {
			if children[h]--; children[h] == 0 {
				if next, ok := all[h]; ok {
					heap.Push(ready, next)
				}
			}
		}
	}
	return out, nil
}

// SameHost reports whether two URLs are of one server, so that credentials for
// the one are meant for the other, too.
func SameHost(a, b string) bool {
	x, okX, errX := parseRemote(a)
	y, okY, errY := parseRemote(b)
	return errX == nil && errY == nil && okX && okY && x.host != "" && x.host == y.host && x.port == y.port && x.scheme == y.scheme
}
