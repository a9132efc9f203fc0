package cache

import (
	"errors"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
)

// Trace is a file system that notes all that is looked at in it: what a result
// depends on. It is safe for concurrent use if the one below it is.
type Trace struct {
	base fs.FS
	dir  *Dir

	mu   sync.Mutex
	seen map[string]Sum
	void bool
}

var (
	_ fs.ReadFileFS = (*Trace)(nil)
	_ fs.ReadDirFS  = (*Trace)(nil)
	_ fs.StatFS     = (*Trace)(nil)
)

// Trace lays one over base; it is base itself where there is no cache.
func (d *Dir) Trace(base fs.FS) (fs.FS, *Trace) {
	if d == nil {
		return base, nil
	}
	t := &Trace{base: base, dir: d, seen: map[string]Sum{}}
	return t, t
}

// Seen is what was looked at, with what was found; false where something failed
// in a way that may be different the next time.
func (t *Trace) Seen() (map[string]Sum, bool) {
	if t == nil {
		return nil, false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.seen), !t.void
}

// Same reports whether all that was seen is found in base as it was.
func (d *Dir) Same(base fs.FS, seen map[string]Sum) bool {
	if d == nil {
		return false
	}
	for what, sum := range seen {
		how, name, _ := strings.Cut(what, " ")
		var got Sum
		var err error
		switch how {
		case read:
			_, got, err = d.readFile(base, name)
		case list:
			_, got, err = d.readDir(base, name)
		case stat:
			_, got, err = d.stat(base, name)
		}
		if got != sum || err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false
		}
	}
	return true
}

// The ways to look at a file.
const (
	read = "read"
	list = "list"
	stat = "stat"
)

func (t *Trace) note(how, name string, sum Sum, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.void = true
	}
	t.seen[how+" "+name] = sum
}

func (d *Dir) readFile(base fs.FS, name string) ([]byte, Sum, error) {
	data, err := fs.ReadFile(base, name)
	if err != nil {
		return nil, Sum{}, err
	}
	return data, d.Sum(read, string(data)), nil
}

func (d *Dir) readDir(base fs.FS, name string) ([]fs.DirEntry, Sum, error) {
	entries, err := fs.ReadDir(base, name)
	if err != nil {
		return nil, Sum{}, err
	}
	parts := []string{list}
	for _, e := range entries {
		parts = append(parts, e.Name(), e.Type().String())
	}
	return entries, d.Sum(parts...), nil
}

func (d *Dir) stat(base fs.FS, name string) (fs.FileInfo, Sum, error) {
	info, err := fs.Stat(base, name)
	if err != nil {
		return nil, Sum{}, err
	}
	return info, d.Sum(stat, info.Mode().Type().String()), nil
}

// ReadFile reads a file.
func (t *Trace) ReadFile(name string) ([]byte, error) {
	data, sum, err := t.dir.readFile(t.base, name)
	t.note(read, name, sum, err)
	return data, err
}

// ReadDir lists a directory.
func (t *Trace) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, sum, err := t.dir.readDir(t.base, name)
	t.note(list, name, sum, err)
	return slices.Clone(entries), err
}

// Stat tells what a name stands for. Sizes and times are not noted: nothing is
// rendered from them.
func (t *Trace) Stat(name string) (fs.FileInfo, error) {
	info, sum, err := t.dir.stat(t.base, name)
	t.note(stat, name, sum, err)
	return info, err
}

// Open opens a file or a directory, which counts as reading it.
func (t *Trace) Open(name string) (fs.File, error) {
	info, err := t.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		_, err = t.ReadDir(name)
	} else {
		_, err = t.ReadFile(name)
	}
	if err != nil {
		return nil, err
	}
	return t.base.Open(name)
}
