package secret

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

const (
	scratchPrefix = "kubectl-gitops-edit-"
	keptPrefix    = "kubectl-gitops-kept-"
	scratchLock   = ".lock"
)

// memoryDirs are the directories whose files are memory, best first; a test has
// none.
var memoryDirs = knownMemory

// ErrNoMemory is what NewScratch returns where no storage is known that is memory.
var ErrNoMemory = errors.New("there is no storage here that is known to be memory")

// Scratch is a directory for text in clear while an editor has it. Only its owner
// can enter it, it lies in memory, and it goes when its process does: a guard
// removes it, or else the next Sweep.
type Scratch struct {
	Dir string

	lock  *os.File // held as long as the process lives
	alive *os.File // the end of a pipe: the guard reads the other one until it is closed
	guard *exec.Cmd
}

// ScratchOptions says where a Scratch is made, and who guards it.
type ScratchOptions struct {
	// Dir is where to make it, "" for storage that is memory.
	Dir string
	// Guard is the command that runs GuardScratch; the directory is added to its
	// arguments.
	Guard  []string
	Getenv func(string) string
}

// NewScratch makes a directory that is empty, locked and guarded. The error is
// ErrNoMemory where Dir is "" and no storage is proved to be memory.
func NewScratch(o ScratchOptions) (s *Scratch, err error) {
	base := o.Dir
	if base == "" {
		bases := memoryDirs(o.Getenv)
		if len(bases) == 0 {
			return nil, ErrNoMemory
		}
		base = bases[0]
	}
	if base, err = filepath.Abs(base); err != nil {
		return nil, err
	}
	for s == nil { // again where a Sweep of another process was quicker
		if s, err = lockedScratch(base); err != nil {
			return nil, err
		}
	}
	if err := s.startGuard(o.Guard); err != nil {
		return nil, errors.Join(fmt.Errorf("the guard that removes %s does not start: %w", s.Dir, err), s.Close())
	}
	return s, nil
}

// lockedScratch makes and locks a directory; nil where it was swept in between.
func lockedScratch(base string) (*Scratch, error) {
	dir, err := os.MkdirTemp(base, scratchPrefix)
	if err != nil {
		return nil, fmt.Errorf("%s: cannot hold a directory: %s", base, readFailure(err))
	}
	lock, err := os.OpenFile(filepath.Join(dir, scratchLock), os.O_RDWR|os.O_CREATE, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	held, here := lockFile(lock), false
	if info, err := os.Stat(lock.Name()); err == nil {
		mine, err := lock.Stat()
		here = err == nil && os.SameFile(info, mine)
	}
	if !held || !here {
		return nil, lock.Close()
	}
	return &Scratch{Dir: dir, lock: lock}, nil
}

func (s *Scratch) startGuard(command []string) error {
	if len(command) == 0 {
		return errors.New("no command")
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	s.guard = exec.Command(command[0], append(command[1:len(command):len(command)], s.Dir)...)
	s.guard.Stdin = r
	s.guard.Dir = string(filepath.Separator)
	detach(s.guard)
	if err := s.guard.Start(); err != nil {
		s.guard = nil
		return errors.Join(err, w.Close())
	}
	s.alive = w
	return nil
}

// Close removes the directory and ends its guard.
func (s *Scratch) Close() error {
	_ = s.lock.Close() // first: Windows removes no file that is open
	err := os.RemoveAll(s.Dir)
	s.release()
	return err
}

// Keep leaves the directory to its owner, under a name that no Sweep takes.
func (s *Scratch) Keep() (dir string, err error) {
	defer s.release()
	if runtime.GOOS == "windows" { // which renames no directory with an open file in it; elsewhere the lock keeps a Sweep away until then
		_ = s.lock.Close()
	}
	_ = os.Remove(filepath.Join(s.Dir, scratchLock))
	parent, name := filepath.Split(s.Dir)
	dir = filepath.Join(parent, keptPrefix+strings.TrimPrefix(name, scratchPrefix))
	return dir, os.Rename(s.Dir, dir)
}

func (s *Scratch) release() {
	if s.alive != nil {
		_ = s.alive.Close()
	}
	if s.guard != nil {
		_ = s.guard.Wait()
	}
	_ = s.lock.Close()
}

// GuardScratch waits until the process at the other end of alive is done, then
// removes its directory, which must be one of NewScratch.
func GuardScratch(alive io.Reader, dir string) error {
	if !filepath.IsAbs(dir) || !isScratch(dir) {
		return fmt.Errorf("%s: is no directory of an edit", dir)
	}
	_, _ = io.Copy(io.Discard, alive)
	return os.RemoveAll(dir)
}

// Sweep removes what edits left whose process, and guard, are dead. dir is one
// more place to look in, "" for none.
func Sweep(dir string, getenv func(string) string) {
	bases := memoryDirs(getenv)
	if dir != "" {
		bases = append(bases, dir)
	}
	for _, base := range bases {
		dirs, _ := filepath.Glob(filepath.Join(base, scratchPrefix+"*"))
		for _, d := range dirs {
			sweep(d)
		}
	}
}

func sweep(dir string) {
	if !isScratch(dir) {
		return
	}
	lock, err := os.OpenFile(filepath.Join(dir, scratchLock), os.O_RDWR|os.O_CREATE|openNoFollow, 0o600)
	if err != nil {
		return
	}
	dead := lockFile(lock)
	_ = lock.Close()
	if dead {
		_ = os.RemoveAll(dir)
	}
}

// isScratch tells whether a path is a directory as NewScratch makes them, and
// this user's: /dev/shm is everybody's.
func isScratch(dir string) bool {
	info, err := os.Lstat(dir)
	return err == nil && info.IsDir() && strings.HasPrefix(filepath.Base(dir), scratchPrefix) && owned(info)
}
