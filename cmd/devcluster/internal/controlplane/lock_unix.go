//go:build unix

package controlplane

import (
	"errors"
	"os"
	"syscall"
)

// tryLock takes an exclusive lock on file without waiting, and tells whether it got it.
func tryLock(file *os.File) (bool, error) {
	err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}
