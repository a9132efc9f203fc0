package image

import (
	"cmp"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/Masterminds/semver/v3"
)

// order compiles the annotations, else spec.policy. Of several kinds Flux takes
// the first in this order.
func (p Policy) order(facts Facts) (order, error) {
	own, err := p.Own()
	switch {
	case err != nil:
		return nil, err
	case own.By == ByCreated:
		return func(all *candidates, c *Choice) error { return byCreated(all, c, facts) }, nil
	case own.By == ByCommit:
		return func(all *candidates, c *Choice) error { return byCommit(all, c, own, facts) }, nil
	}
	switch choice := p.Spec.Policy; {
	case choice.SemVer != nil:
		return p.semver(choice.SemVer.Range)
	case choice.Alphabetical != nil:
		desc, err := p.descending("alphabetical", choice.Alphabetical.Order)
		return func(all *candidates, c *Choice) error { return alphabetical(all, c, desc) }, err
	case choice.Numerical != nil:
		desc, err := p.descending("numerical", choice.Numerical.Order)
		return func(all *candidates, c *Choice) error { return numerical(all, c, desc) }, err
	}
	problem := p.problem("image-policy", "spec.policy", "spec.policy has none of semver, alphabetical, numerical")
	problem.Hint = "policy: {semver: {range: '>=1.0.0'}}"
	return nil, problem
}

// descending reads an order; Flux does not look at case.
func (p Policy) descending(kind, order string) (bool, error) {
	switch strings.ToLower(order) {
	case "", "asc":
		return false, nil
	case "desc":
		return true, nil
	}
	return false, p.problem("image-policy", "spec.policy."+kind+".order", "spec.policy.%s.order: %q is neither asc nor desc", kind, order)
}

// version reads a tag as fluxcd/pkg/version does: all three numbers have to be
// there, and a v before them is ignored.
func version(s string) (*semver.Version, error) {
	if _, err := semver.StrictNewVersion(strings.TrimPrefix(s, "v")); err != nil {
		return nil, err
	}
	return semver.NewVersion(s)
}

func (p Policy) semver(constraint string) (order, error) {
	want, err := semver.NewConstraint(constraint)
	if err != nil {
		return nil, p.problem("image-policy", "spec.policy.semver.range", "spec.policy.semver.range %q: %s", constraint, err)
	}
	return func(all *candidates, c *Choice) error {
		versions := make(map[string]*semver.Version, len(all.in)) // by extracted value, which is unique
		var in []Verdict
		for _, v := range all.in {
			ver, err := version(v.Extracted)
			switch {
			case err != nil:
				v.Outcome, v.why = NotVersion, versionReason(v.Extracted, err)
				all.out = append(all.out, v)
			case !want.Check(ver):
				v.Outcome, v.why = OutOfRange, rangeReason(constraint, want, ver)
				all.out = append(all.out, v)
			default:
				versions[v.Extracted] = ver
				in = append(in, v)
			}
		}
		if all.in = in; len(in) == 0 {
			return all.noVersion(constraint)
		}
		keys := make([]*semver.Version, len(in))
		for i, v := range in {
			keys[i] = versions[v.Extracted]
		}
		reorder(in, func(a, b int) int {
			return cmp.Or(keys[b].Compare(keys[a]), strings.Compare(in[b].Extracted, in[a].Extracted))
		})
		c.Reason = fmt.Sprintf("the highest of %s in %q", count(len(in), "version"), constraint)
		if ties := equals(in, func(v Verdict) bool { return versions[v.Extracted].Equal(versions[in[0].Extracted]) }); len(ties) > 0 {
			c.tie(all, in[0], ties, "the same version", "last")
		}
		return nil
	}, nil
}

// noVersion is the error of a range that nothing is in.
func (all *candidates) noVersion(constraint string) error {
	n := map[Outcome]int{}
	prerelease := false
	for _, v := range all.out {
		n[v.Outcome]++
		prerelease = prerelease || v.Outcome == OutOfRange && strings.Contains(v.why, "prerelease")
	}
	var parts []string
	if n[NotVersion] > 0 {
		parts = append(parts, count(n[NotVersion], "candidate")+" not a version")
	}
	if n[OutOfRange] > 0 {
		parts = append(parts, count(n[OutOfRange], "candidate")+" out of range")
	}
	p := all.policy.problem("image-no-tag", "spec.policy", "no tag in %q: %s", constraint, strings.Join(parts, ", "))
	switch {
	case prerelease:
		p.Hint = "prereleases are in a range only if it has one itself: range: '" + constraint + "-0'"
	case n[OutOfRange] == 0:
		p.Hint = "a version is X.Y.Z; where tags have more around it, take it out with spec.filterTags.extract"
	}
	return p
}

func versionReason(s string, err error) string {
	if rest := strings.TrimPrefix(s, "v"); strings.Count(rest, ".") < 2 && strings.Trim(rest, "0123456789.") == "" && rest != "" {
		return "it is not X.Y.Z"
	}
	return strings.ToLower(err.Error())
}

func rangeReason(constraint string, want *semver.Constraints, v *semver.Version) string {
	if v.Prerelease() != "" {
		if release, err := v.SetPrerelease(""); err == nil && want.Check(&release) {
			return fmt.Sprintf("a prerelease, and %q has none", constraint)
		}
	}
	return fmt.Sprintf("not in %q", constraint)
}

func alphabetical(all *candidates, c *Choice, desc bool) error {
	slices.SortFunc(all.in, func(a, b Verdict) int {
		if desc {
			return strings.Compare(a.Extracted, b.Extracted)
		}
		return strings.Compare(b.Extracted, a.Extracted)
	})
	c.Reason = fmt.Sprintf("the %s by alphabet of %s", map[bool]string{false: "last", true: "first"}[desc], count(len(all.in), "candidate"))
	if all.hashes() {
		c.warn(all.policy.problem("image-hash-order", "spec.policy.alphabetical",
			"orders commit hashes by alphabet: %s is not the newest of %s, but any of them", all.in[0].Tag, count(len(all.in), "tag")),
			"annotate the policy with "+OrderAnnotation+": created, or commit (kubectl-gitops only); or give tags something that grows, such as "+
				"main-<commit>-<unix time>, and order by it: "+
				"filterTags: {pattern: '^main-[a-f0-9]+-(?P<ts>[0-9]+)$', extract: '$ts'}, policy: {numerical: {order: asc}}")
	}
	return nil
}

func numerical(all *candidates, c *Choice, desc bool) error {
	numbers := make(map[string]float64, len(all.in))
	var bad []string
	for i := range all.in {
		v := &all.in[i]
		n, err := strconv.ParseFloat(v.Extracted, 64)
		// NaN has no place in any order: Flux chooses at random where there is one.
		if err != nil || math.IsNaN(n) {
			v.Outcome = NotNumber
			bad = append(bad, v.Tag)
		}
		numbers[v.Extracted] = n
	}
	if len(bad) > 0 {
		p := all.policy.problem("image-not-a-number", "spec.policy.numerical", "numerical needs numbers, and %s: %s",
			map[bool]string{true: "this is none", false: "these are none"}[len(bad) == 1], some(bad))
		p.Hint = "let through numbers only: filterTags: {pattern: '^(?P<n>[0-9]+)$', extract: '$n'}"
		return p
	}
	sign := 1
	if desc {
		sign = -1
	}
	keys := make([]float64, len(all.in))
	for i, v := range all.in {
		keys[i] = numbers[v.Extracted]
	}
	reorder(all.in, func(i, j int) int {
		a, b := all.in[i].Extracted, all.in[j].Extracted
		byValue := sign * cmp.Compare(keys[j], keys[i])
		if byValue == 0 && all.filtered && a != b {
			byValue = sign * compareExactly(b, a)
		}
		return cmp.Or(byValue, strings.Compare(a, b))
	})
	first := all.in[0]
	c.Reason = fmt.Sprintf("the %s of %s", map[bool]string{false: "largest", true: "smallest"}[desc], count(len(all.in), "number"))
	ties := equals(all.in, func(v Verdict) bool { return numbers[v.Extracted] == numbers[first.Extracted] })
	if len(ties) == 0 {
		return nil
	}
	if !slices.ContainsFunc(ties, func(v Verdict) bool { return compareExactly(v.Extracted, first.Extracted) != 0 }) {
		c.tie(all, first, ties, "the same number", "first")
		return nil
	}
	rule := "the exact " + map[bool]string{false: "largest", true: "smallest"}[desc] + " is taken, and Flux takes any of them"
	if !all.filtered {
		rule = "the first by alphabet is taken, as Flux does"
	}
	c.warn(all.policy.problem("image-precision", "spec.policy.numerical", "%s and %s are the same number to Flux, whose numbers are exact up to 2^53: %s",
		first.Tag, some(names(ties)), rule), "order by fewer digits, or alphabetically where all have the same length")
	return nil
}

// reorder sorts by index, so that what is compared can stand beside the verdicts,
// which are large.
func reorder(in []Verdict, compare func(i, j int) int) {
	order := make([]int, len(in))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, compare)
	out := make([]Verdict, len(in))
	for to, from := range order {
		out[to] = in[from]
	}
	copy(in, out)
}

// compareExactly compares what ParseFloat has taken for equal. 0 where it cannot
// tell: infinities, and exponents that would take all memory to write out.
func compareExactly(a, b string) int {
	if strings.ContainsAny(a+b, "eEpPxXiI") || len(a)+len(b) > 512 {
		return 0
	}
	x, okX := new(big.Rat).SetString(a)
	y, okY := new(big.Rat).SetString(b)
	if !okX || !okY {
		return 0
	}
	return x.Cmp(y)
}

// equals are the candidates behind the first that are equal to it.
func equals(in []Verdict, equal func(Verdict) bool) []Verdict {
	n := 1
	for n < len(in) && equal(in[n]) {
		n++
	}
	return in[1:n]
}

func (c *Choice) tie(all *candidates, first Verdict, ties []Verdict, what, which string) {
	flux := "as Flux does"
	if all.filtered {
		flux = "and Flux takes any of them"
	}
	c.warn(all.policy.problem("image-tie", "spec.policy", "%s and %s are %s: the %s by alphabet is taken, %s", first.Tag, some(names(ties)), what, which, flux),
		"let spec.filterTags.pattern match one of them only")
}

func names(all []Verdict) []string {
	out := make([]string, len(all))
	for i, v := range all {
		out[i] = v.Tag
	}
	return out
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}
