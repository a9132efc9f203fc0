package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/config"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"
	"github.com/go-git/go-git/v5/storage/memory"
	"github.com/go-git/go-git/v5/utils/ioutil"
)

// openFile reads the repository at a file URL where it is: nothing is copied, no git is needed,
// and its work tree, if it has one, is not looked at.
func openFile(ctx context.Context, o Options, r remote) (*Snapshot, error) {
	dir, err := realDirectory(absolute(o.WorkDir, r.path))
	if err != nil {
		return nil, err
	}
	r.path = dir
	repo, err := openDisk(r, o.Auth)
	if err != nil {
		return nil, err
	}
	s, err := repo.snapshot(ctx, o, "")
	if err != nil {
		return nil, err
	}
	s.URL, s.Remotes, s.remote = "file://"+filepath.ToSlash(dir), []string{r.String()}, dir
	return s, nil
}

// openDisk opens the repository that lies at the path of a file URL, without its work tree.
func openDisk(r remote, auth Auth) (*repository, error) {
	repo, err := discover(r.path, auth)
	if err != nil {
		return nil, err
	}
	if repo == nil || repo.top != "" && repo.top != r.path {
		return nil, &Error{Where: r.String(), What: "is not a Git repository", Fix: "for a plain directory: --source " + r.path}
	}
	repo.top = ""
	return repo, nil
}

// session is a connection to git-upload-pack, over https or ssh.
type session interface {
	// advertised asks for the server's references; done is not an error of it but an empty set.
	advertised(ctx context.Context) (*packp.AdvRefs, error)
	// fetch sends a request, and returns what follows it: the pack, in side bands where asked for.
	// It may be called once.
	fetch(ctx context.Context, req *packp.UploadPackRequest) (io.ReadCloser, error)
	close()
}

// errEmpty is the error of a repository that has no references.
var errEmpty = errors.New("the repository is empty")

// openRemote fetches what o.Ref names, without its history where the server allows, into memory: a
// repository of manifests is small, there is nothing to clean up after a crash, and what is in it
// stays off the disk.
func openRemote(ctx context.Context, o Options, r remote) (*Snapshot, error) {
	o.Progress("fetching " + r.String())
	s, adv, err := connect(ctx, o, r)
	if err != nil {
		return nil, stopped(ctx, err)
	}
	defer s.close()
	refs := refSet{}
	for name, h := range adv.References {
		refs[name] = h
	}
	var pick choice
	if o.Reference != nil {
		pick, err = pickReference(refs, adv, *o.Reference, r.String())
	} else {
		pick, err = pickRemote(refs, adv, o.Ref, r)
	}
	if err != nil {
		return nil, err
	}
	store := memory.NewStorage()
	if err := fetchKept(ctx, o, r, s, adv, pick, store); err != nil {
		return nil, err
	}
	repo := &repository{
		config: config.New(), refs: store, env: o.Auth.Env,
		objects: &objects{stores: []objectStore{&store.ObjectStorage}, where: r.String()},
		gitDir:  r.String(),
	}
	best, err := newest(repo.objects, pick.targets)
	if err != nil {
		return nil, err
	}
	return repo.fetched(ctx, o, r, best)
}

// fetchKept brings what was picked into store: what the cache has of it from there, of the rest
// only what differs from commits that the cache has.
func fetchKept(ctx context.Context, o Options, r remote, s session, adv *packp.AdvRefs, pick choice, store *memory.Storage) error {
	cache := packCache(o.CacheDir)
	var missing []plumbing.Hash
	for _, t := range pick.targets {
		if !cache.load(r, t.hash, store) {
			missing = append(missing, t.hash)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	if !pick.deep {
		pick.bases = cache.bases(r, missing, store)
	}
	var pack bytes.Buffer
	if cache != "" && len(pick.targets) == 1 && !pick.deep && len(pick.bases) == 0 {
		pick.copy = &pack
	}
	err := fetch(ctx, s, adv, pick, store)
	if len(pick.bases) > 0 && ctx.Err() == nil && (err != nil || !allWhole(store, missing)) {
		// Not every server negotiates as Git does, and go-git does not know all that one may answer.
		pick.bases, *store = nil, *memory.NewStorage()
		s.close()
		if s, adv, err = connect(ctx, o, r); err != nil {
			return stopped(ctx, err)
		}
		defer s.close()
		err = fetch(ctx, s, adv, pick, store)
	}
	if err != nil {
		err = stopped(ctx, err)
		if ctx.Err() == nil && notThere(err) {
			return &Error{Where: r.String(), What: "the server does not have commit " + pick.targets[0].hash.String(), Why: "or does not give out a commit that is in no branch", err: err}
		}
		return fetchError(r, err, o.Auth)
	}
	for _, h := range missing {
		if pick.copy != nil {
			cache.save(r, h, pack.Bytes())
		} else if cache != "" {
			cache.save(r, h, repack(store, h))
		}
	}
	return nil
}

// notThere reports whether a server does not have, or does not give out, what was asked for.
func notThere(err error) bool {
	return errors.Is(err, errNotSent) || strings.Contains(err.Error(), "not our ref") || strings.Contains(err.Error(), "unadvertised object")
}

// fetchError is the error of a fetch that broke off.
func fetchError(r remote, err error, a Auth) error {
	var e *Error
	if errors.As(err, &e) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &Error{Where: r.String(), What: "fetching failed", Why: a.scrub(err.Error(), r.password), err: err}
}

// fetched is the snapshot of what was fetched from r.
func (repo *repository) fetched(ctx context.Context, o Options, r remote, t target) (*Snapshot, error) {
	c, err := repo.objects.commit(t.hash)
	if err != nil {
		return nil, err
	}
	entries := map[string]treeEntry{}
	if err := repo.objects.flatten(ctx, c.TreeHash, "", entries); err != nil {
		return nil, err
	}
	s := &Snapshot{
		Revision: t.revision(c.Hash), Branch: t.branch, Commit: c.Hash.String(),
		URL: r.String(), Remotes: []string{r.String()}, Links: map[string]string{}, repo: repo, at: t, options: o, remote: r.full(),
	}
	repo.cut = []plumbing.Hash{c.Hash}
	if repo.top == "" {
		repo.fetchSubmodule = func(inRepo string, h plumbing.Hash) (*repository, error) {
			return s.fetchSubmodule(ctx, c, inRepo, h)
		}
	}
	build := &builder{tree: newTree(c.Committer.When), links: s.Links}
	if err := build.commit(ctx, repo, "", "", entries); err != nil {
		return nil, err
	}
	build.tree.markSubmodules(entries)
	build.tree.root.seal(false)
	s.FS = build.tree
	return s, nil
}

// stopped is the context's error where that is why err happened.
func stopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// choice is what to fetch.
type choice struct {
	targets []target
	wants   []plumbing.Hash
	deep    bool            // with the history: the commit may be anywhere in it
	haves   []plumbing.Hash // commits that need not be sent, with all their past
	filter  packp.Filter    // what not to send, where the server knows filters
	bases   []plumbing.Hash // commits that need not be sent, without their past: only what differs from their files comes
	copy    *bytes.Buffer   // where the pack goes too, as it came
	depth   int             // where not deep, commits of history; 0 is 1
}

// pickRemote says what ref means among the references that a server advertises.
func pickRemote(refs refSet, adv *packp.AdvRefs, ref string, r remote) (choice, error) {
	one := func(t target) (choice, error) {
		return choice{targets: []target{t}, wants: []plumbing.Hash{t.hash}}, nil
	}
	if ref == "" || ref == "HEAD" {
		return pickHead(refs, adv, r, one)
	}
	if isHash(ref) {
		return pickCommit(refs, adv, target{hash: plumbing.NewHash(ref)}), nil
	}
	if t, ok := refs.named(ref); ok {
		return one(t)
	}
	if c, err := semver.NewConstraint(ref); err == nil {
		if tags := refs.highest(c); len(tags) > 0 {
			out := choice{targets: tags}
			for _, t := range tags {
				out.wants = append(out.wants, t.hash)
			}
			return out, nil
		}
	}
	err := refs.noSuchRef(r.String(), ref)
	var e *Error
	if errors.As(err, &e) && e.Fix == "" && len(ref) >= 4 && strings.Trim(strings.ToLower(ref), "0123456789abcdef") == "" {
		e.Fix = "a commit of a remote must be given in full, 40 digits"
	}
	return choice{}, err
}

func pickHead(refs refSet, adv *packp.AdvRefs, r remote, one func(target) (choice, error)) (choice, error) {
	for _, symref := range adv.Capabilities.Get(capability.SymRef) {
		if name, ok := strings.CutPrefix(symref, "HEAD:refs/heads/"); ok {
			if h, ok := refs["refs/heads/"+name]; ok {
				return one(target{h, name, name})
			}
		}
	}
	if adv.Head != nil { // a server that does not say which branch HEAD is, or a detached one
		var equal []string
		for _, name := range refs.short("refs/heads/") {
			if refs["refs/heads/"+name] == *adv.Head {
				equal = append(equal, name)
			}
		}
		if len(equal) == 1 {
			return one(target{*adv.Head, equal[0], equal[0]})
		}
		return one(target{hash: *adv.Head})
	}
	e := &Error{Where: r.String(), What: "the repository has no default branch", Fix: "--ref BRANCH"}
	if names := refs.short("refs/heads/"); len(names) > 0 {
		e.Why, e.Fix = "the branches are "+some(names, 5), "--ref "+names[0]
	}
	return choice{}, e
}

// errNotSent says that the commit that was asked for is not in the history that came.
var errNotSent = errors.New("the commit was not sent")

// fetch brings what was picked into store.
func fetch(ctx context.Context, s session, adv *packp.AdvRefs, pick choice, store *memory.Storage) (err error) {
	req := packp.NewUploadPackRequestFromCapabilities(adv.Capabilities)
	req.Wants, req.Haves = pick.wants, pick.haves
	if !pick.deep && adv.Capabilities.Supports(capability.Shallow) {
		req.Depth = packp.DepthCommits(max(1, pick.depth))
		if err := req.Capabilities.Set(capability.Shallow); err != nil {
			return err
		}
		if len(pick.bases) > 0 {
			// Only for a thin pack does git look at what is in the commits of a shallow client.
			req.Haves, req.Shallows = append(slices.Clone(req.Haves), pick.bases...), pick.bases
			if err := req.Capabilities.Set(capability.ThinPack); err != nil {
				return err
			}
		}
	}
	if adv.Capabilities.Supports(capability.NoProgress) {
		if err := req.Capabilities.Set(capability.NoProgress); err != nil {
			return err
		}
	}
	if pick.filter != "" {
		req.Filter = pick.filter
		if err := req.Capabilities.Set(capability.Filter); err != nil {
			return err
		}
	}
	// Without it Azure DevOps refuses. With nothing to negotiate the answer is the same NAK.
	if err := req.Capabilities.Set(capability.MultiACK); err != nil {
		return err
	}
	answer, err := s.fetch(ctx, req)
	if err != nil {
		return err
	}
	defer answer.Close()
	var pack io.Reader = ioutil.NewContextReader(ctx, answer)
	switch {
	case req.Capabilities.Supports(capability.Sideband64k):
		pack = sideband.NewDemuxer(sideband.Sideband64k, pack)
	case req.Capabilities.Supports(capability.Sideband):
		pack = sideband.NewDemuxer(sideband.Sideband, pack)
	}
	if pick.copy != nil {
		pack = io.TeeReader(pack, pick.copy)
	}
	if err := packfile.UpdateObjectStorage(store, pack); err != nil {
		return err
	}
	for _, t := range pick.targets {
		if _, err := store.EncodedObject(plumbing.AnyObject, t.hash); err != nil {
			return errNotSent
		}
	}
	return nil
}

// connect opens a session and reads the references.
func connect(ctx context.Context, o Options, r remote) (session, *packp.AdvRefs, error) {
	var s session
	var adv *packp.AdvRefs
	var err error
	if r.scheme == "ssh" {
		s, adv, err = connectSSH(ctx, o, r)
	} else {
		s, adv, err = connectHTTP(ctx, o, r)
	}
	if errors.Is(err, errEmpty) {
		return nil, nil, &Error{Where: r.String(), What: "the repository is empty", Why: "it has no commits", Fix: "push a first commit: git push -u origin main", err: err}
	}
	return s, adv, err
}

// unreachable is the error of a server that could not be talked to.
func unreachable(r remote, err error, a Auth) error {
	return &Error{
		Where: r.String(), What: fmt.Sprintf("%s cannot be reached", hostPort(r.host, r.port)), Why: a.scrub(cause(err), r.password),
		Fix: "check the URL, the network and a proxy (HTTPS_PROXY, ALL_PROXY)", err: err,
	}
}
