package secret

import (
	"errors"
	"os"
	"testing"
)

// FailRenameTo makes putting a file in its place fail, until the test ends.
func FailRenameTo(t *testing.T, path string) {
	rename = func(from, to string) error {
		if to == path {
			return errors.New("no space left")
		}
		return os.Rename(from, to)
	}
	t.Cleanup(func() { rename = os.Rename })
}

// NoMemory is a system without storage that is memory, until the test ends.
func NoMemory(t *testing.T) {
	memoryDirs = func(func(string) string) []string { return nil }
	t.Cleanup(func() { memoryDirs = knownMemory })
}
