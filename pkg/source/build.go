package source

import (
	"context"
	"errors"
	"path"
	"path/filepath"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
)

// builder puts commits and work trees into one tree.
type builder struct {
	tree  *tree
	links map[string]string
}

// blobContent is a file in the object database.
type blobContent struct {
	objects *objects
	hash    plumbing.Hash
}

func (b blobContent) read() ([]byte, error) { return b.objects.blob(b.hash) }
func (b blobContent) size() (int64, error)  { return b.objects.size(b.hash) }

// commit adds the entries of a commit at the path at; prefix is where they lie below the top of
// the repository r, whose submodules are looked up on the disk.
func (b *builder) commit(ctx context.Context, r *repository, prefix, at string, entries map[string]treeEntry) error {
	for name, e := range entries {
		if err := b.entry(ctx, r, path.Join(prefix, name), path.Join(at, name), e); err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) entry(ctx context.Context, r *repository, inRepo, at string, e treeEntry) error {
	switch e.mode {
	case filemode.Symlink:
		target, err := r.objects.blob(e.hash)
		if errors.Is(err, plumbing.ErrObjectNotFound) {
			target, err = []byte("(unknown: "+err.Error()+")"), nil // it is left out anyway
		}
		if err != nil {
			return err
		}
		b.link(at, string(target))
	case filemode.Submodule:
		return b.submodule(ctx, r, inRepo, at, e.hash)
	default:
		b.blob(r.objects, at, e)
	}
	return nil
}

func (b *builder) blob(o *objects, at string, e treeEntry) {
	b.tree.file(at, e.mode == filemode.Executable, b.tree.root.mod, blobContent{o, e.hash})
}

func (b *builder) link(at, target string) {
	b.links[at] = target
	b.tree.leaveOut(at, "is a symbolic link to "+target+", which Flux leaves out of a source: name the target itself")
}

// submodule adds the commit that the repository says its submodule is at, where the submodule's
// own repository is there and has it; else a hole.
func (b *builder) submodule(ctx context.Context, r *repository, inRepo, at string, h plumbing.Hash) error {
	var sub *repository
	var err error
	if r.fetchSubmodule != nil {
		sub, err = r.fetchSubmodule(inRepo, h)
	} else {
		sub, err = r.submodule(inRepo)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		b.tree.hole(at, err)
		return nil
	}
	if !sub.objects.has(h) {
		b.tree.hole(at, &Error{
			Where: at, What: "the submodule lacks the commit that is recorded for it", Why: h.String(),
			Fix: "git submodule update --init " + inRepo,
		})
		return nil
	}
	c, err := sub.objects.commit(h)
	if err != nil {
		return err
	}
	entries := map[string]treeEntry{}
	if err := sub.objects.flatten(ctx, c.TreeHash, "", entries); err != nil {
		return err
	}
	b.tree.directory(at)
	return b.commit(ctx, sub, "", at, entries)
}

// submodule opens the repository of the submodule at a path from the top of r.
func (r *repository) submodule(inRepo string) (*repository, error) {
	if r.top == "" {
		return nil, &Error{
			Where: inRepo, What: "is a submodule", Why: "those of a repository on the disk are read where it is checked out alone",
			Fix: "clone it with git clone --recurse-submodules, then --source DIR",
		}
	}
	top := filepath.Join(r.top, filepath.FromSlash(inRepo))
	missing := &Error{Where: inRepo, What: "the submodule is not checked out", Fix: "git -C " + r.top + " submodule update --init " + inRepo}
	if err := plainPath(r.top, inRepo); err != nil {
		return nil, missing
	}
	gitDir, err := gitDirOf(top)
	if err != nil {
		return nil, err
	}
	if gitDir == "" {
		return nil, missing
	}
	return openRepository(top, gitDir, r.env)
}

// workTree adds what status found on the disk.
func (b *builder) workTree(ctx context.Context, s *status) error {
	for _, f := range s.files {
		switch f.kind {
		case committedFile:
			if err := b.entry(ctx, f.repo, f.inRepo, f.path, f.entry); err != nil {
				return err
			}
		case diskFile:
			b.tree.file(f.path, f.content.info.Mode()&0o100 != 0, f.content.info.ModTime(), f.content)
		case diskLink:
			b.link(f.path, f.text)
		case ignoredFile:
			b.tree.leaveOut(f.path, "is ignored by "+f.text+", so a commit would not have it: git add -f, or rename it")
		case holeInTree:
			b.tree.hole(f.path, f.err)
		}
	}
	return nil
}
