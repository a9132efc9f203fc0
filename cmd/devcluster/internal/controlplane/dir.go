package controlplane

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tempPattern names the directories that Claim makes when none is given; Sweep finds the abandoned ones by it.
const tempPattern = "devcluster-*"

// Names inside a directory. Whatever is not listed in owned was not made here and is never removed.
const (
	lockName       = "lock"
	stateName      = "state.json"
	kubeconfigName = "kubeconfig"
	credentialsDir = "credentials"
	runDir         = "run" // the components' working directories
	logsDir        = "logs"
	binDir         = "bin"
	cacheDir       = "cache"
)

var owned = []string{stateName, kubeconfigName, credentialsDir, runDir, binDir, cacheDir}

// Dir is a directory that this process owns: it holds a lock on a file in it, which the kernel releases when the
// process ends, however it ends.
type Dir struct {
	Path string
	// Temporary tells that Claim chose the directory, and so that nothing in it is worth keeping.
	Temporary bool

	lock *os.File
}

// InUseError says that another devcluster owns the directory.
type InUseError struct {
	Path string
	PID  int // 0 when the owner has not written it yet
}

func (e *InUseError) Error() string {
	return fmt.Sprintf("directory %s is in use by the devcluster with pid %d — stop it with: devcluster down --dir %s, or choose another --dir",
		e.Path, e.PID, e.Path)
}

// Claim makes path, or a new temporary directory when path is "", and locks it. What an earlier devcluster left in it
// is removed; a directory that holds anything but a devcluster's files is refused.
func Claim(path string) (*Dir, error) {
	if path == "" {
		temp, err := os.MkdirTemp("", tempPattern)
		if err != nil {
			return nil, fmt.Errorf("no temporary directory: %w — set TMPDIR to one that can be written, or give --dir", err)
		}
		d, err := lockDir(temp)
		if err != nil {
			return nil, errors.Join(err, os.RemoveAll(temp))
		}
		d.Temporary = true
		return d, nil
	}

	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make directory %s: %w — choose another with --dir", path, err)
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read directory %s: %w — choose another with --dir", path, err)
	}
	if _, err := os.Stat(filepath.Join(path, lockName)); len(entries) > 0 && err != nil && !onlyLogs(entries) {
		return nil, fmt.Errorf("directory %s is not empty and not a devcluster's — choose a new or an empty one with --dir", path)
	}
	d, err := lockDir(path)
	if err != nil {
		return nil, err
	}
	if err := d.removeOwned(append(owned, logsDir)); err != nil {
		return nil, errors.Join(err, d.unlock())
	}
	return d, nil
}

// onlyLogs tells whether the directory is what an `up --dir D -- COMMAND` leaves.
func onlyLogs(entries []os.DirEntry) bool {
	return len(entries) == 1 && entries[0].Name() == logsDir
}

// lockDir takes the lock of an existing directory and writes this process's pid into it.
func lockDir(path string) (*Dir, error) {
	name := filepath.Join(path, lockName)
	file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot write in directory %s: %w — choose another with --dir", path, err)
	}
	locked, err := tryLock(file)
	// `status` holds the lock for a moment to see whether it is free.
	for range 5 {
		if locked || err != nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
		locked, err = tryLock(file)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot lock %s: %w", name, err), file.Close())
	}
	// The owner before us may have removed the file between our open and our lock; then the lock is on nothing.
	if opened, err := file.Stat(); locked && err == nil {
		if now, err := os.Stat(name); err != nil || !os.SameFile(opened, now) {
			locked = false
		}
	}
	if !locked {
		pid := readPID(name)
		return nil, errors.Join(&InUseError{Path: path, PID: pid}, file.Close())
	}
	if err := file.Truncate(0); err == nil {
		_, err = file.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot write %s: %w", name, err), file.Close())
	}
	return &Dir{Path: path, lock: file}, nil
}

// Owner returns the pid of the devcluster that runs in path. It is 0 when none does.
func Owner(path string) (int, error) {
	name := filepath.Join(path, lockName)
	file, err := os.OpenFile(name, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("cannot tell whether a devcluster runs in %s: %w", path, err)
	}
	locked, err := tryLock(file)
	if err := errors.Join(err, file.Close()); err != nil {
		return 0, fmt.Errorf("cannot tell whether a devcluster runs in %s: %w", path, err)
	}
	if locked {
		return 0, nil
	}
	return readPID(name), nil
}

func readPID(name string) int {
	text, err := os.ReadFile(name)
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0
	}
	return pid
}

// file returns the path of a name in the directory.
func (d *Dir) file(elem ...string) string {
	return filepath.Join(append([]string{d.Path}, elem...)...)
}

// Remove removes what a devcluster made in the directory, the directory itself when that leaves it empty, and
// releases it. With keepLogs the logs stay.
func (d *Dir) Remove(keepLogs bool) error {
	names := owned
	if !keepLogs && d.Temporary {
		return errors.Join(os.RemoveAll(d.Path), d.lock.Close())
	}
	if !keepLogs {
		names = append(names[:len(names):len(names)], logsDir)
	}
	return errors.Join(d.removeOwned(names), d.unlock())
}

func (d *Dir) removeOwned(names []string) error {
	for _, name := range names {
		if err := os.RemoveAll(d.file(name)); err != nil {
			return fmt.Errorf("cannot clear %s: %w — remove it by hand", d.file(name), err)
		}
	}
	return nil
}

// unlock releases the directory. A temporary one that still holds logs keeps its lock file, so that Sweep finds it.
func (d *Dir) unlock() error {
	var errs []error
	if _, err := os.Stat(d.file(logsDir)); err != nil || !d.Temporary {
		errs = append(errs, os.Remove(d.file(lockName)))
	}
	errs = append(errs, d.lock.Close())
	if entries, err := os.ReadDir(d.Path); err == nil && len(entries) == 0 {
		errs = append(errs, os.Remove(d.Path))
	}
	return errors.Join(errs...)
}

// Sweep removes the temporary directories whose devcluster was killed before it could. It never fails a start:
// what cannot be removed (another user's) is left.
func Sweep() {
	paths, err := filepath.Glob(filepath.Join(os.TempDir(), tempPattern))
	if err != nil {
		return
	}
	for _, path := range paths {
		info, err := os.Stat(filepath.Join(path, lockName))
		if err != nil {
			continue
		}
		// An empty lock file belongs to somebody who is about to lock it.
		if info.Size() == 0 && time.Since(info.ModTime()) < time.Hour {
			continue
		}
		if d, err := lockDir(path); err == nil {
			_ = errors.Join(os.RemoveAll(path), d.lock.Close())
		}
	}
}

// RemoveLeftovers removes what a devcluster that no longer runs left in path, if anything.
func RemoveLeftovers(path string) error {
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	d, err := Claim(path)
	if err != nil {
		return err
	}
	return d.Remove(false)
}
