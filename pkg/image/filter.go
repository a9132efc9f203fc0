package image

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ValidTag reports whether a registry can hold s as a tag (the grammar of the
// OCI distribution specification).
func ValidTag(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_':
		case i > 0 && (c == '.' || c == '-'):
		default:
			return false
		}
	}
	return 0 < len(s) && len(s) <= 128
}

func compileAll(patterns []string) ([]*regexp.Regexp, error) {
	var out []*regexp.Regexp
	for _, p := range patterns {
		re, err := regexp.Compile(p)
		if err != nil {
			return nil, fmt.Errorf("%q: %s", p, regexReason(err))
		}
		out = append(out, re)
	}
	return out, nil
}

// regexReason is the reason in an error of package regexp, without its prefix.
func regexReason(err error) string {
	return strings.TrimPrefix(err.Error(), "error parsing regexp: ")
}

// filter is spec.filterTags, compiled. A nil filter passes every tag as it is.
type filter struct {
	re      *regexp.Regexp
	extract string
}

// filter compiles spec.filterTags. An extract that names a group that the
// pattern does not have is refused: Flux reads the group as empty, so that all
// tags become the same, and one of them at random is the latest.
func (p Policy) filter() (*filter, error) {
	f := p.Spec.FilterTags
	if f == nil {
		return nil, nil
	}
	re, err := regexp.Compile(f.Pattern)
	if err != nil {
		return nil, p.problem("image-regex", "spec.filterTags.pattern", "spec.filterTags.pattern %q: %s", f.Pattern, regexReason(err))
	}
	names := re.SubexpNames()
	for _, group := range groups(f.Extract) {
		if n, err := strconv.Atoi(group); err == nil && n < len(names) || slices.Contains(names[1:], group) {
			continue
		}
		problem := p.problem("image-extract", "spec.filterTags.extract",
			"spec.filterTags.extract %q takes group %q, which the pattern %q does not have", f.Extract, group, f.Pattern)
		problem.Hint = groupHint(f.Extract, group, names)
		return nil, problem
	}
	return &filter{re: re, extract: f.Extract}, nil
}

func groupHint(extract, group string, names []string) string {
	// $1_x is group "1_x" to package regexp, hardly ever what is meant.
	for i := len(group) - 1; i > 0; i-- {
		if n, err := strconv.Atoi(group[:i]); err == nil && n < len(names) || slices.Contains(names[1:], group[:i]) {
			return "write " + strings.Replace(extract, "$"+group, "${"+group[:i]+"}"+group[i:], 1)
		}
	}
	have := []string{"$0, the whole match"}
	for i, name := range names[1:] {
		if name != "" {
			have = append(have, "$"+name)
		} else {
			have = append(have, "$"+strconv.Itoa(i+1))
		}
	}
	return "the pattern has " + strings.Join(have, ", ") + "; put what is meant in a group: (?P<name>…)"
}

// groups are the groups that an extract names, by the rules of regexp.Expand.
func groups(extract string) []string {
	var out []string
	for {
		_, rest, ok := strings.Cut(extract, "$")
		if !ok {
			return out
		}
		if strings.HasPrefix(rest, "$") { // $$ is a dollar sign
			extract = rest[1:]
			continue
		}
		braced := strings.HasPrefix(rest, "{")
		if braced {
			rest = rest[1:]
		}
		n := 0
		for n < len(rest) {
			r, size := utf8.DecodeRuneInString(rest[n:])
			if r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) {
				break
			}
			n += size
		}
		name := rest[:n]
		extract = rest[n:]
		if n > 0 && (!braced || strings.HasPrefix(extract, "}")) {
			out = append(out, name)
		}
	}
}

// apply is what the policy orders in place of tag, and whether it orders it at
// all. The pattern is not anchored, as in Flux.
func (f *filter) apply(tag string) (extracted string, ok bool) {
	if f == nil {
		return tag, true
	}
	match := f.re.FindStringSubmatchIndex(tag)
	if match == nil {
		return "", false
	}
	if f.extract == "" {
		return tag, true
	}
	return string(f.re.ExpandString(nil, f.extract, tag, match)), true
}
