package source

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
)

// status is a work tree compared with HEAD and the index, below one directory. Paths are relative
// to that directory.
type status struct {
	dirty     []string
	untracked []string
	files     []workFile
}

type fileKind int

const (
	committedFile fileKind = iota // as entry in the object database of repo
	diskFile                      // content
	diskLink                      // text is the target
	ignoredFile                   // text is the file with the rule
	holeInTree                    // err
)

type workFile struct {
	path    string
	kind    fileKind
	repo    *repository
	inRepo  string // path from the top of repo
	entry   treeEntry
	content *diskContent
	text    string
	err     error
}

// tracked is a directory of the index.
type tracked struct {
	files map[string]*indexEntry
	dirs  map[string]*tracked
}

func newTracked() *tracked {
	return &tracked{files: map[string]*indexEntry{}, dirs: map[string]*tracked{}}
}

// scanner compares one repository's work tree.
type scanner struct {
	repo    *repository
	prefix  string // where status is rooted, below the top
	head    map[string]treeEntry
	index   *index
	root    *os.Root // at prefix
	out     *status
	found   map[string]bool // tracked paths that are on the disk
	unclean map[string]bool
}

// status compares the work tree below prefix with head, the entries of the commit there.
//
// Differences of line endings, of the executable bit and of a filter (Git LFS, git-crypt) do not
// count. Time, size and inode are compared with the index first, as Git does, and content only
// where they differ or where the file is as young as the index.
func (r *repository) status(ctx context.Context, prefix string, head map[string]treeEntry) (*status, error) {
	idx, err := r.index()
	if err != nil {
		return nil, err
	}
	s := &scanner{repo: r, prefix: prefix, head: head, index: idx, out: &status{}, found: map[string]bool{}, unclean: map[string]bool{}}
	dir := filepath.Join(r.top, filepath.FromSlash(prefix))
	if s.root, err = os.OpenRoot(dir); err != nil {
		return nil, unreadable(dir, err)
	}
	byPath, err := s.entries(ctx)
	if err != nil {
		return nil, err
	}
	rules, err := r.ignoreRules(prefix)
	if err != nil {
		return nil, err
	}
	at := newTracked()
	for name, e := range byPath {
		at.add(name, e)
	}
	if err := s.walk(ctx, s.root, "", at, rules, rules.ignoresDir(prefix)); err != nil {
		return nil, err
	}
	for name, e := range byPath {
		if err := s.settle(name, e); err != nil {
			return nil, err
		}
	}
	for name := range head {
		if byPath[name] == nil {
			s.unclean[name] = true // removed from the index
		}
	}
	for name := range s.unclean {
		s.out.dirty = append(s.out.dirty, name)
	}
	slices.Sort(s.out.dirty)
	slices.Sort(s.out.untracked)
	return s.out, nil
}

func (t *tracked) add(name string, e *indexEntry) {
	for {
		first, rest, more := strings.Cut(name, "/")
		if !more {
			t.files[first] = e
			return
		}
		if t.dirs[first] == nil {
			t.dirs[first] = newTracked()
		}
		t, name = t.dirs[first], rest
	}
}

// entries are the index's below the prefix, relative to it, sparse directories spread out. A
// conflict's stages become one entry that is unclean.
func (s *scanner) entries(ctx context.Context) (map[string]*indexEntry, error) {
	below := ""
	if s.prefix != "" {
		below = s.prefix + "/"
	}
	out := map[string]*indexEntry{}
	for i := range s.index.entries {
		e := &s.index.entries[i]
		if e.mode == modeSparse {
			spread := map[string]treeEntry{}
			if strings.HasPrefix(e.name, below) || strings.HasPrefix(below, e.name) {
				if err := s.repo.objects.flatten(ctx, e.hash, e.name, spread); err != nil {
					return nil, err
				}
			}
			for name, t := range spread {
				if rel, ok := strings.CutPrefix(name, below); ok {
					out[rel] = &indexEntry{name: name, mode: t.mode, hash: t.hash, skip: true}
				}
			}
			continue
		}
		rel, ok := strings.CutPrefix(e.name, below)
		if !ok {
			continue
		}
		out[rel] = e
		if e.stage != 0 {
			s.unclean[rel] = true
		}
	}
	return out, nil
}

// walk reads one directory of the disk. at is nil where the index has nothing below it; ignored is
// set below a directory that a rule ignores.
func (s *scanner) walk(ctx context.Context, dir *os.Root, rel string, at *tracked, rules *ignoreRules, ignored bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	names, err := readNames(dir)
	if err != nil {
		return unreadable(s.disk(rel), err)
	}
	if rules, err = rules.enter(dir, path.Join(s.prefix, rel)); err != nil {
		return err
	}
	for _, name := range names {
		p := path.Join(rel, name)
		info, err := dir.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // gone since it was listed
		}
		if err != nil {
			return unreadable(s.disk(p), err)
		}
		var entry *indexEntry
		var below *tracked
		if at != nil {
			entry, below = at.files[name], at.dirs[name]
		}
		switch {
		case name == ".git":
		case entry != nil && entry.mode == filemode.Submodule && info.IsDir():
			s.found[p] = true
			if err := s.submodule(ctx, p, entry); err != nil {
				return err
			}
		case entry != nil && !info.IsDir():
			s.found[p] = true
			if err := s.compare(ctx, dir, name, p, entry, info); err != nil {
				return err
			}
		case info.IsDir():
			if err := s.descend(ctx, dir, name, p, below, rules, ignored); err != nil {
				return err
			}
		default:
			if err := s.stranger(dir, name, p, info, rules, ignored); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *scanner) descend(ctx context.Context, dir *os.Root, name, p string, below *tracked, rules *ignoreRules, ignored bool) error {
	if !ignored {
		var by string
		if ignored, by = rules.match(path.Join(s.prefix, p), true); ignored {
			s.out.files = append(s.out.files, workFile{path: p, kind: ignoredFile, text: by})
		}
	}
	if below == nil && ignored {
		return nil
	}
	sub, err := dir.OpenRoot(name)
	if err == nil {
		defer sub.Close()
		if below == nil {
			if _, e := sub.Lstat(".git"); e == nil {
				s.out.untracked = append(s.out.untracked, p+"/")
				s.hole(p, &Error{Where: s.disk(p), What: "is a Git repository of its own", Why: "the one around it does not have it as a submodule", Fix: "git submodule add URL " + p})
				return nil
			}
			_, err = readNames(sub)
		}
	}
	if err != nil && below == nil {
		// Git warns of it and goes on; what is committed does not depend on it.
		s.out.untracked = append(s.out.untracked, p+"/")
		s.hole(p, unreadable(s.disk(p), err))
		return nil
	}
	if err != nil {
		return unreadable(s.disk(p), err)
	}
	return s.walk(ctx, sub, p, below, rules, ignored)
}

// stranger is a file that the index does not have.
func (s *scanner) stranger(dir *os.Root, name, p string, info fs.FileInfo, rules *ignoreRules, ignored bool) error {
	link := info.Mode()&fs.ModeSymlink != 0
	if ignored || !link && !info.Mode().IsRegular() {
		return nil
	}
	if hit, by := rules.match(path.Join(s.prefix, p), false); hit {
		s.out.files = append(s.out.files, workFile{path: p, kind: ignoredFile, text: by})
		return nil
	}
	s.out.untracked = append(s.out.untracked, p)
	return s.fromDisk(dir, name, p, info, plumbing.ZeroHash)
}

// fromDisk takes the file or link at p as it is on the disk. was is the blob that the index has.
func (s *scanner) fromDisk(dir *os.Root, name, p string, info fs.FileInfo, was plumbing.Hash) error {
	if info.Mode()&fs.ModeSymlink != 0 {
		target, err := dir.Readlink(name)
		if err != nil {
			return unreadable(s.disk(p), err)
		}
		s.out.files = append(s.out.files, workFile{path: p, kind: diskLink, text: filepath.ToSlash(target)})
		return nil
	}
	if info.Mode().IsRegular() {
		c := &diskContent{root: s.root, path: p, info: info, objects: s.repo.objects, was: was}
		s.out.files = append(s.out.files, workFile{path: p, kind: diskFile, content: c})
	}
	return nil
}

// compare is for a file that the index has and the disk too.
func (s *scanner) compare(ctx context.Context, dir *os.Root, name, p string, e *indexEntry, info fs.FileInfo) error {
	same := false
	if e.stage == 0 && !e.planned {
		var err error
		if same, err = s.unchanged(ctx, dir, name, p, e, info); err != nil {
			return err
		}
	}
	if same {
		s.committed(p, e)
		return nil
	}
	s.unclean[p] = true
	if e.mode == filemode.Symlink && info.Mode().IsRegular() && e.stage == 0 {
		// core.symlinks=false writes links as files that hold the target.
		if data, err := dir.ReadFile(name); err == nil && info.Size() < 4096 {
			s.out.files = append(s.out.files, workFile{path: p, kind: diskLink, text: string(data)})
			return nil
		}
	}
	was := e.hash
	if e.planned {
		was = plumbing.ZeroHash
	}
	return s.fromDisk(dir, name, p, info, was)
}

func (s *scanner) committed(p string, e *indexEntry) {
	s.out.files = append(s.out.files, workFile{
		path: p, kind: committedFile, repo: s.repo, inRepo: path.Join(s.prefix, p), entry: treeEntry{e.mode, e.hash},
	})
}

// settle compares an entry of the index with HEAD, and looks after those that the walk did not meet.
func (s *scanner) settle(p string, e *indexEntry) error {
	if h, ok := s.head[p]; !ok || h.hash != e.hash || fileType(h.mode) != fileType(e.mode) {
		s.unclean[p] = true
	}
	if s.found[p] {
		return nil
	}
	if e.skip {
		s.committed(p, e) // a sparse checkout; the commit has it
		return nil
	}
	s.unclean[p] = true // deleted
	if e.mode == filemode.Submodule {
		_, err := s.repo.submodule(path.Join(s.prefix, p))
		s.hole(p, err)
	}
	return nil
}

// fileType leaves the executable bit out of a mode.
func fileType(m filemode.FileMode) filemode.FileMode {
	if m == filemode.Executable || m == filemode.Deprecated {
		return filemode.Regular
	}
	return m
}

// submodule compares the submodule checked out at p.
func (s *scanner) submodule(ctx context.Context, p string, e *indexEntry) error {
	sub, err := s.repo.submodule(path.Join(s.prefix, p))
	if err != nil {
		s.hole(p, err)
		return nil
	}
	target, err := sub.resolve(ctx, "")
	if err != nil {
		s.hole(p, err)
		return nil
	}
	c, err := sub.objects.commit(target.hash)
	if err != nil {
		return err
	}
	if c.Hash != e.hash {
		s.unclean[p] = true
	}
	head := map[string]treeEntry{}
	if err := sub.objects.flatten(ctx, c.TreeHash, "", head); err != nil {
		return err
	}
	inside, err := sub.status(ctx, "", head)
	if err != nil {
		return err
	}
	for _, d := range inside.dirty {
		s.unclean[p+"/"+d] = true
	}
	for _, u := range inside.untracked {
		s.out.untracked = append(s.out.untracked, p+"/"+u)
	}
	for _, f := range inside.files {
		f.path = p + "/" + f.path
		s.out.files = append(s.out.files, f)
	}
	return nil
}

func (s *scanner) hole(p string, err error) {
	s.out.files = append(s.out.files, workFile{path: p, kind: holeInTree, err: err})
}

// disk is p for messages.
func (s *scanner) disk(p string) string {
	return filepath.Join(s.repo.top, filepath.FromSlash(s.prefix), filepath.FromSlash(p))
}

func readNames(dir *os.Root) ([]string, error) {
	f, err := dir.Open(".")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}
