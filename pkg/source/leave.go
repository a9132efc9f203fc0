package source

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"
	"github.com/go-git/go-git/v5/storage/filesystem"
	"github.com/go-git/go-git/v5/utils/ioutil"
)

// Leave stores the commits of b in the checkout, as the branch of that name, and pushes nothing. A
// branch that is there already is moved only where all that it has beyond b is by authors that mine
// knows, and it is checked out nowhere.
func (b *Base) Leave(ctx context.Context, branch string, mine func(email string) bool) error {
	local := b.up.local
	if local == nil {
		return &Error{Where: b.where(), What: "there is no checkout to leave a commit in", Fix: "git clone it, and run there; or push"}
	}
	if err := b.have(ctx, local); err != nil {
		return err
	}
	name := plumbing.NewBranchReferenceName(branch)
	old, err := local.refs.Reference(name)
	if err != nil && !errors.Is(err, plumbing.ErrReferenceNotFound) {
		return &Error{Where: local.where(), What: "branch " + branch + " cannot be read", Why: cause(err), err: err}
	}
	if old != nil {
		if where := local.checkedOut(name); where != "" {
			return &Error{Where: local.where(), What: "branch " + branch + " is checked out", Why: where, Fix: "git switch to another branch, and run it again"}
		}
		own, err := local.objects.over(b.mem).beyond(ctx, old.Hash(), b.parent)
		if err != nil {
			return err
		}
		if !own.contained && !own.by(mine) {
			return &Error{Where: local.where(), What: "branch " + branch + " has commits of others", Why: "it is at " + old.Hash().String()[:7], Fix: "git branch -m " + branch + " OTHER"}
		}
	}
	disk, ok := local.objects.stores[0].(*filesystem.ObjectStorage)
	refs, isDisk := local.refs.(*filesystem.ReferenceStorage)
	if !ok || !isDisk {
		return &Error{Where: local.where(), What: "is no repository on the disk"}
	}
	for _, h := range b.fresh { // what a commit needs comes before it
		o, err := b.mem.EncodedObject(plumbing.AnyObject, h)
		if err == nil {
			_, err = disk.SetEncodedObject(o)
		}
		if err != nil {
			return &Error{Where: local.where(), What: "a Git object cannot be written", Why: cause(err), err: err}
		}
	}
	if err := refs.CheckAndSetReference(plumbing.NewHashReference(name, b.parent), old); err != nil {
		return &Error{Where: local.where(), What: "branch " + branch + " cannot be set", Why: cause(err), err: err}
	}
	return nil
}

// checkedOut names the work tree that has a branch checked out, "" where none has.
func (r *repository) checkedOut(name plumbing.ReferenceName) string {
	heads, _ := filepath.Glob(filepath.Join(r.commonDir, "worktrees", "*", "HEAD"))
	for _, head := range append(heads, filepath.Join(r.commonDir, "HEAD")) {
		if text, err := os.ReadFile(head); err == nil && strings.TrimSpace(string(text)) == "ref: "+name.String() {
			if tree, err := os.ReadFile(filepath.Join(filepath.Dir(head), "gitdir")); err == nil {
				return "in " + filepath.Dir(strings.TrimSpace(string(tree)))
			}
			return "in " + r.where()
		}
	}
	return ""
}

// have brings the commit that b's are made on into a checkout that lacks it, with its history: the
// part of it that the checkout has not, as git fetch does.
func (b *Base) have(ctx context.Context, local *repository) error {
	first := b.parent
	store := local.objects.over(b.mem)
	for range b.made {
		c, err := store.commit(first)
		if err != nil {
			return err
		}
		first = c.ParentHashes[0]
	}
	if local.objects.has(first) {
		return nil
	}
	s, adv, err := b.up.sender(ctx)
	if err != nil {
		return stopped(ctx, err)
	}
	defer s.close()
	req := packp.NewUploadPackRequestFromCapabilities(adv.Capabilities)
	req.Wants = []plumbing.Hash{first}
	refs, err := local.allRefs()
	if err != nil {
		return err
	}
	for _, h := range refs {
		if len(req.Haves) < 256 {
			req.Haves = append(req.Haves, h)
		}
	}
	if local.objects.shallow {
		text, err := os.ReadFile(filepath.Join(local.commonDir, "shallow"))
		if err != nil {
			return unreadable(local.where(), err)
		}
		for h := range strings.FieldsSeq(string(text)) {
			req.Shallows = append(req.Shallows, plumbing.NewHash(h))
		}
		if err := req.Capabilities.Set(capability.Shallow); err != nil {
			return err
		}
	}
	if adv.Capabilities.Supports(capability.NoProgress) {
		if err := req.Capabilities.Set(capability.NoProgress); err != nil {
			return err
		}
	}
	answer, err := s.fetch(ctx, req)
	if err != nil {
		return b.up.fetchFailed(ctx, first.String(), err)
	}
	defer answer.Close()
	pack := ioutil.NewContextReader(ctx, answer)
	switch {
	case req.Capabilities.Supports(capability.Sideband64k):
		pack = sideband.NewDemuxer(sideband.Sideband64k, pack)
	case req.Capabilities.Supports(capability.Sideband):
		pack = sideband.NewDemuxer(sideband.Sideband, pack)
	}
	disk, ok := local.objects.stores[0].(*filesystem.ObjectStorage)
	if !ok {
		return &Error{Where: local.where(), What: "is no repository on the disk"}
	}
	w, err := disk.PackfileWriter()
	if err != nil {
		return &Error{Where: local.where(), What: "a Git pack cannot be written", Why: cause(err), err: err}
	}
	_, err = io.Copy(w, pack)
	if closeErr := w.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return b.up.fetchFailed(ctx, first.String(), err)
	}
	disk.Reindex()
	return nil
}
