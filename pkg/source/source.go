// Package source turns what a user names - a checkout, a directory, a Git URL - into a
// Snapshot: one immutable state of it, as a file system with the revision that Flux would
// give it.
//
// Content is never read through a symbolic link and never from outside the source. What a
// source should have but does not (an uninitialized submodule, an object that a partial
// clone left out, a file that may not be read) is an error where it is read, never a
// missing file: fewer files would mean fewer objects, and those would be pruned.
//
// The disk is read without a git binary. It is asked, if there is one, for two things only:
// credentials (git credential fill) and what a configured clean filter makes of a file.
package source

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Snapshot is one immutable state of a source. Its FS may be read from many goroutines.
type Snapshot struct {
	// FS holds regular files and directories, paths from the directory that was named. It
	// implements fs.ReadFileFS, fs.ReadDirFS and fs.StatFS. There is no .git in it, and, as in
	// Flux's artifacts, no symbolic link. Opening a link, or a file that the work tree ignores,
	// fails with an error that is fs.ErrNotExist and says which of the two it is. Opening a
	// submodule that is not there, or anything below it, fails with an *Error. A file that
	// changed on the disk after Open fails too, so that what is read is what was described.
	FS fs.FS

	// Revision is as Flux writes it: "main@sha1:<40 hex>" of a branch, "v1.2.0@sha1:…" of a tag,
	// "refs/pull/1/head@sha1:…" where the ref was given in full, "sha1:…" of a bare commit,
	// "dir@sha256:<64 hex>" of a plain directory. "-dirty" follows where the work tree was read
	// and is not what the commit has: a tracked file differs or an untracked one is there.
	Revision string

	Branch string // "main"; "" for a tag, a commit, a detached HEAD that no remote branch explains
	Commit string // 40 hex; "" for a plain directory, and before the first commit
	Dir    string // absolute, links resolved: the top of the checkout, or the directory; "" for a remote
	Prefix string // where the named directory lies below Dir, slashes; "" for the top. FS is rooted there

	// URL is the remote that this was fetched from, without user name (ssh: with) and password;
	// "" for what was read from the disk.
	URL string
	// Remotes are the URLs of the checkout's remotes, origin first, or URL. Passwords and
	// https user names are taken out: what is recorded of them must not leak a token.
	Remotes []string

	Links     map[string]string // symbolic links left out of FS: path -> target
	Dirty     []string          // tracked paths that differ from HEAD, staged or not, deleted too; sorted, relative to FS. Empty with Options.Ref
	Untracked []string          // files neither tracked nor ignored, "dir/" for a repository inside; sorted, relative to FS

	repo    *repository // nil for a plain directory
	at      target      // what the ref is: a commit, or an annotated tag
	options Options     // what it was opened with
	remote  string      // that it was fetched from, credentials and all; "" for a checkout
}

// Options say what to open and how.
type Options struct {
	// Source is "" for the Git repository around WorkDir (a linked worktree too), a directory,
	// or a URL: https, http, ssh, file, or scp-like git@host:path. A directory that a
	// repository tracks means that subtree of it; any other is a plain directory.
	Source string
	// WorkDir is what a relative Source is relative to; "" is the process's.
	WorkDir string
	// Ref is a tag, a branch, a remote branch (origin/main), refs/…, a commit (in a local
	// repository also abbreviated, and with ~N or ^ behind any name), or a semver range whose
	// highest tag is taken as Flux does. "" is HEAD, or the remote's default branch.
	Ref string
	// Reference, where set, is what to read instead of Ref: spec.ref of a GitRepository.
	Reference *Reference
	// WorkTree reads the files on the disk - tracked ones and those that git add would add -
	// instead of the commit. A Ref wins over it.
	WorkTree bool
	// Submodules fetches those of a remote; in a checkout they are there or not.
	Submodules bool
	Auth       Auth
	// CacheDir keeps what servers sent between runs; "" keeps nothing.
	CacheDir string
	// Progress, where set, is told in a few words what takes time.
	Progress func(string)

	depth      int  // of submodules
	mayBeEmpty bool // nothing below the directory that was named is no error
}

// Open reads o.Source. Errors that a user can act on are of type *Error. Without a Source and
// outside of any repository the error is ErrNoRepository.
func Open(ctx context.Context, o Options) (*Snapshot, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if o.WorkDir == "" {
		wd, err := os.Getwd()
		if err != nil {
			return nil, fmt.Errorf("current directory: %w", err)
		}
		o.WorkDir = wd
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	if o.Source == "" {
		return openAround(ctx, o)
	}
	if r, ok, err := parseRemote(o.Source); err != nil {
		return nil, err
	} else if ok && (!r.scp || !exists(o.WorkDir, o.Source)) {
		if r.scheme == "file" {
			return openFile(ctx, o, r)
		}
		return openRemote(ctx, o, r)
	}
	return openDirectory(ctx, o)
}

// Is reports whether url names the repository that the snapshot is of.
func (s *Snapshot) Is(url string) bool {
	for _, r := range s.Remotes {
		if SameRepository(r, url) {
			return true
		}
	}
	return s.URL != "" && SameRepository(s.URL, url)
}

// Unborn reports whether the snapshot is the work tree of a repository that has no
// commit yet.
func (s *Snapshot) Unborn() bool { return s.repo != nil && s.Commit == "" }

// RootCommit is the oldest commit without parents that Commit descends from, 40 hex: the
// identity of a repository that has no remote. It is "" for a plain directory and where the
// history is not there in full (a shallow clone, a remote, which is fetched without it).
func (s *Snapshot) RootCommit(ctx context.Context) (string, error) {
	if s.Commit == "" || s.URL != "" || s.repo.objects.shallow {
		return "", nil
	}
	return s.repo.rootCommit(ctx, s.Commit)
}

func exists(dir, name string) bool {
	_, err := os.Stat(absolute(dir, name))
	return err == nil
}

func absolute(dir, name string) string {
	if filepath.IsAbs(name) {
		return filepath.Clean(name)
	}
	return filepath.Join(dir, name)
}

// openAround opens the repository that o.WorkDir lies in, from its top.
func openAround(ctx context.Context, o Options) (*Snapshot, error) {
	dir, err := realDirectory(o.WorkDir)
	if err != nil {
		return nil, err
	}
	repo, err := discover(dir, o.Auth)
	if err != nil {
		return nil, err
	}
	if repo == nil {
		return nil, &Error{
			Where: dir, What: "no Git repository here or above", err: ErrNoRepository,
			Fix: "cd into the repository, or name it: --source DIR|URL",
		}
	}
	return repo.snapshot(ctx, o, "")
}

// openDirectory opens o.Source as a subtree of the repository that tracks it, or as files.
func openDirectory(ctx context.Context, o Options) (*Snapshot, error) {
	dir, err := realDirectory(absolute(o.WorkDir, o.Source))
	if err != nil {
		return nil, err
	}
	repo, err := discover(dir, o.Auth)
	if err != nil {
		return nil, err
	}
	prefix, tracked := "", repo != nil
	if repo != nil && repo.top != "" {
		rel, err := filepath.Rel(repo.top, dir)
		if err != nil {
			return nil, &Error{Where: dir, What: "cannot be placed in its repository " + repo.top, err: err}
		}
		if rel != "." {
			prefix = filepath.ToSlash(rel)
			if tracked, err = repo.tracks(ctx, prefix, o.Ref); err != nil {
				return nil, err
			}
		}
	}
	if tracked {
		return repo.snapshot(ctx, o, prefix)
	}
	if o.Ref != "" {
		why := "it is in no Git repository"
		if repo != nil {
			why = "the Git repository around it, " + repo.top + ", has nothing below " + prefix
		}
		return nil, &Error{
			Where: dir, What: fmt.Sprintf("a plain directory has no ref %q", o.Ref), Why: why,
			Fix: "leave --ref out, or name a repository: --source DIR|URL",
		}
	}
	return openFiles(ctx, o, dir)
}

// realDirectory resolves links in dir, so that it can be compared with a repository's top.
func realDirectory(dir string) (string, error) {
	info, err := os.Stat(dir)
	if err != nil {
		e := &Error{Where: dir, What: "no such directory", err: err}
		if !os.IsNotExist(err) {
			e.What, e.Why = "cannot be read", cause(err)
		} else if near := nearNames(dir); near != "" {
			e.Fix = "did you mean " + near + "?"
		}
		return "", e
	}
	if !info.IsDir() {
		return "", &Error{Where: dir, What: "is a file, not a directory", Fix: "name the directory: --source " + filepath.Dir(dir)}
	}
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", unreadable(dir, err)
	}
	return filepath.Abs(real)
}

// nearNames names a directory beside dir whose name is close to dir's.
func nearNames(dir string) string {
	entries, err := os.ReadDir(filepath.Dir(dir))
	if err != nil {
		return ""
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	if near := nearest(filepath.Base(dir), names); near != "" {
		return filepath.Join(filepath.Dir(dir), near)
	}
	return ""
}
