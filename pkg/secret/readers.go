package secret

import (
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/getsops/sops/v3"
	"github.com/getsops/sops/v3/aes"
	"github.com/getsops/sops/v3/keys"
	"github.com/getsops/sops/v3/keyservice"
	"go.yaml.in/yaml/v3"
)

// Resealed is a sealed file whose recipients, or data key, are others now.
type Resealed struct {
	Data []byte
	// Before and After are who could read the file, and who can now.
	Before, After []string
	// Changed is false where the file is what it should be already; Data is
	// then what it was.
	Changed bool
}

var errSealedApart = &fault{BadMetadata, "holds documents that were sealed apart, or beside others in clear, which sops does not open: a file each"}

// UpdateKeys seals the data key of a file to the recipients of a rule, as `sops
// updatekeys` does. The sealed values stay as they are, and so does every byte of
// a YAML file but its sops section. A file that has the recipients is left alone.
func (k *Keyring) UpdateKeys(name string, data []byte, rule Rule) (Resealed, error) {
	return k.reseal(name, data, rule, false)
}

// Rotate seals every value of a file anew, with a new data key, to the recipients
// of a rule. What a YAML file has in clear stays as it is. The MAC is checked
// first.
func (k *Keyring) Rotate(name string, data []byte, rule Rule) (Resealed, error) {
	return k.reseal(name, data, rule, true)
}

func (k *Keyring) reseal(name string, data []byte, rule Rule, rotate bool) (out Resealed, err error) {
	segs, err := detect(name, data)
	if err == nil && len(segs) == 0 {
		return out, fmt.Errorf("%s: %w", name, ErrNotSealed)
	}
	f := Sealed{Path: name}
	if err == nil {
		out, err = k.resealOne(&f, name, segs, rule, rotate)
	}
	if err != nil {
		return Resealed{}, problem(f, err)
	}
	return out, nil
}

func (k *Keyring) resealOne(f *Sealed, name string, segs []segment, rule Rule, rotate bool) (out Resealed, err error) {
	defer recovered(&err)
	if len(segs) != 1 {
		return out, errSealedApart
	}
	trees, err := load(f, segs)
	if err != nil {
		return out, err
	}
	seg, tree := segs[0], &trees[0]
	out = Resealed{Data: seg.raw, Before: f.Recipients, After: rule.Recipients}
	threshold := tree.Metadata.ShamirThreshold
	if rule.threshold != 0 {
		threshold = rule.threshold
	}
	if threshold = min(threshold, len(rule.groups)); len(rule.groups) < 2 {
		threshold = 0
	}
	same := sameReaders(tree.Metadata.KeyGroups, rule.groups) && (len(rule.groups) < 2 || threshold == tree.Metadata.ShamirThreshold)
	if same && !rotate {
		return out, nil
	}
	out.Changed = true
	key, err := k.dataKey(tree)
	if err != nil {
		return out, err
	}
	isYAML := seg.store.Name() == "yaml"
	if isYAML && !rotate {
		out.Data, err = updateYAML(seg, tree, key, rule.groups, threshold)
		return out, err
	}
	opened, err := reopened(seg, key)
	if err != nil {
		return out, err
	}
	meta := tree.Metadata
	meta.DataKey = nil
	meta.KeyGroups, meta.ShamirThreshold = fresh(rule.groups), threshold
	store := seg.store
	newKey := key
	if !rotate {
		if err = wrap(&meta, key, tree.Metadata.KeyGroups); err != nil {
			return out, err
		}
	} else if newKey, err = newDataKey(&meta); err != nil {
		return out, err
	}
	switch {
	case isYAML:
		out.Data, err = rotateYAML(store, seg, key, newKey, &meta)
	default:
		next := sops.Tree{Metadata: meta}
		if next.Branches = tree.Branches; rotate {
			var mac string
			if next.Branches, err = reopened(seg, key); err != nil {
				return out, err
			}
			c := aes.NewCipher()
			if mac, err = next.Encrypt(newKey, c); err != nil {
				return out, walkFailure(err)
			}
			if err = stampMAC(&next.Metadata, mac, newKey); err != nil {
				return out, err
			}
		}
		out.Data, err = emitted(store, seg.raw, next)
	}
	if err != nil {
		return out, err
	}
	return out, verify(store, out.Data, newKey, opened)
}

// updateYAML seals the data key of a YAML file anew. Its values stay as they are,
// which is what the result is held to: they were opened, with the MAC, before.
func updateYAML(seg segment, tree *sops.Tree, key []byte, groups []sops.KeyGroup, threshold int) ([]byte, error) {
	sealed, notes := flatten(tree.Branches)
	if _, err := decrypt(tree, key); err != nil {
		return nil, err
	}
	meta := tree.Metadata
	meta.DataKey = nil
	meta.KeyGroups, meta.ShamirThreshold = fresh(groups), threshold
	if err := wrap(&meta, key, tree.Metadata.KeyGroups); err != nil {
		return nil, err
	}
	out, err := withMetadata(metadataIndent(seg.docs), seg.raw, seg.docs, meta)
	if err != nil {
		return nil, err
	}
	got, err := seg.store.LoadEncryptedFile(out)
	if err != nil {
		return nil, &fault{BadMetadata, "could be sealed, but not opened again"}
	}
	gotSealed, gotNotes := flatten(got.Branches)
	m := got.Metadata
	if gotSealed != sealed || !slices.Equal(gotNotes, notes) || !sameReaders(m.KeyGroups, groups) || m.ShamirThreshold != meta.ShamirThreshold || !sameSelection(m, meta) ||
		m.MessageAuthenticationCode != meta.MessageAuthenticationCode || !m.LastModified.Equal(meta.LastModified) {
		return nil, &fault{BadMetadata, "is written in a way that cannot be edited byte by byte"}
	}
	return out, nil
}

// wrap seals a data key to the key groups of meta. before are the groups that it was
// sealed to: who stays keeps what is sealed to them, so that git diff shows who came
// and who went. Parts of a key (Shamir) are others each time.
func wrap(meta *sops.Metadata, key []byte, before []sops.KeyGroup) error {
	w := &wrapper{kept: make(map[string][]byte)}
	if len(before) == 1 && len(meta.KeyGroups) == 1 {
		for _, k := range before[0] {
			if sealed := k.EncryptedDataKey(); len(sealed) > 0 {
				w.kept[recipient(k.TypeToIdentifier(), k.ToString())] = sealed
			}
		}
	}
	if errs := meta.UpdateMasterKeysWithKeyServices(key, []keyservice.KeyServiceClient{keyservice.NewCustomLocalClient(w)}); len(errs) > 0 {
		return &fault{BadMetadata, "cannot be sealed to all of its recipients: " + oneLine(errs[0].Error())}
	}
	return nil
}

// fresh copies key groups, since sealing notes the result in them and a rule is
// used for many files.
func fresh(groups []sops.KeyGroup) []sops.KeyGroup {
	out := make([]sops.KeyGroup, 0, len(groups))
	for _, g := range groups {
		group := make(sops.KeyGroup, 0, len(g))
		for _, key := range g {
			copied := reflect.New(reflect.TypeOf(key).Elem())
			copied.Elem().Set(reflect.ValueOf(key).Elem())
			group = append(group, copied.Interface().(keys.MasterKey))
		}
		out = append(out, group)
	}
	return out
}

// reopened is what a segment holds, its MAC checked.
func reopened(seg segment, key []byte) (sops.TreeBranches, error) {
	tree, err := seg.store.LoadEncryptedFile(seg.raw)
	if err != nil {
		return nil, loadFailure(err)
	}
	_, err = decrypt(&tree, key)
	return tree.Branches, err
}

func stampMAC(meta *sops.Metadata, mac string, key []byte) (err error) {
	meta.LastModified = time.Now().UTC().Truncate(time.Second)
	meta.MessageAuthenticationCode, err = aes.NewCipher().Encrypt(mac, key, meta.LastModified.Format(time.RFC3339))
	return err
}

// metadataIndent is by how much the sops section of a YAML file is indented.
func metadataIndent(docs []*yaml.Node) int {
	if len(docs) == 0 {
		return 0
	}
	root := docs[0].Content[0]
	for i := 0; i+1 < len(root.Content); i += 2 {
		if v := root.Content[i+1]; root.Content[i].Value == "sops" && isSopsNode(v) && v.Style&yaml.FlowStyle == 0 {
			return v.Column - 1
		}
	}
	return 0
}

// rotateYAML seals each value anew in its place.
func rotateYAML(store sops.Store, seg segment, key, newKey []byte, meta *sops.Metadata) ([]byte, error) {
	l, err := newLayout(seg.raw)
	if err != nil {
		return nil, err
	}
	m, found, err := sealedSites(store, l, seg.docs, seg.raw)
	if err != nil {
		return nil, err
	}
	c := aes.NewCipher()
	var edits []edit
	for _, s := range found {
		leaf := m.leaves[s.leaf]
		value, err := c.Decrypt(leaf.value.(string), key, leaf.path)
		if err != nil && leaf.comment {
			continue
		}
		if err != nil {
			return nil, &fault{TamperedCiphertext, fieldPath(leaf.path) + " does not open"}
		}
		text, err := aes.NewCipher().Encrypt(value, newKey, leaf.path)
		if err != nil {
			return nil, walkFailure(err)
		}
		edits = append(edits, s.sealedEdits(text)...)
	}
	sortEdits(edits)
	body, err := l.spliced(edits)
	if err != nil {
		return nil, err
	}
	tree, err := store.LoadEncryptedFile(body)
	if err != nil {
		return nil, loadFailure(err)
	}
	nc := newCipher()
	mac, err := tree.Decrypt(newKey, nc)
	if err != nil {
		return nil, nc.failure(err)
	}
	if err := stampMAC(meta, mac, newKey); err != nil {
		return nil, err
	}
	docs, err := parse(body)
	if err != nil {
		return nil, err
	}
	return withMetadata(metadataIndent(seg.docs), body, docs, *meta)
}

// Added and Removed are the readers that a file gained and lost.
func (r Resealed) Added() []string { return without(r.After, r.Before) }

// Removed are the readers that a file lost.
func (r Resealed) Removed() []string { return without(r.Before, r.After) }

func without(all, some []string) []string {
	out := []string{}
	for _, r := range all {
		if !slices.ContainsFunc(some, func(s string) bool { return sameRecipient(r, s) }) {
			out = append(out, r)
		}
	}
	return out
}
