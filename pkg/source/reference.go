package source

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/Masterminds/semver/v3"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
)

// Reference is spec.ref of a GitRepository. Of several fields that are given the first of Commit,
// Name, Tag, SemVer and Branch counts, the order in the code of Flux 2.9 (pkg/git, Client.clone;
// the documentation of the API has SemVer before Tag). Without any it is the branch master. Branch
// beside Commit says where the commit is to be found.
type Reference struct{ Branch, Tag, SemVer, Name, Commit string }

// String is the part that counts.
func (r Reference) String() string {
	return cmp.Or(r.Commit, r.Name, r.Tag, r.SemVer, r.branch())
}

func (r Reference) branch() string {
	if r.Branch == "" && r.Commit == "" {
		return "master"
	}
	return r.Branch
}

// commit is the target of a commit, which need not be there.
func (r Reference) commit(where string, refs refSet) (target, error) {
	if !isHash(r.Commit) {
		return target{}, &Error{Where: where, What: fmt.Sprintf("spec.ref.commit %q is not a commit", r.Commit), Why: "it must be given in full, 40 digits"}
	}
	t := target{hash: plumbing.NewHash(r.Commit), branch: r.Branch, label: r.Branch}
	if _, ok := refs["refs/heads/"+r.Branch]; r.Branch != "" && !ok {
		return t, r.missing(where, refs, "branch", r.Branch)
	}
	return t, nil
}

// targets are what r names other than a commit: more than one where versions are equal.
func (r Reference) targets(where string, refs refSet) ([]target, error) {
	one := func(name string, t target, kind, short string) ([]target, error) {
		var ok bool
		if t.hash, ok = refs[name]; !ok {
			return nil, r.missing(where, refs, kind, short)
		}
		return []target{t}, nil
	}
	switch {
	case r.Name != "":
		name := strings.TrimSuffix(r.Name, "^{}") // a tag is followed anyway
		branch, ok := strings.CutPrefix(name, "refs/heads/")
		if !ok {
			branch = ""
		}
		return one(name, target{branch: branch, label: r.Name}, "reference", r.Name)
	case r.Tag != "":
		return one("refs/tags/"+r.Tag, target{label: r.Tag}, "tag", r.Tag)
	case r.SemVer != "":
		c, err := semver.NewConstraint(r.SemVer)
		if err != nil {
			return nil, &Error{Where: where, What: fmt.Sprintf("spec.ref.semver %q is not a range of versions", r.SemVer), Why: err.Error(), err: err}
		}
		if tags := refs.highest(c); len(tags) > 0 {
			return tags, nil
		}
		return nil, r.missing(where, refs, "tag in the semver range", r.SemVer)
	}
	b := r.branch()
	return one("refs/heads/"+b, target{branch: b, label: b}, "branch", b)
}

func (r Reference) missing(where string, refs refSet, kind, name string) error {
	e := &Error{Where: where, What: fmt.Sprintf("no %s %q", kind, name), err: plumbing.ErrReferenceNotFound}
	plural, names := "tags", refs.short("refs/tags/")
	if kind == "branch" {
		plural, names = "branches", refs.short("refs/heads/")
	}
	if e.Why = "there are no " + plural; len(names) > 0 {
		e.Why = "the " + plural + " are " + some(names, 5)
	}
	if near := nearest(name, names); near != "" {
		e.Fix = "did you mean " + near + "?"
	} else if kind == "branch" && r.Branch == "" {
		e.Fix = "name the branch: spec.ref.branch; without it Flux takes master"
	}
	return e
}

// pickReference says what to fetch for r from a server that advertises refs.
func pickReference(refs refSet, adv *packp.AdvRefs, r Reference, where string) (choice, error) {
	if r.Commit == "" {
		targets, err := r.targets(where, refs)
		out := choice{targets: targets}
		for _, t := range targets {
			out.wants = append(out.wants, t.hash)
		}
		return out, err
	}
	t, err := r.commit(where, refs)
	if err != nil {
		return choice{}, err
	}
	return pickCommit(refs, adv, t), nil
}

// pickCommit asks for a commit alone where the server gives it out, else for the history of the
// branch that it should be in, or of all of them.
func pickCommit(refs refSet, adv *packp.AdvRefs, t target) choice {
	alone := choice{targets: []target{t}, wants: []plumbing.Hash{t.hash}}
	for _, h := range refs {
		if h == t.hash {
			return alone
		}
	}
	if adv.Capabilities.Supports(capability.AllowReachableSHA1InWant) || adv.Capabilities.Supports("allow-any-sha1-in-want") {
		return alone
	}
	all := choice{targets: []target{t}, deep: true}
	for name, h := range refs {
		if t.branch != "" && name == "refs/heads/"+t.branch || t.branch == "" && (strings.HasPrefix(name, "refs/heads/") || strings.HasPrefix(name, "refs/tags/")) {
			all.wants = append(all.wants, h)
		}
	}
	return all
}

// reference resolves r in a repository on the disk.
func (repo *repository) reference(r Reference) (target, error) {
	refs, err := repo.allRefs()
	if err != nil {
		return target{}, err
	}
	if r.Commit != "" {
		return r.commit(repo.where(), refs)
	}
	targets, err := r.targets(repo.where(), refs)
	if err != nil {
		return target{}, err
	}
	return newest(repo.objects, targets)
}
