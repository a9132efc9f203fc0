package source

import (
	"io/fs"
	"syscall"
)

// changeTime is the time at which content or metadata of a file last changed, which no program
// can set back, and its inode.
func changeTime(info fs.FileInfo) (sec, nsec int64, inode uint64, ok bool) {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0, 0, false
	}
	return s.Ctimespec.Sec, s.Ctimespec.Nsec, s.Ino, true
}
