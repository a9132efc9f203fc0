package secret

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/getsops/sops/v3"
	"github.com/getsops/sops/v3/keyservice"
)

// ErrNotSealed is what Decrypt returns of a file without SOPS metadata.
var ErrNotSealed = errors.New("is not sealed by SOPS")

// DecryptOptions is how strict Decrypt is.
type DecryptOptions struct {
	// IgnoreMAC opens a file whose MAC does not match, as sops does under
	// --ignore-mac. Sealed values are still authenticated one by one; what is
	// in clear, and that nothing was left out, is then nobody's word.
	IgnoreMAC bool
	// KeepLayout keeps what stands around the sealed values of a YAML, JSON or dotenv
	// file byte by byte, where that can be done, rather than to write it as sops does.
	KeepLayout bool
}

// Decrypt opens one file: data is what was committed under path, whose
// extension tells the format. It returns what `sops decrypt` would print, after
// the MAC was checked: without IgnoreMAC a file in which a value was edited, added,
// removed or moved after sealing is not opened. SOPS's MAC covers values; it does
// not cover the names of values in clear, nulls and comments.
//
// The error is ErrNotSealed (wrapped) or a Problem; plain is then nil, and f is
// as much as is known of the file.
func (k *Keyring) Decrypt(path string, data []byte, o DecryptOptions) (plain []byte, f Sealed, err error) {
	segs, err := detect(path, data)
	if err == nil && len(segs) == 0 {
		return nil, Sealed{Path: path}, fmt.Errorf("%s: %w", path, ErrNotSealed)
	}
	f.Path = path
	if err == nil {
		plain, err = k.openAll(&f, segs, o)
	}
	if err != nil {
		return nil, f, problem(f, err)
	}
	return plain, f, nil
}

// openAll opens the segments of a file, in order, and notes in f what they say
// of it. All are loaded before the first is opened, so that f names every
// recipient whatever fails.
func (k *Keyring) openAll(f *Sealed, segs []segment, o DecryptOptions) ([]byte, error) {
	trees, err := load(f, segs)
	if err != nil {
		return nil, err
	}
	var out []byte
	for i, seg := range segs {
		text := seg.raw
		if seg.sealed {
			if text, err = k.open(f, seg, &trees[i], o); err != nil {
				return nil, err
			}
			if len(out) > 0 && !bytes.HasPrefix(text, []byte("---")) {
				text = slices.Concat([]byte("---\n"), text)
			}
		}
		if len(out) > 0 && out[len(out)-1] != '\n' {
			out = append(out, '\n')
		}
		out = append(out, text...)
	}
	return out, nil
}

// maxRecipients is the number of recipients above which none is asked: each costs a
// try, and some a question to a server that the file names.
const maxRecipients = 1000

func keyCount(groups []sops.KeyGroup) (n int) {
	for _, g := range groups {
		n += len(g)
	}
	return n
}

// load parses the sealed segments and notes recipients and sealed metadata.
func load(f *Sealed, segs []segment) (trees []sops.Tree, err error) {
	defer recovered(&err)
	trees = make([]sops.Tree, len(segs))
	var failed error
	for i, seg := range segs {
		if !seg.sealed {
			continue
		}
		tree, err := seg.store.LoadEncryptedFile(seg.raw)
		if err != nil {
			if failed == nil {
				failed = loadFailure(err)
			}
			continue
		}
		if n := keyCount(tree.Metadata.KeyGroups); n > maxRecipients {
			failed = &fault{BadMetadata, fmt.Sprintf("names %d recipients, above the limit of %d: forged, most likely", n, maxRecipients)}
			continue
		}
		trees[i] = tree
		for _, r := range recipients(tree.Metadata.KeyGroups) {
			if !slices.Contains(f.Recipients, r) {
				f.Recipients = append(f.Recipients, r)
			}
		}
		f.MetadataSealed = f.MetadataSealed || slices.ContainsFunc(tree.Branches, metadataSealed)
	}
	return trees, failed
}

// unlock decrypts one tree in place and checks its MAC. Which values are sealed,
// and what the MAC covers, is for sops to say. badMAC means that all but the MAC
// is right; the values are then there as well.
func (k *Keyring) unlock(tree *sops.Tree) (key []byte, badMAC bool, err error) {
	defer recovered(&err)
	if key, err = k.dataKey(tree); err != nil {
		return nil, false, err
	}
	badMAC, err = decrypt(tree, key)
	return key, badMAC, err
}

// decrypt is unlock with a data key that was unwrapped before.
func decrypt(tree *sops.Tree, key []byte) (badMAC bool, err error) {
	cipher := newCipher()
	computed, err := tree.Decrypt(key, cipher)
	if err != nil {
		return false, cipher.failure(err)
	}
	err = checkMAC(tree, key, cipher, computed)
	return err != nil, err
}

// open decrypts one tree and emits it.
func (k *Keyring) open(f *Sealed, seg segment, tree *sops.Tree, o DecryptOptions) (plain []byte, err error) {
	defer recovered(&err)
	sealed := map[string]bool{}
	leaves(tree.Branches, func(at string, v any) {
		text, _ := v.(string)
		sealed[at] = sealedValue.MatchString(text)
	})
	key, badMAC, err := k.unlock(tree)
	if err != nil {
		if !badMAC || !o.IgnoreMAC {
			return nil, err
		}
		f.MACIgnored = true
	}
	identity := objectNames(tree.Branches)
	leaves(tree.Branches, func(at string, v any) {
		if sealed[at] && v != nil && !identity[at] {
			f.values = append(f.values, fmt.Sprint(v))
		}
	})
	if o.KeepLayout && seg.store.Name() == "yaml" {
		if plain = openInPlace(seg, key, tree.Branches); plain != nil {
			return plain, nil
		}
	}
	plain, err = seg.store.EmitPlainFile(tree.Branches)
	if err != nil {
		return nil, &fault{BadMetadata, "was opened but cannot be written in its own format"}
	}
	if o.KeepLayout {
		if kept := relaid(seg.store, seg.raw, plain, tree.Branches); kept != nil {
			if got, err := seg.store.LoadPlainFile(kept); err == nil && sameTree(got, tree.Branches) == nil {
				return kept, nil
			}
		}
	}
	return plain, nil
}

// objectNames are the places, as of leaves, of what names the objects of a file:
// everybody who speaks of one says it, in other files too.
func objectNames(branches sops.TreeBranches) map[string]bool {
	places := map[string]bool{}
	for i, b := range branches {
		for j, item := range b {
			switch item.Key {
			case "apiVersion", "kind":
				places[fmt.Sprint(i, ".", j)] = true
			case "metadata":
				fields, _ := item.Value.(sops.TreeBranch)
				for k, field := range fields {
					if field.Key == "name" || field.Key == "namespace" {
						places[fmt.Sprint(i, ".", j, ".", k)] = true
					}
				}
			}
		}
	}
	return places
}

// leaves calls f for each scalar of a tree, with its place.
func leaves(branches sops.TreeBranches, f func(at string, v any)) {
	var walk func(at string, v any)
	walk = func(at string, v any) {
		switch v := v.(type) {
		case sops.TreeBranch:
			for i, item := range v {
				walk(fmt.Sprint(at, ".", i), item.Value)
			}
		case []any:
			for i, e := range v {
				walk(fmt.Sprint(at, ".", i), e)
			}
		default:
			f(at, v)
		}
	}
	for i, b := range branches {
		walk(fmt.Sprint(i), b)
	}
}

// checkMAC compares the MAC that the file carries with the one computed from its
// values. lastmodified is bound to the MAC, so that editing it breaks it too.
func checkMAC(tree *sops.Tree, key []byte, cipher *cipher, computed string) error {
	sealed := tree.Metadata.MessageAuthenticationCode
	if sealed == "" {
		return &fault{Tampered, "has no MAC: it was removed after sealing"}
	}
	mac, err := cipher.Decrypt(sealed, key, tree.Metadata.LastModified.Format(time.RFC3339))
	if err != nil {
		return &fault{Tampered, "MAC cannot be read: sops.mac or sops.lastmodified was edited after sealing"}
	}
	if mac != computed {
		return &fault{Tampered, "MAC mismatch: edited by hand after sealing: a value in clear was changed, or something was added, removed or moved"}
	}
	return nil
}

// dataKey unwraps the key of a tree with the keys at hand, age before all
// others, key groups put together as sops does.
func (k *Keyring) dataKey(tree *sops.Tree) ([]byte, error) {
	svc := &service{ring: k}
	meta := &tree.Metadata
	key, err := meta.GetDataKeyWithKeyServices(
		[]keyservice.KeyServiceClient{keyservice.NewCustomLocalClient(svc)}, sops.DefaultDecryptionOrder)
	switch {
	case err == nil && len(key) == 32:
		return key, nil
	case err == nil:
		return nil, &fault{BadMetadata, fmt.Sprintf("its data key opens to %d bytes instead of 32: sealed by something else, or the parts of different files were mixed", len(key))}
	case len(svc.damaged) > 0:
		return nil, &fault{BadMetadata, fmt.Sprintf("the data key sealed to %s is damaged, though its private key is at hand: sops.age[].enc was edited, cut off, or belongs to another recipient", list(svc.damaged))}
	}
	e := &KeyError{
		Recipients: recipients(meta.KeyGroups),
		Held:       k.Recipients(),
		Places:     k.Places(),
		Tried:      svc.tried,
	}
	if len(meta.KeyGroups) > 1 {
		e.Needed, e.Opened = meta.ShamirThreshold, len(svc.opened(meta.KeyGroups))
		if e.Opened >= e.Needed {
			return nil, &fault{BadMetadata, "its key groups open, but do not make up one data key: sops.shamir_threshold or a group was edited"}
		}
	}
	return nil, e
}

// recipients lists whom key groups seal to, each once.
func recipients(groups []sops.KeyGroup) (out []string) {
	for _, group := range groups {
		for _, key := range group {
			if r := recipient(key.TypeToIdentifier(), key.ToString()); !slices.Contains(out, r) {
				out = append(out, r)
			}
		}
	}
	return out
}

func recipient(kind, name string) string {
	if kind == "age" {
		return name
	}
	return kind + ":" + name
}

// metadataSealed tells whether a document's apiVersion, kind or anything under
// its metadata is sealed.
func metadataSealed(doc sops.TreeBranch) bool {
	return slices.ContainsFunc(doc, func(item sops.TreeItem) bool {
		switch item.Key {
		case "apiVersion", "kind", "metadata":
			return holdsSealed(item.Value)
		}
		return false
	})
}

func holdsSealed(v any) bool {
	switch v := v.(type) {
	case string:
		return sealedValue.MatchString(v)
	case sops.TreeBranch:
		return slices.ContainsFunc(v, func(item sops.TreeItem) bool { return holdsSealed(item.Value) })
	case []any:
		return slices.ContainsFunc(v, holdsSealed)
	}
	return false
}

// loadFailures are the errors of sops's loaders that say more than "malformed",
// by a part of their text. The texts themselves may quote values.
var loadFailures = []struct{ part, msg string }{
	{"No keys found in file", "names no recipient in its sops metadata"},
	{"parsing time", "sops.lastmodified, or a created_at, is not a time"},
	{"Cannot use more than one of", "its sops metadata has more than one of encrypted_regex, unencrypted_suffix and their like"},
	{"Found duplicate", "has more than one sops section"},
	{"that are sequences are not supported", "one of its documents is a list, which SOPS does not seal"},
	{"that are values are not supported", "one of its documents is a bare value, which SOPS does not seal"},
	{"metadata not found", "has no sops metadata where SOPS puts it: cut off, or edited"},
	{"invalid dotenv input line", "has a line that is not NAME=VALUE"},
}

func loadFailure(err error) error {
	for _, f := range loadFailures {
		if strings.Contains(err.Error(), f.part) {
			return &fault{BadMetadata, f.msg}
		}
	}
	return &fault{BadMetadata, "its sops metadata is malformed: cut off, edited, or left in a merge conflict"}
}

// recovered turns a panic of the sops library into an error: malformed files are
// known to make it panic (Flux's decryptor guards itself alike). What it panicked
// with may quote a value.
func recovered(err *error) {
	if recover() != nil {
		*err = &fault{BadMetadata, "its sops metadata is malformed in a way that SOPS cannot bear"}
	}
}
