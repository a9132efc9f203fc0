package secret_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/secret"
)

// fuzzed are the files that FuzzEdit edits: what is sealed there is these two
// secrets and nothing else, in each format.
var fuzzed = []struct{ name, plain string }{
	{"a.yaml", secretYAML},
	{"two.yaml", secretYAML + "---\nstringData:\n    password: " + password + "\n"},
	{"a.json", `{"data": {"a": "` + password + `"}, "kind": "Secret", "stringData": {"b": "` + token + `"}}`},
	{"a.env", "A=" + password + "\nB=" + token + "\n"},
	{"a.ini", "[data]\na = " + password + "\nb = " + token + "\n"},
	{"a.key", password + token},
}

// FuzzEdit makes an edit at any place of a sealed file, with the right key at
// hand. The corpus holds edits, not files, so that no key and no sealed file has
// to be kept. Whatever the edit: no panic; a refusal yields no plaintext and says
// no secret; and if the file opens all the same, then the MAC has vouched for it:
// every secret is there, as it was.
func FuzzEdit(f *testing.F) {
	key := x25519(f)
	k := ring(f, key)
	var sealed [][]byte
	for _, file := range fuzzed {
		how := whole(key)
		if strings.HasSuffix(file.name, ".yaml") || strings.HasSuffix(file.name, ".json") {
			how = to(key)
		}
		sealed = append(sealed, seal(f, file.name, file.plain, how))
	}
	for which := range fuzzed {
		for _, at := range []uint16{0, 20, 90, 200, 400, 700, 1200} {
			f.Add(uint8(which), at, uint16(1), []byte("A"))
			f.Add(uint8(which), at, uint16(0), []byte("\n---\n"))
			f.Add(uint8(which), at, uint16(60), []byte{})
			f.Add(uint8(which), at, uint16(9999), []byte{})
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, at, remove uint16, insert []byte) {
		file := fuzzed[int(which)%len(fuzzed)]
		checkEdit(t, k, file.name, file.plain, edit(sealed[int(which)%len(fuzzed)], at, remove, insert))
	})
}

// edit replaces what stands at an offset.
func edit(data []byte, at, remove uint16, insert []byte) []byte {
	from := min(int(at), len(data))
	to := min(from+int(remove), len(data))
	return append(append(append([]byte{}, data[:from]...), insert...), data[to:]...)
}

// checkEdit is nil for an edited file that opens, and else why it does not.
func checkEdit(t testing.TB, k *secret.Keyring, name, plain string, edited []byte) error {
	t.Helper()
	got, _, err := k.Decrypt(name, edited, secret.DecryptOptions{})
	if err == nil {
		for _, s := range []string{password, token} {
			if strings.Contains(plain, s) && !strings.Contains(string(got), s) {
				t.Errorf("opens without %s:\n%s\nfrom\n%s", s, got, edited)
			}
		}
		return nil
	}
	if got != nil {
		t.Errorf("refused (%v), yet yields\n%s", err, got)
	}
	if _, ok := errors.AsType[secret.Problem](err); !ok && !errors.Is(err, secret.ErrNotSealed) {
		t.Errorf("got an error of type %T", err)
	}
	quiet(t, err.Error())
	if _, f, lax := k.Decrypt(name, edited, secret.DecryptOptions{IgnoreMAC: true}); lax == nil && !f.MACIgnored {
		t.Errorf("refused, opens with the MAC ignored, and does not say so:\n%s", edited)
	}
	return err
}

// Every byte of every file changed, every fifth removed or the end of the file:
// the edits that a fuzzer is sure to try, each time.
func TestEveryByteCounts(t *testing.T) {
	key := x25519(t)
	k := ring(t, key)
	for _, file := range fuzzed {
		sealed := seal(t, file.name, file.plain, to(key))
		if strings.HasSuffix(file.name, ".env") || strings.HasSuffix(file.name, ".ini") || strings.HasSuffix(file.name, ".key") {
			sealed = seal(t, file.name, file.plain, whole(key))
		}
		opened, all := 0, 0
		for at := range uint16(len(sealed)) {
			edits := [][]byte{edit(sealed, at, 1, []byte{sealed[at] ^ 1})}
			if at%5 == 0 {
				edits = append(edits, edit(sealed, at, 1, nil), edit(sealed, at, 9999, nil))
			}
			for i, edited := range edits {
				all++
				err := checkEdit(t, k, file.name, file.plain, edited)
				if err == nil {
					opened++
				}
				if i == 0 && errors.Is(err, secret.ErrNotSealed) {
					t.Errorf("passes for a file that is not sealed:\n%s", edited)
				}
			}
		}
		// Blanks, the version, keys in clear: some edits are nobody's business.
		if opened == 0 || opened > all/2 {
			t.Errorf("%s: %d of %d edits open", file.name, opened, all)
		}
	}
}

// FuzzAnyFile reads anything at all, under any name, without a key.
func FuzzAnyFile(f *testing.F) {
	key := x25519(f)
	for _, file := range fuzzed {
		f.Add(file.name, seal(f, file.name, file.plain, whole(key)))
	}
	f.Add("a.yaml", []byte("sops: &a {mac: x, lastmodified: y, age: *a}\n"))
	f.Add("a.json", []byte(`{"sops": {"lastmodified": [[[[[`+strings.Repeat("[", 20000)))
	f.Add("a.env", []byte("sops_lastmodified=x\nsops_age__list_99999999__map_enc=\n"))
	k := ring(f)
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		for _, asked := range []string{"kms", "azure_kv", "hc_vault", "pgp"} {
			if strings.Contains(string(data), asked) {
				return // a fuzzer has no business with gpg and the clouds
			}
		}
		plain, _, err := k.Decrypt(name, data, secret.DecryptOptions{IgnoreMAC: true})
		if err == nil || plain != nil {
			t.Errorf("opens without a key: %q", plain)
		}
	})
}
