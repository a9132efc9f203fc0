package render

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// root is the directory that kustomize believes the source to be in. Nothing
// can exist below a device, so that whatever goes around sourceFS finds
// nothing, and the prefix is safe to take out of messages.
var root = filepath.Join(filepath.VolumeName(os.TempDir())+string(filepath.Separator), "dev", "null", "source")

// sourceFS is the file system that kustomize sees: the source, read-only, the
// kustomization files that were generated, and kustomize's own clones of
// remote bases on the real disk. Not safe for concurrent use.
type sourceFS struct {
	ctx    context.Context
	src    fs.FS
	sealed SealedReader // nil where nothing is sealed
	links  map[string]string
	clones clones

	// generated are kustomization files that Git does not have so, by name.
	generated map[string][]byte
	// clear are the names that may be read decrypted; nil: all.
	clear map[string]bool
	// neutral are the names that say nothing about other objects: manifests
	// and what generators read.
	neutral map[string]bool

	cache map[string][]byte
	// refused are the errors of src that do not just mean that there is no
	// such file; kustomize loses most of them.
	refused map[string]error
	// mu is for those who share the file system, batches.
	mu sync.Mutex
	// openAPI tells that a kustomization changes the process-wide schema.
	openAPI bool
	// whole tells that something takes an object's annotations as a whole, so
	// that an annotation of ours would show.
	whole bool
}

func newSourceFS(ctx context.Context, r Request) *sourceFS {
	s := &sourceFS{
		ctx: ctx, src: r.FS, links: r.Links, clones: newClones(),
		generated: map[string][]byte{}, cache: map[string][]byte{}, refused: map[string]error{},
	}
	s.sealed, _ = r.FS.(SealedReader)
	return s
}

type area int

const (
	inSource area = iota
	inClone
	outside
)

// locate says where p is, and names it: a slash path from the source's root,
// which begins with ".." outside of it, or p itself in a clone.
func (s *sourceFS) locate(p string) (string, area) {
	if !filepath.IsAbs(p) {
		p = filepath.Join(root, p)
	}
	rel, err := filepath.Rel(root, filepath.Clean(p))
	if err != nil {
		return p, outside
	}
	if rel = filepath.ToSlash(rel); rel != ".." && !strings.HasPrefix(rel, "../") {
		return rel, inSource
	}
	if s.clones.hold(p) {
		return p, inClone
	}
	if strings.HasPrefix(p, filepath.Dir(root)) { // one up, which is where most go astray
		return rel, outside
	}
	return filepath.ToSlash(p), outside
}

func outsideError(name string) error {
	return fmt.Errorf("%s is outside of the source", name)
}

// stat is info about name, in the source or generated.
func (s *sourceFS) stat(name string) (fs.FileInfo, error) {
	if _, ok := s.generated[name]; ok {
		return generatedInfo{path.Base(name)}, nil
	}
	info, err := fs.Stat(s.src, name)
	if err != nil {
		if at, target := s.link(name); target != "" {
			return nil, fmt.Errorf("%w; %w", linkError(at, target), fs.ErrNotExist)
		}
		return nil, err
	}
	return info, nil
}

// link finds the symbolic link that name is or is below, "" if none.
func (s *sourceFS) link(name string) (at, target string) {
	for at = name; at != "." && at != "/"; at = path.Dir(at) {
		if target, ok := s.links[at]; ok {
			return at, target
		}
	}
	return "", ""
}

func (s *sourceFS) isDir(name string) bool {
	info, err := s.stat(name)
	return err == nil && info.IsDir()
}

func (s *sourceFS) isFile(name string) bool {
	info, err := s.stat(name)
	return err == nil && !info.IsDir()
}

// read gives the content of name; the same bytes each time.
func (s *sourceFS) read(name string) ([]byte, error) {
	if err := s.ctx.Err(); err != nil {
		return nil, err
	}
	if data, ok := s.generated[name]; ok {
		return data, nil
	}
	if data, ok := s.cache[name]; ok {
		return data, nil
	}
	info, err := s.stat(name)
	if err != nil {
		s.refuse(name, err)
		return nil, err
	}
	if info.IsDir() {
		return nil, fmt.Errorf("%s is a directory", name)
	}
	var data []byte
	if s.sealed != nil && s.clear != nil && !s.clear[name] {
		data, err = s.sealed.ReadSealed(name)
	} else {
		data, err = fs.ReadFile(s.src, name)
	}
	if err != nil {
		s.refuse(name, err)
		return nil, err
	}
	s.cache[name] = data
	return data, nil
}

func (s *sourceFS) refuse(name string, err error) {
	if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrInvalid) {
		s.refused[name] = err
	}
}

// setRoles fixes what may be read decrypted: what t names as a resource, a
// patch or an input of a secretGenerator. A file that is sealed and wanted
// both ways is an error: one reading of it would put the other's secret into
// a ConfigMap, or break it.
func (s *sourceFS) setRoles(t *tree) error {
	s.neutral = map[string]bool{}
	for _, k := range t.all {
		for _, inc := range k.includes {
			switch inc.role {
			case asResource, asSecret, asConfigMap:
				s.neutral[inc.name] = true
			}
		}
	}
	if s.sealed == nil {
		return nil
	}
	s.clear = map[string]bool{}
	for _, k := range t.all {
		s.clear[k.file] = true
		for _, inc := range k.includes {
			if inc.role.clear() {
				s.clear[inc.name] = true
			}
		}
	}
	var errs []error
	for _, k := range t.all {
		for _, inc := range k.includes {
			if inc.role.clear() || !s.clear[inc.name] || !s.isSealed(inc.name) {
				continue
			}
			errs = append(errs, &Error{
				File: k.file, Line: inc.line,
				Msg: inc.name + " is sealed, and is read both as it is (here) and decrypted; it would end in the clear where Flux leaves it sealed",
				Fix: "keep two files, one of them not sealed",
			})
		}
	}
	return errors.Join(errs...)
}

// isSealed reports whether the overlay decrypted name.
func (s *sourceFS) isSealed(name string) bool {
	if s.sealed == nil || !s.isFile(name) {
		return false
	}
	sealed, err := s.sealed.ReadSealed(name)
	if err != nil {
		return false
	}
	data, err := fs.ReadFile(s.src, name)
	return err != nil || !bytes.Equal(sealed, data)
}

// files are the names of what was read from the source, sorted.
func (s *sourceFS) files() []string { return slices.Sorted(maps.Keys(s.cache)) }

// generatedInfo describes a kustomization file that was generated.
type generatedInfo struct{ name string }

func (i generatedInfo) Name() string         { return i.name }
func (generatedInfo) IsDir() bool            { return false }
func (generatedInfo) Sys() any               { return nil }
func (generatedInfo) Size() int64            { return 0 }
func (generatedInfo) Mode() fs.FileMode      { return 0o444 }
func (generatedInfo) ModTime() (t time.Time) { return t }

var _ filesys.FileSystem = (*sourceFS)(nil)
