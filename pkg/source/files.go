package source

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/go-git/go-git/v5/plumbing/filemode"
)

// Files lists the regular files below dir that Git has or would add: those that
// the index has and the disk too, and those that no rule ignores. Outside of a
// repository that is every file. Submodules, and repositories inside, are listed by
// rules of their own. Paths are relative to dir, with slashes, in the order of a
// walk. Links are not followed, and nothing is read but directories, rules and
// indexes. env is the environment in which Git's configuration is found, nil for
// this process's.
func Files(ctx context.Context, dir string, env []string) ([]string, error) {
	dir, err := realDirectory(dir)
	if err != nil {
		return nil, err
	}
	repo, err := discover(dir, Auth{Env: env})
	if err != nil {
		return nil, err
	}
	l := &lister{env: env}
	if repo == nil || repo.top == "" {
		root, err := os.OpenRoot(dir)
		if err != nil {
			return nil, unreadable(dir, err)
		}
		defer root.Close()
		err = l.walk(ctx, root, place{disk: dir}, nil, &ignoreRules{}, false)
		return l.files, err
	}
	prefix, err := filepath.Rel(repo.top, dir)
	if err != nil {
		return nil, unreadable(dir, err)
	}
	if prefix = filepath.ToSlash(prefix); prefix == "." {
		prefix = ""
	}
	if err := l.repository(ctx, repo, prefix, ""); err != nil {
		return nil, err
	}
	return l.files, nil
}

// lister collects files, paths relative to where it began.
type lister struct {
	env   []string
	files []string
}

// place is a directory as three parties call it.
type place struct {
	disk string // for messages
	repo string // from the top of its repository
	out  string // in the list
}

func (p place) below(name string) place {
	return place{filepath.Join(p.disk, name), path.Join(p.repo, name), path.Join(p.out, name)}
}

// repository lists what a repository has below prefix, called out in the list.
func (l *lister) repository(ctx context.Context, r *repository, prefix, out string) error {
	idx, err := r.index()
	if err != nil {
		return err
	}
	rules, err := r.ignoreRules(prefix)
	if err != nil {
		return err
	}
	dir := filepath.Join(r.top, filepath.FromSlash(prefix))
	root, err := os.OpenRoot(dir)
	if err != nil {
		return unreadable(dir, err)
	}
	defer root.Close()
	s := &scanner{repo: r, prefix: prefix, index: idx, unclean: map[string]bool{}}
	byPath, err := s.entries(ctx)
	if err != nil {
		return err
	}
	at := newTracked()
	for name, e := range byPath {
		at.add(name, e)
	}
	return l.walk(ctx, root, place{dir, prefix, out}, at, rules, rules.ignoresDir(prefix))
}

// walk lists one directory, as scanner.walk compares one.
func (l *lister) walk(ctx context.Context, dir *os.Root, p place, at *tracked, rules *ignoreRules, ignored bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	names, err := readNames(dir)
	if err != nil {
		return unreadable(p.disk, err)
	}
	if at != nil { // in a repository
		if rules, err = rules.enter(dir, p.repo); err != nil {
			return err
		}
	}
	for _, name := range names {
		info, err := dir.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // gone since it was listed
		}
		here := p.below(name)
		if err != nil {
			return unreadable(here.disk, err)
		}
		var entry *indexEntry
		var below *tracked
		if at != nil {
			entry, below = at.files[name], at.dirs[name]
		}
		switch {
		case name == ".git":
		case info.IsDir():
			if err := l.descend(ctx, dir, name, here, at != nil, entry, below, rules, ignored); err != nil {
				return err
			}
		case !info.Mode().IsRegular():
		case entry != nil:
			l.files = append(l.files, here.out)
		default:
			if hit, _ := rules.match(here.repo, false); !hit && !ignored {
				l.files = append(l.files, here.out)
			}
		}
	}
	return nil
}

func (l *lister) descend(ctx context.Context, dir *os.Root, name string, here place, inRepo bool, entry *indexEntry, below *tracked, rules *ignoreRules, ignored bool) error {
	submodule := entry != nil && entry.mode == filemode.Submodule
	if !ignored && !submodule {
		ignored, _ = rules.match(here.repo, true)
	}
	if below == nil && ignored {
		return nil
	}
	if below == nil {
		gitDir, err := gitDirOf(here.disk)
		if err != nil && !submodule {
			return err
		}
		if gitDir != "" {
			inner, err := openRepository(here.disk, gitDir, l.env)
			if err != nil {
				return err
			}
			return l.repository(ctx, inner, "", here.out)
		}
		if below = newTracked(); !inRepo {
			below = nil
		}
	}
	sub, err := dir.OpenRoot(name)
	if err != nil {
		return unreadable(here.disk, err)
	}
	defer sub.Close()
	return l.walk(ctx, sub, here, below, rules, ignored)
}
