// Package secret opens what SOPS sealed. It finds the private keys once, says
// where it looked, and lays a decrypting file system over a source. What it
// opens stays in memory: nothing in clear is written to disk, to a log or into
// an error, and no key goes through the environment of this process.
//
// Formats, MAC and key groups are SOPS's own code; whether a file is sealed is
// told as SOPS and Flux tell it, by its name and by metadata that is really there.
package secret

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sync"

	"github.com/getsops/sops/v3/logging"
)

func init() {
	// The loggers of the sops library write to stderr by themselves, comments
	// of the file included. Everything worth saying is in a Problem.
	logging.SetLevel(0)
}

// Keyring holds the private keys that a run found, and remembers every place
// where it looked. It never changes: With and WithMissing return new ones. Safe
// for concurrent use; the zero value holds no key.
type Keyring struct {
	ids      []identity
	places   []place
	commands []*command
	remotes  remotes
	keys     *dataKeys
}

// Place is one place where a key was looked for, and the outcome.
type Place struct {
	// Where is a variable, a file or a Secret, as a person would type it:
	// "SOPS_AGE_KEY", "/home/me/.config/sops/age/keys.txt",
	// "secret/sops-age in flux-system".
	Where string
	// Found counts the identities taken from there.
	Found int
	// Why is the outcome, never empty: "not set", "no such file",
	// "permission denied", "2 identities", "line 3 is not an age identity".
	Why string
}

// String is "WHERE: OUTCOME".
func (p Place) String() string { return p.Where + ": " + p.Why }

// place is a Place, or the command whose outcome is not known until it ran.
type place struct {
	Place
	cmd *command
}

// Places lists where keys were looked for, in the order of the search.
func (k *Keyring) Places() []Place {
	out := make([]Place, 0, len(k.places))
	for _, p := range k.places {
		if p.cmd != nil {
			p.Place = p.cmd.place()
		}
		out = append(out, p.Place)
	}
	return out
}

// Recipients are the public halves of the identities held, in the order in
// which they were found, each once; of one that a plugin uses, the name of the plugin.
// Those that a command like SOPS_AGE_KEY_CMD would print are not among them.
func (k *Keyring) Recipients() []string {
	out := make([]string, 0, len(k.ids))
	for _, id := range k.ids {
		if who := cmp.Or(id.recipient, id.plugin); !slices.Contains(out, who) {
			out = append(out, who)
		}
	}
	return out
}

// With returns a Keyring that also holds what a Flux decryption Secret has: age
// identities (*.agekey), PGP private keys (*.asc), sops.vault-token, sops.aws-kms,
// sops.azure-kv and sops.gcp-kms; entries of other names are left alone. where
// names the Secret ("secret/sops-age in flux-system"). An entry that cannot be
// read is an error, as it is for Flux.
func (k *Keyring) With(where string, data map[string][]byte) (*Keyring, error) {
	out := k.clone()
	before := len(out.places)
	for _, name := range slices.Sorted(maps.Keys(data)) {
		at := where + ": " + name
		switch {
		case filepath.Ext(name) == ".agekey":
			found := parseAge(string(data[name]), false)
			if found.bad != "" {
				return nil, fmt.Errorf("%s: %s", at, found.bad)
			}
			if ids := slices.DeleteFunc(found.ids, func(id identity) bool { return id.plugin != "" }); len(ids) < len(found.ids) {
				// The cluster has no say in which programs run here.
				found.ids, found.unused = ids, "is of an age plugin, which a key in the cluster cannot use"
			}
			out.add(at, found)
		default:
			outcome, known, err := out.remotes.read(name, data[name])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", at, err)
			}
			if known {
				out.places = append(out.places, place{Place: Place{Where: at, Found: 1, Why: outcome}})
			}
		}
	}
	if len(out.places) == before {
		out.miss(where, "holds no *.agekey, *.asc or sops.*")
	}
	return out, nil
}

// WithMissing returns a Keyring that remembers one more place that was looked
// at in vain, as WithMissing("secret/sops-age in flux-system", "not found").
func (k *Keyring) WithMissing(where, why string) *Keyring {
	out := k.clone()
	out.miss(where, why)
	return out
}

// clone copies all but the data keys that were opened so far: what one
// Kustomization's Secret could open is no business of another's.
func (k *Keyring) clone() *Keyring {
	r := k.remotes
	r.pgp = slices.Clip(r.pgp)
	return &Keyring{
		ids:      slices.Clone(k.ids),
		places:   slices.Clone(k.places),
		commands: slices.Clone(k.commands),
		remotes:  r,
		keys:     &dataKeys{},
	}
}

// add takes the identities found at a place, those held already left out, and
// records the place.
func (k *Keyring) add(where string, found identities) {
	for _, id := range found.ids {
		if id.recipient == "" || !k.holds(id.recipient) {
			k.ids = append(k.ids, id)
		}
	}
	k.places = append(k.places, place{Place: Place{Where: where, Found: len(found.ids), Why: found.outcome()}})
}

func (k *Keyring) miss(where, why string) {
	k.places = append(k.places, place{Place: Place{Where: where, Why: why}})
}

// holds tells whether the private half of a recipient is at hand. The comment
// at the end of an SSH public key does not count.
func (k *Keyring) holds(recipient string) bool {
	return slices.ContainsFunc(k.ids, func(id identity) bool { return sameRecipient(id.recipient, recipient) })
}

// dataKeys remembers data keys by what they were sealed as, so that a file that
// several Kustomizations read costs one unwrapping. A nil dataKeys remembers
// nothing.
type dataKeys struct {
	mu   sync.Mutex
	open map[[sha256.Size]byte][]byte
}

func dataKeyID(recipient string, sealed []byte) [sha256.Size]byte {
	return sha256.Sum256(append([]byte(recipient+"\x00"), sealed...))
}

func (d *dataKeys) get(recipient string, sealed []byte) ([]byte, bool) {
	if d == nil {
		return nil, false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	key, ok := d.open[dataKeyID(recipient, sealed)]
	return slices.Clone(key), ok
}

func (d *dataKeys) put(recipient string, sealed, key []byte) {
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open == nil {
		d.open = make(map[[sha256.Size]byte][]byte)
	}
	d.open[dataKeyID(recipient, sealed)] = slices.Clone(key)
}
