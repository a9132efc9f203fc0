package secret

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"sync"

	"github.com/getsops/sops/v3"
)

// fingerprint names a value without holding it: an HMAC under a key that lives as
// long as the run.
type fingerprint [sha256.Size]byte

type fingerprints struct {
	mu  sync.Mutex
	key [32]byte
}

func (f *fingerprints) init() {
	_, _ = rand.Read(f.key[:]) // never fails
}

func (f *fingerprints) of(parts ...string) (out fingerprint) {
	m := hmac.New(sha256.New, f.key[:])
	for _, p := range parts {
		m.Write([]byte(p))
		m.Write([]byte{0})
	}
	m.Sum(out[:0])
	return out
}

// seenValues are secrets in clear that were found.
type seenValues struct {
	fingerprints
	seen map[fingerprint]bool
}

func newSeenValues() *seenValues {
	s := &seenValues{seen: make(map[fingerprint]bool)}
	s.init()
	return s
}

// add tells whether a secret was not found in this file before.
func (s *seenValues) add(h hit, file string) bool {
	id := s.of(h.rule, file, h.value)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen[id] {
		return false
	}
	s.seen[id] = true
	return true
}

// sealedValues are the values of sealed files that are worth looking for elsewhere.
type sealedValues struct {
	fingerprints
	from    map[fingerprint]string // the file that seals it
	lengths map[int]bool           // a cheap first look
}

func newSealedValues() *sealedValues {
	s := &sealedValues{from: make(map[fingerprint]string), lengths: make(map[int]bool)}
	s.init()
	return s
}

// add notes the values that a file seals. raw is the file as it is: what stands in
// it in clear is not sealed.
func (s *sealedValues) add(file string, raw []byte, branches sops.TreeBranches) {
	put := func(v string) {
		if v = strings.TrimSpace(v); !random(v) || placeholder(v) || strings.Contains(v, "\n") || bytes.Contains(raw, []byte(v)) {
			return
		}
		id := s.of(v)
		s.mu.Lock()
		defer s.mu.Unlock()
		if from, ok := s.from[id]; !ok || file < from {
			s.from[id] = file
		}
		s.lengths[len(v)] = true
	}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case sops.TreeBranch:
			for _, item := range v {
				walk(item.Value)
			}
		case []any:
			for _, e := range v {
				walk(e)
			}
		case string:
			put(v)
			if plain, err := base64.StdEncoding.DecodeString(v); err == nil {
				put(string(plain))
			}
		}
	}
	for _, b := range branches {
		walk(b)
	}
}

// sealedAs tells which file seals a text, "" for none.
func (s *sealedValues) sealedAs(text string) string {
	if !s.lengths[len(text)] {
		return ""
	}
	return s.from[s.of(text)]
}

// repeats finds the lines of a file on which a sealed value stands in clear, by
// itself, in quotes, behind a name, or in base64.
func (s *sealedValues) repeats(data []byte) (lines []int, from []string) {
	if len(s.from) == 0 || bytes.IndexByte(data[:min(len(data), 8000)], 0) >= 0 {
		return nil, nil
	}
	for i, line := range bytes.Split(data[:min(len(data), maxCheckedSize)], []byte("\n")) {
		if by := s.onLine(string(line)); by != "" {
			lines, from = append(lines, i+1), append(from, by)
		}
	}
	return lines, from
}

func (s *sealedValues) onLine(line string) string {
	look := func(text string) string {
		if by := s.sealedAs(text); by != "" {
			return by
		}
		if len(text) >= 12 {
			if plain, err := base64.StdEncoding.DecodeString(text); err == nil {
				return s.sealedAs(string(plain))
			}
		}
		return ""
	}
	whole := strings.TrimSpace(line)
	if by := look(whole); by != "" {
		return by
	}
	for _, sep := range []string{": ", "="} {
		if _, v, ok := strings.Cut(whole, sep); ok {
			if by := look(strings.Trim(strings.TrimSpace(v), `"'`)); by != "" {
				return by
			}
		}
	}
	for _, word := range strings.FieldsFunc(whole, func(r rune) bool { return strings.ContainsRune(" \t\"'`,;<>()[]{}", r) }) {
		if by := look(word); by != "" {
			return by
		}
		for _, sep := range []string{"=", ":", "@"} {
			if _, v, ok := strings.Cut(word, sep); ok {
				if by := look(v); by != "" {
					return by
				}
			}
		}
	}
	return ""
}
