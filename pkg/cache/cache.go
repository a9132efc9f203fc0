// Package cache keeps what was found out by an earlier run and still holds,
// below kubectl's cache directory. It never holds content: all that is written
// are sums under a key that does not leave the directory, and names of objects
// and files. A cache only ever saves work: one that is missing, corrupt, of
// another version, read-only or full is as good as none, and says nothing.
package cache

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Dir is the cache of one user. A nil *Dir is no cache: it has nothing and
// keeps nothing.
type Dir struct {
	path    string
	key     []byte
	version string
}

// Sum stands for what was summed: equal sums mean equal parts.
type Sum [16]byte

// keySize is the length of the key in bytes.
const keySize = 32

// Open is the cache in dir, made when it is missing; nil where that cannot be.
// version is that of the program: what another wrote is not believed.
func Open(dir, version string) *Dir {
	if dir == "" || os.MkdirAll(dir, 0o700) != nil {
		return nil
	}
	d := &Dir{path: dir, version: version}
	name := filepath.Join(dir, "key")
	if d.key = readKey(name); d.key != nil {
		return d
	}
	key := make([]byte, keySize)
	_, _ = rand.Read(key) // never fails
	// A link is made or not, whole: of two runs at the same time one wins, and
	// both read what it wrote.
	tmp, err := writeTemp(dir, key)
	if err != nil {
		return nil
	}
	defer func() { _ = os.Remove(tmp) }()
	if err := os.Link(tmp, name); err != nil {
		if readKey(name) == nil && os.Rename(tmp, name) != nil { // one that is of no use
			return nil
		}
	}
	if d.key = readKey(name); d.key == nil {
		return nil
	}
	return d
}

// readKey is the key in a file that nobody else may read, nil for none.
func readKey(name string) []byte {
	info, err := os.Lstat(name)
	if err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0 && os.PathSeparator == '/' {
		return nil
	}
	key, err := os.ReadFile(name)
	if err != nil || len(key) != keySize {
		return nil
	}
	return key
}

// Sum sums parts, each with its length, under the key of d and the version.
func (d *Dir) Sum(parts ...string) (s Sum) {
	if d == nil {
		return s
	}
	m := hmac.New(sha256.New, d.key)
	var n [8]byte
	for _, p := range append([]string{d.version}, parts...) {
		binary.LittleEndian.PutUint64(n[:], uint64(len(p)))
		m.Write(n[:])
		m.Write([]byte(p))
	}
	copy(s[:], m.Sum(nil))
	return s
}

func (s Sum) String() string { return hex.EncodeToString(s[:]) }

// read is the content of a file that write has written, nil for anything else:
// a file of another key, of another version, cut short, or changed.
func (d *Dir) read(name string) []byte {
	if d == nil {
		return nil
	}
	data, err := os.ReadFile(filepath.Join(d.path, name))
	if err != nil || len(data) < len(Sum{}) {
		return nil
	}
	body, seal := data[:len(data)-len(Sum{})], data[len(data)-len(Sum{}):]
	want := d.Sum(name, string(body))
	if !hmac.Equal(seal, want[:]) {
		return nil
	}
	return body
}

// write replaces a file as a whole, or leaves it as it is.
func (d *Dir) write(name string, body []byte) {
	if d == nil {
		return
	}
	file := filepath.Join(d.path, name)
	if os.MkdirAll(filepath.Dir(file), 0o700) != nil {
		return
	}
	seal := d.Sum(name, string(body))
	tmp, err := writeTemp(filepath.Dir(file), slices.Concat(body, seal[:]))
	if err != nil {
		return
	}
	if os.Rename(tmp, file) != nil {
		_ = os.Remove(tmp)
	}
}

// tempPrefix is how files begin that are being written.
const tempPrefix = ".tmp-"

// writeTemp writes a file of mode 0600 that is to be renamed.
func writeTemp(dir string, data []byte) (name string, err error) {
	f, err := os.CreateTemp(dir, tempPrefix)
	if err != nil {
		return "", err
	}
	_, err = f.Write(data)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return "", err
	}
	return f.Name(), nil
}

// trim removes the files of a directory that were written longest ago, so that
// most bytes stay, and what a killed run left half-written.
func (d *Dir) trim(dir string, most int64) {
	path := filepath.Join(d.path, dir)
	entries, err := os.ReadDir(path)
	if err != nil {
		return
	}
	var files []fs.FileInfo
	var size int64
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		if len(e.Name()) > len(tempPrefix) && e.Name()[:len(tempPrefix)] == tempPrefix {
			if time.Since(info.ModTime()) > time.Hour {
				_ = os.Remove(filepath.Join(path, e.Name()))
			}
			continue
		}
		files = append(files, info)
		size += info.Size()
	}
	slices.SortFunc(files, func(a, b fs.FileInfo) int { return a.ModTime().Compare(b.ModTime()) })
	for _, f := range files {
		if size <= most {
			return
		}
		if os.Remove(filepath.Join(path, f.Name())) == nil {
			size -= f.Size()
		}
	}
}
