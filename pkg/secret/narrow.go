package secret

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/getsops/sops/v3"
	"go.yaml.in/yaml/v3"
)

// Narrow seals a file anew with its own data key and readers, but of Kubernetes
// Secrets data and stringData only, and without what a server wrote into them when they
// were exported. Values that stay sealed keep their ciphertext. done says what was done
// and is empty where there is nothing to do.
//
// It is refused where what would come in clear may be a secret: of a document that
// is no Secret, and for comments that were sealed elsewhere.
func (k *Keyring) Narrow(name string, data []byte) (out []byte, done []string, err error) {
	f := Sealed{Path: name}
	segs, err := detect(name, data)
	if err == nil && len(segs) == 0 {
		return nil, nil, fmt.Errorf("%s: %w", name, ErrNotSealed)
	}
	if err == nil {
		out, done, err = k.narrow(&f, name, data, segs)
	}
	if err != nil {
		return nil, nil, problem(f, err)
	}
	return out, done, nil
}

func (k *Keyring) narrow(f *Sealed, name string, data []byte, segs []segment) (out []byte, done []string, err error) {
	defer recovered(&err)
	if len(segs) != 1 {
		return nil, nil, errSealedApart
	}
	trees, err := load(f, segs)
	if err != nil {
		return nil, nil, err
	}
	seg, meta := segs[0], trees[0].Metadata
	made := serverMade(trees)
	if len(made) == 0 && !f.MetadataSealed {
		return data, nil, nil
	}
	if f.MetadataSealed {
		if err := sealedNotes(seg); err != nil {
			return nil, nil, err
		}
	}
	rule := ruleOf(f, seg, meta)
	plain, err := k.open(f, seg, &trees[0], DecryptOptions{KeepLayout: true})
	if err != nil {
		return nil, nil, err
	}
	if f.MetadataSealed {
		if err := allSecrets(trees[0].Branches); err != nil {
			return nil, nil, err
		}
		rule.meta = sops.Metadata{EncryptedRegex: KubernetesRegex, MACOnlyEncrypted: meta.MACOnlyEncrypted}
		done = append(done, "only data and stringData are sealed now")
	}
	if len(made) > 0 {
		if plain, err = withoutServerMade(seg.store, plain, trees[0].Branches); err != nil {
			return nil, nil, err
		}
		done = append(done, "taken out: "+strings.Join(made, ", "))
	}
	file, err := encrypt(name, plain, rule, SealOptions{Previous: data, Keys: k})
	if err != nil {
		return nil, nil, err
	}
	if file.Anew != "" {
		return nil, nil, &fault{BadMetadata, file.Anew}
	}
	return file.Data, done, nil
}

// sealedNotes refuses a file with sealed comments that would not be sealed any more.
func sealedNotes(seg segment) error {
	tree, err := seg.store.LoadEncryptedFile(seg.raw)
	if err != nil {
		return loadFailure(err)
	}
	var m markers
	if _, err := tree.Decrypt(nil, &m); err != nil {
		return newCipher().failure(err)
	}
	if slices.ContainsFunc(m.leaves, func(l leaf) bool {
		return l.comment && !strings.HasPrefix(l.path, "data:") && !strings.HasPrefix(l.path, "stringData:")
	}) {
		return &fault{BadMetadata, "has a sealed comment outside of data and stringData, which would come in clear: remove it, or move it there, first"}
	}
	return nil
}

// allSecrets refuses documents that are no Secrets: what of them is to be sealed,
// only a rule can say.
func allSecrets(docs sops.TreeBranches) error {
	for _, doc := range docs {
		kind, _ := at(doc, "kind").(string)
		if len(doc) > 0 && (kind != "Secret" || at(doc, "apiVersion") != "v1") {
			return &fault{BadMetadata, "holds an object that is no Secret: which of its values are to be sealed, a rule has to say; decrypt it, and encrypt it by that rule"}
		}
	}
	return nil
}

// withoutServerMade takes out of a file what a server wrote: of YAML the lines, and of
// JSON, which is written anew in any case, the entries.
func withoutServerMade(store sops.Store, plain []byte, branches sops.TreeBranches) ([]byte, error) {
	want := make(sops.TreeBranches, len(branches))
	for i := range branches {
		want[i] = stripped(branches[i])
	}
	if store.Name() != "yaml" {
		out, err := store.EmitPlainFile(want) // in the layout of sops
		if err != nil {
			return nil, &fault{BadMetadata, "cannot be written in its own format"}
		}
		return out, nil
	}
	l, err := newLayout(plain)
	if err != nil {
		return nil, err
	}
	docs, err := parse(plain)
	if err != nil {
		return nil, err
	}
	var edits []edit
	remove := func(mapping *yaml.Node, i int) error {
		e, err := l.entry(mapping, i)
		if err == nil {
			edits = append(edits, e)
		}
		return err
	}
	for _, doc := range docs {
		meta := field(doc.Content[0], "metadata")
		for i := 0; meta.Kind == yaml.MappingNode && i < len(meta.Content); i += 2 {
			key, value := meta.Content[i].Value, meta.Content[i+1]
			if slices.Contains(serverFields, key) {
				if err := remove(meta, i); err != nil {
					return nil, err
				}
			}
			if key != "annotations" || field(value, lastApplied).Kind == 0 {
				continue
			}
			if len(value.Content) == 2 { // nothing else is in it
				err = remove(meta, i)
			} else {
				for j := 0; j < len(value.Content) && err == nil; j += 2 {
					if value.Content[j].Value == lastApplied {
						err = remove(value, j)
					}
				}
			}
			if err != nil {
				return nil, err
			}
		}
	}
	out, err := l.spliced(edits)
	if err != nil {
		return nil, err
	}
	got, err := store.LoadPlainFile(out)
	if err != nil || !slices.EqualFunc(got, want, func(a, b sops.TreeBranch) bool { return values(a) == values(b) }) {
		return nil, &fault{BadMetadata, "is written in a way in which what a server made cannot be taken out: do it by hand, with edit"}
	}
	return out, nil
}

func values(b sops.TreeBranch) string {
	text, _ := flatten(sops.TreeBranches{b})
	return text
}

// stripped is an object without what a server wrote.
func stripped(doc sops.TreeBranch) sops.TreeBranch {
	without := func(b sops.TreeBranch, keys ...string) sops.TreeBranch {
		return slices.DeleteFunc(slices.Clone(b), func(item sops.TreeItem) bool {
			key, _ := item.Key.(string)
			return slices.Contains(keys, key)
		})
	}
	out := slices.Clone(doc)
	for i, item := range out {
		meta, ok := item.Value.(sops.TreeBranch)
		if item.Key != "metadata" || !ok {
			continue
		}
		meta = without(meta, serverFields...)
		for j, m := range meta {
			if a, ok := m.Value.(sops.TreeBranch); ok && m.Key == "annotations" {
				meta[j].Value = without(a, lastApplied)
			}
		}
		if a, ok := at(meta, "annotations").(sops.TreeBranch); ok && len(a) == 0 {
			meta = without(meta, "annotations")
		}
		out[i].Value = meta
	}
	return out
}

// entry is the removal of a key and its value from a mapping, whole lines.
func (l *layout) entry(mapping *yaml.Node, i int) (edit, error) {
	key, value := mapping.Content[i], mapping.Content[i+1]
	if mapping.Style&yaml.FlowStyle != 0 {
		return edit{}, refuse(key.Line, "what a server made is written in braces: take it out by hand, with edit")
	}
	start := l.lines[key.Line-1]
	if len(bytes.TrimSpace(l.src[start:start+key.Column-1])) > 0 {
		return edit{}, refuse(key.Line, "what a server made shares its line: take it out by hand, with edit")
	}
	end, err := l.valueEnd(value, key.Column-1)
	if err != nil {
		return edit{}, err
	}
	if end = max(end, start); end == 0 || l.src[end-1] != '\n' || end == start {
		end = l.nextLine(end)
	}
	if i+2 < len(mapping.Content) && l.lines[mapping.Content[i+2].Line-1] < end {
		return edit{}, refuse(key.Line, "what a server made shares its lines: take it out by hand, with edit")
	}
	return edit{start: start, end: end}, nil
}

// valueEnd is behind the last byte of a value; of a block scalar behind its lines.
func (l *layout) valueEnd(n *yaml.Node, indent int) (int, error) {
	if n.Kind != yaml.MappingNode && n.Kind != yaml.SequenceNode {
		s, err := l.scalar(n, indent)
		return max(s.end, s.bodyEnd), err
	}
	at, err := l.offset(n)
	if err != nil {
		return 0, err
	}
	end := at + 1
	for i, c := range n.Content {
		in := n.Column - 1
		if n.Kind == yaml.MappingNode {
			in = n.Content[i&^1].Column - 1
		}
		e, err := l.valueEnd(c, in)
		if err != nil {
			return 0, err
		}
		end = max(end, e)
	}
	if n.Style&yaml.FlowStyle != 0 { // up to its bracket, which stands on a line of its own or not
		if close := bytes.IndexAny(l.src[end:], "]}"); close >= 0 {
			end += close + 1
		}
	}
	return end, nil
}
