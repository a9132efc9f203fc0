package source

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/storage/memory"
)

// Order is how the commit of a snapshot stands to another one.
type Order string

// The orders.
const (
	Same       Order = "same"
	Descendant Order = "descendant" // the snapshot comes after the other: going there is forward
	Ancestor   Order = "ancestor"   // the snapshot is behind the other
	Diverged   Order = "diverged"   // each has commits that the other lacks
	Unknown    Order = "unknown"    // it cannot be told; Relation.Why says why
)

// Relation is the order of two commits, and how far they are apart.
type Relation struct {
	Order         Order
	Ahead, Behind int    // commits that only the snapshot has, and only the other one
	Why           string // of Unknown: a sentence without a period
}

// revisionCommit finds the commit in a revision as Flux writes it, also as it did before 2.0
// (main/<40 hex>).
var revisionCommit = regexp.MustCompile(`^(?:.*@)?(?:sha1:)?(?:.*/)?([0-9a-f]{40})(-dirty)?$`)

// CommitOf is the commit in a revision as Flux writes it, 40 hex; "" where it has none.
func CommitOf(revision string) string {
	if m := revisionCommit.FindStringSubmatch(revision); m != nil {
		return m[1]
	}
	return ""
}

// Relation says how s stands to recorded, a revision as Flux writes it or a bare commit. A commit
// that the clone does not know, or whose history it lacks, is fetched from the remote first, into
// memory: commits alone where the server can leave out the rest. The checkout is not written to.
//
// The error is that the remote could not be asked. A commit that the remote does not have either,
// as after a rewrite of the branch, is Unknown, and so is every revision that has no history: of a
// plain directory or an artifact.
func (s *Snapshot) Relation(ctx context.Context, recorded string) (Relation, error) {
	if recorded == s.Revision {
		return Relation{Order: Same}, nil
	}
	m := revisionCommit.FindStringSubmatch(recorded)
	switch {
	case s.Commit == "":
		return Relation{Order: Unknown, Why: "the source at hand has no history"}, nil
	case m == nil:
		return Relation{Order: Unknown, Why: recorded + " is not a commit of Git"}, nil
	case m[1] == s.Commit:
		return Relation{Order: Same}, nil
	}
	other := plumbing.NewHash(m[1])
	if rel, err := s.repo.relation(ctx, plumbing.NewHash(s.Commit), other); err == nil {
		return rel, nil
	} else if !errors.Is(err, plumbing.ErrObjectNotFound) {
		return Relation{}, err
	}
	missing, err := s.fetchHistory(ctx, s.upstream(), other)
	if err != nil || missing != "" {
		return Relation{Order: Unknown, Why: missing}, err
	}
	rel, err := s.repo.relation(ctx, plumbing.NewHash(s.Commit), other)
	if errors.Is(err, plumbing.ErrObjectNotFound) {
		return Relation{Order: Unknown, Why: "the history between the two is not in this clone, nor at its remote"}, nil
	}
	return rel, err
}

// noCommits is why an Unborn snapshot has no history.
func (s *Snapshot) noCommits() *Error {
	return &Error{Where: s.repo.where(), What: "the repository has no commits", Fix: "git add . && git commit"}
}

// Pushed is how a branch of a remote stands to the commit of a snapshot.
type Pushed struct {
	Remote   string // URL, without secrets
	Branch   string
	Commit   string // where the branch is at the remote, "" where it has no such branch
	Relation        // of the snapshot to it; Order is Unknown where there is no such branch
}

// Has reports whether the remote branch contains the snapshot's commit.
func (p Pushed) Has() bool { return p.Order == Same || p.Order == Ancestor }

// Pushed asks a remote where its branch is, and compares the snapshot's commit with it. remote is
// a URL; "" is the remote that the branch is pulled from, else origin. branch "" is that of the
// snapshot. Where a remote of the checkout is the repository at the URL, it is asked by its own
// URL, which the user's credentials fit.
func (s *Snapshot) Pushed(ctx context.Context, remote, branch string) (Pushed, error) {
	if branch == "" {
		branch = s.Branch
	}
	p := Pushed{Branch: branch, Relation: Relation{Order: Unknown}}
	if s.repo == nil {
		return p, &Error{Where: s.Dir, What: "is no Git repository", Why: "it has no branch to compare with a remote's"}
	}
	if s.Unborn() {
		return p, s.noCommits()
	}
	if branch == "" {
		return p, &Error{Where: s.repo.where(), What: "HEAD is on no branch", Fix: "git switch BRANCH, or --ref BRANCH"}
	}
	url := s.upstream()
	if remote != "" {
		url = remote
		for _, u := range s.repo.remoteURLs() {
			if SameRepository(u, remote) {
				url = u
				break
			}
		}
	}
	if url == "" {
		return p, &Error{Where: s.repo.where(), What: "has no remote", Fix: "git remote add origin URL"}
	}
	p.Remote = withoutSecrets(url)
	conn, adv, r, err := s.ask(ctx, url)
	if err != nil {
		return p, err
	}
	if conn == nil { // a repository on the disk
		other, err := openDisk(r, s.options.Auth)
		if err != nil {
			return p, err
		}
		refs, err := other.allRefs()
		if err != nil {
			return p, err
		}
		return s.pushedTo(ctx, p, url, refs)
	}
	conn.close()
	return s.pushedTo(ctx, p, url, refSet(adv.References))
}

func (s *Snapshot) pushedTo(ctx context.Context, p Pushed, url string, refs refSet) (Pushed, error) {
	h, ok := refs["refs/heads/"+p.Branch]
	if !ok {
		p.Why = "the remote has no branch " + p.Branch
		return p, nil
	}
	p.Commit = h.String()
	own := plumbing.NewHash(s.Commit)
	var err error
	if p.Relation, err = s.repo.relation(ctx, own, h); err == nil || !errors.Is(err, plumbing.ErrObjectNotFound) {
		return p, err
	}
	missing, err := s.fetchHistory(ctx, url, h)
	if err != nil || missing != "" {
		p.Relation = Relation{Order: Unknown, Why: missing}
		return p, err
	}
	p.Relation, err = s.repo.relation(ctx, own, h)
	return p, err
}

// RootIdentity is what tells one repository from another: the URL of its remote in the form in
// which all URLs of one repository are equal (host/owner/name); without a remote the commit that
// its history begins with, "root@sha1:…"; "" for a plain directory, and for a shallow clone that
// has no remote.
func (s *Snapshot) RootIdentity(ctx context.Context) (string, error) {
	if len(s.Remotes) > 0 {
		return repositoryKey(s.Remotes[0]), nil
	}
	root, err := s.RootCommit(ctx)
	if err != nil || root == "" {
		return "", err
	}
	return "root@sha1:" + root, nil
}

// upstream is the URL, with what credentials stand in it, of the remote that the snapshot's branch
// is pulled from; else of the first one; "" without any.
func (s *Snapshot) upstream() string {
	if s.remote != "" {
		return s.remote
	}
	c := s.repo.config
	if s.Branch != "" {
		if name := c.Section("branch").Subsection(s.Branch).Option("remote"); name != "" && name != "." {
			if url := c.Section("remote").Subsection(name).Option("url"); url != "" {
				return s.repo.insteadOf(url)
			}
		}
	}
	if urls := s.repo.remoteURLs(); len(urls) > 0 {
		return urls[0]
	}
	return ""
}

// remoteURLs are the URLs of all remotes as Git would use them, origin's first.
func (r *repository) remoteURLs() []string {
	var out []string
	for _, name := range r.remoteNames() {
		for _, url := range r.config.Section("remote").Subsection(name).OptionAll("url") {
			out = append(out, r.insteadOf(url))
		}
	}
	return out
}

// insteadOf rewrites a URL as url.<base>.insteadOf says: the longest match wins (git-config(1)).
func (r *repository) insteadOf(url string) string {
	best, out := "", url
	for _, c := range r.configs() {
		for _, s := range c.Section("url").Subsections {
			for _, from := range s.OptionAll("insteadof") {
				if len(from) > len(best) && strings.HasPrefix(url, from) {
					best, out = from, s.Name+url[len(from):]
				}
			}
		}
	}
	return out
}

// ask connects to a remote and reads its references. The session is nil for one on the disk.
func (s *Snapshot) ask(ctx context.Context, url string) (session, *packp.AdvRefs, remote, error) {
	r, isURL, err := parseRemote(url)
	if err != nil {
		return nil, nil, r, err
	}
	if !isURL || r.scheme == "file" {
		if !isURL {
			r = remote{scheme: "file", path: filepath.FromSlash(url)}
		}
		r.path = absolute(s.repo.where(), r.path)
		if _, err := os.Stat(r.path); err != nil {
			return nil, nil, r, &Error{Where: withoutSecrets(url), What: "cannot be reached", Why: cause(err), err: err}
		}
		return nil, nil, r, nil
	}
	o := s.options
	o.WorkDir = s.Dir
	conn, adv, err := connect(ctx, o, r)
	if err != nil {
		return nil, nil, r, stopped(ctx, err)
	}
	return conn, adv, r, nil
}

// fetchHistory makes the commits known that lead to want, and those that a shallow clone lacks.
// missing says why there is no such commit. It is one round trip more than asking.
func (s *Snapshot) fetchHistory(ctx context.Context, url string, want plumbing.Hash) (missing string, err error) {
	repo := s.repo
	if url == "" {
		return fmt.Sprintf("commit %s is not in %s, which has no remote to fetch it from", want, repo.where()), nil
	}
	conn, adv, r, err := s.ask(ctx, url)
	if err != nil {
		return "", err
	}
	if conn == nil {
		other, err := openDisk(r, s.options.Auth)
		if err != nil {
			return "", err
		}
		if !other.objects.has(want) {
			return fmt.Sprintf("commit %s is neither in %s nor at its remote %s", want, repo.where(), withoutSecrets(url)), nil
		}
		repo.objects.add(other.objects)
		return "", nil
	}
	defer conn.close()
	s.options.Progress("fetching the history of " + r.String())
	pick, err := pickRemote(refSet(adv.References), adv, want.String(), r)
	if err != nil {
		return "", err
	}
	pick.deep = true
	if cut := repo.boundary(); len(cut) == 0 {
		pick.haves = repo.tips(s.Commit)
	} else {
		for _, h := range cut { // the past that the clone was made without
			below, err := pickRemote(refSet(adv.References), adv, h.String(), r)
			if err != nil {
				return "", err
			}
			pick.wants = append(pick.wants, below.wants...)
		}
	}
	if adv.Capabilities.Supports("filter") {
		pick.filter = "tree:0"
	}
	store := memory.NewStorage()
	if err := fetch(ctx, conn, adv, pick, store); err != nil {
		err = stopped(ctx, err)
		if notThere(err) && ctx.Err() == nil {
			return fmt.Sprintf("commit %s is not at %s any more: its branch was rewritten or deleted", want, r), nil
		}
		return "", fetchError(r, err, s.options.Auth)
	}
	repo.objects.add(&objects{stores: []objectStore{&store.ObjectStorage}})
	return "", nil
}

// boundary are the commits at which a shallow clone's history ends.
func (r *repository) boundary() []plumbing.Hash {
	if r.cut != nil {
		return r.cut
	}
	text, err := os.ReadFile(filepath.Join(r.commonDir, "shallow"))
	if err != nil {
		return nil
	}
	var out []plumbing.Hash
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); isHash(line) {
			out = append(out, plumbing.NewHash(line))
		}
	}
	return out
}

// tips are commits that the repository has with all their past, the snapshot's own and those of
// its references, for a server to leave out. Enough is better than all: a server reads each.
func (r *repository) tips(commit string) []plumbing.Hash {
	out := []plumbing.Hash{plumbing.NewHash(commit)}
	refs, err := r.allRefs()
	if err != nil {
		return out
	}
	for _, prefix := range []string{"refs/remotes/", "refs/heads/"} {
		for _, name := range refs.short(prefix) {
			if h := refs[prefix+name]; len(out) < 64 && r.objects.has(h) {
				out = append(out, h)
			}
		}
	}
	return out
}

// relation counts what each of two commits has in its history and the other has not. Where clocks
// were wrong a count may be too high; the order never is.
func (r *repository) relation(ctx context.Context, own, other plumbing.Hash) (Relation, error) {
	peeled := [2]plumbing.Hash{own, other}
	for i, h := range peeled {
		c, err := r.objects.commit(h)
		if err != nil {
			return Relation{}, err
		}
		peeled[i] = c.Hash
	}
	own, other = peeled[0], peeled[1]
	if own == other {
		return Relation{Order: Same}, nil
	}
	p, err := r.paint(ctx, own, other)
	if err == nil {
		err = p.missing
	}
	if err != nil {
		return Relation{}, err
	}
	rel := Relation{Order: Diverged}
	for _, by := range p.by {
		switch by {
		case ours:
			rel.Ahead++
		case theirs:
			rel.Behind++
		}
	}
	switch {
	case p.by[other]&both == both:
		rel.Order, rel.Behind = Descendant, 0
	case p.by[own]&both == both:
		rel.Order, rel.Ahead = Ancestor, 0
	}
	return rel, nil
}

// side is who reaches a commit.
type side uint8

const (
	ours side = 1 << iota
	theirs
	stale // lies behind a common ancestor

	both = ours | theirs
)

// painted is the history of two commits, as far down as it tells them apart.
type painted struct {
	by      map[plumbing.Hash]side
	common  []plumbing.Hash // reached from both ends, in the order in which they were found
	missing error           // a plumbing.ErrObjectNotFound where the clone ends before a common ancestor
	behind  error           // the same, behind one
}

// paint paints the history from both ends, youngest first, until all that is left to look at lies
// behind a common ancestor (commit-reach.c, paint_down_to_common).
func (r *repository) paint(ctx context.Context, own, other plumbing.Hash) (*painted, error) {
	p := &painted{by: map[plumbing.Hash]side{}}
	queue := &youngest{}
	open := 0 // of those in the queue, how many are not stale
	push := func(h plumbing.Hash, from side) error {
		if p.by[h]|from == p.by[h] {
			return nil
		}
		p.by[h] |= from
		c, err := r.objects.commit(h)
		switch {
		case errors.Is(err, plumbing.ErrObjectNotFound) && from&stale != 0:
			p.behind = err
			return nil
		case errors.Is(err, plumbing.ErrObjectNotFound):
			p.missing = err
			return nil
		case err != nil:
			return err
		}
		if p.by[h]&stale == 0 {
			open++
		}
		heap.Push(queue, reached{c, p.by[h]})
		return nil
	}
	if err := errors.Join(push(own, ours), push(other, theirs)); err != nil {
		return nil, err
	}
	for n := 0; open > 0; n++ {
		if n%256 == 0 && ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		at := heap.Pop(queue).(reached)
		if at.from&stale == 0 {
			open--
		}
		h := at.commit.Hash
		if p.by[h] != at.from {
			continue // pushed again since, with more paint
		}
		from := at.from
		if from == both {
			p.common = append(p.common, h)
			from |= stale
		}
		for _, parent := range at.commit.ParentHashes {
			if err := push(parent, from); err != nil {
				return nil, err
			}
		}
	}
	return p, nil
}

type reached struct {
	commit *object.Commit
	from   side
}

// youngest is a heap with the youngest commit on top.
type youngest []reached

func (q youngest) Len() int { return len(q) }
func (q youngest) Less(i, j int) bool {
	return q[i].commit.Committer.When.After(q[j].commit.Committer.When)
}
func (q youngest) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *youngest) Push(x any)   { *q = append(*q, x.(reached)) }
func (q *youngest) Pop() any {
	old := *q
	last := old[len(old)-1]
	*q = old[:len(old)-1]
	return last
}
