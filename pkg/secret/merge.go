package secret

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrConflict is what Merge returns where both sides changed the same.
var ErrConflict = errors.New("both sides changed the same")

// Merge merges what two versions of a sealed file hold, whose common ancestor is
// base (empty for none), and seals the result. A value has the ciphertext of the
// side that it comes from, where both have one data key. Nothing in clear leaves
// this process.
//
// The error is ErrConflict (wrapped), a Problem of a version that does not open, or
// wraps ErrNotSealed where ours or theirs is in clear.
func (k *Keyring) Merge(name string, base, ours, theirs []byte) ([]byte, error) {
	a, err := k.side(name, ours)
	if err != nil {
		return nil, err
	}
	b, err := k.side(name, theirs)
	if err != nil {
		return nil, err
	}
	o := side{plain: base}
	if IsSealed(name, base) {
		if o, err = k.side(name, base); err != nil {
			return nil, err
		}
	}
	var rule Rule
	switch {
	case a.rule.same(b.rule), b.rule.same(o.rule):
		rule = a.rule
	case a.rule.same(o.rule):
		rule = b.rule
	default:
		return nil, fmt.Errorf("%s: %w: who may read it, or what of it is sealed", name, ErrConflict)
	}
	text, ok := merge3(o.plain, a.plain, b.plain)
	switch {
	case !ok:
		return nil, fmt.Errorf("%s: %w values", name, ErrConflict)
	case bytes.Equal(text, a.plain) && rule.same(a.rule):
		return ours, nil
	case bytes.Equal(text, b.plain) && rule.same(b.rule):
		return theirs, nil
	}
	file, err := Encrypt(name, text, rule, SealOptions{Previous: ours, Also: theirs, Keys: k})
	if err != nil {
		// Each side by itself is a file that can be sealed: it is the two together.
		return nil, fmt.Errorf("%s: %w: together they are not valid", name, ErrConflict)
	}
	return file.Data, nil
}

type side struct {
	plain []byte
	rule  Rule
}

func (k *Keyring) side(name string, data []byte) (v side, err error) {
	if v.rule, err = RuleOf(name, data); err != nil {
		return v, err
	}
	v.plain, _, err = k.Decrypt(name, data, DecryptOptions{KeepLayout: true})
	return v, err
}

// same tells whether two rules seal the same of a file to the same readers.
func (r Rule) same(o Rule) bool {
	return sameReaders(r.groups, o.groups) && sameSelection(r.meta, o.meta) && (len(r.groups) < 2 || r.threshold == o.threshold)
}

// merge3 merges texts by their lines, as Git does; but where each side changed
// other lines of a few that stand beside each other, it takes both: in a file of
// names and values each line is one by itself.
func merge3(base, ours, theirs []byte) (merged []byte, ok bool) {
	o, a, b := splitLines(base), splitLines(ours), splitLines(theirs)
	inA, inB := matches(o, a), matches(o, b)
	var out []string
	for i, x, y := 0, 0, 0; i < len(o) || x < len(a) || y < len(b); {
		if i < len(o) && inA[i] == x && inB[i] == y {
			out = append(out, o[i])
			i, x, y = i+1, x+1, y+1
			continue
		}
		// Up to the next line that all have.
		j, p, q := i, len(a), len(b)
		for ; j < len(o); j++ {
			if inA[j] >= x && inB[j] >= y {
				p, q = inA[j], inB[j]
				break
			}
		}
		chunk, ok := mergeChunk(o[i:j], a[x:p], b[y:q])
		if !ok {
			return nil, false
		}
		out = append(out, chunk...)
		i, x, y = j, p, q
	}
	return []byte(strings.Join(out, "")), true
}

func mergeChunk(o, a, b []string) ([]string, bool) {
	switch {
	case slices.Equal(a, b), slices.Equal(o, b):
		return a, true
	case slices.Equal(o, a):
		return b, true
	case len(o) != len(a) || len(o) != len(b):
		return nil, false
	}
	out := make([]string, len(o))
	for i := range o {
		switch {
		case b[i] == o[i], a[i] == b[i]:
			out[i] = a[i]
		case a[i] == o[i]:
			out[i] = b[i]
		default:
			return nil, false
		}
	}
	return out, true
}

func splitLines(text []byte) []string {
	lines := strings.SplitAfter(string(text), "\n")
	if lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	return lines
}

// maxMatches bounds the table of matches, so that two huge files are a conflict
// and not an end of memory.
const maxMatches = 16 << 20

// matches says of each line of a where it is in b, in a longest common
// subsequence; -1 for nowhere.
func matches(a, b []string) []int {
	out := make([]int, len(a))
	for i := range out {
		out[i] = -1
	}
	start := 0
	for start < len(a) && start < len(b) && a[start] == b[start] {
		out[start] = start
		start++
	}
	endA, endB := len(a), len(b)
	for endA > start && endB > start && a[endA-1] == b[endB-1] {
		endA, endB = endA-1, endB-1
		out[endA] = endB
	}
	n, m := endA-start, endB-start
	if n*m == 0 || n*m > maxMatches {
		return out
	}
	longest := make([]int32, (n+1)*(m+1))
	at := func(i, j int) *int32 { return &longest[i*(m+1)+j] }
	for i := n - 1; i >= 0; i-- {
		for j := m - 1; j >= 0; j-- {
			if a[start+i] == b[start+j] {
				*at(i, j) = *at(i+1, j+1) + 1
			} else {
				*at(i, j) = max(*at(i+1, j), *at(i, j+1))
			}
		}
	}
	for i, j := 0, 0; i < n && j < m; {
		switch {
		case a[start+i] == b[start+j]:
			out[start+i] = start + j
			i, j = i+1, j+1
		case *at(i+1, j) >= *at(i, j+1):
			i++
		default:
			j++
		}
	}
	return out
}
