package secret

import (
	"bytes"
	"cmp"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
)

// OverlayOptions is what a Kustomization says about its sealed files.
type OverlayOptions struct {
	// IgnoreMAC is DecryptOptions.IgnoreMAC for every file.
	IgnoreMAC bool
	// Configured tells that the Kustomization has a spec.decryption. Without
	// one nothing is opened, and reading a sealed file is a Problem.
	Configured bool
}

// FS is a file system whose sealed files read as what was sealed. A file is
// opened when it is read, once, and what came of it is kept in memory for the
// life of the FS. One that cannot be opened reads as it was committed, and its
// Problem is kept: so a build goes on and every problem is told at once. Stat and
// ReadDir open nothing: sizes are those of the committed bytes.
//
// It is safe for concurrent use if the file system below it is.
type FS struct {
	base fs.FS
	keys *Keyring
	o    OverlayOptions

	mu    sync.Mutex
	files map[string]*content
}

var (
	_ fs.ReadFileFS = (*FS)(nil)
	_ fs.ReadDirFS  = (*FS)(nil)
	_ fs.StatFS     = (*FS)(nil)
)

// content is what a file that looks sealed reads as.
type content struct {
	// load fills the rest. It runs once; whoever calls it later waits for that.
	load    func()
	data    []byte
	sealed  *Sealed  // set if it was opened
	problem *Problem // set if it could not be
}

// Overlay lays an FS over base. A nil keys holds none.
func Overlay(base fs.FS, keys *Keyring, o OverlayOptions) *FS {
	if keys == nil {
		keys = &Keyring{}
	}
	return &FS{base: base, keys: keys, o: o, files: make(map[string]*content)}
}

// ReadFile reads a file, opened if it is sealed.
func (f *FS) ReadFile(name string) ([]byte, error) {
	data, err := fs.ReadFile(f.base, name)
	if err != nil || !marked(data) {
		return data, err
	}
	f.mu.Lock()
	c := f.files[name]
	if c == nil {
		c = &content{}
		c.load = sync.OnceFunc(func() { f.open(c, name, data) })
		f.files[name] = c
	}
	f.mu.Unlock()
	c.load()
	return slices.Clone(c.data), nil
}

// ReadSealed reads a file as it was committed. That is what a configMapGenerator
// gets: Flux decrypts the files of secretGenerators only.
func (f *FS) ReadSealed(name string) ([]byte, error) { return fs.ReadFile(f.base, name) }

// open fills c with what data, the file called name, reads as.
func (f *FS) open(c *content, name string, data []byte) {
	c.data = data
	segs, err := detect(name, data)
	for i := range segs {
		segs[i].sealed = segs[i].sealed && !staysSealed(name, segs[i].raw)
	}
	if err == nil && !slices.ContainsFunc(segs, func(s segment) bool { return s.sealed }) {
		return
	}
	sealed := Sealed{Path: name}
	var plain []byte
	switch {
	case err != nil:
	case !f.o.Configured:
		if _, err = load(&sealed, segs); err == nil {
			err = &fault{NotConfigured, "is sealed, but its Kustomization has no spec.decryption"}
		}
	default:
		plain, err = f.keys.openAll(&sealed, segs, DecryptOptions{IgnoreMAC: f.o.IgnoreMAC})
	}
	if err != nil {
		p := problem(sealed, err)
		c.problem = &p
		return
	}
	c.data, c.sealed = plain, &sealed
}

// staysSealed reports whether a sealed manifest asks to be left as it is: the
// annotation decrypt: disabled of Flux, itself in clear.
func staysSealed(name string, data []byte) bool {
	docs, _ := object.Documents(name, data)
	return slices.ContainsFunc(docs, func(d object.Document) bool {
		n := object.Find(d.Node, "metadata", "annotations", flux.DecryptKey)
		return n != nil && strings.EqualFold(n.Value, "disabled")
	})
}

// Open opens a file or a directory; see ReadFile for what a sealed file reads as.
func (f *FS) Open(name string) (fs.File, error) {
	below, err := f.base.Open(name)
	if err != nil {
		return nil, err
	}
	if info, err := below.Stat(); err != nil || !info.Mode().IsRegular() {
		return below, nil
	}
	return &file{File: below, fs: f, name: name}, nil
}

// Stat is the Stat of the file system below.
func (f *FS) Stat(name string) (fs.FileInfo, error) { return fs.Stat(f.base, name) }

// ReadDir is the ReadDir of the file system below.
func (f *FS) ReadDir(name string) ([]fs.DirEntry, error) { return fs.ReadDir(f.base, name) }

// Problems are the files read so far that could not be opened, by path.
func (f *FS) Problems() []Problem {
	var out []Problem
	for _, c := range f.read() {
		if c.problem != nil {
			out = append(out, *c.problem)
		}
	}
	slices.SortFunc(out, func(a, b Problem) int { return strings.Compare(a.Path, b.Path) })
	return out
}

// Opened are the files read so far that were opened, by path.
func (f *FS) Opened() []Sealed {
	var out []Sealed
	for _, c := range f.read() {
		if c.sealed != nil {
			out = append(out, *c.sealed)
		}
	}
	slices.SortFunc(out, func(a, b Sealed) int { return cmp.Compare(a.Path, b.Path) })
	return out
}

// read waits for the files being opened, and returns all.
func (f *FS) read() []*content {
	f.mu.Lock()
	files := slices.Collect(maps.Values(f.files))
	f.mu.Unlock()
	for _, c := range files {
		c.load()
	}
	return files
}

// file is a regular file. It is opened when it is first read, not before, so
// that looking at a file is no reason for a Problem.
type file struct {
	fs.File
	fs   *FS
	name string
	once sync.Once
	r    *bytes.Reader
	err  error
}

func (f *file) Read(b []byte) (int, error) {
	f.once.Do(func() {
		var data []byte
		data, f.err = f.fs.ReadFile(f.name)
		f.r = bytes.NewReader(data)
	})
	if f.err != nil {
		return 0, f.err
	}
	return f.r.Read(b)
}
