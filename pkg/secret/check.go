package secret

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/getsops/sops/v3"
)

// Finding is something about a file that a team does not want in its repository.
// Its texts hold no secret.
type Finding struct {
	Rule string `json:"rule"` // one of CheckRules
	File string `json:"file"`
	Line int    `json:"line"` // 0 for the whole file
	// Commit is the oldest one that has it, of what Git's history holds.
	Commit  string `json:"commit,omitempty"`
	Message string `json:"message"`
	Fix     string `json:"fix"` // what to type
}

// The rules of a Checker, in the order in which they are documented.
const (
	PlaintextSecret = "plaintext-secret"
	PrivateKey      = "private-key"
	KnownToken      = "token"
	ClearPassword   = "password"
	Repeated        = "repeated-value"
	NotSealed       = "not-sealed"
	Damaged         = "damaged"
	TooWide         = "sealed-too-widely"
	ServerMade      = "server-metadata"
	NoRule          = "no-rule"
	StaleReaders    = "stale-recipients"
	UnknownReader   = "unknown-recipient"
	UnusedRule      = "unused-rule"
	ShadowedRule    = "shadowed-rule"
	NoDecryption    = "no-decryption"
	Unreached       = "unreached"
	Edited          = "tampered"
	Unreadable      = "no-key"
)

// CheckRules are the rules of a Checker.
var CheckRules = []string{
	PlaintextSecret, PrivateKey, KnownToken, ClearPassword, Repeated, NotSealed, Damaged, TooWide, ServerMade,
	NoRule, StaleReaders, UnknownReader, UnusedRule, ShadowedRule, NoDecryption, Unreached, Edited, Unreadable,
}

var secretKind = regexp.MustCompile(`kind"?\s*:\s*["']?Secret\b`)

// Checker looks through the files of one tree: at each by itself, and then at what
// only all of them together tell. What needs a private key is looked at only where
// one is held. Safe for concurrent use.
type Checker struct {
	keys  *Keyring
	rules Rules
	tree  tree

	mu   sync.Mutex
	seen *seenValues // what was found in clear, for Past
	// sealed are the values that were opened, to find them in clear elsewhere.
	sealed *sealedValues
}

// NewChecker checks a tree whose root is a directory, absolute.
func NewChecker(keys *Keyring, rules Rules, root string) *Checker {
	return &Checker{keys: keys, rules: rules.Cached(), tree: newTree(root), seen: newSeenValues(), sealed: newSealedValues()}
}

// File looks at one file. name is how it is called in findings, and real where it
// is, absolute.
func (c *Checker) File(name, real string, data []byte) []Finding {
	f := &fileCheck{Checker: c, name: name, real: real, data: data}
	docs := &documentsOf{data: data}
	for _, h := range clearHits(name, data, docs) {
		c.seen.add(h, name)
		f.out = append(f.out, Finding{Rule: h.rule, File: name, Line: h.line, Message: h.message, Fix: h.fix})
	}
	segs, err := detectParsed(name, data, docs)
	c.tree.add(name, real, data, err == nil && len(segs) > 0)
	switch {
	case err != nil:
		f.add(Damaged, "git log -p -- "+quoted(name), "%s", err)
	case len(segs) > 0:
		f.sealedFile(segs)
	default:
		if base := path.Base(name); strings.Contains(base, ".sops.") && !strings.HasPrefix(base, ".sops.") {
			f.add(NotSealed, "kubectl gitops secret encrypt -i "+quoted(name), "is not sealed, though its name says so")
		}
	}
	return f.out
}

// fileCheck is the check of one file.
type fileCheck struct {
	*Checker
	name, real string
	data       []byte
	out        []Finding
}

func (f *fileCheck) add(rule, fix, format string, args ...any) {
	f.out = append(f.out, Finding{Rule: rule, File: f.name, Message: fmt.Sprintf(format, args...), Fix: fix})
}

func (f *fileCheck) sealedFile(segs []segment) {
	for i := range f.out {
		if f.out[i].Rule == PlaintextSecret {
			f.out[i].Fix = "take the sops section out, and seal it again by a rule with encrypted_regex: " + KubernetesRegex
		}
	}
	s := Sealed{Path: f.name}
	trees, err := load(&s, segs)
	if err != nil {
		f.add(Damaged, "git log -p -- "+quoted(f.name), "%s", err)
		return
	}
	if s.MetadataSealed && manifestLike(f.data) {
		f.add(TooWide, "kubectl gitops secret check --fix "+quoted(f.name), "apiVersion, kind or metadata are sealed too: Flux's controller does not take it")
	}
	if made := serverMade(trees); len(made) > 0 {
		f.add(ServerMade, "kubectl gitops secret check --fix "+quoted(f.name), "holds what a server made: %s; it was exported", strings.Join(made, ", "))
	}
	f.readers(segs, trees)
	if !f.keys.Holds() {
		return
	}
	for i := range trees {
		if !segs[i].sealed {
			continue
		}
		before := len(f.out)
		_, _, err := f.keys.unlock(&trees[i])
		if err != nil {
			p := problem(s, err)
			switch p.Kind {
			case NoKey, WrongKey:
				f.add(Unreadable, "--age-key-file FILE, or seal it to a key at hand where it can be opened", "%s", p.Err)
			default:
				f.add(Edited, "git log -p -- "+quoted(f.name), "%s", p.Err)
			}
		}
		if len(f.out) > before {
			return
		}
		f.sealed.add(f.name, segs[i].raw, trees[i].Branches)
	}
}

// readers compares whom a file is sealed to with what the rules say.
func (f *fileCheck) readers(segs []segment, trees []sops.Tree) {
	rule, err := f.rules.For(f.real)
	switch {
	case errors.Is(err, ErrNoRule):
		f.add(NoRule, "add a rule to .sops.yaml", "no creation rule says who may read it")
		return
	case err != nil:
		f.add(NoRule, "mend .sops.yaml", "its creation rule cannot be read: %s", err)
		return
	}
	for i, s := range segs {
		if !s.sealed || sameReaders(trees[i].Metadata.KeyGroups, rule.groups) {
			continue
		}
		r := Resealed{Before: recipients(trees[i].Metadata.KeyGroups), After: rule.Recipients}
		code, say := StaleReaders, "its key groups are others than in the rule"
		if add, gone := r.Added(), r.Removed(); len(add)+len(gone) > 0 {
			say = "is sealed to others than its rule names:"
			if len(gone) > 0 {
				say += " still to " + list(gone)
			}
			if len(gone) > 0 && len(add) > 0 {
				say += ","
			}
			if len(add) > 0 {
				say += " not yet to " + list(add)
			}
			if nobody := f.rules.unnamed(rule.Config, gone); len(nobody) > 0 {
				code = UnknownReader
				say += "; no rule at all names " + list(nobody)
			}
		}
		f.add(code, "kubectl gitops secret updatekeys "+quoted(f.name), "%s", say)
		return
	}
}

// unnamed are those recipients that no rule of a .sops.yaml names.
func (r Rules) unnamed(conf string, all []string) (out []string) {
	if conf == "" {
		return nil
	}
	file := r.cache.file(conf)
	for _, who := range all {
		_, name, ok := strings.Cut(who, ":")
		if !ok || isAge(who) {
			name = who
		}
		if !file.named[name] {
			out = append(out, who)
		}
	}
	return out
}

// manifestLike tells whether a file is meant for a cluster.
func manifestLike(data []byte) bool {
	return bytes.Contains(data, []byte("apiVersion")) && bytes.Contains(data, []byte("kind"))
}

// serverFields are the fields of metadata that a server writes.
var serverFields = []string{"uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "selfLink"}

// serverMade lists what an export left in sealed documents.
func serverMade(trees []sops.Tree) (out []string) {
	note := func(field string) {
		if !slices.Contains(out, field) {
			out = append(out, field)
		}
	}
	for _, tree := range trees {
		for _, doc := range tree.Branches {
			if !has(doc, "apiVersion") || !has(doc, "kind") {
				continue
			}
			meta, _ := at(doc, "metadata").(sops.TreeBranch)
			for _, field := range serverFields {
				if at(meta, field) != nil {
					note("metadata." + field)
				}
			}
			annotations, _ := at(meta, "annotations").(sops.TreeBranch)
			if at(annotations, lastApplied) != nil {
				note("the annotation last-applied-configuration")
			}
		}
	}
	return out
}

func has(b sops.TreeBranch, key string) bool {
	return slices.ContainsFunc(b, func(i sops.TreeItem) bool { return i.Key == key })
}

// at is a value of a mapping, nil if it has none.
func at(b sops.TreeBranch, key string) any {
	for _, item := range b {
		if item.Key == key {
			return item.Value
		}
	}
	return nil
}

// Holds tells whether any private key is at hand.
func (k *Keyring) Holds() bool { return len(k.ids) > 0 || len(k.commands) > 0 }

// Past looks at a version of a file that the history has, for what stands there in
// clear and was not found in the files or an earlier version.
func (c *Checker) Past(name, commit string, data []byte) (out []Finding) {
	for _, h := range clearHits(name, data, &documentsOf{data: data}) {
		if !c.seen.add(h, name) {
			continue
		}
		out = append(out, Finding{
			Rule: h.rule, File: name, Line: h.line, Commit: commit, Message: h.message,
			Fix: "change it: who has the repository has it. Out of the history it goes with git filter-repo",
		})
	}
	return out
}
