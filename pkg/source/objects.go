package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/go-git/go-billy/v5"
	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/storage/filesystem"
	"github.com/go-git/go-git/v5/storage/filesystem/dotgit"
)

// objectStore is what go-git's storages on disk and in memory have in common.
type objectStore interface {
	EncodedObject(plumbing.ObjectType, plumbing.Hash) (plumbing.EncodedObject, error)
	EncodedObjectSize(plumbing.Hash) (int64, error)
}

// objects is a Git object database. go-git's stores load their pack indexes without a lock, so
// one is held here.
type objects struct {
	mu      sync.Mutex
	stores  []objectStore // the repository's own, then its alternates
	where   string        // for messages: the checkout, or the URL
	shallow bool          // history is cut off
	partial bool          // objects are left to be fetched when they are needed
}

// treeEntry is a file, link or submodule of a commit.
type treeEntry struct {
	mode filemode.FileMode
	hash plumbing.Hash
}

// openObjects opens the database of the repository at dotGit. Alternates (git clone --shared,
// --reference) become stores of their own: go-git would read an alternate's pack index again for
// every single object.
func openObjects(dotGit billy.Filesystem, commonDir, where string) (*objects, *filesystem.Storage, error) {
	shared := cache.NewObjectLRUDefault()
	own := filesystem.NewStorageWithOptions(dotGit, shared, filesystem.Options{KeepDescriptors: true})
	o := &objects{stores: []objectStore{&own.ObjectStorage}, where: where}
	seen := map[string]bool{filepath.Join(commonDir, "objects"): true}
	queue := []string{filepath.Join(commonDir, "objects")}
	for len(queue) > 0 {
		dir := queue[0]
		queue = queue[1:]
		list, err := os.ReadFile(filepath.Join(dir, "info", "alternates"))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, nil, err
		}
		for line := range strings.Lines(string(list)) {
			line = strings.TrimSpace(line)
			if line == "" || line[0] == '#' {
				continue
			}
			alternate := absolute(dir, filepath.FromSlash(line))
			if seen[alternate] {
				continue
			}
			seen[alternate] = true
			queue = append(queue, alternate)
			git := dotgit.New(osfs.New(filepath.Dir(alternate)))
			o.stores = append(o.stores, filesystem.NewObjectStorageWithOptions(git, shared, filesystem.Options{KeepDescriptors: true}))
		}
	}
	return o, own, nil
}

// get finds an object. Its absence is an *Error that wraps plumbing.ErrObjectNotFound.
func (o *objects) get(t plumbing.ObjectType, h plumbing.Hash) (plumbing.EncodedObject, error) {
	return lookup(o, h, func(s objectStore) (plumbing.EncodedObject, error) { return s.EncodedObject(t, h) })
}

// lookup asks one store after the other. Before it gives up it asks again with the pack indexes
// read anew: git gc may have moved the object into a pack since.
func lookup[T any](o *objects, h plumbing.Hash, ask func(objectStore) (T, error)) (out T, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for again := range 2 {
		for _, s := range o.stores {
			if again > 0 {
				if disk, ok := s.(*filesystem.ObjectStorage); ok {
					disk.Reindex()
				}
			}
			out, err = ask(s)
			if err == nil {
				return out, nil
			}
			if !errors.Is(err, plumbing.ErrObjectNotFound) && !errors.Is(err, fs.ErrNotExist) {
				return out, o.unreadable(h, err)
			}
		}
	}
	return out, o.missing(h)
}

// add makes another database's objects known too.
func (o *objects) add(other *objects) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.stores = append(o.stores, other.stores...)
}

func (o *objects) unreadable(h plumbing.Hash, err error) error {
	return &Error{Where: o.where, What: "Git object " + h.String() + " cannot be read", Why: cause(err), Fix: "git fsck", err: err}
}

func (o *objects) missing(h plumbing.Hash) error {
	e := &Error{
		Where: o.where, What: "Git object " + h.String() + " is missing from this clone",
		Fix: "git fsck", err: plumbing.ErrObjectNotFound,
	}
	switch {
	case o.partial:
		e.Why, e.Fix = "it is a partial clone", "git fetch --refetch --no-filter"
	case o.shallow:
		e.Why, e.Fix = "it is a shallow clone", "git fetch --unshallow"
	}
	return e
}

func (o *objects) has(h plumbing.Hash) bool {
	_, err := o.size(h)
	return err == nil
}

// size is the length of an object in bytes.
func (o *objects) size(h plumbing.Hash) (int64, error) {
	return lookup(o, h, func(s objectStore) (int64, error) { return s.EncodedObjectSize(h) })
}

func (o *objects) blob(h plumbing.Hash) ([]byte, error) {
	obj, err := o.get(plumbing.BlobObject, h)
	if err != nil {
		return nil, err
	}
	r, err := obj.Reader()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data := make([]byte, obj.Size())
	if _, err := io.ReadFull(r, data); err != nil {
		return nil, o.unreadable(h, err)
	}
	return data, nil
}

func (o *objects) tree(h plumbing.Hash) ([]object.TreeEntry, error) {
	obj, err := o.get(plumbing.TreeObject, h)
	if err != nil {
		return nil, err
	}
	var t object.Tree
	if err := t.Decode(obj); err != nil {
		return nil, &Error{Where: o.where, What: "Git tree " + h.String() + " is damaged", Why: err.Error(), Fix: "git fsck", err: err}
	}
	return t.Entries, nil
}

// commit is the commit h, or the one that the annotated tag h points at.
func (o *objects) commit(h plumbing.Hash) (*object.Commit, error) {
	for range 10 {
		obj, err := o.get(plumbing.AnyObject, h)
		if err != nil {
			return nil, err
		}
		switch obj.Type() {
		case plumbing.CommitObject:
			var c object.Commit
			if err := c.Decode(obj); err != nil {
				return nil, &Error{Where: o.where, What: "commit " + h.String() + " is damaged", Why: err.Error(), Fix: "git fsck", err: err}
			}
			return &c, nil
		case plumbing.TagObject:
			var t object.Tag
			if err := t.Decode(obj); err != nil {
				return nil, &Error{Where: o.where, What: "tag " + h.String() + " is damaged", Why: err.Error(), Fix: "git fsck", err: err}
			}
			h = t.Target
		default:
			return nil, &Error{Where: o.where, What: h.String() + " is a " + obj.Type().String() + ", not a commit"}
		}
	}
	return nil, &Error{Where: o.where, What: h.String() + " is a tag of a tag of a tag"}
}

// subtree is the tree at a slash path below the tree root; ok is false where there is none.
func (o *objects) subtree(root plumbing.Hash, path string) (h plumbing.Hash, ok bool, err error) {
	h = root
	if path == "" {
		return h, true, nil
	}
	for name := range strings.SplitSeq(path, "/") {
		entries, err := o.tree(h)
		if err != nil {
			return h, false, err
		}
		found := false
		for _, e := range entries {
			if e.Name == name && e.Mode == filemode.Dir {
				h, found = e.Hash, true
				break
			}
		}
		if !found {
			return h, false, nil
		}
	}
	return h, true, nil
}

// flatten adds every file, link and submodule below the tree h to into, path from the tree on.
func (o *objects) flatten(ctx context.Context, h plumbing.Hash, prefix string, into map[string]treeEntry) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	entries, err := o.tree(h)
	if err != nil {
		return err
	}
	for _, e := range entries {
		// Git itself never writes such names; a hostile server may.
		if e.Name == "." || e.Name == ".." || strings.EqualFold(e.Name, ".git") || strings.Contains(e.Name, "/") {
			return &Error{Where: o.where, What: fmt.Sprintf("tree %s holds the name %q, which Git does not allow", h, prefix+e.Name), Fix: "git fsck"}
		}
		if e.Mode == filemode.Dir {
			if err := o.flatten(ctx, e.Hash, prefix+e.Name+"/", into); err != nil {
				return err
			}
			continue
		}
		into[prefix+e.Name] = treeEntry{mode: e.Mode, hash: e.Hash}
	}
	return nil
}
