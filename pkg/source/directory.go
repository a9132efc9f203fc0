package source

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"
)

// openFiles reads a directory that no repository tracks: its regular files, whatever a .gitignore
// says. The digest of the revision is the SHA-256 of one line a file, in order of their paths,
// "<path>\x00<64 hex, SHA-256 of the content>\n".
func openFiles(ctx context.Context, o Options, dir string) (*Snapshot, error) {
	o.Progress("reading " + dir)
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, unreadable(dir, err)
	}
	s := &Snapshot{Dir: dir, Links: map[string]string{}}
	d := &directory{root: root, dir: dir, build: &builder{tree: newTree(time.Unix(0, 0).UTC()), links: s.Links}}
	if err := d.walk(ctx, root, ""); err != nil {
		return nil, err
	}
	d.build.tree.root.seal(true)
	digest := sha256.New()
	lines := d.lines(d.build.tree.root, "", nil)
	slices.Sort(lines)
	for _, line := range lines {
		digest.Write([]byte(line))
	}
	s.FS, s.Revision = d.build.tree, "dir@sha256:"+hex.EncodeToString(digest.Sum(nil))
	return s, nil
}

type directory struct {
	root  *os.Root
	dir   string
	build *builder
}

func (d *directory) walk(ctx context.Context, at *os.Root, rel string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	names, err := readNames(at)
	if err != nil {
		return d.unreadable(rel, err)
	}
	for _, name := range names {
		p := path.Join(rel, name)
		info, err := at.Lstat(name)
		if err != nil {
			return d.unreadable(p, err)
		}
		switch {
		case name == ".git":
		case info.IsDir():
			d.build.tree.directory(p)
			sub, err := at.OpenRoot(name)
			if err != nil {
				return d.unreadable(p, err)
			}
			err = d.walk(ctx, sub, p)
			sub.Close()
			if err != nil {
				return err
			}
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := at.Readlink(name)
			if err != nil {
				return d.unreadable(p, err)
			}
			d.build.link(p, filepath.ToSlash(target))
		case info.Mode().IsRegular():
			data, err := readRegular(at, name, info)
			if err != nil {
				return d.unreadable(p, err)
			}
			sum := sha256.Sum256(data)
			d.build.tree.file(p, info.Mode()&0o100 != 0, info.ModTime(), &diskContent{root: d.root, path: p, info: info, sum: sum[:]})
		}
	}
	return nil
}

func (d *directory) unreadable(p string, err error) error {
	return unreadable(filepath.Join(d.dir, filepath.FromSlash(p)), err)
}

// lines are what the digest is taken of.
func (d *directory) lines(n *node, at string, out []string) []string {
	for _, e := range n.listing {
		c := n.children[e.Name()]
		p := path.Join(at, c.name)
		if c.children != nil {
			out = d.lines(c, p, out)
			continue
		}
		out = append(out, fmt.Sprintf("%s\x00%x\n", p, c.content.(*diskContent).sum))
	}
	return out
}
