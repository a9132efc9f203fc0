package image

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Annotations of an ImagePolicy that say by what its candidates are ordered
// instead of by spec.policy. Flux does not know them, and orders by spec.policy.
const (
	OrderAnnotation      = "kubectl-gitops.dev/order"             // created or commit
	RepositoryAnnotation = "kubectl-gitops.dev/commit-repository" // URL, for commit
	BranchAnnotation     = "kubectl-gitops.dev/commit-branch"     // for commit; without it the repository's default branch
)

// By is what an order of ours goes by.
type By string

// The orders that Flux does not have.
const (
	ByPolicy  By = ""        // Flux's
	ByCreated By = "created" // the image that was built last
	ByCommit  By = "commit"  // the image of the newest commit of a branch
)

// Own is the order that the annotations of a policy ask for.
type Own struct {
	By         By
	Repository string // of the commits
	Branch     string // "" is the default branch
}

// Own reads the annotations.
func (p Policy) Own() (Own, error) {
	own := Own{By: By(p.Annotations[OrderAnnotation]), Repository: p.Annotations[RepositoryAnnotation], Branch: p.Annotations[BranchAnnotation]}
	wrong := func(hint, format string, args ...any) (Own, error) {
		problem := p.problem("image-order", "metadata.annotations", format, args...)
		problem.Hint = hint
		return Own{}, problem
	}
	_, isSet := p.Annotations[OrderAnnotation]
	switch {
	case own.By != ByPolicy && own.By != ByCreated && own.By != ByCommit || isSet && own.By == ByPolicy:
		return wrong("", "annotation %s: %q is neither created nor commit", OrderAnnotation, own.By)
	case own.By == ByCommit && own.Repository == "":
		return wrong(RepositoryAnnotation+": https://HOST/OWNER/NAME, where the images are built from",
			"annotation %s is commit, and %s does not say of which repository", OrderAnnotation, RepositoryAnnotation)
	case own.By != ByCommit && own.Repository+own.Branch != "":
		return wrong(OrderAnnotation+": commit", "annotations name a repository of commits, and %s is not commit", OrderAnnotation)
	}
	return own, nil
}

// Fact is what an order of ours needs to know of a candidate.
type Fact struct {
	Created time.Time // for created; zero where the image does not say it
	Commit  string    // for commit: 40 hex; "" where it is not known
	Behind  int       // for commit: how many commits of the branch are newer
	// Ambiguous says that Commit is the newest of several that the tag can mean.
	Ambiguous bool
	// Why tells why nothing is known.
	Why string
}

// Facts are facts by tag. What is not in it is not known.
type Facts map[string]Fact

// Candidate is a tag that a policy orders, and what of it is compared.
type Candidate struct{ Tag, Extracted string }

// Candidates are the tags that facts are needed about: what exclusions and
// filterTags leave.
func Candidates(p Policy, exclusions, tags []string) ([]Candidate, error) {
	s, err := sift(p, exclusions, tags)
	if err != nil {
		return nil, err
	}
	out := make([]Candidate, 0, len(s.in))
	for _, v := range s.in {
		out = append(out, Candidate{v.Tag, v.Extracted})
	}
	return out, nil
}

// known splits the candidates into those that something is known of and the rest.
func (all *candidates) known(facts Facts, unknown Outcome, none string, ok func(Fact) bool) {
	var in []Verdict
	for _, v := range all.in {
		f := facts[v.Tag]
		if ok(f) {
			in = append(in, v)
			continue
		}
		v.Outcome, v.why = unknown, cmp.Or(f.Why, none)
		all.out = append(all.out, v)
	}
	all.in = in
}

// byCreated puts the image that was built last first.
func byCreated(all *candidates, c *Choice, facts Facts) error {
	total := len(all.in)
	all.known(facts, Undated, "the image does not say when it was built", func(f Fact) bool { return !f.Created.IsZero() })
	if len(all.in) == 0 {
		p := all.policy.problem("image-undated", "", "none of %s says when it was built", count(total, "candidate"))
		p.Hint = "builders that are reproducible say 1970 or nothing: set the annotation org.opencontainers.image.created, or " + OrderAnnotation + ": commit"
		return p
	}
	keys := make([]time.Time, len(all.in))
	for i := range all.in {
		keys[i] = facts[all.in[i].Tag].Created
		all.in[i].fact = "built " + keys[i].Format(time.RFC3339)
	}
	reorder(all.in, func(a, b int) int {
		return cmp.Or(keys[b].Compare(keys[a]), strings.Compare(all.in[b].Tag, all.in[a].Tag))
	})
	first := all.in[0]
	c.Reason = fmt.Sprintf("the newest of %s, %s", count(len(all.in), "image"), first.fact)
	if ties := equals(all.in, func(v Verdict) bool { return facts[v.Tag].Created.Equal(facts[first.Tag].Created) }); len(ties) > 0 {
		c.ownTie(all, first, ties, "were built at the same time")
	}
	if n := total - len(all.in); n > 0 {
		c.unknown(all, "image-undated", n, total, "do not say when they were built")
	}
	return nil
}

// byCommit puts the image of the newest commit first.
func byCommit(all *candidates, c *Choice, own Own, facts Facts) error {
	total := len(all.in)
	where := "the branch of " + own.Repository
	if own.Branch != "" {
		where = "branch " + own.Branch + " of " + own.Repository
	}
	all.known(facts, UnknownCommit, "not a commit of "+where, func(f Fact) bool { return f.Commit != "" })
	if len(all.in) == 0 {
		p := all.policy.problem("image-unknown-commit", "", "none of %s is of a commit of %s", count(total, "candidate"), where)
		p.Hint = "check " + BranchAnnotation + ", and what spec.filterTags.extract makes of a tag: it is to be the commit, 7 to 40 digits"
		return p
	}
	keys := make([]int, len(all.in))
	for i := range all.in {
		f := facts[all.in[i].Tag]
		keys[i] = f.Behind
		all.in[i].fact = fmt.Sprintf("commit %s, the newest", f.Commit[:12])
		if f.Behind > 0 {
			all.in[i].fact = fmt.Sprintf("commit %s, %s behind", f.Commit[:12], count(f.Behind, "commit"))
		}
	}
	reorder(all.in, func(a, b int) int {
		return cmp.Or(cmp.Compare(keys[a], keys[b]), strings.Compare(all.in[b].Tag, all.in[a].Tag))
	})
	first := all.in[0]
	if f := facts[first.Tag]; f.Ambiguous {
		p := all.policy.problem("image-ambiguous-commit", "", "%s can be several commits of %s, %s among them, and may or may not be the newest", first.Tag, where, f.Commit)
		p.Hint = "give tags more digits of the commit: git rev-parse HEAD"
		return p
	}
	c.Reason = fmt.Sprintf("of the newest of %s, %s", count(len(all.in), "commit"), first.fact)
	if ties := equals(all.in, func(v Verdict) bool { return facts[v.Tag].Behind == facts[first.Tag].Behind }); len(ties) > 0 {
		c.ownTie(all, first, ties, "are of the same commit")
	}
	if n := total - len(all.in); n > 0 {
		c.unknown(all, "image-unknown-commit", n, total, "are of no commit of "+where)
	}
	return nil
}

func (c *Choice) ownTie(all *candidates, first Verdict, ties []Verdict, what string) {
	c.warn(all.policy.problem("image-tie", "", "%s and %s %s: the last by alphabet is taken", first.Tag, some(names(ties)), what),
		"let spec.filterTags.pattern match one of them only")
}

// unknown warns of the candidates that are not ordered.
func (c *Choice) unknown(all *candidates, code string, n, total int, what string) {
	var tags []string
	for _, v := range all.out {
		tags = append(tags, v.Tag)
	}
	c.warn(all.policy.problem(code, "", "%d of %s %s, and are skipped: %s", n, count(total, "candidate"), what, some(tags)), "")
}

// hex is a commit, abbreviated or not. Git's own abbreviations have seven digits
// at least.
var hex = regexp.MustCompile(`^[0-9a-f]{7,64}$`)

// CommitFacts finds the commits that candidates are named after among those of a
// branch, the newest first, each in full. What a candidate's filterTags extracted
// is the commit, or a word and then the commit: sha-42ea07d.
func CommitFacts(history []string, candidates []Candidate) Facts {
	behind := make(map[string]int, len(history))
	sorted := slices.Sorted(slices.Values(history))
	for i, h := range history {
		behind[h] = i
	}
	out := Facts{}
	for _, c := range candidates {
		name := strings.ToLower(c.Extracted)
		if !hex.MatchString(name) {
			m := commitLike.FindStringSubmatch(name)
			if m == nil {
				out[c.Tag] = Fact{Why: fmt.Sprintf("%q is not a commit of 7 digits or more", c.Extracted)}
				continue
			}
			name = m[1]
		}
		from, _ := slices.BinarySearch(sorted, name)
		f, n := Fact{}, 0
		for ; from < len(sorted) && strings.HasPrefix(sorted[from], name); from++ {
			if b := behind[sorted[from]]; n == 0 || b < f.Behind {
				f.Commit, f.Behind = sorted[from], b
			}
			n++
		}
		f.Ambiguous = n > 1
		out[c.Tag] = f
	}
	return out
}
