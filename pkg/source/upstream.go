package source

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/config"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/storage/memory"
)

// Upstream is the repository that commits go to: the one at a URL, or the remote of a checkout. Of
// the checkout itself neither work tree, index nor branch is ever touched.
type Upstream struct {
	URL      string    // as it may be shown; "" where a checkout has no remote
	Name     string    // of the remote in the checkout, as in "origin"
	Checkout *Snapshot // what is checked out, committed; nil for a URL

	from, to remote // to fetch from and to push to; the same but for remote.NAME.pushurl
	local    *repository
	o        Options
	last     *objects // what was fetched last
}

// OpenUpstream finds the repository that o.Source names. Nothing is asked of a server yet, and
// o.Ref and o.WorkTree do not count. A plain directory is an error.
func OpenUpstream(ctx context.Context, o Options) (*Upstream, error) {
	o.Ref, o.WorkTree = "", false
	if o.Source != "" {
		if r, ok, err := parseRemote(o.Source); err != nil {
			return nil, err
		} else if ok && (!r.scp || !exists(o.WorkDir, o.Source)) {
			if r.scheme == "file" {
				r.path = absolute(o.WorkDir, r.path)
			}
			return &Upstream{URL: r.String(), from: r, to: r, o: o.complete()}, nil
		}
	}
	s, err := Open(ctx, o)
	if err != nil {
		return nil, err
	}
	if s.repo == nil {
		return nil, &Error{Where: s.Dir, What: "is in no Git repository", Why: "what is to be committed needs one", Fix: "cd into a clone, or --source URL"}
	}
	u := &Upstream{Checkout: s, local: s.repo, o: o.complete()}
	if name := s.repo.upstreamName(s.Branch); name != "" {
		return u, u.use(name)
	}
	if names := s.repo.config.Section("remote").Subsections; len(names) > 1 {
		return nil, &Error{
			Where: s.repo.where(), What: "it has several remotes, and none of them is origin",
			Fix: "git branch --set-upstream-to=" + names[0].Name + "/" + cmp.Or(s.Branch, "main"),
		}
	}
	return u, nil
}

func (o Options) complete() Options {
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	return o
}

// upstreamName is the remote of a branch: its own, else origin, else the only one there is.
func (r *repository) upstreamName(branch string) string {
	remotes := r.config.Section("remote")
	if name := r.config.Section("branch").Subsection(branch).Option("remote"); branch != "" && remotes.HasSubsection(name) {
		return name
	}
	if remotes.HasSubsection("origin") {
		return "origin"
	}
	if len(remotes.Subsections) == 1 {
		return remotes.Subsections[0].Name
	}
	return ""
}

// use makes the remote of that name the one to fetch from and to push to.
func (u *Upstream) use(name string) error {
	section := u.local.config.Section("remote").Subsection(name)
	parse := func(url string) (remote, error) {
		url = u.local.insteadOf(url)
		r, ok, err := parseRemote(url)
		if err != nil {
			return r, err
		}
		if !ok { // a path, as git clone records it
			r = remote{scheme: "file", path: url}
		}
		if r.scheme == "file" {
			r.path = absolute(cmp.Or(u.local.top, u.local.gitDir), r.path)
		}
		return r, nil
	}
	var err error
	if u.from, err = parse(section.Option("url")); err != nil {
		return err
	}
	u.to, u.URL, u.Name = u.from, u.from.String(), name
	if push := section.Option("pushurl"); push != "" {
		u.to, err = parse(push)
	}
	return err
}

// At is the upstream of the repository at url: u itself, or of a checkout the remote that has that
// URL. It is nil where url names another repository.
func (u *Upstream) At(url string) (*Upstream, error) {
	if SameRepository(u.URL, url) {
		return u, nil
	}
	if u.local == nil {
		return nil, nil
	}
	for _, s := range u.local.config.Section("remote").Subsections {
		if slices.ContainsFunc(s.OptionAll("url"), func(own string) bool { return SameRepository(own, url) }) {
			other := *u
			return &other, other.use(s.Name)
		}
	}
	return nil, nil
}

// Read reads what ref names at the remote now. "" is the branch that is checked out, where the remote
// has it, else the remote's default branch.
func (u *Upstream) Read(ctx context.Context, ref string) (*Snapshot, error) {
	if ref == "" && u.Checkout != nil && u.Checkout.Branch != "" {
		s, err := u.Read(ctx, u.Checkout.Branch)
		if !errors.Is(err, plumbing.ErrReferenceNotFound) {
			return s, err
		}
	}
	at, err := u.fetch(ctx, ref, "", false)
	if err != nil {
		return nil, err
	}
	return u.snapshot(ctx, at.objects, at.picked)
}

// snapshot is the whole of a commit. Submodules are not: what is in them is another repository's.
func (u *Upstream) snapshot(ctx context.Context, o *objects, t target) (*Snapshot, error) {
	repo := &repository{config: config.New(), refs: memory.NewStorage(), env: u.o.Auth.Env, objects: o, gitDir: u.where()}
	s, err := repo.fetched(ctx, u.o, u.from, t)
	if err != nil {
		return nil, err
	}
	s.URL = u.URL
	s.Remotes = []string{u.URL}
	if u.Checkout != nil {
		s.Remotes = u.Checkout.Remotes
	}
	return s, nil
}

// Base is the state of a repository on which commits are made.
type Base struct {
	*Snapshot // what is committed, from the top of the repository
	// Branch is the branch that a push goes to, and Tip its commit at the remote: "" where it is
	// not there yet.
	Branch, Tip string
	// Replaces says that a push drops what Tip has and Snapshot has not: commits that all have the
	// same author as the new ones will have. Nothing else is ever dropped.
	Replaces bool
	// Others says that Branch has commits of others, which the new ones come on top of.
	Others bool
	// CheckedOut is the revision of the ref that was fetched, which need not be that of Snapshot.
	CheckedOut string

	up     *Upstream
	parent plumbing.Hash   // of the next commit
	forked bool            // where Replaces: Tip's first own commit has parent as its parent
	fresh  []plumbing.Hash // objects that the remote lacks
	mem    *memory.Storage // where they are
	made   []string        // the commits among them, in order
}

// history is how many commits of a push branch are looked at to see whose they are.
const history = 64

// Fetch reads what ref names at the remote now, "" for its default branch, and says on what commits
// for the branch push are made ("" is the branch that ref names):
//
//   - push is not there yet, or ref has all of its commits: on ref;
//   - all that push has beyond ref is by authors that mine knows: on ref, in the place of it, so
//     that push stays one step ahead of ref;
//   - push has commits of others: on push.
//
// A remote is fetched into memory, without history where none is needed. Where the checkout has the
// commits already, nothing is fetched.
func (u *Upstream) Fetch(ctx context.Context, ref, push string, mine func(email string) bool) (*Base, error) {
	at, err := u.fetch(ctx, ref, push, false)
	if err != nil {
		return nil, err
	}
	c, err := at.objects.commit(at.picked.hash)
	if err != nil {
		return nil, err
	}
	b := &Base{Branch: push, CheckedOut: at.picked.revision(c.Hash), up: u, parent: c.Hash, mem: memory.NewStorage()}
	if push == "" {
		if b.Branch = at.picked.branch; b.Branch == "" {
			return nil, &Error{Where: b.where(), What: fmt.Sprintf("%q is no branch", ref), Why: "there is nothing to push to", Fix: "--push-branch NAME, or spec.git.push.branch"}
		}
	}
	from := at.picked
	if tip, ok := at.refs["refs/heads/"+b.Branch]; ok {
		b.Tip = tip.String()
		if tip != c.Hash {
			own, err := at.objects.beyond(ctx, tip, c.Hash)
			if err == nil && own.unknown && at.objects.shallow { // the end of what was fetched, not of what there is
				if at, err = u.fetch(ctx, ref, push, true); err == nil {
					own, err = at.objects.beyond(ctx, tip, c.Hash)
				}
			}
			if err != nil {
				return nil, err
			}
			switch {
			case own.contained:
			case own.by(mine):
				b.Replaces, b.forked = true, own.bottom == c.Hash
			default:
				b.Others, b.parent, from = true, tip, target{tip, b.Branch, b.Branch}
			}
		}
	}
	b.Snapshot, err = u.snapshot(ctx, at.objects, from)
	return b, err
}

func (b *Base) where() string { return b.up.where() }

func (u *Upstream) where() string {
	if u.URL == "" {
		return u.local.where()
	}
	return u.URL
}

// fetched is what a remote has.
type fetched struct {
	refs    refSet
	picked  target
	objects *objects
}

// fetch reads what ref and the branch push are at, with all of their history if it is to be deep.
func (u *Upstream) fetch(ctx context.Context, ref, push string, deep bool) (*fetched, error) {
	if u.URL == "" || u.from.scheme == "file" {
		return u.readInPlace(ctx, ref)
	}
	u.o.Progress("fetching " + u.URL)
	s, adv, err := connect(ctx, u.o, u.from)
	if err != nil {
		return nil, stopped(ctx, err)
	}
	defer s.close()
	at := &fetched{refs: refSet{}}
	for name, h := range adv.References {
		at.refs[name] = h
	}
	pick, err := pickRemote(at.refs, adv, ref, u.from)
	if err != nil {
		return nil, err
	}
	if tip, ok := at.refs["refs/heads/"+push]; ok && push != "" && !slices.Contains(pick.wants, tip) {
		pick.wants, pick.depth = append(pick.wants, tip), history
	}
	pick.deep = pick.deep || deep
	have := func(o *objects) bool {
		return o != nil && !o.partial && !slices.ContainsFunc(pick.wants, func(h plumbing.Hash) bool { return !o.has(h) })
	}
	switch {
	case u.local != nil && !deep && have(u.local.objects):
		at.objects = u.local.objects
	case !deep && have(u.last):
		at.objects = u.last
	default:
		store := memory.NewStorage()
		if err := fetch(ctx, s, adv, pick, store); err != nil {
			return nil, u.fetchFailed(ctx, ref, err)
		}
		at.objects = &objects{stores: []objectStore{&store.ObjectStorage}, where: u.URL, shallow: !pick.deep}
		u.last = at.objects
	}
	at.picked, err = newest(at.objects, pick.targets)
	return at, err
}

func (u *Upstream) fetchFailed(ctx context.Context, ref string, err error) error {
	err = stopped(ctx, err)
	var e *Error
	if ctx.Err() != nil || errors.As(err, &e) {
		return err
	}
	return &Error{Where: u.URL, What: "fetching " + cmp.Or(ref, "the default branch") + " failed", Why: u.o.Auth.scrub(err.Error(), u.from.password), err: err}
}

// readInPlace reads a repository on the disk where it is: that of a file URL, or the checkout's own
// where it has no remote.
func (u *Upstream) readInPlace(ctx context.Context, ref string) (*fetched, error) {
	repo := u.local
	if u.URL != "" {
		dir, err := realDirectory(u.from.path)
		if err != nil {
			return nil, err
		}
		if repo, err = discover(dir, u.o.Auth); err != nil {
			return nil, err
		}
		if repo == nil || repo.top != "" && repo.top != dir {
			return nil, &Error{Where: u.URL, What: "is not a Git repository", Fix: "git remote -v"}
		}
	}
	at := &fetched{objects: repo.objects}
	var err error
	if at.refs, err = repo.allRefs(); err != nil {
		return nil, err
	}
	at.picked, err = repo.resolve(ctx, ref)
	return at, err
}

// beyond are the commits that one branch has and another has not.
type beyond struct {
	commits   []*object.Commit
	contained bool          // there are none: the other has the tip too
	unknown   bool          // the history ends before it can be told
	bottom    plumbing.Hash // where they leave the other branch, if at one place
}

// by reports whether all of them have authors that mine knows.
func (b beyond) by(mine func(string) bool) bool {
	return !b.unknown && mine != nil && !slices.ContainsFunc(b.commits, func(c *object.Commit) bool { return !mine(c.Author.Email) })
}

// beyond looks at the commits from tip down to those that base has too: at most history of them, and
// ten thousand of base's.
func (o *objects) beyond(ctx context.Context, tip, base plumbing.Hash) (out beyond, err error) {
	shared := map[plumbing.Hash]bool{}
	queue := []plumbing.Hash{base}
	for len(queue) > 0 && len(shared) < 10000 {
		h := queue[0]
		queue = queue[1:]
		if shared[h] {
			continue
		}
		shared[h] = true
		if h == tip {
			return beyond{contained: true}, nil
		}
		if err := ctx.Err(); err != nil {
			return out, err
		}
		if c, err := o.commit(h); err == nil { // else the history was not fetched this far down
			queue = append(queue, c.ParentHashes...)
		}
	}
	seen, bottoms := map[plumbing.Hash]bool{}, 0
	queue = []plumbing.Hash{tip}
	for len(queue) > 0 {
		h := queue[0]
		queue = queue[1:]
		if seen[h] {
			continue
		}
		seen[h] = true
		if shared[h] {
			bottoms++
			out.bottom = h
			continue
		}
		c, err := o.commit(h)
		if err != nil || len(out.commits) == history || len(c.ParentHashes) == 0 {
			out.unknown = true
			return out, nil
		}
		out.commits = append(out.commits, c)
		queue = append(queue, c.ParentHashes...)
	}
	if bottoms > 1 {
		out.bottom = plumbing.ZeroHash
	}
	return out, nil
}

// file is the path of a remote on the disk.
func (r remote) file() string { return filepath.FromSlash(strings.TrimSuffix(r.path, "/")) }

// CheckBranch tells what is wrong with the name of a branch, nil if nothing is.
func CheckBranch(name string) error {
	if name == "" || strings.HasPrefix(name, "-") || strings.HasPrefix(name, "refs/") {
		return errors.New("want the short name of a branch")
	}
	if err := plumbing.NewBranchReferenceName(name).Validate(); err != nil {
		return errors.New("no branch can have this name")
	}
	return nil
}
