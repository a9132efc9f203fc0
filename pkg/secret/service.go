package secret

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"filippo.io/age"
	"filippo.io/age/armor"
	"filippo.io/age/plugin"
	"github.com/getsops/sops/v3"
	"github.com/getsops/sops/v3/aes"
	"github.com/getsops/sops/v3/keyservice"
	"github.com/getsops/sops/v3/pgp"
)

// service answers sops's requests for the data key of one file: age with the
// keys of a Keyring, never with what sops would find by itself; gpg with its own
// keyring; the others through sops, with the ambient credentials. It notes how
// each recipient answered.
type service struct {
	ring    *Keyring
	tried   []Attempt
	damaged []string // age recipients whose private key is held, to no avail
	good    []string // recipients that opened their part
}

var _ keyservice.KeyServiceServer = (*service)(nil)

// Encrypt is never asked: this package opens files.
func (s *service) Encrypt(context.Context, *keyservice.EncryptRequest) (*keyservice.EncryptResponse, error) {
	return nil, errors.ErrUnsupported
}

// Decrypt unwraps one data key, or one part of it.
func (s *service) Decrypt(ctx context.Context, req *keyservice.DecryptRequest) (*keyservice.DecryptResponse, error) {
	who := requested(req.Key)
	if key, ok := s.ring.keys.get(who, req.Ciphertext); ok {
		s.good = append(s.good, who)
		return &keyservice.DecryptResponse{Plaintext: key}, nil
	}
	key, ok, err := s.ring.remotes.decrypt(ctx, req)
	if ok && err == nil {
		s.ring.keys.put(who, req.Ciphertext, key)
		s.good = append(s.good, who)
		return &keyservice.DecryptResponse{Plaintext: key}, nil
	}
	if ok {
		s.tried = append(s.tried, Attempt{who, oneLine(err.Error())})
	}
	switch k := req.Key.KeyType.(type) {
	case *keyservice.Key_AgeKey:
		key, err = s.ring.unwrap(who, req.Ciphertext, s)
		if errors.Is(err, errDamaged) {
			s.damaged = append(s.damaged, who)
		}
	case *keyservice.Key_PgpKey:
		// Without sops's own reading of secring.gpg, which would prompt.
		master := pgp.NewMasterKeyFromFingerprint(k.PgpKey.Fingerprint)
		pgp.DisableOpenPGP{}.ApplyToMasterKey(master)
		master.EncryptedKey = string(req.Ciphertext)
		key, err = master.DecryptContext(ctx)
	default:
		var rsp *keyservice.DecryptResponse
		if rsp, err = (keyservice.Server{}).Decrypt(ctx, req); err == nil {
			key = rsp.Plaintext
		}
	}
	if err != nil {
		if _, isAge := req.Key.KeyType.(*keyservice.Key_AgeKey); !isAge {
			s.tried = append(s.tried, Attempt{who, oneLine(err.Error())})
		}
		return nil, err
	}
	s.ring.keys.put(who, req.Ciphertext, key)
	s.good = append(s.good, who)
	return &keyservice.DecryptResponse{Plaintext: key}, nil
}

// wrapper answers sops's requests to seal a data key: by what is sealed already, and
// else as sops does.
type wrapper struct {
	keyservice.Server
	kept map[string][]byte // by recipient
}

// Encrypt seals one data key, or one part of it.
func (w *wrapper) Encrypt(ctx context.Context, req *keyservice.EncryptRequest) (*keyservice.EncryptResponse, error) {
	if sealed, ok := w.kept[requested(req.Key)]; ok {
		return &keyservice.EncryptResponse{Ciphertext: sealed}, nil
	}
	return w.Server.Encrypt(ctx, req)
}

// opened lists the key groups of which a recipient opened its part.
func (s *service) opened(groups []sops.KeyGroup) (out []sops.KeyGroup) {
	for _, group := range groups {
		if slices.ContainsFunc(recipients([]sops.KeyGroup{group}), func(r string) bool { return slices.Contains(s.good, r) }) {
			out = append(out, group)
		}
	}
	return out
}

// requested names the recipient of a request as recipients does.
func requested(key *keyservice.Key) string {
	switch k := key.GetKeyType().(type) {
	case *keyservice.Key_AgeKey:
		return k.AgeKey.Recipient
	case *keyservice.Key_PgpKey:
		return recipient("pgp", k.PgpKey.Fingerprint)
	case *keyservice.Key_KmsKey:
		return recipient("kms", k.KmsKey.Arn)
	case *keyservice.Key_GcpKmsKey:
		return recipient("gcp_kms", k.GcpKmsKey.ResourceId)
	case *keyservice.Key_AzureKeyvaultKey:
		return recipient("azure_kv", fmt.Sprintf("%s/keys/%s/%s", k.AzureKeyvaultKey.VaultUrl, k.AzureKeyvaultKey.Name, k.AzureKeyvaultKey.Version))
	case *keyservice.Key_VaultKey:
		return recipient("hc_vault", fmt.Sprintf("%s/v1/%s/keys/%s", k.VaultKey.VaultAddress, k.VaultKey.EnginePath, k.VaultKey.KeyName))
	case *keyservice.Key_HckmsKey:
		return recipient("hckms", k.HckmsKey.KeyId)
	}
	return fmt.Sprintf("%T", key.GetKeyType())
}

var (
	errNoMatch = errors.New("no private key for it is at hand")
	errDamaged = errors.New("its sealed data key is damaged")
)

// unwrap opens an armored age file with the identities held, those that a plugin uses
// last, then with those that a command prints for its recipient.
func (k *Keyring) unwrap(recipient string, sealed []byte, s *service) ([]byte, error) {
	var own, plugins []identity
	for _, id := range k.ids {
		if id.plugin == "" {
			own = append(own, id)
		} else {
			plugins = append(plugins, id)
		}
	}
	if key, err := unwrapWith(own, sealed); err == nil {
		return key, nil
	}
	for _, id := range plugins {
		key, err := unwrapWith([]identity{id}, sealed)
		if err == nil {
			return key, nil
		}
		if why := pluginFailure(err); why != "" {
			s.tried = append(s.tried, Attempt{id.plugin, why})
		}
	}
	held := k.holds(recipient)
	for i := 0; !held && i < len(k.commands); i++ {
		ids := k.commands[i].identities(recipient)
		if key, err := unwrapWith(ids, sealed); err == nil {
			return key, nil
		}
		held = slices.ContainsFunc(ids, func(id identity) bool { return sameRecipient(id.recipient, recipient) })
	}
	if held {
		return nil, errDamaged
	}
	// Of what is sealed for someone else nobody here can tell if it is whole.
	return nil, errNoMatch
}

// pluginFailure says why a plugin did not do its work, "" where the file is not for
// its key.
func pluginFailure(err error) string {
	if missing := new(plugin.NotFoundError); errors.As(err, &missing) {
		return "no program of this name is on PATH"
	}
	none := new(age.NoIdentityMatchError)
	if !errors.As(err, &none) {
		return oneLine(err.Error())
	}
	return ""
}

func unwrapWith(ids []identity, sealed []byte) ([]byte, error) {
	if len(ids) == 0 {
		return nil, errNoMatch
	}
	keys := make([]age.Identity, 0, len(ids))
	for _, id := range ids {
		keys = append(keys, id.key)
	}
	r, err := age.Decrypt(armor.NewReader(bytes.NewReader(sealed)), keys...)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

// oneLine makes the answer of gpg or a key service fit on a line.
func oneLine(s string) string {
	s = strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) {
			return c
		}
		return ' '
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	if c := []rune(s); len(c) > 300 {
		s = string(c[:300]) + "…"
	}
	return s
}

// cipher is sops's AES-GCM, remembering which value did not open and why: sops's
// own errors name no path, and quote the value.
type cipher struct {
	aes  aes.Cipher
	path string // of the last value that did not open
	why  string
}

func newCipher() *cipher { return &cipher{aes: aes.NewCipher()} }

// Decrypt opens one value; path is its keys, each with a colon behind it.
func (c *cipher) Decrypt(value string, key []byte, path string) (any, error) {
	plain, err := c.aes.Decrypt(value, key, path)
	if err == nil {
		return plain, nil
	}
	c.path = fieldPath(path)
	switch {
	case !strings.HasPrefix(value, "ENC["):
		c.why = "is in clear, but this file seals it: put there by hand"
	case !sealedValue.MatchString(value) || strings.Contains(err.Error(), "base64"):
		c.why = "is not a whole sealed value: cut off or edited"
	case strings.Contains(err.Error(), "message authentication failed"):
		c.why = "does not open: its ciphertext was changed after sealing, or it was sealed under another name or in another file"
	default:
		c.why = "does not open: its type or nonce was changed after sealing"
	}
	return nil, err
}

var fieldName = regexp.MustCompile(`^[\pL\pN_./-]{1,100}$`)

// fieldPath writes the path of a value as people do, "stringData.password". What
// does not look like a name is left out: in a dotenv file it may be a secret
// that someone typed with the = forgotten.
func fieldPath(path string) string {
	names := strings.Split(strings.TrimSuffix(path, ":"), ":")
	for i, name := range names {
		if !fieldName.MatchString(name) {
			names[i] = "…"
		}
	}
	return strings.Join(names, ".")
}

// Encrypt is never asked: this package opens files.
func (c *cipher) Encrypt(any, []byte, string) (string, error) { return "", errors.ErrUnsupported }

// failure says what made sops give up walking a tree.
func (c *cipher) failure(err error) error {
	switch text := err.Error(); {
	case strings.Contains(text, "Could not decrypt value"):
		return &fault{TamperedCiphertext, c.path + " " + c.why}
	case strings.Contains(text, "Expected encrypted value as string"):
		return &fault{TamperedCiphertext, "a value that this file seals is in clear, as a number or the like: put there by hand"}
	case strings.Contains(text, "non-string key"):
		return &fault{BadMetadata, "has a key that is not a string, which SOPS does not seal"}
	}
	return &fault{BadMetadata, "has a value of a type that SOPS does not seal"}
}
