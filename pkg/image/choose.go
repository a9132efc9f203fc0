package image

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Outcome is what became of a tag.
type Outcome string

// Outcomes.
const (
	Excluded   Outcome = "excluded"      // by the ImageRepository's exclusionList
	NotMatched Outcome = "not-matched"   // by the policy's filterTags.pattern
	Shadowed   Outcome = "shadowed"      // another tag has the same extracted value and takes its place
	NotVersion Outcome = "not-a-version" // semver only: skipped
	OutOfRange Outcome = "out-of-range"  // semver only
	NotNumber  Outcome = "not-a-number"  // numerical only: the policy fails
	Ranked     Outcome = "ranked"        // ordered, and not the first
	Chosen     Outcome = "chosen"
	Unranked   Outcome = "unranked" // would be ordered, but the policy fails
	// Of the orders that Flux does not have:
	Undated       Outcome = "undated"        // created only: skipped
	UnknownCommit Outcome = "unknown-commit" // commit only: skipped
)

// Verdict is what became of one tag, and why.
type Verdict struct {
	Tag     string
	Outcome Outcome
	// Extracted is what the policy orders in place of the tag: what
	// filterTags.extract made of it, else the tag itself. "" where it got no
	// further than the filter.
	Extracted string
	Rank      int // 1 is chosen; 0 where it was not ranked

	why  string // the pattern, the parser's message, the range, the tag that shadows
	fact string // what an order of ours goes by: "built 2026-03-02T08:00:00Z"
}

// Reason is the outcome in words.
func (v Verdict) Reason() string {
	var s string
	switch v.Outcome {
	case Excluded:
		return fmt.Sprintf("excluded by %q of the repository's exclusionList", v.why)
	case NotMatched:
		return fmt.Sprintf("not matched by %q", v.why)
	case Shadowed:
		s = "gives way to " + v.why + ", which has the same extracted value"
	case NotVersion:
		s = "not a version: " + v.why
	case OutOfRange, Undated, UnknownCommit:
		s = v.why
	case NotNumber:
		s = "not a number"
	case Unranked:
		s = "not ranked"
	case Ranked:
		s = "ranked " + strconv.Itoa(v.Rank)
	case Chosen:
		s = "chosen"
	}
	if v.fact != "" {
		s = v.fact + ", " + s
	}
	if v.Extracted != v.Tag {
		return fmt.Sprintf("extracted as %q, %s", v.Extracted, s)
	}
	return s
}

// Choice is the tag that a policy chooses, and what became of all the others.
type Choice struct {
	Tag       string // "" if none
	Extracted string // what of it was compared
	Reason    string // one line: why this one
	// Verdicts has every tag once: what was ranked in its order, the chosen one
	// first, then what was not, by name from Z to A.
	Verdicts []Verdict
	Warnings []Problem
}

// Choose picks the tag that Flux's image-reflector-controller picks. exclusions
// are those of the ImageRepository, and the order of tags does not matter: like
// Flux, which keeps them from Z to A, it starts with the last by alphabet.
//
// Where Flux takes one of several at random - filterTags made them equal - the
// choice here is always the same one, with a warning: of equal versions the last
// by alphabet, of equal numbers the one that is larger (with order desc:
// smaller) beyond the precision of a float64, else the first by alphabet. These
// are also the rules that Flux follows without filterTags, but for that
// precision.
//
// A policy whose annotations ask for an order that Flux does not have (see Own)
// needs facts about its Candidates; for others they are nil.
//
// The error is a *Problem; verdicts and warnings are there all the same.
func Choose(p Policy, exclusions, tags []string, facts Facts) (Choice, error) {
	var c Choice
	order, err := p.order(facts)
	if err != nil {
		return c, err
	}
	own, err := p.Own()
	if err != nil {
		return c, err
	}
	if n := p.kinds(); len(n) > 1 && own.By == ByPolicy {
		c.warn(p.problem("image-two-policies", "spec.policy", "spec.policy has %s: like Flux, this takes %s and ignores the rest",
			strings.Join(n, " and "), n[0]), "leave one of them")
	}
	all, err := sift(p, exclusions, tags)
	if err != nil {
		return c, err
	}
	out := all.sifted
	if len(all.in) == 0 {
		err = p.problem("image-no-tag", "", "no tag to choose from: %s", counted(all.total, out))
	} else {
		err = order(all, &c)
		out = append(all.out, out...)
	}
	slices.SortStableFunc(out, func(a, b Verdict) int { return strings.Compare(b.Tag, a.Tag) })
	if err != nil {
		c.Verdicts = append(all.in, out...)
		return c, err
	}
	for i := range all.in {
		all.in[i].Outcome, all.in[i].Rank = Ranked, i+1
	}
	first := &all.in[0]
	first.Outcome = Chosen
	c.Tag, c.Extracted = first.Tag, first.Extracted
	if first.Extracted != first.Tag && own.By == ByPolicy {
		c.Reason += fmt.Sprintf(", extracted as %q", first.Extracted)
	}
	c.collision(all, first)
	c.Verdicts = append(all.in, out...)
	return c, nil
}

// sift leaves the tags that the policy orders, from Z to A.
func sift(p Policy, exclusions, tags []string) (*candidates, error) {
	excluded, err := compileAll(exclusions)
	if err != nil {
		return nil, p.problem("image-regex", "", "exclusionList of its repository: %s", err)
	}
	f, err := p.filter()
	if err != nil {
		return nil, err
	}
	own, err := p.Own()
	if err != nil {
		return nil, err
	}
	tags = slices.Clone(tags)
	slices.SortFunc(tags, func(a, b string) int { return strings.Compare(b, a) })
	tags = slices.Compact(tags)

	all := &candidates{policy: p, filtered: f != nil, total: len(tags)}
	byValue := map[string]int{} // extracted -> index in all.in
next:
	for _, tag := range tags {
		for i, re := range excluded {
			if re.MatchString(tag) {
				all.sifted = append(all.sifted, Verdict{Tag: tag, Outcome: Excluded, why: exclusions[i]})
				continue next
			}
		}
		value, ok := f.apply(tag)
		if !ok {
			all.sifted = append(all.sifted, Verdict{Tag: tag, Outcome: NotMatched, why: f.re.String()})
			continue
		}
		v := Verdict{Tag: tag, Extracted: value, Outcome: Unranked}
		if f == nil || own.By != ByPolicy { // our orders know each tag by itself
			if own.By == ByCreated {
				v.Extracted = tag
			}
			all.in = append(all.in, v)
			continue
		}
		// As in Flux, the last one listed takes the place of the others.
		if i, taken := byValue[value]; taken {
			all.shadowed = append(all.shadowed, all.in[i])
			all.in[i] = v
			continue
		}
		byValue[value] = len(all.in)
		all.in = append(all.in, v)
	}
	for _, v := range all.shadowed {
		v.Outcome, v.why = Shadowed, all.in[byValue[v.Extracted]].Tag
		all.sifted = append(all.sifted, v)
	}
	return all, nil
}

// candidates are the tags that an order gets, from Z to A.
type candidates struct {
	policy   Policy
	filtered bool // by filterTags: Flux has these in random order
	in       []Verdict
	out      []Verdict // what the order took out of in
	shadowed []Verdict
	sifted   []Verdict // what did not come to be ordered
	total    int       // of tags
}

// order puts the candidates in order, the chosen one first, and says why.
type order func(*candidates, *Choice) error

// kinds are the kinds of policy that spec.policy has, in the order in which Flux
// looks for them.
func (p Policy) kinds() []string {
	var out []string
	if p.Spec.Policy.SemVer != nil {
		out = append(out, "semver")
	}
	if p.Spec.Policy.Alphabetical != nil {
		out = append(out, "alphabetical")
	}
	if p.Spec.Policy.Numerical != nil {
		out = append(out, "numerical")
	}
	return out
}

// Check tells what is wrong with the policy whatever the tags, nil if nothing is.
func (p Policy) Check() error {
	_, err := p.order(nil)
	_, filterErr := p.filter()
	return errors.Join(err, filterErr)
}

// CheckRepository tells whether the policy names a repository at all.
func (p Policy) CheckRepository() error {
	if p.Spec.ImageRepositoryRef.Name == "" {
		return p.problem("image-policy", "spec", "spec.imageRepositoryRef.name is missing: the policy has no repository")
	}
	return nil
}

func (c *Choice) warn(p *Problem, hint string) {
	p.Hint = hint
	c.Warnings = append(c.Warnings, *p)
}

// collision warns where other tags have the chosen one's value.
func (c *Choice) collision(all *candidates, first *Verdict) {
	var others []string
	for _, v := range all.shadowed {
		if v.Extracted == first.Extracted {
			others = append(others, v.Tag)
		}
	}
	if len(others) > 0 {
		c.warn(all.policy.problem("image-collision", "spec.filterTags",
			"%s and %s are both %q after filterTags: the first by alphabet is taken, as Flux does", first.Tag, some(others), first.Extracted),
			"let spec.filterTags.pattern match one of them only")
	}
}

// some names up to three.
func some(names []string) string {
	if len(names) > 3 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:3], ", "), len(names)-3)
	}
	return strings.Join(names, ", ")
}

// counted tells what became of tags, none of which is left.
func counted(total int, out []Verdict) string {
	if total == 0 {
		return "the repository has none"
	}
	n := map[Outcome]int{}
	var patterns []string
	for _, v := range out {
		n[v.Outcome]++
		if v.Outcome == NotMatched && len(patterns) == 0 {
			patterns = append(patterns, v.why)
		}
	}
	var parts []string
	if n[Excluded] > 0 {
		parts = append(parts, fmt.Sprintf("%d excluded", n[Excluded]))
	}
	if n[NotMatched] > 0 {
		parts = append(parts, fmt.Sprintf("%d not matched by %q", n[NotMatched], patterns[0]))
	}
	return fmt.Sprintf("of %d, %s", total, strings.Join(parts, ", "))
}

// commitLike is a tag that is a commit, or begins with a word and then is one.
var commitLike = regexp.MustCompile(`^(?:[A-Za-z]+[-_.])?([0-9a-f]{7,40})$`)

// hashes reports whether all candidates are named after commits. Dates and build
// numbers are hexadecimal too, and words can be: one of them at least has to
// have letters and digits.
func (all *candidates) hashes() bool {
	mixed := false
	for _, v := range all.in {
		m := commitLike.FindStringSubmatch(v.Extracted)
		if m == nil {
			return false
		}
		mixed = mixed || strings.ContainsAny(m[1], "abcdef") && strings.ContainsAny(m[1], "0123456789")
	}
	return mixed
}
