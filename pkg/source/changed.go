package source

import (
	"bytes"
	"context"
	"maps"
	"path"
	"slices"
)

// Changed lists the regular files of two snapshots that only one of them has, or
// that differ, by what their artifacts hold: modes and links do not count. A
// submodule that is not there on either side counts as changed if another commit
// is recorded for it. Paths are relative to FS, sorted.
func (s *Snapshot) Changed(ctx context.Context, other *Snapshot) ([]string, error) {
	changed := map[string]bool{}
	if err := differ(ctx, "", s.FS.(*tree).root, other.FS.(*tree).root, changed); err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(changed)), nil
}

// differ adds to changed what is different at and below the path at; either node
// may be nil.
func differ(ctx context.Context, at string, a, b *node, changed map[string]bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	isHole := func(n *node) bool { return n != nil && n.broken != nil }
	isFile := func(n *node) bool { return n != nil && n.content != nil }
	if isHole(a) || isHole(b) {
		if isHole(a) && isHole(b) && a.pin == b.pin {
			return nil
		}
		changed[at] = true
	}
	if isFile(a) || isFile(b) {
		if isFile(a) && isFile(b) {
			same, err := sameContent(a.content, b.content)
			if same || err != nil {
				return err
			}
		}
		changed[at] = true
	}
	below := func(n *node) map[string]*node {
		if n == nil {
			return nil
		}
		return n.children
	}
	names := maps.Clone(below(a))
	if names == nil {
		names = map[string]*node{}
	}
	maps.Copy(names, below(b))
	for name := range names {
		if err := differ(ctx, path.Join(at, name), below(a)[name], below(b)[name], changed); err != nil {
			return err
		}
	}
	return nil
}

func sameContent(a, b content) (bool, error) {
	x, isBlob := a.(blobContent)
	if y, both := b.(blobContent); isBlob && both {
		return x.hash == y.hash, nil
	}
	one, err := a.read()
	if err != nil {
		return false, err
	}
	two, err := b.read()
	return bytes.Equal(one, two), err
}
