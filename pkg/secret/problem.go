package secret

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// Kind says what is wrong with a sealed file, in words that a report may carry.
type Kind string

// The kinds of Problem.
const (
	NoKey              Kind = "no key"              // no private key of the kind that is wanted is held
	WrongKey           Kind = "wrong key"           // the keys held are for others
	Tampered           Kind = "tampered"            // the MAC does not match
	TamperedCiphertext Kind = "tampered ciphertext" // a sealed value does not open
	NotConfigured      Kind = "not configured"      // the Kustomization has no spec.decryption
	BadMetadata        Kind = "bad metadata"        // what SOPS noted in the file is not whole
	TooLarge           Kind = "too large"           // above the 5 MiB that Flux reads
)

// Sealed is a file that SOPS sealed.
type Sealed struct {
	Path string
	// Recipients are all whom the file is sealed to, in its order: age and SSH
	// recipients as they are, others as "pgp:FINGERPRINT", "kms:ARN",
	// "gcp_kms:…", "azure_kv:…", "hckms:…", "hc_vault:…".
	Recipients []string
	// MetadataSealed means that apiVersion, kind or something under metadata is
	// sealed too: opened before the build that is no matter, but a Flux
	// controller, which opens resources after it, would refuse this file.
	MetadataSealed bool
	// MACIgnored means that the MAC does not match and was ignored on demand.
	MACIgnored bool

	values []string // as Values
}

// Values are those that were sealed, in clear: so that they can be kept from
// being shown. What names an object is none of them.
func (s Sealed) Values() []string { return s.values }

// Problem is a sealed file that could not be opened. It is an error whose text
// is one line without a key or a value; Hint says what to type.
type Problem struct {
	Sealed
	Kind Kind
	// Err is the reason without the path. For NoKey and WrongKey it is a
	// *KeyError, which has the recipients and places one by one.
	Err  error
	Hint string
}

func (p Problem) Error() string { return p.Path + ": " + p.Err.Error() }

func (p Problem) Unwrap() error { return p.Err }

// KeyError is a data key that no key at hand could unwrap.
type KeyError struct {
	Recipients []string // whom the file is sealed to
	Held       []string // the public halves of the keys held
	Places     []Place  // where keys were looked for
	// Tried are the recipients other than age that were asked, and what they
	// said: gpg, the key services of the clouds, Vault.
	Tried []Attempt
	// Needed and Opened count key groups where a file wants more than one of
	// them (Shamir), else 0.
	Needed, Opened int
}

// Attempt is one recipient of a file and why it did not open.
type Attempt struct {
	Recipient string
	Why       string
}

// Error is one line, without the places.
func (e *KeyError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "cannot be opened: it is sealed to %s", list(e.Recipients))
	switch {
	case !slices.ContainsFunc(e.Recipients, isAge):
	case len(e.Held) == 0:
		b.WriteString("; no age key is at hand")
	default:
		fmt.Fprintf(&b, "; the keys at hand are for %s", list(e.Held))
	}
	if e.Needed > 0 {
		fmt.Fprintf(&b, "; %d key groups are needed and %d could be opened", e.Needed, e.Opened)
	}
	for _, t := range e.Tried {
		fmt.Fprintf(&b, "; %s: %s", list([]string{t.Recipient}), t.Why)
	}
	return b.String()
}

// list joins recipients for a line. They come from the file: what is not
// printable is escaped, and what is long is cut, as a hybrid recipient of some
// 2,000 letters.
func list(recipients []string) string {
	short := make([]string, 0, len(recipients))
	for i, r := range recipients {
		if i == 20 && len(recipients) > 21 {
			short = append(short, fmt.Sprintf("and %d more", len(recipients)-i))
			break
		}
		if strings.ContainsFunc(r, func(c rune) bool { return !unicode.IsPrint(c) }) {
			r = strconv.Quote(r)
		}
		if c := []rune(r); len(c) > 160 {
			r = string(c[:30]) + "…" + string(c[len(c)-10:])
		}
		short = append(short, r)
	}
	return strings.Join(short, ", ")
}

// quoted is a word as a shell takes it.
func quoted(word string) string {
	if plainWord.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

var plainWord = regexp.MustCompile(`^[\w./@%+=:,-]+$`)

// fault is the reason of a Problem before its file is known.
type fault struct {
	kind Kind
	msg  string
}

func (f *fault) Error() string { return f.msg }

// problem makes a Problem of whatever opening a file came to.
func problem(f Sealed, err error) Problem {
	p := Problem{Sealed: f, Kind: BadMetadata, Err: err}
	if ke := new(KeyError); errors.As(err, &ke) {
		p.Kind = NoKey
		if len(ke.Held) > 0 && slices.ContainsFunc(ke.Recipients, isAge) {
			p.Kind = WrongKey
		}
		p.Hint = keyHint(ke)
		return p
	}
	if ft := new(fault); errors.As(err, &ft) {
		p.Kind = ft.kind
	}
	switch p.Kind {
	case Tampered:
		p.Hint = fmt.Sprintf("git log -p -- %s shows the edit; take it as it is with --ignore-mac, or for good with: kubectl gitops secret decrypt --ignore-mac %[1]s | kubectl gitops secret encrypt - --out %[1]s", quoted(f.Path))
	case TamperedCiphertext, BadMetadata:
		p.Hint = fmt.Sprintf("git log -p -- %s shows the edit; bring the sealed file back, then change it with: kubectl gitops secret edit %[1]s", quoted(f.Path))
	case NotConfigured:
		p.Hint = "add to the Kustomization: spec.decryption.provider: sops"
	case TooLarge:
		p.Hint = "split the file"
	}
	return p
}

// keyHint says how to get at a key for the recipients of a file.
func keyHint(e *KeyError) string {
	var hints []string
	if slices.ContainsFunc(e.Recipients, isAge) {
		hints = append(hints, "export SOPS_AGE_KEY_FILE=FILE, or --age-key-file FILE; "+
			"for a key in the cluster: kubectl gitops secret install-key --age-key-file FILE")
		if i := slices.IndexFunc(e.Held, func(r string) bool { return isAge(r) && !strings.HasPrefix(r, "age1pq1") }); i >= 0 {
			hints = append(hints, "or, where it can be opened: kubectl gitops secret updatekeys --add-recipient "+quoted(e.Held[i])+" .")
		}
	}
	for _, h := range []struct{ prefix, hint string }{
		{"pgp:", "gpg --import FILE"},
		{"kms:", "aws sso login"},
		{"gcp_kms:", "gcloud auth application-default login"},
		{"azure_kv:", "az login"},
		{"hc_vault:", "export VAULT_TOKEN=…"},
	} {
		if slices.ContainsFunc(e.Recipients, func(r string) bool { return strings.HasPrefix(r, h.prefix) }) {
			hints = append(hints, h.hint)
		}
	}
	return strings.Join(hints, "; ")
}

func isAge(recipient string) bool {
	return strings.HasPrefix(recipient, "age1") || strings.HasPrefix(recipient, "ssh-")
}
