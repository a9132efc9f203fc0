package source

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/storage/memory"
)

// maxCache is how many bytes are kept; the ones that were not used for longest go first.
const maxCache = 512 << 20

// packCache keeps what servers sent of single commits: one pack a commit with all of its files, named
// by the repository's URL and the commit. Of the next commit only what is new is fetched, and the two
// are put together to a pack of its own, so that no pack depends on another one. The server is asked
// for its references in any case, so who may not read a repository does not get it from here either;
// what a commit is never changes.
//
// Processes share it without locks: a pack is written beside its place and moved there whole. It is
// a help alone: one that cannot be read or written, or is damaged, is as one that is not there. A
// pack that somebody changed cannot pass for the commit, since objects are looked up by what their
// content hashes to. It holds what is committed: no credentials, nothing that was opened.
type packCache string

func (c packCache) prefix(r remote) string {
	sum := sha256.Sum256([]byte(r.canonical()))
	return hex.EncodeToString(sum[:8]) + "-"
}

func (c packCache) file(r remote, h plumbing.Hash) string {
	if c == "" {
		return ""
	}
	return filepath.Join(string(c), c.prefix(r)+h.String()+".pack")
}

// load reads the commit h into store, and reports whether it is there.
func (c packCache) load(r remote, h plumbing.Hash, store *memory.Storage) bool {
	name := c.file(r, h)
	if !c.read(name, h, store) {
		return false
	}
	kept(c).used(name)
	return true
}

// read is load of a file. What came of a damaged one may stay in store: it is what it says that it is.
func (c packCache) read(name string, h plumbing.Hash, store *memory.Storage) bool {
	if name == "" {
		return false
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return false
	}
	if packfile.UpdateObjectStorage(store, bytes.NewReader(data)) != nil || !allWhole(store, []plumbing.Hash{h}) {
		_ = os.Remove(name)
		return false
	}
	return true
}

// maxBases is how many commits of a repository a new one is fetched on top of. One of them is probably
// the one before on the same branch; each has to be read.
const maxBases = 3

// bases reads into store the commits of the repository that were used last, other than those that are
// wanted, and returns them.
func (c packCache) bases(r remote, wanted []plumbing.Hash, store *memory.Storage) []plumbing.Hash {
	var out []plumbing.Hash
	for _, p := range kept(c).files() {
		hex, ours := strings.CutPrefix(strings.TrimSuffix(p.Name(), ".pack"), c.prefix(r))
		h := plumbing.NewHash(hex)
		if ours && !slices.Contains(wanted, h) && len(out) < maxBases && c.read(filepath.Join(string(c), p.Name()), h, store) {
			if commit, err := inMemory(store).commit(h); err == nil {
				out = append(out, commit.Hash)
			}
		}
	}
	return out
}

func inMemory(store *memory.Storage) *objects {
	return &objects{stores: []objectStore{&store.ObjectStorage}}
}

// allWhole reports whether all of the commits' files are in store.
func allWhole(store *memory.Storage, commits []plumbing.Hash) bool {
	return !slices.ContainsFunc(commits, func(h plumbing.Hash) bool {
		_, ok := inMemory(store).closure(h)
		return !ok
	})
}

// repack is a pack of the commit h alone, nil where not all of it is in store.
func repack(store *memory.Storage, h plumbing.Hash) []byte {
	all, ok := inMemory(store).closure(h)
	if !ok {
		return nil
	}
	var out bytes.Buffer
	// Without deltas: to look for them takes longer than what they save.
	if _, err := packfile.NewEncoder(&out, store, false).Encode(all, 0); err != nil {
		return nil
	}
	return out.Bytes()
}

// closure are the objects that the commit or annotated tag h is made of; ok says that all are there.
func (o *objects) closure(h plumbing.Hash) (all []plumbing.Hash, ok bool) {
	commit, err := o.commit(h)
	if err != nil {
		return nil, false
	}
	for at := h; at != commit.Hash; {
		all = append(all, at)
		obj, err := o.get(plumbing.TagObject, at)
		var t object.Tag
		if err != nil || t.Decode(obj) != nil {
			return nil, false
		}
		at = t.Target
	}
	all = append(all, commit.Hash)
	seen := map[plumbing.Hash]bool{}
	var walk func(plumbing.Hash) bool
	walk = func(tree plumbing.Hash) bool {
		entries, err := o.tree(tree)
		if err != nil {
			return false
		}
		all = append(all, tree)
		for _, e := range entries {
			if e.Mode == filemode.Submodule || seen[e.Hash] {
				continue
			}
			seen[e.Hash] = true
			if e.Mode == filemode.Dir {
				if !walk(e.Hash) {
					return false
				}
				continue
			}
			if !o.has(e.Hash) {
				return false
			}
			all = append(all, e.Hash)
		}
		return true
	}
	ok = walk(commit.TreeHash)
	return all, ok
}

// save keeps the pack of the commit h.
func (c packCache) save(r remote, h plumbing.Hash, pack []byte) {
	if len(pack) > 0 {
		kept(c).write(c.file(r, h), pack)
	}
}

// kept is the directory of what servers sent: one file for each thing, each a help alone.
type kept string

// write makes a file of the directory, and keeps the whole of it within maxCache.
func (k kept) write(name string, data []byte) {
	if k == "" || len(data) > maxCache/4 || os.MkdirAll(string(k), 0o700) != nil {
		return
	}
	f, err := os.CreateTemp(string(k), "new-")
	if err != nil {
		return
	}
	_, err = f.Write(data)
	if err = cmp.Or(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return
	}
	k.trim(maxCache)
}

// files are all of them, the one that was used last first.
func (k kept) files() []os.FileInfo {
	if k == "" {
		return nil
	}
	entries, err := os.ReadDir(string(k))
	if err != nil {
		return nil
	}
	var out []os.FileInfo
	for _, e := range entries {
		info, err := e.Info()
		switch {
		case err != nil:
		case !strings.HasPrefix(e.Name(), "new-"):
			out = append(out, info)
		case time.Since(info.ModTime()) > time.Hour: // a process that was killed left it behind
			_ = os.Remove(filepath.Join(string(k), e.Name()))
		}
	}
	slices.SortFunc(out, func(a, b os.FileInfo) int { return b.ModTime().Compare(a.ModTime()) })
	return out
}

// trim removes what was not used for longest until no more than size bytes are left.
func (k kept) trim(size int64) {
	for _, p := range k.files() {
		if size -= p.Size(); size < 0 {
			_ = os.Remove(filepath.Join(string(k), p.Name()))
		}
	}
}

// used says that a file was of use.
func (k kept) used(name string) {
	now := time.Now()
	_ = os.Chtimes(name, now, now)
}
