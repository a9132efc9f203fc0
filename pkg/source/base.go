package source

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/storage/memory"
)

// Base is what a branch began with: the snapshot at the merge base of rev and the commit that s is
// of, below the same directory; if exact, at rev itself. rev is what Options.Ref may be but for a
// range of versions. Its revision has the name of rev, in whose history it is.
//
// What a shallow or partial clone lacks is fetched from the remote into memory; so is a branch that
// a checkout of CI does not have. The checkout is not written to.
func (s *Snapshot) Base(ctx context.Context, rev string, exact bool) (*Snapshot, error) {
	if s.repo == nil {
		return nil, &Error{Where: s.Dir + s.URL, What: "has no history", Why: "it is no Git repository, so there is nothing to compare with", Fix: "cd into a clone, or --source DIR|URL of a repository"}
	}
	if s.Unborn() {
		return nil, s.noCommits()
	}
	b := baseFinder{Snapshot: s, rev: rev}
	t, err := b.resolve(ctx)
	if err != nil {
		return nil, err
	}
	if t.hash, err = b.find(ctx, t.hash, exact); err != nil {
		return nil, err
	}
	if err := b.complete(ctx, t.hash); err != nil {
		return nil, err
	}
	o := s.options
	o.Ref, o.Reference, o.WorkTree, o.mayBeEmpty = "", &Reference{Commit: t.hash.String()}, false, true
	if s.URL == "" || s.remote == s.Dir {
		return s.repo.snapshotAt(ctx, o, s.Prefix, t)
	}
	r, _, err := parseRemote(s.remote)
	if err != nil {
		return nil, err
	}
	repo := *s.repo
	return repo.fetched(ctx, o, r, t)
}

// baseFinder looks for the base of a snapshot, here and then at the remote.
type baseFinder struct {
	*Snapshot
	rev     string
	fetched bool // history, without what is in the commits
}

// find is the commit to compare with: h, or where HEAD left it.
func (b *baseFinder) find(ctx context.Context, h plumbing.Hash, exact bool) (plumbing.Hash, error) {
	own, err := b.repo.objects.commit(plumbing.NewHash(b.Commit))
	if err != nil {
		return h, err
	}
	if slices.Contains(own.ParentHashes, h) { // the merge that a forge makes of a pull request, cloned alone
		return h, nil
	}
	c, err := b.repo.objects.commit(h)
	if errors.Is(err, plumbing.ErrObjectNotFound) {
		if err = b.deepen(ctx, h); err == nil {
			c, err = b.repo.objects.commit(h)
		}
	}
	if err != nil || exact {
		return h, err
	}
	at, err := b.repo.mergeBase(ctx, own.Hash, c.Hash)
	if errors.Is(err, plumbing.ErrObjectNotFound) {
		if err = b.deepen(ctx, c.Hash); err == nil {
			at, err = b.repo.mergeBase(ctx, own.Hash, c.Hash)
		}
	}
	return at, err
}

// resolve says what rev means: in the checkout, else at its remote, where origin/main is main.
func (b *baseFinder) resolve(ctx context.Context) (target, error) {
	t, err := b.repo.resolve(ctx, b.rev)
	if err == nil || ctx.Err() != nil {
		return t, err
	}
	url := b.upstream()
	if url == "" {
		return t, b.asBase(err)
	}
	if errors.Is(err, plumbing.ErrObjectNotFound) { // main~3 of a shallow clone
		if err := b.deepen(ctx, plumbing.NewHash(b.Commit)); err != nil {
			return t, err
		}
		t, err = b.repo.resolve(ctx, b.rev)
		return t, b.asBase(err)
	}
	refs, askErr := b.remoteRefs(ctx, url)
	if askErr != nil {
		var e *Error
		if errors.As(err, &e) {
			e.Why = strings.TrimPrefix(e.Why+"; at the remote it cannot be looked for: "+cause(askErr), "; ")
		}
		return t, b.asBase(err)
	}
	name, steps := b.rev, ""
	if i := strings.IndexAny(name, "~^"); i > 0 {
		name, steps = name[:i], name[i:]
	}
	name = strings.TrimPrefix(name, "refs/remotes/")
	for _, remote := range b.repo.remoteNames() {
		name = strings.TrimPrefix(name, remote+"/")
	}
	if isHash(name) {
		t = target{hash: plumbing.NewHash(name)}
	} else if found, ok := refs.named(name); ok {
		t = found
	} else {
		return t, b.asBase(refs.noSuchRef(withoutSecrets(url), b.rev))
	}
	if steps == "" {
		return t, nil
	}
	if err := b.deepen(ctx, t.hash); err != nil {
		return t, err
	}
	t, err = b.repo.ancestor(t, b.rev, steps)
	return t, b.asBase(err)
}

// asBase names the flag in the hint of err.
func (b *baseFinder) asBase(err error) error {
	var e *Error
	if errors.As(err, &e) {
		named := *e
		named.Fix = strings.ReplaceAll(e.Fix, "--ref ", "--base ")
		return &named
	}
	return err
}

func (b *baseFinder) remoteRefs(ctx context.Context, url string) (refSet, error) {
	conn, adv, r, err := b.ask(ctx, url)
	if err != nil {
		return nil, err
	}
	if conn == nil {
		other, err := openDisk(r, b.options.Auth)
		if err != nil {
			return nil, err
		}
		return other.allRefs()
	}
	conn.close()
	return refSet(adv.References), nil
}

// deepen makes the history known that leads to h, and that which a shallow clone was made without.
func (b *baseFinder) deepen(ctx context.Context, h plumbing.Hash) error {
	if b.fetched {
		return b.shallow(nil)
	}
	missing, err := b.fetchHistory(ctx, b.upstream(), h)
	if err == nil && missing != "" {
		err = errors.New(missing)
	}
	if err != nil {
		return b.shallow(err)
	}
	b.fetched = true
	return nil
}

// shallow is the error of a history that cannot be had.
func (b *baseFinder) shallow(why error) error {
	e := &Error{
		Where: b.repo.where(), What: fmt.Sprintf("where HEAD left %s cannot be told from this clone", b.rev), err: why,
		Fix: "git fetch --deepen 100 origin " + strings.TrimPrefix(b.rev, "origin/"),
	}
	if b.repo.objects.shallow {
		e.Why, e.Fix = "it is shallow", "git fetch --unshallow; in GitHub Actions actions/checkout with fetch-depth: 0"
	}
	if why != nil {
		e.Why = strings.TrimPrefix(e.Why+", and it cannot be deepened: "+why.Error(), ", and it cannot be deepened: ")
	}
	return e
}

// complete fetches what is in the commit h, where that is not known to be here.
func (b *baseFinder) complete(ctx context.Context, h plumbing.Hash) error {
	o := b.repo.objects
	if !b.fetched && !o.shallow && !o.partial && b.URL == "" || o.whole(ctx, h) {
		return nil
	}
	url := b.upstream()
	if url == "" {
		return b.shallow(errors.New("it has no remote"))
	}
	conn, adv, r, err := b.ask(ctx, url)
	if err != nil {
		return b.shallow(err)
	}
	if conn == nil {
		other, err := openDisk(r, b.options.Auth)
		if err != nil {
			return b.shallow(err)
		}
		o.add(other.objects)
		return nil
	}
	defer conn.close()
	b.options.Progress("fetching " + h.String() + " from " + r.String())
	store := memory.NewStorage()
	if err := fetch(ctx, conn, adv, pickCommit(refSet(adv.References), adv, target{hash: h}), store); err != nil {
		return b.shallow(fetchError(r, stopped(ctx, err), b.options.Auth))
	}
	o.add(&objects{stores: []objectStore{&store.ObjectStorage}})
	return nil
}

// whole reports whether the files of the commit h are all here.
func (o *objects) whole(ctx context.Context, h plumbing.Hash) bool {
	c, err := o.commit(h)
	if err != nil {
		return false
	}
	entries := map[string]treeEntry{}
	if err := o.flatten(ctx, c.TreeHash, "", entries); err != nil {
		return false
	}
	for _, e := range entries {
		if e.mode.IsFile() && !o.has(e.hash) {
			return false
		}
	}
	return true
}

// mergeBase is the best common ancestor of two commits; of several, as after criss-cross merges, the
// youngest. The error is a plumbing.ErrObjectNotFound where the clone ends before it can be told.
func (r *repository) mergeBase(ctx context.Context, own, other plumbing.Hash) (plumbing.Hash, error) {
	if own == other {
		return own, nil
	}
	p, err := r.paint(ctx, own, other)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	for _, end := range []plumbing.Hash{own, other} {
		if slices.Contains(p.common, end) { // whatever else there may be is behind it
			return end, nil
		}
	}
	if err := cmp.Or(p.missing, p.behind); err != nil {
		return plumbing.ZeroHash, err
	}
	for _, h := range p.common {
		if p.by[h]&stale == 0 {
			return h, nil
		}
	}
	return plumbing.ZeroHash, &Error{
		Where: r.where(), What: "the two have no common ancestor", Why: own.String() + " and " + other.String(),
		Fix: "--base-exact compares with the commit itself",
	}
}
