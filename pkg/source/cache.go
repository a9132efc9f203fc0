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
	"github.com/go-git/go-git/v5/storage/memory"
)

// maxCache is how many bytes of packs are kept; the ones that were not used for longest go first.
const maxCache = 512 << 20

// packCache keeps what servers sent of single commits: one pack a commit, as it came, named by the
// repository's URL and the commit. The server is asked for its references in any case, so who may
// not read a repository does not get it from here either; what a commit is never changes.
//
// Processes share it without locks: a pack is written beside its place and moved there whole. It is
// a help alone: one that cannot be read or written, or is damaged, is as one that is not there. A
// pack that somebody changed cannot pass for the commit, since objects are looked up by what their
// content hashes to. It holds what is committed: no credentials, nothing that was opened.
type packCache string

func (c packCache) file(r remote, h plumbing.Hash) string {
	if c == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(r.canonical()))
	return filepath.Join(string(c), hex.EncodeToString(sum[:8])+"-"+h.String()+".pack")
}

// load reads the commit h into store, and reports whether it is there.
func (c packCache) load(r remote, h plumbing.Hash, store *memory.Storage) bool {
	name := c.file(r, h)
	if name == "" {
		return false
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return false
	}
	if packfile.UpdateObjectStorage(store, bytes.NewReader(data)) != nil || !whole(store, h) {
		_ = os.Remove(name)
		*store = *memory.NewStorage()
		return false
	}
	now := time.Now()
	_ = os.Chtimes(name, now, now) // used
	return true
}

// whole reports whether all of the commit's files are in store.
func whole(store *memory.Storage, h plumbing.Hash) bool {
	o := &objects{stores: []objectStore{&store.ObjectStorage}}
	commit, err := o.commit(h)
	return err == nil && o.complete(commit.TreeHash)
}

func (o *objects) complete(tree plumbing.Hash) bool {
	entries, err := o.tree(tree)
	if err != nil {
		return false
	}
	for _, e := range entries {
		switch {
		case e.Mode != filemode.Dir && e.Mode != filemode.Submodule && !o.has(e.Hash):
			return false
		case e.Mode == filemode.Dir && !o.complete(e.Hash):
			return false
		}
	}
	return true
}

// save keeps the pack of the commit h.
func (c packCache) save(r remote, h plumbing.Hash, pack []byte) {
	name := c.file(r, h)
	if name == "" || len(pack) > maxCache/4 || os.MkdirAll(string(c), 0o700) != nil {
		return
	}
	f, err := os.CreateTemp(string(c), "new-")
	if err != nil {
		return
	}
	_, err = f.Write(pack)
	if err = cmp.Or(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return
	}
	c.trim(maxCache)
}

// trim removes what was not used for longest until no more than size bytes are left, and what a
// process that was killed left behind.
func (c packCache) trim(size int64) {
	entries, err := os.ReadDir(string(c))
	if err != nil {
		return
	}
	var packs []os.FileInfo
	for _, e := range entries {
		info, err := e.Info()
		switch {
		case err != nil:
		case strings.HasSuffix(e.Name(), ".pack"):
			packs = append(packs, info)
		case time.Since(info.ModTime()) > time.Hour:
			_ = os.Remove(filepath.Join(string(c), e.Name()))
		}
	}
	slices.SortFunc(packs, func(a, b os.FileInfo) int { return b.ModTime().Compare(a.ModTime()) })
	for _, p := range packs {
		if size -= p.Size(); size < 0 {
			_ = os.Remove(filepath.Join(string(c), p.Name()))
		}
	}
}
