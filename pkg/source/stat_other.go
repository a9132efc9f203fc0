//go:build !linux && !darwin

package source

import "io/fs"

// changeTime is not known here: modification time and size must do, as in Git for Windows.
func changeTime(fs.FileInfo) (sec, nsec int64, inode uint64, ok bool) { return 0, 0, 0, false }
