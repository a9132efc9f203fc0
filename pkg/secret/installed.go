package secret

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"filippo.io/age"
)

// Installed are the age identities in the data of a Flux decryption Secret: its
// entries that end in ".agekey". It never changes: Add and the others return new
// ones.
type Installed struct {
	entries map[string][]byte
}

// agekeyEntry is where an identity goes that has no entry yet; Flux's documents
// have it.
const agekeyEntry = "age.agekey"

// InstalledIn takes the identities out of the data of a Secret.
func InstalledIn(data map[string][]byte) Installed {
	k := Installed{entries: map[string][]byte{}}
	for name, text := range data {
		if filepath.Ext(name) == ".agekey" {
			k.entries[name] = text
		}
	}
	return k
}

// Recipients are the public halves, in the order of the entries. The error is of
// an entry that is not read as identities; it quotes nothing of it.
func (k Installed) Recipients() ([]string, error) {
	out := []string{}
	for _, name := range slices.Sorted(maps.Keys(k.entries)) {
		found := parseAge(string(k.entries[name]), false)
		if found.bad != "" {
			return nil, fmt.Errorf("%s: %s", name, found.bad)
		}
		for _, id := range found.ids {
			if !slices.Contains(out, id.recipient) {
				out = append(out, id.recipient)
			}
		}
	}
	return out, nil
}

// Add has the identities of a key file beside the ones that are there; what is
// there stays byte by byte. The error says why the file is none for Flux.
func (k Installed) Add(file []byte) (Installed, error) {
	ids, err := installable(file)
	if err != nil {
		return k, err
	}
	out := Installed{entries: maps.Clone(k.entries)}
	text := string(ended(out.entries[agekeyEntry], "\n"))
	held, err := k.Recipients()
	if err != nil {
		return k, err
	}
	for _, id := range ids {
		if !slices.Contains(held, id.recipient) {
			text += identityText(id)
			held = append(held, id.recipient)
		}
	}
	if text != "" {
		out.entries[agekeyEntry] = []byte(text)
	}
	if string(k.entries[agekeyEntry]) == strings.TrimSuffix(text, "\n") {
		return k, nil // nothing but the end of its last line
	}
	return out, nil
}

// Remove is without the identity of a recipient, and the comments above it.
func (k Installed) Remove(recipient string) (Installed, error) {
	out := Installed{entries: maps.Clone(k.entries)}
	removed := false
	for name, text := range k.entries {
		var lines []string
		above := 0 // comment lines that the next identity takes along
		for _, line := range strings.SplitAfter(string(text), "\n") {
			word := strings.TrimSpace(line)
			id, bad := parseIdentity(word)
			switch {
			case !bad && id.key != nil && id.recipient == recipient:
				lines = lines[:len(lines)-above]
				removed, above = true, 0
				continue
			case strings.HasPrefix(word, "#"):
				above++
			default:
				above = 0
			}
			lines = append(lines, line)
		}
		rest := strings.Join(lines, "")
		if rest == string(text) {
			continue
		}
		if left := parseAge(rest, false); len(left.ids) == 0 && left.bad == "" && left.unused == "" {
			delete(out.entries, name)
		} else {
			out.entries[name] = []byte(rest)
		}
	}
	if !removed {
		return k, fmt.Errorf("no identity of %s is in it", list([]string{recipient}))
	}
	return out, nil
}

// Patch says how to get from one to the other: nil for an entry that goes.
func (k Installed) Patch(to Installed) map[string][]byte {
	patch := map[string][]byte{}
	for name := range k.entries {
		if _, there := to.entries[name]; !there {
			patch[name] = nil
		}
	}
	for name, text := range to.entries {
		if old, there := k.entries[name]; !there || string(old) != string(text) {
			patch[name] = text
		}
	}
	return patch
}

// installable are the identities of a key file that Flux can use, at least one.
func installable(file []byte) ([]identity, error) {
	found := parseAge(string(file), false)
	switch {
	case found.bad != "":
		return nil, errors.New(found.bad)
	case found.unused != "":
		return nil, fmt.Errorf("%s; nor can Flux", found.unused)
	case len(found.ids) == 0:
		return nil, errors.New(found.outcome())
	}
	return found.ids, nil
}

// identityText is an identity as age-keygen writes it.
func identityText(id identity) string {
	private := ""
	switch key := id.key.(type) {
	case *age.X25519Identity:
		private = key.String()
	case *age.HybridIdentity:
		private = key.String()
	}
	return fmt.Sprintf("# public key: %s\n%s\n", id.recipient, private)
}
