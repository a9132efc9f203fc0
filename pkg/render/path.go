package render

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
)

// checkPath refuses a spec.path that is not a directory of the source.
func (b *build) checkPath() error {
	info, err := b.fs.stat(b.dir)
	switch {
	case err == nil && info.IsDir():
		return nil
	case err == nil:
		return b.owner(fmt.Sprintf("spec.path: %s is a file, not a directory", b.dir),
			fmt.Sprintf("set spec.path to ./%s", path.Dir(b.dir)))
	case !errors.Is(err, fs.ErrNotExist):
		e := b.owner(fmt.Sprintf("spec.path: %s: %v", b.dir, err), "")
		e.err = err
		return e
	}
	if at, target := b.fs.link(b.dir); target != "" {
		return b.owner("spec.path: "+linkError(at, target).Error(), "set spec.path to the directory that it links to")
	}
	return b.owner(fmt.Sprintf("spec.path: the source has no directory %s", b.dir), b.fs.suggest(b.dir))
}

// suggest tells what there is instead of name, which is missing.
func (s *sourceFS) suggest(name string) string {
	dir := path.Dir(name)
	for dir != "." && !s.isDir(dir) {
		dir = path.Dir(dir)
	}
	entries, _ := fs.ReadDir(s.src, dir)
	var there []string
	for _, e := range entries {
		if e.IsDir() && e.Name() != ".git" {
			there = append(there, path.Join(dir, e.Name()))
		}
	}
	if near := nearest(name, there); near != "" {
		return fmt.Sprintf("did you mean %s?", near)
	}
	at := dir
	if dir == "." {
		at = "the root"
	}
	if len(there) == 0 {
		return fmt.Sprintf("%s has no directories; is it committed?", at)
	}
	const most = 8
	if len(there) > most {
		there = append(there[:most:most], "…")
	}
	return fmt.Sprintf("directories in %s: %s", at, strings.Join(there, ", "))
}

// nearest is the candidate within a few letters of name, "" if none.
func nearest(name string, candidates []string) string {
	best, at := "", 1+len(path.Base(name))/3
	for _, c := range candidates {
		if n := object.Distance(name, c); n <= at && (best == "" || n < at) {
			best, at = c, n
		}
	}
	return best
}
