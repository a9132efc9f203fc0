package source

import (
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"
	"github.com/go-git/go-git/v5/plumbing"
)

// target is what a ref means.
type target struct {
	hash   plumbing.Hash // of a commit or an annotated tag
	branch string        // where it is one
	label  string        // what stands before the @ of the revision, "" for a bare commit
}

// revision writes the commit as Flux does (pkg/git, Commit.String and AbsoluteReference): the
// part of the ref behind refs/heads/ or refs/tags/, a ref that was named in full as it is.
func (t target) revision(commit plumbing.Hash) string {
	if t.label == "" {
		return "sha1:" + commit.String()
	}
	return t.label + "@sha1:" + commit.String()
}

// refSet is every reference of a repository that stands for an object.
type refSet map[string]plumbing.Hash

// named looks a ref up by its name, full or short. Of a tag and a branch of one name it takes the
// tag, as Git and Flux do.
func (refs refSet) named(ref string) (target, bool) {
	if strings.HasPrefix(ref, "refs/") {
		h, ok := refs[ref]
		branch, _ := strings.CutPrefix(ref, "refs/heads/")
		if branch == ref {
			branch = ""
		}
		return target{h, branch, ref}, ok
	}
	if h, ok := refs["refs/tags/"+ref]; ok {
		return target{h, "", ref}, true
	}
	if h, ok := refs["refs/heads/"+ref]; ok {
		return target{h, ref, ref}, true
	}
	if h, ok := refs["refs/remotes/"+ref]; ok { // origin/main
		_, branch, _ := strings.Cut(ref, "/")
		return target{h, branch, branch}, true
	}
	if h, ok := refs["refs/remotes/origin/"+ref]; ok {
		return target{h, ref, ref}, true
	}
	return target{}, false
}

func (refs refSet) short(prefix string) []string {
	var names []string
	for name := range refs {
		if n, ok := strings.CutPrefix(name, prefix); ok && n != "HEAD" {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	return names
}

// highest are the tags that the constraint allows and that no other is higher than: more than one
// where they differ in build metadata or the "v" alone. Like Flux's, a tag has three numbers.
func (refs refSet) highest(c *semver.Constraints) []target {
	var best *semver.Version
	var out []target
	for name, h := range refs {
		tag, ok := strings.CutPrefix(name, "refs/tags/")
		if !ok {
			continue
		}
		v, err := semver.StrictNewVersion(strings.TrimPrefix(tag, "v"))
		if err != nil || !c.Check(v) || best != nil && v.LessThan(best) {
			continue
		}
		if best == nil || v.GreaterThan(best) {
			best, out = v, nil
		}
		out = append(out, target{hash: h, label: tag})
	}
	slices.SortFunc(out, func(a, b target) int { return strings.Compare(a.label, b.label) })
	return out
}

// newest is the one of several targets whose commit is the youngest, Flux's rule for equal versions.
func newest(o *objects, targets []target) (target, error) {
	var best target
	var when time.Time
	for _, t := range targets {
		c, err := o.commit(t.hash)
		if err != nil {
			return best, err
		}
		if best.hash.IsZero() || c.Committer.When.After(when) {
			best, when = t, c.Committer.When
		}
	}
	return best, nil
}

// noSuchRef is the error for a ref that is nothing.
func (refs refSet) noSuchRef(where, ref string) error {
	branches, tags := refs.short("refs/heads/"), refs.short("refs/tags/")
	for _, name := range refs.short("refs/remotes/origin/") {
		if !slices.Contains(branches, name) {
			branches = append(branches, name)
		}
	}
	e := &Error{Where: where, What: fmt.Sprintf("no branch, tag or commit %q", ref), err: plumbing.ErrReferenceNotFound}
	if _, err := semver.NewConstraint(ref); err == nil {
		e.What += ", and no tag in that semver range"
	}
	var there []string
	if len(branches) > 0 {
		there = append(there, "the branches are "+some(branches, 5))
	}
	if len(tags) > 0 {
		there = append(there, "the tags are "+some(tags, 5))
	}
	e.Why = strings.Join(there, "; ")
	if near := nearest(ref, slices.Concat(branches, tags)); near != "" {
		e.Fix = "did you mean --ref " + near + "?"
	}
	return e
}

func isHash(ref string) bool {
	_, err := hex.DecodeString(ref)
	return err == nil && len(ref) == 40
}

// allRefs reads every reference, those that point to another one resolved.
func (r *repository) allRefs() (refSet, error) {
	iter, err := r.refs.IterReferences()
	if err != nil {
		return nil, &Error{Where: r.where(), What: "the references cannot be read", Why: cause(err), err: err}
	}
	refs, symbolic := refSet{}, map[string]string{}
	err = iter.ForEach(func(ref *plumbing.Reference) error {
		if ref.Type() == plumbing.SymbolicReference {
			symbolic[ref.Name().String()] = ref.Target().String()
		} else {
			refs[ref.Name().String()] = ref.Hash()
		}
		return nil
	})
	if err != nil {
		return nil, &Error{Where: r.where(), What: "the references cannot be read", Why: cause(err), err: err}
	}
	for name, to := range symbolic {
		for range 5 {
			if h, ok := refs[to]; ok {
				refs[name] = h
				break
			}
			to = symbolic[to]
		}
	}
	return refs, nil
}

// RefNames are the branches, those of remotes and the tags of the repository that dir is or lies in,
// as Options.Ref takes them, each kind sorted. There are none where there is no repository.
func RefNames(dir string) []string {
	dir, err := realDirectory(dir)
	if err != nil {
		return nil
	}
	repo, err := discover(dir, Auth{})
	if err != nil || repo == nil {
		return nil
	}
	refs, err := repo.allRefs()
	if err != nil {
		return nil
	}
	remotes := slices.DeleteFunc(refs.short("refs/remotes/"), func(name string) bool { return strings.HasSuffix(name, "/HEAD") })
	return slices.Concat(refs.short("refs/heads/"), remotes, refs.short("refs/tags/"))
}

// resolve says what ref means in a repository on the disk; "" is HEAD.
func (r *repository) resolve(ctx context.Context, ref string) (target, error) {
	refs, err := r.allRefs()
	if err != nil {
		return target{}, err
	}
	if ref == "" || ref == "HEAD" {
		return r.head(refs)
	}
	if isHash(ref) {
		h := plumbing.NewHash(ref)
		if r.objects.has(h) {
			return target{hash: h}, nil
		}
		e := &Error{Where: r.where(), What: "no commit " + ref, Fix: "git fetch --all", err: plumbing.ErrReferenceNotFound}
		if r.objects.shallow {
			e.Why, e.Fix = "this clone is shallow", "git fetch --unshallow"
		}
		return target{}, e
	}
	if t, ok := refs.named(ref); ok {
		return t, nil
	}
	if h, ok, err := r.abbreviated(ref); ok || err != nil {
		return target{hash: h}, err
	}
	if i := strings.IndexAny(ref, "~^"); i > 0 && !strings.ContainsAny(ref, " ,<>=*") {
		base, err := r.resolve(ctx, ref[:i])
		if err != nil {
			return target{}, err
		}
		return r.ancestor(base, ref, ref[i:])
	}
	if c, err := semver.NewConstraint(ref); err == nil {
		if tags := refs.highest(c); len(tags) > 0 {
			return newest(r.objects, tags)
		}
	}
	return target{}, refs.noSuchRef(r.where(), ref)
}

// head is the branch that is checked out. A detached HEAD, as CI systems leave it, is the branch
// whose state at its remote it equals, if that is one: of several, the remote's default.
func (r *repository) head(refs refSet) (target, error) {
	ref, err := r.refs.Reference(plumbing.HEAD)
	if err != nil {
		return target{}, &Error{Where: r.where(), What: "HEAD cannot be read", Why: cause(err), err: err}
	}
	if ref.Type() == plumbing.SymbolicReference {
		name := ref.Target().String()
		h, ok := refs[name]
		short, isBranch := strings.CutPrefix(name, "refs/heads/")
		if !ok {
			e := &Error{Where: r.where(), What: "branch " + short + " has no commits", Fix: "git add . && git commit", err: plumbing.ErrReferenceNotFound}
			if len(refs.short("refs/heads/")) == 0 {
				e.What = "the repository has no commits"
			}
			return target{}, e
		}
		if !isBranch {
			return target{hash: h, label: name}, nil
		}
		return target{h, short, short}, nil
	}
	h := ref.Hash()
	for _, remote := range r.remoteNames() {
		at := "refs/remotes/" + remote + "/"
		if d, err := r.refs.Reference(plumbing.ReferenceName(at + "HEAD")); err == nil && d.Type() == plumbing.SymbolicReference {
			if name := d.Target().String(); refs[name] == h {
				branch := strings.TrimPrefix(name, at)
				return target{h, branch, branch}, nil
			}
		}
		var equal []string
		for _, name := range refs.short(at) {
			if refs[at+name] == h {
				equal = append(equal, name)
			}
		}
		if len(equal) == 1 {
			return target{h, equal[0], equal[0]}, nil
		}
	}
	return target{hash: h}, nil
}

// remoteNames are the names of the remotes, origin first.
func (r *repository) remoteNames() []string {
	names := []string{"origin"}
	for _, s := range r.config.Section("remote").Subsections {
		if s.Name != "origin" {
			names = append(names, s.Name)
		}
	}
	return names
}

// abbreviated finds the commit whose hash begins with ref: four digits or more, as Git. ok is
// false where none does.
func (r *repository) abbreviated(ref string) (h plumbing.Hash, ok bool, err error) {
	even := ref[:len(ref)&^1]
	prefix, hexErr := hex.DecodeString(even)
	if _, odd := strconv.ParseUint("0"+ref[len(even):], 16, 8); hexErr != nil || odd != nil || len(ref) < 4 || len(ref) > 40 {
		return h, false, nil
	}
	found := map[plumbing.Hash]bool{}
	for _, s := range r.objects.stores {
		lister, can := s.(interface {
			HashesWithPrefix([]byte) ([]plumbing.Hash, error)
		})
		if !can {
			continue
		}
		r.objects.mu.Lock()
		hashes, err := lister.HashesWithPrefix(prefix)
		r.objects.mu.Unlock()
		if err != nil {
			return h, false, &Error{Where: r.where(), What: "the objects cannot be listed", Why: cause(err), err: err}
		}
		for _, c := range hashes {
			if !strings.HasPrefix(c.String(), strings.ToLower(ref)) {
				continue
			}
			if obj, err := r.objects.get(plumbing.AnyObject, c); err == nil && (obj.Type() == plumbing.CommitObject || obj.Type() == plumbing.TagObject) {
				found[c] = true
			}
		}
	}
	var all []string
	for c := range found {
		h, all = c, append(all, c.String())
	}
	slices.Sort(all)
	if len(all) > 1 {
		return h, false, &Error{Where: r.where(), What: "commit " + ref + " is ambiguous", Why: "it could be " + some(all, 3), Fix: "--ref " + all[0]}
	}
	return h, len(all) == 1, nil
}

// ancestor follows "~N" and "^N" from a commit (gitrevisions(7)).
func (r *repository) ancestor(t target, ref, steps string) (target, error) {
	c, err := r.objects.commit(t.hash)
	if err != nil {
		return target{}, err
	}
	for steps != "" {
		op := steps[0]
		digits := len(steps[1:]) - len(strings.TrimLeft(steps[1:], "0123456789"))
		n := 1
		if digits > 0 {
			n, err = strconv.Atoi(steps[1 : 1+digits])
		}
		if err != nil || op != '~' && op != '^' {
			return target{}, &Error{Where: r.where(), What: fmt.Sprintf("%q is not understood", ref), Why: "behind a name only ~N and ^N may stand"}
		}
		steps = steps[1+digits:]
		parent, times := 1, n
		if op == '^' {
			parent, times = n, 1
		}
		if n == 0 {
			continue
		}
		for range times {
			if len(c.ParentHashes) < parent {
				return target{}, &Error{Where: r.where(), What: fmt.Sprintf("no commit %q", ref), Why: "the history ends at " + c.Hash.String(), err: plumbing.ErrReferenceNotFound}
			}
			if c, err = r.objects.commit(c.ParentHashes[parent-1]); err != nil {
				return target{}, err
			}
		}
	}
	return target{hash: c.Hash}, nil
}
