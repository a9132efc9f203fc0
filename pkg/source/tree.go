package source

import (
	"bytes"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
)

// tree is the file system of a Snapshot: built whole, sealed, and then only read. Directories are
// in memory, the content of files is not.
type tree struct{ root *node }

var (
	_ fs.ReadFileFS = (*tree)(nil)
	_ fs.ReadDirFS  = (*tree)(nil)
	_ fs.StatFS     = (*tree)(nil)
)

// content reads a file. It may be called from several goroutines.
type content interface {
	read() ([]byte, error)
	size() (int64, error)
}

type node struct {
	name     string
	mode     fs.FileMode
	mod      time.Time
	content  content          // of a file
	children map[string]*node // of a directory
	listing  []fs.DirEntry    // of a directory, by name; set by seal

	submodule bool          // a directory, or a hole, that is another repository
	pin       plumbing.Hash // its commit, as the repository around it has recorded it

	absent error // what is there and not part of the snapshot: not listed, and this is why
	broken error // what is part of the snapshot and cannot be read, with all below it
}

func newTree(mod time.Time) *tree {
	return &tree{root: &node{name: ".", mode: fs.ModeDir | 0o755, mod: mod, children: map[string]*node{}}}
}

// directory is the directory at path, made with its parents where it is not there yet.
func (t *tree) directory(path string) *node {
	at := t.root
	if path == "" {
		return at
	}
	for name := range strings.SplitSeq(path, "/") {
		next := at.children[name]
		if next == nil || next.children == nil {
			next = &node{name: name, mode: fs.ModeDir | 0o755, mod: t.root.mod, children: map[string]*node{}}
			at.children[name] = next
		}
		at = next
	}
	return at
}

func (t *tree) put(path string, n *node) {
	dir, name := "", path
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		dir, name = path[:i], path[i+1:]
	}
	n.name = name
	t.directory(dir).children[name] = n
}

func (t *tree) file(path string, executable bool, mod time.Time, c content) {
	mode := fs.FileMode(0o644)
	if executable {
		mode = 0o755
	}
	t.put(path, &node{mode: mode, mod: mod, content: c})
}

// leaveOut records that path is there but not part of the snapshot.
func (t *tree) leaveOut(path, why string) {
	t.put(path, &node{mode: fs.ModeIrregular, absent: absence(why)})
}

// hole records that the directory at path should be there and is not.
func (t *tree) hole(path string, err error) {
	t.put(path, &node{mode: fs.ModeDir | 0o755, mod: t.root.mod, broken: err})
}

// node is what is at path, listed or not; nil for nothing.
func (t *tree) node(path string) *node {
	at := t.root
	for name := range strings.SplitSeq(path, "/") {
		if at = at.children[name]; at == nil {
			return nil
		}
	}
	return at
}

// markSubmodules notes which of a commit's entries are repositories of their own.
func (t *tree) markSubmodules(entries map[string]treeEntry) {
	for name, e := range entries {
		if e.mode == filemode.Submodule {
			if n := t.node(name); n != nil {
				n.submodule, n.pin = true, e.hash
			}
		}
	}
}

// seal drops the directories that hold only what is left out, as Git has no empty directories,
// and sorts the listings.
func (n *node) seal(keepEmpty bool) {
	for _, c := range n.children {
		if c.children != nil {
			c.seal(keepEmpty)
			if len(c.listing) == 0 && !keepEmpty {
				c.absent = fs.ErrNotExist
			}
		}
		if c.absent == nil {
			n.listing = append(n.listing, dirEntry{c})
		}
	}
	slices.SortFunc(n.listing, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
}

func (t *tree) find(op, path string) (*node, error) {
	if !fs.ValidPath(path) {
		return nil, &fs.PathError{Op: op, Path: path, Err: fs.ErrInvalid}
	}
	at := t.root
	if path == "." {
		return at, nil
	}
	for name := range strings.SplitSeq(path, "/") {
		next := at.children[name]
		switch {
		case next == nil:
			return nil, &fs.PathError{Op: op, Path: path, Err: fs.ErrNotExist}
		case next.broken != nil:
			return nil, &fs.PathError{Op: op, Path: path, Err: next.broken}
		case next.absent != nil && next.children == nil:
			return nil, &fs.PathError{Op: op, Path: path, Err: next.absent}
		}
		at = next
	}
	if at.absent != nil {
		return nil, &fs.PathError{Op: op, Path: path, Err: at.absent}
	}
	return at, nil
}

func (t *tree) Open(path string) (fs.File, error) {
	n, err := t.find("open", path)
	if err != nil {
		return nil, err
	}
	if n.children != nil {
		return &openDir{n: n}, nil
	}
	data, err := n.read(path)
	if err != nil {
		return nil, err
	}
	return &openFileNode{n: n, size: int64(len(data)), Reader: bytes.NewReader(data)}, nil
}

func (t *tree) ReadFile(path string) ([]byte, error) {
	n, err := t.find("read", path)
	if err != nil {
		return nil, err
	}
	return n.read(path)
}

func (n *node) read(path string) ([]byte, error) {
	if n.content == nil {
		return nil, &fs.PathError{Op: "read", Path: path, Err: errIsDirectory}
	}
	data, err := n.content.read()
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: path, Err: err}
	}
	return data, nil
}

var errIsDirectory = &Error{What: "is a directory", err: fs.ErrInvalid}

func (t *tree) ReadDir(path string) ([]fs.DirEntry, error) {
	n, err := t.find("readdir", path)
	if err != nil {
		return nil, err
	}
	if n.children == nil {
		return nil, &fs.PathError{Op: "readdir", Path: path, Err: &Error{What: "is not a directory", err: fs.ErrInvalid}}
	}
	return slices.Clone(n.listing), nil
}

func (t *tree) Stat(path string) (fs.FileInfo, error) {
	n, err := t.find("stat", path)
	if err != nil {
		return nil, err
	}
	return n.info()
}

func (n *node) info() (fs.FileInfo, error) {
	if n.content == nil {
		return fileInfo{n, 0}, nil
	}
	size, err := n.content.size()
	if err != nil {
		return nil, &fs.PathError{Op: "stat", Path: n.name, Err: err}
	}
	return fileInfo{n, size}, nil
}

type fileInfo struct {
	n    *node
	size int64
}

func (i fileInfo) Name() string       { return i.n.name }
func (i fileInfo) Size() int64        { return i.size }
func (i fileInfo) Mode() fs.FileMode  { return i.n.mode }
func (i fileInfo) ModTime() time.Time { return i.n.mod }
func (i fileInfo) IsDir() bool        { return i.n.mode.IsDir() }
func (i fileInfo) Sys() any           { return nil }

type dirEntry struct{ n *node }

func (e dirEntry) Name() string               { return e.n.name }
func (e dirEntry) IsDir() bool                { return e.n.mode.IsDir() }
func (e dirEntry) Type() fs.FileMode          { return e.n.mode.Type() }
func (e dirEntry) Info() (fs.FileInfo, error) { return e.n.info() }
func (e dirEntry) String() string             { return fs.FormatDirEntry(e) }

type openFileNode struct {
	n    *node
	size int64
	*bytes.Reader
}

func (f *openFileNode) Stat() (fs.FileInfo, error) { return fileInfo{f.n, f.size}, nil }
func (f *openFileNode) Close() error               { return nil }

type openDir struct {
	n    *node
	next int
}

func (d *openDir) Stat() (fs.FileInfo, error) { return fileInfo{d.n, 0}, nil }
func (d *openDir) Close() error               { return nil }
func (d *openDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.n.name, Err: errIsDirectory}
}

func (d *openDir) ReadDir(n int) ([]fs.DirEntry, error) {
	rest := d.n.listing[d.next:]
	if n > 0 {
		if len(rest) == 0 {
			return nil, io.EOF
		}
		rest = rest[:min(n, len(rest))]
	}
	d.next += len(rest)
	return slices.Clone(rest), nil
}
