package source

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/storage/memory"
)

// Signer signs what a commit says, and returns the armored signature: SignGPG's or SignSSH's.
type Signer func(content []byte) (armored string, err error)

// CommitOptions say whose a commit is, and what it says.
type CommitOptions struct {
	Name, Email string // of author and committer
	Message     string
	When        time.Time
	Sign        Signer // nil for none
}

// Commit makes a commit on b, in memory, in which files - regular ones that b has, path to content -
// have other content. Modes and all else of the tree stay as they are. What it returns is b with
// that commit: the next one comes on top of it, and Push takes all of them.
func (b *Base) Commit(ctx context.Context, files map[string][]byte, o CommitOptions) (*Base, error) {
	store := b.repo.objects.over(b.mem)
	next := *b
	next.fresh, next.made = slices.Clone(b.fresh), slices.Clone(b.made)
	c, err := store.commit(b.parent)
	if err != nil {
		return nil, err
	}
	put := func(o plumbing.EncodedObject) (plumbing.Hash, error) {
		h, err := b.mem.SetEncodedObject(o)
		if !slices.Contains(next.fresh, h) {
			next.fresh = append(next.fresh, h)
		}
		return h, err
	}
	tree, err := store.edit(c.TreeHash, "", files, put)
	if err != nil {
		return nil, err
	}
	who := object.Signature{Name: o.Name, Email: o.Email, When: o.When}
	made := &object.Commit{Author: who, Committer: who, Message: o.Message, TreeHash: tree, ParentHashes: []plumbing.Hash{b.parent}}
	if o.Sign != nil {
		bare := &plumbing.MemoryObject{}
		if err := made.EncodeWithoutSignature(bare); err != nil {
			return nil, err
		}
		content, err := bare.Reader()
		if err != nil {
			return nil, err
		}
		defer content.Close()
		data, err := io.ReadAll(content)
		if err != nil {
			return nil, err
		}
		if made.PGPSignature, err = o.Sign(data); err != nil { // Git has one header for both kinds
			return nil, err
		}
	}
	encoded := &plumbing.MemoryObject{}
	if err := made.Encode(encoded); err != nil {
		return nil, err
	}
	h, err := put(encoded)
	if err != nil {
		return nil, err
	}
	next.parent = h
	next.made = append(next.made, h.String())
	label, _, _ := strings.Cut(b.Revision, "@")
	next.Snapshot, err = b.up.snapshot(ctx, store, target{h, b.Snapshot.Branch, label})
	return &next, err
}

// Commits are the commits made since Fetch, in order.
func (b *Base) Commits() []string { return b.made }

// Redundant reports whether Branch has, at the remote, what b has: the same files in commits on the
// same one. There is nothing to push then.
func (b *Base) Redundant() bool {
	if !b.Replaces || !b.forked || len(b.made) == 0 {
		return false
	}
	tip, err := b.repo.objects.commit(plumbing.NewHash(b.Tip))
	if err != nil {
		return false
	}
	last, err := b.repo.objects.commit(b.parent)
	return err == nil && tip.TreeHash == last.TreeHash
}

// over is the database with another one before it.
func (o *objects) over(first *memory.Storage) *objects {
	if o.stores[0] == objectStore(&first.ObjectStorage) {
		return o
	}
	return &objects{stores: append([]objectStore{&first.ObjectStorage}, o.stores...), where: o.where, shallow: o.shallow, partial: o.partial}
}

// edit is the tree h with other content of some files, whose paths begin with prefix.
func (o *objects) edit(h plumbing.Hash, prefix string, files map[string][]byte, put func(plumbing.EncodedObject) (plumbing.Hash, error)) (plumbing.Hash, error) {
	entries, err := o.tree(h)
	if err != nil {
		return h, err
	}
	below := map[string]map[string][]byte{} // directory -> what is in it
	here := map[string][]byte{}
	for name, data := range files {
		if dir, _, ok := strings.Cut(strings.TrimPrefix(name, prefix), "/"); ok {
			if below[dir] == nil {
				below[dir] = map[string][]byte{}
			}
			below[dir][name] = data
		} else {
			here[dir] = data
		}
	}
	for i := range entries {
		e := &entries[i]
		data, isFile := here[e.Name]
		inside := below[e.Name]
		switch {
		case isFile && e.Mode.IsFile() && e.Mode != filemode.Symlink:
			blob := &plumbing.MemoryObject{}
			blob.SetType(plumbing.BlobObject)
			if _, err := blob.Write(data); err != nil {
				return h, err
			}
			if e.Hash, err = put(blob); err != nil {
				return h, err
			}
			delete(here, e.Name)
		case inside != nil && e.Mode == filemode.Dir:
			if e.Hash, err = o.edit(e.Hash, prefix+e.Name+"/", inside, put); err != nil {
				return h, err
			}
			delete(below, e.Name)
		}
	}
	for name := range maps.Keys(here) {
		return h, fmt.Errorf("%s%s: is no regular file of the commit", prefix, name)
	}
	for name := range maps.Keys(below) {
		return h, fmt.Errorf("%s%s: is no directory of the commit", prefix, name)
	}
	tree := &plumbing.MemoryObject{}
	if err := (&object.Tree{Entries: entries}).Encode(tree); err != nil {
		return h, err
	}
	return put(tree)
}
