package source

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"
)

// What an archive may hold. Flux's limit is 100 MiB for what is fetched from a source-controller.
const (
	maxUnpacked = 512 << 20
	maxFiles    = 100_000
)

// memoryFile is a file that is in memory.
type memoryFile []byte

func (m memoryFile) read() ([]byte, error) { return bytes.Clone(m), nil }
func (m memoryFile) size() (int64, error)  { return int64(len(m)), nil }

// Unpack is the snapshot in a gzipped tar archive, as source-controller and flux push artifact make
// them. As there, symbolic links are left out; a path that leads out of the archive, and anything
// that is no file and no directory, is an error. url is where it comes from, for Is and RootIdentity.
func Unpack(archive []byte, revision, url string) (*Snapshot, error) {
	s := &Snapshot{Revision: revision, URL: url, Links: map[string]string{}}
	if url != "" {
		s.Remotes = []string{url}
	}
	refuse := func(what, why string) (*Snapshot, error) {
		return nil, &Error{Where: revision, What: what, Why: why}
	}
	unzipped, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		return refuse("is not a gzipped tar archive", err.Error())
	}
	build := &builder{tree: newTree(time.Unix(0, 0).UTC()), links: s.Links}
	left := int64(maxUnpacked)
	r := tar.NewReader(unzipped)
	for n := 0; ; n++ {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		switch {
		case err != nil:
			return refuse("the archive is damaged", err.Error())
		case n == maxFiles:
			return refuse("the archive is too large", fmt.Sprintf("it has more than %d files", maxFiles))
		}
		name := path.Clean(h.Name)
		if path.IsAbs(h.Name) || strings.Contains(h.Name, `\`) || name == ".." || strings.HasPrefix(name, "../") {
			return refuse("the archive is not to be trusted", fmt.Sprintf("%q leads out of it", h.Name))
		}
		switch h.Typeflag {
		case tar.TypeDir:
			if name != "." {
				build.tree.directory(name)
			}
		case tar.TypeReg:
			if h.Size > left {
				return refuse("the archive is too large", fmt.Sprintf("unpacked it has more than %d MiB", maxUnpacked>>20))
			}
			left -= h.Size
			var data bytes.Buffer // it grows with what comes, not with what the header claims
			if _, err := io.Copy(&data, r); err != nil {
				return refuse("the archive is damaged", err.Error())
			}
			build.tree.file(name, h.FileInfo().Mode()&0o100 != 0, h.ModTime, memoryFile(data.Bytes()))
		case tar.TypeSymlink:
			build.link(name, h.Linkname)
		case tar.TypeXGlobalHeader:
		default:
			return refuse("the archive is not to be trusted", fmt.Sprintf("%q is neither a file nor a directory", h.Name))
		}
	}
	build.tree.root.seal(true)
	s.FS = build.tree
	return s, nil
}

// fileSnapshot is the snapshot of files in memory, by their paths.
func fileSnapshot(files map[string][]byte, revision, url string) *Snapshot {
	t := newTree(time.Unix(0, 0).UTC())
	for name, data := range files {
		t.file(name, false, t.root.mod, memoryFile(data))
	}
	t.root.seal(true)
	return &Snapshot{FS: t, Revision: revision, URL: url, Remotes: []string{url}, Links: map[string]string{}}
}
