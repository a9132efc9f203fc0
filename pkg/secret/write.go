package secret

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"
)

// Real is the file behind a path. A symbolic link is followed within the Git
// repository around it, or else within its directory, and refused where it leads
// out of that; so is what is no regular file. A file that does not exist is the
// path itself.
func Real(path string) (string, error) {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return path, nil
	case err != nil:
		return "", fmt.Errorf("%s: %s", path, readFailure(err))
	case info.IsDir():
		return "", fmt.Errorf("%s: is a directory", path)
	case info.Mode().IsRegular() && !linked(path):
		return path, nil
	case info.Mode()&fs.ModeSymlink == 0 && !info.Mode().IsRegular():
		return "", fmt.Errorf("%s: is no regular file", path)
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	root := Repository(filepath.Dir(abs))
	if root == "" {
		root = filepath.Dir(abs)
	}
	real, err := filepath.EvalSymlinks(abs)
	if err != nil {
		return "", fmt.Errorf("%s: is a link that leads nowhere", path)
	}
	if root, err = filepath.EvalSymlinks(root); err != nil {
		return "", err
	}
	if rel, err := filepath.Rel(root, real); err != nil || rel == ".." || strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return "", fmt.Errorf("%s: is a link that leads out of %s: it is not followed", path, root)
	}
	if info, err := os.Lstat(real); err != nil || !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s: is no regular file", path)
	}
	return real, nil
}

// linked tells whether a directory on the way to a path is a symbolic link.
func linked(path string) bool {
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return true
	}
	real, err := filepath.EvalSymlinks(dir)
	return err != nil || real != dir
}

// Change is a file and what it is to hold.
type Change struct {
	Path string
	Data []byte
	// Mode is that of a new file; one that exists keeps its own.
	Mode fs.FileMode
	// FromClear means that what it replaces is in clear. That gets no second name,
	// which a crash would leave behind, and so is not put back.
	FromClear bool
}

// Write writes all files, or none: each is written beside its place and flushed
// before the first is put there, and those that were put are put back where a
// later one fails, unless they were in clear. A crash leaves, of each file, the old or the new content. What
// is written must be fit to lie on a disk: sealed.
func Write(changes []Change) (err error) {
	type staged struct {
		path, temp, old string
		isNew           bool
	}
	files := make([]staged, len(changes))
	defer func() {
		var g errgroup.Group
		g.SetLimit(16)
		for _, f := range files {
			for _, stray := range []string{f.temp, f.old} {
				if stray != "" {
					g.Go(func() error { return os.Remove(stray) })
				}
			}
		}
		_ = g.Wait()
	}()
	// Flushing is waiting: many at once take little longer than one.
	var g errgroup.Group
	g.SetLimit(16)
	for i, c := range changes {
		g.Go(func() (err error) {
			mode, exists := c.Mode, false
			if info, err := os.Lstat(c.Path); err == nil {
				if !info.Mode().IsRegular() {
					return fmt.Errorf("%s: is no regular file", c.Path)
				}
				mode, exists = info.Mode().Perm(), true
			}
			f := &files[i]
			f.path, f.isNew = c.Path, !exists
			if f.temp, err = stage(c.Path, c.Data, mode); err != nil {
				return err
			}
			if exists && len(changes) > 1 && !c.FromClear {
				// A second name of the old content, to put it back by.
				if old := f.temp + ".old"; os.Link(c.Path, old) == nil {
					f.old = old
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	dirs := make(map[string]bool)
	for i, f := range files {
		if err := rename(f.temp, f.path); err != nil {
			for _, done := range files[:i] {
				if done.isNew {
					err = errors.Join(err, os.Remove(done.path))
				} else if done.old == "" {
					err = errors.Join(err, fmt.Errorf("%s: is written already", done.path))
				} else if back := os.Rename(done.old, done.path); back != nil {
					err = errors.Join(err, fmt.Errorf("%s: is written, and could not be put back", done.path))
				}
			}
			return fmt.Errorf("%s: cannot be replaced: %w", f.path, err)
		}
		files[i].temp = ""
		dirs[filepath.Dir(f.path)] = true
	}
	for dir := range dirs {
		if d, err := os.Open(dir); err == nil {
			_ = d.Sync() // not every file system can
			_ = d.Close()
		}
	}
	return nil
}

// rename is os.Rename; a test makes it fail.
var rename = os.Rename

// stage writes a file beside its place, that only its owner can read until it is
// whole.
func stage(path string, data []byte, mode fs.FileMode) (temp string, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.tmp")
	if err != nil {
		return "", fmt.Errorf("%s: cannot be written: %s", path, readFailure(err))
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(f.Name())
		return "", fmt.Errorf("%s: cannot be written: %s", path, readFailure(err))
	}
	return f.Name(), nil
}
