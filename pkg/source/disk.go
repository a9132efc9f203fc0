package source

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
)

// diskContent is a regular file on the disk as it was when the source was opened.
type diskContent struct {
	root *os.Root
	path string // slashes, from root
	info fs.FileInfo
	sum  []byte // sha256 of the content where it was taken, else nil

	objects *objects      // of the repository that tracks it
	was     plumbing.Hash // the blob that the index has, zero for none
}

func (d *diskContent) size() (int64, error) {
	if d.was.IsZero() {
		return d.info.Size(), nil
	}
	data, err := d.read() // committed, it may be of another length
	return int64(len(data)), err
}

// read is the file as git add would store it, as far as that can be told without its attributes:
// CRLF becomes LF where what is committed has none, and a file that is in Git LFS its pointer.
func (d *diskContent) read() ([]byte, error) {
	data, err := readRegular(d.root, d.path, d.info)
	if err != nil {
		return nil, err
	}
	if d.sum != nil {
		if sum := sha256.Sum256(data); !bytes.Equal(sum[:], d.sum) {
			return nil, changed(d.path)
		}
	}
	if d.was.IsZero() || d.objects == nil {
		return data, nil
	}
	was, err := d.objects.blob(d.was)
	if err != nil {
		return nil, err
	}
	switch {
	case isPointer(was) && !isPointer(data):
		return pointer(data), nil
	case bytes.Contains(data, []byte("\r\n")) && !bytes.Contains(was, []byte("\r\n")):
		return bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n")), nil
	}
	return data, nil
}

func changed(path string) error {
	return &Error{Where: path, What: "changed while it was being read", Fix: "run again"}
}

// readRegular reads the regular file that info describes, and nothing that took its place. A link
// in its place, or in that of a directory above, leads to another file than info's.
func readRegular(root *os.Root, path string, info fs.FileInfo) ([]byte, error) {
	f, err := root.Open(filepath.FromSlash(path))
	if err != nil {
		return nil, unreadable(path, err)
	}
	defer f.Close()
	now, err := f.Stat()
	if err != nil {
		return nil, unreadable(path, err)
	}
	if !os.SameFile(info, now) || now.Size() != info.Size() || !now.ModTime().Equal(info.ModTime()) {
		return nil, changed(path)
	}
	data := make([]byte, 0, now.Size()+1)
	buf := bytes.NewBuffer(data)
	if _, err := io.Copy(buf, f); err != nil {
		return nil, unreadable(path, err)
	}
	if int64(buf.Len()) != now.Size() {
		return nil, changed(path)
	}
	return buf.Bytes(), nil
}

// unchanged reports whether a file on the disk is what the index has.
func (s *scanner) unchanged(ctx context.Context, dir *os.Root, name, p string, e *indexEntry, info fs.FileInfo) (bool, error) {
	link := info.Mode()&fs.ModeSymlink != 0
	if e.mode == filemode.Submodule || !link && !info.Mode().IsRegular() || link && e.mode != filemode.Symlink {
		return false, nil
	}
	// Where core.symlinks is false, a link is a regular file: only its content can tell.
	if link == (e.mode == filemode.Symlink) && s.provedByStat(e, info) {
		return true, nil
	}
	var data []byte
	var err error
	if link {
		var target string
		target, err = dir.Readlink(name)
		data = []byte(filepath.ToSlash(target))
	} else {
		data, err = readRegular(dir, name, info)
	}
	if err != nil {
		return false, unreadable(s.disk(p), err)
	}
	if plumbing.ComputeHash(plumbing.BlobObject, data) == e.hash {
		return true, nil
	}
	if e.mode == filemode.Symlink {
		return false, nil
	}
	was, err := s.repo.objects.blob(e.hash)
	if err != nil {
		return false, err
	}
	lf := func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n")) }
	if bytes.Equal(lf(data), lf(was)) || isPointer(was) && bytes.Equal(pointer(data), was) {
		return true, nil
	}
	return s.cleanedByFilter(ctx, path.Join(s.prefix, p), data, e.hash)
}

// provedByStat follows Git's ie_match_stat: all that the index remembers of the file is as it was,
// and the file is older than the index, so that it cannot have changed in the same instant.
func (s *scanner) provedByStat(e *indexEntry, info fs.FileInfo) bool {
	m := info.ModTime()
	if e.mtime.sec == 0 || m.UnixNano() >= s.index.mtime || uint32(info.Size()) != e.size || !e.mtime.is(m.Unix(), int64(m.Nanosecond())) {
		return false
	}
	if sec, nsec, inode, ok := changeTime(info); ok {
		return e.ctime.is(sec, nsec) && (e.inode == 0 || e.inode == uint32(inode))
	}
	return true
}

func (t stamp) is(sec, nsec int64) bool {
	return t.sec == uint32(sec) && (t.nsec == 0 || t.nsec == uint32(nsec))
}

// cleanedByFilter asks git what its clean filters make of data, where one is configured. Without
// a git binary the file counts as changed.
func (s *scanner) cleanedByFilter(ctx context.Context, inRepo string, data []byte, want plumbing.Hash) (bool, error) {
	if !s.repo.hasFilter() {
		return false, nil
	}
	git := s.repo.env.git()
	if git == "" {
		return false, nil
	}
	cmd := exec.CommandContext(ctx, git, "hash-object", "--stdin", "--path="+inRepo)
	cmd.Dir, cmd.Env, cmd.Stdin = s.repo.top, s.repo.env, bytes.NewReader(data)
	out, err := cmd.Output()
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	return err == nil && strings.TrimSpace(string(out)) == want.String(), nil
}

// lfsVersion begins every pointer file (git-lfs, docs/spec.md).
const lfsVersion = "version https://git-lfs.github.com/spec/v1\n"

func isPointer(b []byte) bool { return len(b) < 1024 && bytes.HasPrefix(b, []byte(lfsVersion)) }

// pointer is what Git LFS commits in place of data.
func pointer(data []byte) []byte {
	sum := sha256.Sum256(data)
	return []byte(lfsVersion + "oid sha256:" + hex.EncodeToString(sum[:]) + "\nsize " + strconv.Itoa(len(data)) + "\n")
}

// plainPath fails where a directory on the way from top to the slash path is a link or missing.
func plainPath(top, p string) error {
	for name := range strings.SplitSeq(p, "/") {
		top = filepath.Join(top, name)
		info, err := os.Lstat(top)
		if err != nil {
			return err
		}
		if !info.IsDir() {
			return fmt.Errorf("%s is not a directory", top)
		}
	}
	return nil
}
