package secret

import (
	"errors"
	"fmt"

	"github.com/getsops/sops/v3"
	"github.com/getsops/sops/v3/aes"
)

// sealer is sops's cipher, which takes what did not change from the version
// before.
type sealer struct {
	aes            aes.Cipher
	kept           map[string][]string
	sealed, reused int
}

func (s *sealer) Encrypt(plain any, key []byte, path string) (string, error) {
	at := valueID(plain, path)
	if old := s.kept[at]; len(old) > 0 {
		s.kept[at] = old[1:]
		s.sealed++
		s.reused++
		return old[0], nil
	}
	text, err := s.aes.Encrypt(plain, key, path)
	if text != "" {
		s.sealed++
	}
	return text, err
}

func (s *sealer) Decrypt(value string, key []byte, path string) (any, error) {
	return s.aes.Decrypt(value, key, path)
}

// valueID names a value by its path, type and content.
func valueID(plain any, path string) string {
	text, _ := sops.ToBytes(plain)
	return fmt.Sprintf("%s\x00%T\x00%s", path, plain, text)
}

// previous is the sealed version that is built upon.
type previous struct {
	key    []byte
	meta   sops.Metadata
	mac    string
	values map[string][]string
}

// previous opens the version before; why says that nothing of it can be kept.
func (k *Keyring) previous(name string, data []byte, meta sops.Metadata) (p previous, why string) {
	segs, err := detect(name, data)
	if err != nil || len(segs) != 1 {
		return p, "the previous version is not one sealed file"
	}
	if k == nil {
		k = &Keyring{}
	}
	var f Sealed
	trees, err := load(&f, segs)
	if err != nil {
		return p, "the previous version cannot be read"
	}
	tree := trees[0]
	if !sameReaders(tree.Metadata.KeyGroups, meta.KeyGroups) || len(meta.KeyGroups) > 1 && meta.ShamirThreshold != 0 && tree.Metadata.ShamirThreshold != meta.ShamirThreshold {
		return p, "the previous version is sealed to others"
	}
	key, err := k.dataKey(&tree)
	if err != nil {
		return p, "no key at hand opens the previous version"
	}
	c := &recorder{aes: aes.NewCipher(), values: make(map[string][]string)}
	mac, err := tree.Decrypt(key, c)
	if err != nil || checkMAC(&tree, key, newCipher(), mac) != nil {
		return p, "the previous version was edited after it was sealed"
	}
	return previous{key: key, meta: tree.Metadata, mac: mac, values: c.values}, ""
}

// recorder remembers what each value was sealed as.
type recorder struct {
	aes    aes.Cipher
	values map[string][]string
}

func (r *recorder) Decrypt(value string, key []byte, path string) (any, error) {
	plain, err := r.aes.Decrypt(value, key, path)
	if err == nil && value != "" {
		at := valueID(plain, path)
		r.values[at] = append(r.values[at], value)
	}
	return plain, err
}

func (r *recorder) Encrypt(any, []byte, string) (string, error) { return "", errors.ErrUnsupported }

func sameSelection(a, b sops.Metadata) bool {
	return a.UnencryptedSuffix == b.UnencryptedSuffix && a.EncryptedSuffix == b.EncryptedSuffix &&
		a.UnencryptedRegex == b.UnencryptedRegex && a.EncryptedRegex == b.EncryptedRegex &&
		a.UnencryptedCommentRegex == b.UnencryptedCommentRegex && a.EncryptedCommentRegex == b.EncryptedCommentRegex &&
		a.MACOnlyEncrypted == b.MACOnlyEncrypted
}
