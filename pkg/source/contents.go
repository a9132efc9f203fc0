package source

import (
	"context"
	"errors"
	"path"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
)

// Blob is one content that a file had in a commit.
type Blob struct {
	Path   string // slashes, from the top of the repository
	Commit string // 40 hex: the oldest commit that has it, by the date of commits
	Data   []byte
}

// HistoryOptions bound History.
type HistoryOptions struct {
	// MaxSize leaves out blobs of more bytes.
	MaxSize int64
	// Env is the environment in which Git's configuration is found, nil for this process's.
	Env []string
}

// HistoryReport is what History read, and what it could not.
type HistoryReport struct {
	Commits, Blobs int
	// TooLarge counts the blobs above MaxSize.
	TooLarge int
	// Shallow means that the clone does not have the whole history, Missing
	// counts the objects that a partial clone lacks.
	Shallow bool
	Missing int
}

// History gives visit the content of every file in every commit that a reference
// of the repository around dir reaches (branches, remote branches, tags, stashes,
// HEAD), oldest commits first. A content is visited once, under the name that it
// had first, or once for each extension, since that tells how it is to be read. Without
// a repository the error is ErrNoRepository.
func History(ctx context.Context, dir string, o HistoryOptions, visit func(Blob) error) (HistoryReport, error) {
	var report HistoryReport
	dir, err := realDirectory(dir)
	if err != nil {
		return report, err
	}
	repo, err := discover(dir, Auth{Env: o.Env})
	if err != nil {
		return report, err
	}
	if repo == nil {
		return report, &Error{Where: dir, What: "has no history", Why: "it is in no Git repository", err: ErrNoRepository}
	}
	report.Shallow = repo.objects.shallow
	commits, err := repo.allCommits(ctx, &report)
	if err != nil {
		return report, err
	}
	h := &contents{ctx: ctx, objects: repo.objects, o: o, visit: visit, report: &report, trees: map[plumbing.Hash]bool{}, blobs: map[seenBlob]bool{}}
	for _, c := range commits {
		h.commit = c.hash.String()
		if err := h.tree(c.tree, ""); err != nil {
			return report, err
		}
	}
	return report, nil
}

type datedCommit struct {
	hash, tree plumbing.Hash
	when       int64
}

// allCommits are those that any reference reaches, the oldest first.
func (r *repository) allCommits(ctx context.Context, report *HistoryReport) ([]datedCommit, error) {
	refs, err := r.allRefs()
	if err != nil {
		return nil, err
	}
	var queue []plumbing.Hash
	for _, h := range refs {
		queue = append(queue, h)
	}
	if t, err := r.resolve(ctx, ""); err == nil { // a detached HEAD is no reference
		queue = append(queue, t.hash)
	}
	var out []datedCommit
	seen := map[plumbing.Hash]bool{}
	for len(queue) > 0 {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		h := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		if seen[h] {
			continue
		}
		seen[h] = true
		c, err := r.objects.commit(h)
		switch {
		case errors.Is(err, plumbing.ErrObjectNotFound):
			if !report.Shallow { // there a parent beyond the edge is no surprise
				report.Missing++
			}
			continue
		case err != nil && !r.isCommit(h):
			continue // a tag of a file or a tree
		case err != nil:
			return nil, err
		}
		if c.Hash != h {
			if seen[c.Hash] {
				continue
			}
			seen[c.Hash] = true
		}
		out = append(out, datedCommit{c.Hash, c.TreeHash, c.Committer.When.Unix()})
		queue = append(queue, c.ParentHashes...)
	}
	report.Commits = len(out)
	slices.SortFunc(out, func(a, b datedCommit) int {
		if a.when != b.when {
			return int(min(max(a.when-b.when, -1), 1))
		}
		return slices.Compare(a.hash[:], b.hash[:])
	})
	return out, nil
}

func (r *repository) isCommit(h plumbing.Hash) bool {
	for range 10 {
		obj, err := r.objects.get(plumbing.AnyObject, h)
		if err != nil || obj.Type() != plumbing.TagObject {
			return err != nil || obj.Type() == plumbing.CommitObject
		}
		var t object.Tag
		if t.Decode(obj) != nil {
			return true
		}
		h = t.Target
	}
	return false
}

type seenBlob struct {
	hash plumbing.Hash
	ext  string
}

type contents struct {
	ctx     context.Context
	objects *objects
	o       HistoryOptions
	visit   func(Blob) error
	report  *HistoryReport
	commit  string
	trees   map[plumbing.Hash]bool
	blobs   map[seenBlob]bool
}

func (h *contents) tree(hash plumbing.Hash, at string) error {
	if h.trees[hash] {
		return nil
	}
	h.trees[hash] = true
	if err := h.ctx.Err(); err != nil {
		return err
	}
	entries, err := h.objects.tree(hash)
	if errors.Is(err, plumbing.ErrObjectNotFound) {
		h.report.Missing++
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := path.Join(at, e.Name)
		switch e.Mode {
		case filemode.Dir:
			err = h.tree(e.Hash, name)
		case filemode.Regular, filemode.Executable, filemode.Deprecated:
			err = h.blob(e.Hash, name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (h *contents) blob(hash plumbing.Hash, name string) error {
	id := seenBlob{hash, strings.ToLower(path.Ext(name))}
	if h.blobs[id] {
		return nil
	}
	h.blobs[id] = true
	size, err := h.objects.size(hash)
	if err == nil && size > h.o.MaxSize {
		h.report.TooLarge++
		return nil
	}
	var data []byte
	if err == nil {
		data, err = h.objects.blob(hash)
	}
	if errors.Is(err, plumbing.ErrObjectNotFound) {
		h.report.Missing++
		return nil
	}
	if err != nil {
		return err
	}
	h.report.Blobs++
	return h.visit(Blob{Path: name, Commit: h.commit, Data: data})
}
