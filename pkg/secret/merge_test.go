package secret_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/secret"
)

// Two sides of a sealed file become one, and each value keeps the ciphertext of the
// side that it is from.
func TestMerge(t *testing.T) {
	key := x25519(t)
	keys := ring(t, key)
	rule, err := secret.Rules{Dir: t.TempDir(), Age: []string{key.public}}.For("a.yaml")
	if err != nil {
		t.Fatal(err)
	}
	const text = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData:\n  one: hunter1\n  two: hunter2\n  three: hunter3\n"
	sealedOver := func(text string, previous []byte) []byte {
		t.Helper()
		f, err := secret.Encrypt("a.yaml", []byte(text), rule, secret.SealOptions{Previous: previous, Keys: keys})
		if err != nil {
			t.Fatal(err)
		}
		return f.Data
	}
	base := sealedOver(text, nil)
	edited := func(old, now string) []byte { return sealedOver(strings.Replace(text, old, now, 1), base) }
	lineOf := func(data []byte, key string) string {
		for _, l := range strings.Split(string(data), "\n") {
			if strings.Contains(l, key+": ENC[") {
				return l
			}
		}
		return "none"
	}
	ours, theirs := edited("hunter1", "ours"), edited("hunter2", "theirs")
	got, err := keys.Merge("a.yaml", base, ours, theirs)
	if err != nil {
		t.Fatal(err)
	}
	plain, _, err := keys.Decrypt("a.yaml", got, secret.DecryptOptions{KeepLayout: true})
	if want := strings.NewReplacer("hunter1", "ours", "hunter2", "theirs").Replace(text); err != nil || string(plain) != want {
		t.Errorf("got %v\n%s", err, plain)
	}
	if lineOf(got, "one") != lineOf(ours, "one") || lineOf(got, "two") != lineOf(theirs, "two") || lineOf(got, "three") != lineOf(base, "three") {
		t.Errorf("sealed anew:\n%s", got)
	}
	for title, c := range map[string]struct{ base, ours, theirs, want []byte }{
		"only theirs":   {base, base, theirs, theirs},
		"only ours":     {base, ours, base, ours},
		"both the same": {base, ours, ours, ours},
		"both new":      {nil, ours, ours, ours},
	} {
		if got, err := keys.Merge("a.yaml", c.base, c.ours, c.theirs); err != nil || string(got) != string(c.want) {
			t.Errorf("%s: got %v", title, err)
		}
	}
	for title, side := range map[string][]byte{
		"the same value":        edited("hunter1", "theirs"),
		"removed":               edited("  one: hunter1\n", ""),
		"a key that ours added": edited("hunter3\n", "hunter3\n  four: theirs\n"),
	} {
		mine := ours
		if strings.HasPrefix(title, "a key") {
			mine = edited("hunter3\n", "hunter3\n  four: ours\n")
		}
		if _, err := keys.Merge("a.yaml", base, mine, side); !errors.Is(err, secret.ErrConflict) || strings.Contains(err.Error(), "hunter") {
			t.Errorf("%s: got %v", title, err)
		}
	}
	// One side lets somebody read it, the other changes a value: both are wanted.
	other := x25519(t)
	wider, err := secret.Rules{Dir: t.TempDir(), Age: []string{key.public, other.public}}.For("a.yaml")
	if err != nil {
		t.Fatal(err)
	}
	shared, err := keys.UpdateKeys("a.yaml", base, wider)
	if err != nil {
		t.Fatal(err)
	}
	got, err = keys.Merge("a.yaml", base, ours, shared.Data)
	if err != nil {
		t.Fatal(err)
	}
	if plain, _, err := ring(t, other).Decrypt("a.yaml", got, secret.DecryptOptions{KeepLayout: true}); err != nil || !strings.Contains(string(plain), "one: ours") {
		t.Errorf("got %v", err)
	}
	if _, err := ring(t, other).Merge("a.yaml", base, ours, theirs); err == nil || errors.Is(err, secret.ErrConflict) {
		t.Errorf("got %v", err)
	}
	if _, err := keys.Merge("a.yaml", base, ours, []byte(text)); !errors.Is(err, secret.ErrNotSealed) {
		t.Errorf("got %v", err)
	}
}
