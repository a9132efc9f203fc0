package secret

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/getsops/sops/v3/keyservice"
)

const where = "secret/sops in flux-system"

// entity is a new PGP key, its private half armored.
func entity(t *testing.T, passphrase string) (*openpgp.Entity, []byte) {
	t.Helper()
	e, err := openpgp.NewEntity("Ada", "", "ada@example.com", nil)
	if err != nil {
		t.Fatal(err)
	}
	if passphrase != "" {
		if err := e.PrivateKey.Encrypt([]byte(passphrase)); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	w, err := armor.Encode(&out, openpgp.PrivateKeyType, nil)
	if err != nil {
		t.Fatal(err)
	}
	if passphrase != "" {
		err = e.SerializePrivateWithoutSigning(w, nil)
	} else {
		err = e.SerializePrivate(w, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	return e, out.Bytes()
}

// A PGP key of the decryption Secret opens a data key in memory: no gpg, and no
// keyring on a disk, where Flux needs both.
func TestPGPKeyOfASecretOpensWithoutGPG(t *testing.T) {
	e, private := entity(t, "")
	var sealed bytes.Buffer
	a, err := armor.Encode(&sealed, "PGP MESSAGE", nil)
	if err != nil {
		t.Fatal(err)
	}
	w, err := openpgp.Encrypt(a, []*openpgp.Entity{e}, nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = w.Write([]byte("the data key"))
	_ = w.Close()
	_ = a.Close()

	base := &Keyring{keys: &dataKeys{}}
	k, err := base.With(where, map[string][]byte{"me.asc": private})
	if err != nil {
		t.Fatal(err)
	}
	req := &keyservice.DecryptRequest{Ciphertext: sealed.Bytes(),
		Key: &keyservice.Key{KeyType: &keyservice.Key_PgpKey{PgpKey: &keyservice.PgpKey{Fingerprint: fmt.Sprintf("%X", e.PrimaryKey.Fingerprint)}}}}
	s := &service{ring: k}
	rsp, err := s.Decrypt(context.Background(), req)
	if err != nil || string(rsp.Plaintext) != "the data key" {
		t.Fatalf("%q, %v", rsp.GetPlaintext(), err)
	}
	if got := k.Places(); len(got) != 1 || got[0].String() != where+": me.asc: PGP key" {
		t.Errorf("places %v", got)
	}
	_, other := entity(t, "")
	k, err = base.With(where, map[string][]byte{"other.asc": other})
	if err != nil {
		t.Fatal(err)
	}
	if key, _, err := k.remotes.decrypt(context.Background(), req); err == nil {
		t.Errorf("another's key opened %q", key)
	}
	if len(base.remotes.pgp) != 0 {
		t.Error("the Keyring that it came from has changed")
	}
}

// The token of the Secret is what Vault gets, and not that of the environment.
func TestVaultTokenOfASecretIsSent(t *testing.T) {
	t.Setenv("VAULT_TOKEN", "the users own")
	var got string
	vault := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header.Get("X-Vault-Token") + " " + r.URL.Path
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprintf(w, `{"data":{"plaintext":%q}}`, base64.StdEncoding.EncodeToString([]byte("the data key")))
	}))
	defer vault.Close()
	k, err := (&Keyring{keys: &dataKeys{}}).With(where, map[string][]byte{"sops.vault-token": []byte("s.abc\n")})
	if err != nil {
		t.Fatal(err)
	}
	key, ok, err := k.remotes.decrypt(context.Background(), &keyservice.DecryptRequest{Ciphertext: []byte("vault:v1:x"),
		Key: &keyservice.Key{KeyType: &keyservice.Key_VaultKey{VaultKey: &keyservice.VaultKey{VaultAddress: vault.URL, EnginePath: "transit", KeyName: "flux"}}}})
	if err != nil || !ok || string(key) != "the data key" {
		t.Fatalf("%q, %t, %v", key, ok, err)
	}
	if want := "s.abc /v1/transit/decrypt/flux"; got != want {
		t.Errorf("sent %q, want %q", got, want)
	}
}

// What is no key is told by the name of its entry, and never quoted.
func TestEntriesOfADecryptionSecretThatAreNone(t *testing.T) {
	_, locked := entity(t, "hunter2")
	const secret = "hunter2hunter2"
	for name, c := range map[string]struct {
		data []byte
		want string // "" for a good one
	}{
		"a.asc":          {[]byte(secret), "is not an armored PGP key"},
		"b.asc":          {locked, "is a PGP key under a passphrase"},
		"sops.aws-kms":   {[]byte("aws_access_key_id: " + secret), "is not YAML with aws_access_key_id and aws_secret_access_key"},
		"sops.azure-kv":  {[]byte("clientSecret: " + secret), "needs clientId"},
		"sops.gcp-kms":   {[]byte(`{"private_key":"` + secret + `"}`), "is not a JSON file of Google Cloud credentials"},
		"sops.vault-tok": {[]byte(secret), ""},
	} {
		_, err := (&Keyring{keys: &dataKeys{}}).With(where, map[string][]byte{name: c.data})
		switch {
		case c.want == "" && err == nil:
		case err == nil || !strings.HasPrefix(err.Error(), where+": "+name+": "+c.want) || strings.Contains(err.Error(), secret):
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	for _, form := range []string{
		"tenantId: t\nclientId: c\nclientSecret: s\n", `{"appId":"a","tenant":"t","password":"p"}`, "clientId: c\n",
		"\xff\xfe" + string(utf16LE("clientId: c\n")),
	} {
		if _, err := (&Keyring{keys: &dataKeys{}}).With(where, map[string][]byte{"sops.azure-kv": []byte(form)}); err != nil {
			t.Errorf("%q: %v", form, err)
		}
	}
}

func utf16LE(s string) []byte {
	var out []byte
	for _, r := range s {
		out = append(out, byte(r), 0)
	}
	return out
}
