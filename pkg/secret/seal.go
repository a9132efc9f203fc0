package secret

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/getsops/sops/v3"
	"github.com/getsops/sops/v3/aes"
	"github.com/getsops/sops/v3/cmd/sops/common"
	"github.com/getsops/sops/v3/cmd/sops/formats"
	"github.com/getsops/sops/v3/config"
	"github.com/getsops/sops/v3/keyservice"
	"github.com/getsops/sops/v3/version"
	"go.yaml.in/yaml/v3"
)

// SealOptions is what Encrypt may know besides the rule.
type SealOptions struct {
	// Previous is the sealed version that the result is to replace, nil for
	// none. What did not change keeps its ciphertext, where Keys opens it and
	// the rule has not changed.
	Previous []byte
	// Also is another sealed version whose ciphertext may be taken where Previous
	// has none, if both have one data key; nil for none.
	Also []byte
	Keys *Keyring
	// Now is the time to note in the file; time.Now() if zero.
	Now time.Time
}

// SealedFile is what Encrypt made.
type SealedFile struct {
	Data []byte
	// Recipients are all whom it is sealed to.
	Recipients []string
	// Sealed counts the values that are sealed, comments included; Kept those
	// of them whose ciphertext is that of the previous version.
	Sealed, Kept int
	// Kubernetes means that KubernetesRegex was used since no rule said what
	// to seal.
	Kubernetes bool
	// Anew says why the previous version could not be built upon, "" if it
	// could, or there was none.
	Anew string
}

// ErrSealed is what Encrypt returns of a file that is sealed already.
var ErrSealed = errors.New("is sealed already")

// Encrypt seals one file: plain is what stands under name, whose extension tells
// the format. A YAML file keeps its bytes but for the values that are sealed;
// files of other formats are written by SOPS's own code. The result opens with
// sops, and to the values, comments and order of plain, or there is an error:
// it is opened again here before it is returned.
//
// Errors are a Problem, or wrap ErrSealed.
func Encrypt(name string, plain []byte, rule Rule, o SealOptions) (out SealedFile, err error) {
	segs, err := detect(name, plain)
	if len(segs) > 0 {
		return SealedFile{}, fmt.Errorf("%s: %w", name, ErrSealed)
	}
	if err == nil {
		out, err = encrypt(name, plain, rule, o)
	}
	if err != nil {
		p := problem(Sealed{Path: name, Recipients: rule.Recipients}, err)
		p.Hint = ""
		return SealedFile{}, p
	}
	return out, nil
}

func encrypt(name string, plain []byte, rule Rule, o SealOptions) (out SealedFile, err error) {
	defer recovered(&err)
	format := formats.FormatForPath(path.Base(name))
	store := storeIndented(format, rule.indent)
	if format == formats.Yaml {
		// Looked at first: it bounds what sops, which follows every alias, is given.
		docs, err := parse(plain)
		if err != nil {
			return out, err
		}
		for _, doc := range docs {
			if doc.Content[0].Kind == yaml.SequenceNode {
				return out, refuse(doc.Content[0].Line, "the document is a list, which SOPS does not seal")
			}
		}
	}
	branches, err := store.LoadPlainFile(plain)
	if err != nil {
		return out, plainFailure(format, err)
	}
	if len(branches) == 0 || len(plain) == 0 && format != formats.Binary {
		return out, &fault{BadMetadata, "is empty: there is nothing to seal"}
	}
	if slices.ContainsFunc(branches, store.HasSopsTopLevelKey) {
		return out, &fault{BadMetadata, "has a top-level entry called sops, which SOPS keeps for itself: rename it"}
	}
	meta := rule.meta
	meta.KeyGroups, meta.ShamirThreshold, meta.Version = fresh(rule.groups), rule.threshold, version.Version
	switch {
	case format == formats.Binary:
		meta.UnencryptedSuffix, meta.EncryptedSuffix, meta.UnencryptedRegex, meta.EncryptedRegex = "", "", "", ""
		meta.UnencryptedCommentRegex, meta.EncryptedCommentRegex, meta.MACOnlyEncrypted = "", "", false
	case rule.says():
	case manifests(branches):
		meta.EncryptedRegex, out.Kubernetes = KubernetesRegex, true
	default:
		meta.UnencryptedSuffix = sops.DefaultUnencryptedSuffix
	}
	out.Recipients = recipients(meta.KeyGroups)

	var before previous
	if o.Previous != nil {
		before, out.Anew = o.Keys.previous(name, o.Previous, meta)
	}
	if before.key != nil && o.Also != nil {
		if also, _ := o.Keys.previous(name, o.Also, meta); bytes.Equal(also.key, before.key) {
			for at, sealed := range also.values {
				if len(before.values[at]) == 0 {
					before.values[at] = sealed
				}
			}
		}
	}
	key := before.key
	if key != nil {
		meta.KeyGroups, meta.ShamirThreshold, meta.Version = before.meta.KeyGroups, before.meta.ShamirThreshold, before.meta.Version
	} else if key, err = newDataKey(&meta); err != nil {
		return out, err
	}
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	c := &sealer{aes: aes.NewCipher(), kept: before.values}
	stamp := func(mac string) (err error) {
		if before.key != nil && before.mac == mac && (format == formats.Binary || sameSelection(before.meta, meta)) {
			meta.LastModified, meta.MessageAuthenticationCode = before.meta.LastModified, before.meta.MessageAuthenticationCode
			return nil
		}
		meta.LastModified = o.Now.UTC().Truncate(time.Second)
		meta.MessageAuthenticationCode, err = c.aes.Encrypt(mac, key, meta.LastModified.Format(time.RFC3339))
		return err
	}
	if format == formats.Yaml {
		out.Data, err = sealYAML(rule.indent, plain, branches, &meta, key, c, stamp)
	} else {
		tree := sops.Tree{Branches: branches, Metadata: meta}
		mac, encErr := tree.Encrypt(key, c)
		if encErr != nil {
			return out, walkFailure(encErr)
		}
		if err = stamp(mac); err == nil {
			tree.Metadata = meta
			out.Data, err = emitted(store, plain, tree)
		}
	}
	if err != nil {
		return out, err
	}
	out.Sealed, out.Kept = c.sealed, c.reused
	if out.Sealed == 0 && format != formats.Binary {
		return out, &fault{BadMetadata, "holds nothing to seal: the rule matches no value in it"}
	}
	want, err := store.LoadPlainFile(plain)
	if err != nil {
		return out, plainFailure(format, err)
	}
	return out, verify(store, out.Data, key, want)
}

// emitted is a sealed file as SOPS writes it, in the layout of src where that can be kept.
func emitted(store sops.Store, src []byte, tree sops.Tree) ([]byte, error) {
	out, err := store.EmitEncryptedFile(tree)
	if err != nil {
		return nil, err
	}
	kept := relaid(store, src, out, tree.Branches)
	if kept == nil {
		return out, nil
	}
	want, err := store.LoadEncryptedFile(out)
	if err != nil {
		return nil, err
	}
	if got, err := store.LoadEncryptedFile(kept); err != nil || sameTree(got.Branches, want.Branches) != nil || got.Metadata.MessageAuthenticationCode != want.Metadata.MessageAuthenticationCode {
		return out, nil
	}
	return kept, nil
}

// storeIndented is the store of a format, YAML indented as .sops.yaml says.
func storeIndented(format formats.Format, indent int) sops.Store {
	c := config.NewStoresConfig()
	c.YAML.Indent = max(indent, 0)
	return common.StoreForFormat(format, c)
}

// manifests tells whether all documents are Kubernetes objects.
func manifests(branches sops.TreeBranches) bool {
	some := false
	for _, b := range branches {
		has := map[string]bool{}
		values := 0
		for _, item := range b {
			if key, ok := item.Key.(string); ok {
				values++
				if s, ok := item.Value.(string); ok && s != "" {
					has[key] = true
				}
			}
		}
		if values == 0 {
			continue
		}
		if !has["apiVersion"] || !has["kind"] {
			return false
		}
		some = true
	}
	return some
}

func newDataKey(meta *sops.Metadata) ([]byte, error) {
	tree := sops.Tree{Metadata: *meta}
	key, errs := tree.GenerateDataKeyWithKeyServices([]keyservice.KeyServiceClient{keyservice.NewLocalClient()})
	if len(errs) > 0 {
		return nil, &fault{BadMetadata, "cannot be sealed to all of its recipients: " + oneLine(errors.Join(errs...).Error())}
	}
	meta.KeyGroups, meta.ShamirThreshold = tree.Metadata.KeyGroups, tree.Metadata.ShamirThreshold
	return key, nil
}

// plainFailure says why a file cannot be read; the texts of the parsers may
// quote values.
func plainFailure(format formats.Format, err error) error {
	if f := new(fault); errors.As(err, &f) {
		return f
	}
	switch format {
	case formats.Yaml:
		if strings.Contains(err.Error(), "are not supported") {
			return loadFailure(err)
		}
		return &fault{BadMetadata, yamlFailure(err, 1)}
	case formats.Json:
		return &fault{BadMetadata, "is not valid JSON"}
	case formats.Dotenv:
		return &fault{BadMetadata, "has a line that is not NAME=VALUE"}
	}
	return &fault{BadMetadata, "is not a valid file of its kind"}
}

func walkFailure(err error) error {
	switch text := err.Error(); {
	case strings.Contains(text, "matches UnencryptedCommentRegex"):
		return &fault{BadMetadata, "the rule's unencrypted_comment_regex matches what is sealed: SOPS could not open the file again"}
	case strings.Contains(text, "non-string key"):
		return &fault{BadMetadata, "has a key that is not a string, which SOPS does not seal"}
	}
	return &fault{BadMetadata, "has a value of a type that SOPS does not seal"}
}

// verify opens a sealed file again with sops's own code and compares it with
// what was sealed.
func verify(store sops.Store, sealed, key []byte, want sops.TreeBranches) error {
	tree, err := store.LoadEncryptedFile(sealed)
	if err != nil {
		return &fault{BadMetadata, "could be sealed, but not opened again"}
	}
	c := newCipher()
	mac, err := tree.Decrypt(key, c)
	if err != nil {
		return c.failure(err)
	}
	if err := checkMAC(&tree, key, c, mac); err != nil {
		return err
	}
	return sameTree(tree.Branches, want)
}

// sameTree compares values, their order and types, and the comments.
func sameTree(got, want sops.TreeBranches) error {
	gv, gc := flatten(got)
	wv, wc := flatten(want)
	if gv != wv {
		return &fault{BadMetadata, "is written in a way that cannot be edited byte by byte without a change of its values"}
	}
	slices.Sort(gc)
	slices.Sort(wc)
	if !slices.Equal(gc, wc) {
		return &fault{BadMetadata, "has a comment in a place where SOPS would lose it: move comments to lines of their own before a key"}
	}
	return nil
}

// flatten writes a tree as text, and lists its comments.
func flatten(branches sops.TreeBranches) (values string, comments []string) {
	var b strings.Builder
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case sops.TreeBranch:
			b.WriteString("{")
			for _, item := range v {
				if c, ok := item.Key.(sops.Comment); ok {
					comments = append(comments, strings.TrimSpace(c.Value))
					continue
				}
				fmt.Fprintf(&b, "%q:", item.Key)
				walk(item.Value)
			}
			b.WriteString("}")
		case []any:
			b.WriteString("[")
			for _, e := range v {
				if c, ok := e.(sops.Comment); ok {
					comments = append(comments, strings.TrimSpace(c.Value))
					continue
				}
				walk(e)
			}
			b.WriteString("]")
		case time.Time:
			fmt.Fprintf(&b, "time %s,", v.Format(time.RFC3339Nano))
		default:
			fmt.Fprintf(&b, "%T %q,", v, fmt.Sprint(v))
		}
	}
	for _, branch := range branches {
		walk(branch)
	}
	return b.String(), comments
}

// Format is how a file is read, by its name: yaml, json, dotenv, ini or binary.
func Format(name string) string {
	switch formats.FormatForPath(path.Base(name)) {
	case formats.Yaml:
		return "yaml"
	case formats.Json:
		return "json"
	case formats.Dotenv:
		return "dotenv"
	case formats.Ini:
		return "ini"
	}
	return "binary"
}

// MayBeSealed is a fast first look: false means that a file is not sealed.
func MayBeSealed(data []byte) bool { return marked(data) }

// IsSealed tells whether a file is sealed, or was meant to be.
func IsSealed(name string, data []byte) bool {
	segs, err := detect(name, data)
	return err != nil || len(segs) > 0
}
