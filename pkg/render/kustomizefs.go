package render

import (
	"fmt"
	"io/fs"
	"path"
	"path/filepath"

	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// The methods that kustomize calls, which give it paths below root.

var disk = filesys.MakeFsOnDisk()

// ReadFile reads a file of the source or of a clone.
func (s *sourceFS) ReadFile(p string) ([]byte, error) {
	var data []byte
	name, where := s.locate(p)
	var err error
	switch where {
	case inSource:
		data, err = s.read(name)
	case inClone:
		data, err = disk.ReadFile(p)
	default:
		err = outsideError(name)
	}
	if err != nil {
		return nil, err
	}
	s.observe(name, data)
	return data, nil
}

// Exists reports whether p is there.
func (s *sourceFS) Exists(p string) bool {
	switch name, where := s.locate(p); where {
	case inSource:
		_, err := s.stat(name)
		return err == nil
	case inClone:
		return disk.Exists(p)
	}
	return false
}

// IsDir reports whether p is a directory.
func (s *sourceFS) IsDir(p string) bool {
	switch name, where := s.locate(p); where {
	case inSource:
		return s.isDir(name)
	case inClone:
		return disk.IsDir(p)
	}
	return false
}

// CleanedAbs splits p into a directory that exists and the name of a file in
// it, "" when p itself is the directory.
func (s *sourceFS) CleanedAbs(p string) (filesys.ConfirmedDir, string, error) {
	name, where := s.locate(p)
	switch where {
	case inClone:
		return disk.CleanedAbs(p)
	case outside:
		return "", "", outsideError(name)
	}
	info, err := s.stat(name)
	if err != nil {
		return "", "", err
	}
	abs := filepath.Join(root, filepath.FromSlash(name))
	if info.IsDir() {
		return filesys.ConfirmedDir(abs), "", nil
	}
	return filesys.ConfirmedDir(filepath.Dir(abs)), filepath.Base(abs), nil
}

// ReadDir lists the names in a directory.
func (s *sourceFS) ReadDir(p string) ([]string, error) {
	name, where := s.locate(p)
	switch where {
	case inClone:
		return disk.ReadDir(p)
	case outside:
		return nil, outsideError(name)
	}
	entries, err := fs.ReadDir(s.src, name)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

// Walk walks the source from p in lexical order.
func (s *sourceFS) Walk(p string, fn filepath.WalkFunc) error {
	name, where := s.locate(p)
	switch where {
	case inClone:
		return disk.Walk(p, fn)
	case outside:
		return outsideError(name)
	}
	return fs.WalkDir(s.src, name, func(at string, d fs.DirEntry, err error) error {
		abs := filepath.Join(root, filepath.FromSlash(at))
		if err != nil {
			return fn(abs, nil, err)
		}
		info, err := d.Info()
		return fn(abs, info, err)
	})
}

// Glob finds files of the source.
func (s *sourceFS) Glob(pattern string) ([]string, error) {
	name, where := s.locate(pattern)
	if where != inSource {
		return nil, outsideError(name)
	}
	found, err := fs.Glob(s.src, name)
	for i := range found {
		found[i] = filepath.Join(root, filepath.FromSlash(found[i]))
	}
	return found, err
}

// RemoveAll removes a clone; nothing else can be removed.
func (s *sourceFS) RemoveAll(p string) error {
	if dir := s.clones.dirOf(filepath.Clean(p)); dir != "" && dir == filepath.Clean(p) {
		return disk.RemoveAll(p)
	}
	return s.readOnly("remove", p)
}

// Create, Mkdir, MkdirAll, WriteFile and Open are not for a source to do.
func (s *sourceFS) Create(p string) (filesys.File, error) { return nil, s.readOnly("create", p) }
func (s *sourceFS) Mkdir(p string) error                  { return s.readOnly("mkdir", p) }
func (s *sourceFS) MkdirAll(p string) error               { return s.readOnly("mkdir", p) }
func (s *sourceFS) WriteFile(p string, _ []byte) error    { return s.readOnly("write", p) }
func (s *sourceFS) Open(p string) (filesys.File, error)   { return nil, s.readOnly("open", p) }

func (s *sourceFS) readOnly(op, p string) error {
	name, _ := s.locate(p)
	return fmt.Errorf("%s %s: the source is read-only", op, path.Clean(name))
}
