package render

import (
	"os"
	"path/filepath"
	"strings"
)

// clones are the directories into which kustomize clones remote bases:
// kustomize-* in the system's temporary directory, made after the build began.
// Those that were there before are somebody else's, who may have put them
// there for us to read.
type clones struct {
	prefix string
	before map[string]bool
}

func newClones() clones {
	tmp, err := filepath.EvalSymlinks(os.TempDir()) // as kustomize's NewTmpConfirmedDir
	if err != nil {
		tmp = os.TempDir()
	}
	c := clones{prefix: filepath.Join(tmp, "kustomize-"), before: map[string]bool{}}
	found, _ := filepath.Glob(c.prefix + "*")
	for _, dir := range found {
		c.before[dir] = true
	}
	return c
}

// dirOf is the clone that p is in or is, "" if none.
func (c clones) dirOf(p string) string {
	rest, ok := strings.CutPrefix(p, c.prefix)
	if !ok {
		return ""
	}
	first, _, _ := strings.Cut(rest, string(filepath.Separator))
	if dir := c.prefix + first; !c.before[dir] {
		return dir
	}
	return ""
}

// hold reports whether p is in a clone, and stays in it when its symbolic
// links are followed.
func (c clones) hold(p string) bool {
	p = filepath.Clean(p)
	dir := c.dirOf(p)
	if dir == "" {
		return false
	}
	real, err := filepath.EvalSymlinks(p)
	return err != nil || c.dirOf(real) == dir
}
