package source

import (
	"bytes"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
)

// indexEntry is one entry of .git/index with what it remembers of the file on the disk.
type indexEntry struct {
	name    string // slashes, from the top; of a sparse directory with one at the end
	mode    filemode.FileMode
	hash    plumbing.Hash
	size    uint32 // modulo 2^32
	mtime   stamp
	ctime   stamp
	inode   uint32 // low 32 bits
	stage   int    // 0, or 1 to 3 of a merge conflict
	skip    bool   // skip-worktree: a sparse checkout has it not on the disk
	planned bool   // intent-to-add: git add -N
}

// stamp is a time as the index stores it; nsec is 0 where whoever wrote it kept seconds only.
type stamp struct{ sec, nsec uint32 }

type index struct {
	entries []indexEntry
	mtime   int64 // of the index file, Unix nanoseconds: younger files are not proved by their time ("racy git")
}

// modeSparse is the mode of a directory that a sparse index keeps as one entry.
const modeSparse = filemode.Dir

// index reads the index, versions 2 to 4 (gitformat-index(5)). go-git's decoder is not used: it
// refuses the checksum of zeros that index.skipHash and feature.manyFiles write and the sparse
// index, and reading by reflection it is slow on large trees. Without the file it is empty.
func (r *repository) index() (*index, error) {
	name := filepath.Join(r.gitDir, "index")
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return &index{}, nil
	}
	var info fs.FileInfo
	var data []byte
	if err == nil {
		defer f.Close()
		if info, err = f.Stat(); err == nil {
			data, err = io.ReadAll(f)
		}
	}
	if err != nil {
		return nil, unreadable(name, err)
	}
	x := &index{mtime: info.ModTime().UnixNano()}
	if err := x.decode(data); err != nil {
		var e *Error
		if errors.As(err, &e) {
			e.Where = name
			return nil, e
		}
		return nil, &Error{Where: name, What: "the index is damaged", Why: err.Error(), Fix: "rm .git/index && git reset", err: err}
	}
	return x, nil
}

var errShort = errors.New("it ends too early")

func (x *index) decode(data []byte) error {
	if len(data) < 12+sha1.Size || string(data[:4]) != "DIRC" {
		return errors.New("it has no header")
	}
	body, sum := data[:len(data)-sha1.Size], data[len(data)-sha1.Size:]
	if want := sha1.Sum(body); !bytes.Equal(sum, want[:]) && !bytes.Equal(sum, make([]byte, sha1.Size)) {
		return errors.New("its checksum is wrong")
	}
	version, count := binary.BigEndian.Uint32(body[4:]), binary.BigEndian.Uint32(body[8:])
	if version < 2 || version > 4 {
		return fmt.Errorf("version %d is not known", version)
	}
	at := body[12:]
	previous := ""
	for range count {
		e, rest, err := decodeEntry(at, version, previous)
		if err != nil {
			return err
		}
		x.entries, at, previous = append(x.entries, e), rest, e.name
	}
	for len(at) > 0 {
		if len(at) < 8 {
			return errShort
		}
		name, size := string(at[:4]), binary.BigEndian.Uint32(at[4:])
		if uint64(len(at)) < 8+uint64(size) {
			return errShort
		}
		switch {
		case name == "link":
			return &Error{What: "a split index cannot be read", Fix: "git update-index --no-split-index"}
		case name != "sdir" && (name[0] < 'A' || name[0] > 'Z'):
			return fmt.Errorf("it has the extension %q, which must be understood and is not", name)
		}
		at = at[8+size:]
	}
	return nil
}

func decodeEntry(at []byte, version uint32, previous string) (e indexEntry, rest []byte, err error) {
	const fixed = 62
	if len(at) < fixed {
		return e, nil, errShort
	}
	u32 := func(i int) uint32 { return binary.BigEndian.Uint32(at[i:]) }
	e.ctime, e.mtime = stamp{u32(0), u32(4)}, stamp{u32(8), u32(12)}
	e.inode, e.mode, e.size = u32(20), filemode.FileMode(u32(24)), u32(36)
	copy(e.hash[:], at[40:60])
	flags := binary.BigEndian.Uint16(at[60:])
	e.stage = int(flags>>12) & 3
	head := fixed
	if flags&0x4000 != 0 && version >= 3 {
		if len(at) < head+2 {
			return e, nil, errShort
		}
		extended := binary.BigEndian.Uint16(at[head:])
		e.skip, e.planned = extended&0x4000 != 0, extended&0x2000 != 0
		head += 2
	}
	if version == 4 {
		drop, n := offsetVarint(at[head:])
		if n == 0 || drop > uint64(len(previous)) {
			return e, nil, errors.New("a name is not understood")
		}
		head += n
		end := bytes.IndexByte(at[head:], 0)
		if end < 0 {
			return e, nil, errShort
		}
		e.name = previous[:len(previous)-int(drop)] + string(at[head:head+end])
		return e, at[head+end+1:], nil
	}
	end := bytes.IndexByte(at[head:], 0)
	if end < 0 {
		return e, nil, errShort
	}
	e.name = string(at[head : head+end])
	length := (head + end + 8) &^ 7 // 1 to 8 zeros behind the name
	if len(at) < length {
		return e, nil, errShort
	}
	return e, at[length:], nil
}

// offsetVarint decodes the variable width integer of pack offsets (varint.c, decode_varint).
func offsetVarint(b []byte) (v uint64, n int) {
	for i, c := range b {
		if i > 8 {
			return 0, 0
		}
		if i > 0 {
			v++
		}
		v = v<<7 | uint64(c&0x7f)
		if c&0x80 == 0 {
			return v, i + 1
		}
	}
	return 0, 0
}
