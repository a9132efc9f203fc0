package source

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/go-git/go-billy/v5"
	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/config"
	"github.com/go-git/go-git/v5/plumbing/storer"
	"github.com/go-git/go-git/v5/storage/filesystem/dotgit"
)

// repository is one Git repository: a checkout, a bare one, or what was fetched into memory.
type repository struct {
	top       string // of the work tree, "" without one
	gitDir    string // HEAD and index; of a linked worktree its own
	commonDir string // objects, refs and config
	config    *config.Config
	objects   *objects
	refs      refReader
	env       environment
	// fetchSubmodule opens the commit of a submodule; nil where they are looked up on the disk.
	fetchSubmodule func(inRepo string, h plumbing.Hash) (*repository, error)

	cut []plumbing.Hash // of what was fetched without its history: the commits it ends at
}

// refReader is what is needed of go-git's reference storages on disk and in memory.
type refReader interface {
	Reference(plumbing.ReferenceName) (*plumbing.Reference, error)
	IterReferences() (storer.ReferenceIter, error)
}

// discover opens the repository that dir is, or lies in. It is nil where there is none.
func discover(dir string, auth Auth) (*repository, error) {
	if isGitDir(dir) { // a bare repository, or a .git directory itself
		return openRepository("", dir, auth.Env)
	}
	for at := dir; ; at = filepath.Dir(at) {
		gitDir, err := gitDirOf(at)
		if err != nil {
			return nil, err
		}
		if gitDir != "" {
			return openRepository(at, gitDir, auth.Env)
		}
		if filepath.Dir(at) == at {
			return nil, nil
		}
	}
}

// isGitDir follows Git's own test (setup.c, is_git_directory).
func isGitDir(dir string) bool {
	head, err := os.Lstat(filepath.Join(dir, "HEAD"))
	if err != nil || head.IsDir() {
		return false
	}
	common := commonDirOf(dir)
	for _, name := range []string{"objects", "refs"} {
		if info, err := os.Stat(filepath.Join(common, name)); err != nil || !info.IsDir() {
			return false
		}
	}
	return true
}

// gitDirOf is the repository of the work tree at top: top/.git, or where that file points to in a
// linked worktree and a submodule. It is "" where top is not one.
func gitDirOf(top string) (string, error) {
	name := filepath.Join(top, ".git")
	info, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	case err != nil:
		return "", unreadable(name, err)
	case info.IsDir():
		if isGitDir(name) {
			return name, nil
		}
		return "", nil // as Git: an empty .git is no repository, one further up may be
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return "", unreadable(name, err)
	}
	target, ok := strings.CutPrefix(strings.TrimSpace(string(text)), "gitdir:")
	if !ok {
		return "", &Error{Where: name, What: "is not a Git link", Why: `it does not begin with "gitdir:"`}
	}
	gitDir := absolute(top, strings.TrimSpace(target))
	if !isGitDir(gitDir) {
		return "", &Error{
			Where: name, What: "the repository it points to is not there", Why: gitDir,
			Fix: "git worktree repair (in the main work tree), or git submodule update --init",
		}
	}
	return gitDir, nil
}

func commonDirOf(gitDir string) string {
	text, err := os.ReadFile(filepath.Join(gitDir, "commondir"))
	if err != nil {
		return gitDir
	}
	return absolute(gitDir, strings.TrimSpace(string(text)))
}

func openRepository(top, gitDir string, env []string) (*repository, error) {
	r := &repository{top: top, gitDir: gitDir, commonDir: commonDirOf(gitDir), env: environment(env)}
	if err := r.readConfig(); err != nil {
		return nil, err
	}
	var dot billy.Filesystem = osfs.New(gitDir)
	if r.commonDir != gitDir {
		dot = dotgit.NewRepositoryFilesystem(dot, osfs.New(r.commonDir))
	}
	objects, own, err := openObjects(dot, r.commonDir, r.where())
	if err != nil {
		return nil, &Error{Where: r.where(), What: "the repository cannot be read", Why: cause(err), err: err}
	}
	r.objects, r.refs = objects, &own.ReferenceStorage
	_, err = os.Stat(filepath.Join(r.commonDir, "shallow"))
	objects.shallow = err == nil
	objects.partial = r.config.Section("extensions").Option("partialclone") != "" || r.hasPromisor()
	return r, nil
}

// where names the repository in messages.
func (r *repository) where() string {
	if r.top != "" {
		return r.top
	}
	return r.gitDir
}

// readConfig reads the repository's own configuration and refuses formats that would be misread.
func (r *repository) readConfig() error {
	name := filepath.Join(r.commonDir, "config")
	text, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return unreadable(name, err)
	}
	r.config = config.New()
	if err := config.NewDecoder(bytes.NewReader(text)).Decode(r.config); err != nil {
		return &Error{Where: name, What: "is not a Git configuration", Why: err.Error(), Fix: "git config --list --local", err: err}
	}
	extensions := r.config.Section("extensions")
	if f := extensions.Option("objectformat"); f != "" && !strings.EqualFold(f, "sha1") {
		return &Error{Where: r.where(), What: "is a repository of " + f + " objects", Why: "only sha1 ones can be read, as Flux does"}
	}
	if s := extensions.Option("refstorage"); s != "" && !strings.EqualFold(s, "files") {
		return &Error{
			Where: r.where(), What: "its references are stored as " + s, Why: "only files can be read",
			Fix: "git refs migrate --ref-format=files",
		}
	}
	return nil
}

func (r *repository) hasPromisor() bool {
	for _, s := range r.config.Section("remote").Subsections {
		if strings.EqualFold(s.Option("promisor"), "true") {
			return true
		}
	}
	return false
}

// remotes are the URLs of all remotes, origin's first, without secrets.
func (r *repository) remotes() []string {
	var first, rest []string
	for _, s := range r.config.Section("remote").Subsections {
		for _, url := range s.OptionAll("url") {
			url = r.insteadOf(url)
			if s.Name == "origin" {
				first = append(first, withoutSecrets(url))
			} else {
				rest = append(rest, withoutSecrets(url))
			}
		}
	}
	return append(first, rest...)
}

// tracks reports whether the repository has files below prefix: in the commit that ref names, or
// for "" in HEAD or in the index.
func (r *repository) tracks(ctx context.Context, prefix, ref string) (bool, error) {
	index, err := r.index()
	if err != nil {
		return false, err
	}
	for _, e := range index.entries {
		if strings.HasPrefix(e.name, prefix+"/") || e.mode == modeSparse && strings.HasPrefix(prefix+"/", e.name) {
			return true, nil
		}
	}
	target, err := r.resolve(ctx, ref)
	if err != nil {
		var e *Error
		if ref == "" && errors.As(err, &e) && errors.Is(err, plumbing.ErrReferenceNotFound) {
			return false, nil // no commit yet
		}
		return false, err
	}
	c, err := r.objects.commit(target.hash)
	if err != nil {
		return false, err
	}
	_, ok, err := r.objects.subtree(c.TreeHash, prefix)
	return ok, err
}

// snapshot reads the subtree prefix of the repository as o says.
func (r *repository) snapshot(ctx context.Context, o Options, prefix string) (*Snapshot, error) {
	var target target
	var err error
	if o.Reference != nil {
		target, err = r.reference(*o.Reference)
	} else {
		target, err = r.resolve(ctx, o.Ref)
	}
	if branch, none := r.unborn(err); none && o.onDisk(r) {
		return r.beforeCommits(ctx, o, prefix, branch)
	}
	if err != nil {
		return nil, err
	}
	return r.snapshotAt(ctx, o, prefix, target)
}

// onDisk reports whether the files of r's work tree are what is wanted.
func (o Options) onDisk(r *repository) bool {
	return o.WorkTree && o.Ref == "" && o.Reference == nil && r.top != ""
}

// unborn is the branch that the first commit will make; ok is false where err, of
// resolving HEAD, says anything else than that there is none yet.
func (r *repository) unborn(err error) (branch string, ok bool) {
	if !errors.Is(err, plumbing.ErrReferenceNotFound) {
		return "", false
	}
	head, err := r.refs.Reference(plumbing.HEAD)
	if err != nil || head.Type() != plumbing.SymbolicReference {
		return "", false
	}
	return strings.CutPrefix(head.Target().String(), "refs/heads/")
}

// beforeCommits reads a work tree of which nothing is committed yet. Its revision has
// the commit that stands for none in Git.
func (r *repository) beforeCommits(ctx context.Context, o Options, prefix, branch string) (*Snapshot, error) {
	t := target{branch: branch, label: branch}
	s := &Snapshot{
		Revision: t.revision(plumbing.ZeroHash) + "-dirty", Branch: branch,
		Dir: r.top, Prefix: prefix, Remotes: r.remotes(), Links: map[string]string{}, repo: r, at: t, options: o,
	}
	state, err := r.status(ctx, prefix, nil)
	if err != nil {
		return nil, err
	}
	s.Dirty, s.Untracked = state.dirty, state.untracked
	build := &builder{tree: newTree(time.Unix(0, 0).UTC()), links: s.Links}
	if err := build.workTree(ctx, state); err != nil {
		return nil, err
	}
	build.tree.root.seal(false)
	s.FS = build.tree
	return s, nil
}

func (r *repository) snapshotAt(ctx context.Context, o Options, prefix string, target target) (*Snapshot, error) {
	c, err := r.objects.commit(target.hash)
	if err != nil {
		return nil, err
	}
	s := &Snapshot{
		Revision: target.revision(c.Hash), Branch: target.branch, Commit: c.Hash.String(),
		Dir: r.top, Prefix: prefix, Remotes: r.remotes(), Links: map[string]string{}, repo: r, at: target, options: o,
	}
	committed := map[string]treeEntry{}
	sub, ok, err := r.objects.subtree(c.TreeHash, prefix)
	if err != nil {
		return nil, err
	}
	useDisk := o.onDisk(r)
	if ok {
		if err := r.objects.flatten(ctx, sub, "", committed); err != nil {
			return nil, err
		}
	} else if !useDisk && !o.mayBeEmpty {
		e := &Error{Where: filepath.Join(r.top, filepath.FromSlash(prefix)), What: "nothing is committed there at " + s.Revision}
		if o.Ref == "" {
			e.Fix = "git add " + prefix + " && git commit"
		}
		return nil, e
	}
	build := &builder{tree: newTree(c.Committer.When), links: s.Links}
	if r.top != "" && o.Ref == "" && o.Reference == nil {
		state, err := r.status(ctx, prefix, committed)
		if err != nil {
			return nil, err
		}
		s.Dirty, s.Untracked = state.dirty, state.untracked
		if useDisk {
			if len(s.Dirty)+len(s.Untracked) > 0 {
				s.Revision += "-dirty"
			}
			if err := build.workTree(ctx, state); err != nil {
				return nil, err
			}
		}
	}
	if !useDisk {
		if err := build.commit(ctx, r, prefix, "", committed); err != nil {
			return nil, err
		}
	}
	build.tree.markSubmodules(committed)
	build.tree.root.seal(false)
	s.FS = build.tree
	return s, nil
}

// rootCommit walks from a commit to the oldest one without parents.
func (r *repository) rootCommit(ctx context.Context, from string) (string, error) {
	var root plumbing.Hash
	var when int64
	seen := map[plumbing.Hash]bool{}
	queue := []plumbing.Hash{plumbing.NewHash(from)}
	for len(queue) > 0 {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		h := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		if seen[h] {
			continue
		}
		seen[h] = true
		c, err := r.objects.commit(h)
		if err != nil {
			return "", err
		}
		queue = append(queue, c.ParentHashes...)
		if len(c.ParentHashes) > 0 {
			continue
		}
		at := c.Committer.When.Unix()
		if root.IsZero() || at < when || at == when && slices.Compare(h[:], root[:]) < 0 {
			root, when = h, at
		}
	}
	return root.String(), nil
}
