package secret_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/secret"
)

// What sops, and what this package, sealed gets other readers and another data
// key; the new reader opens it with the real sops, the old one does not.
func TestUpdateKeysAndRotate(t *testing.T) {
	old, next := x25519(t), x25519(t)
	sealedValue := regexp.MustCompile(`ENC\[AES256_GCM,data:[^\]]*\]`)
	for _, f := range peerFiles {
		if f.rule != "" || strings.Contains(f.title, "anchors") {
			continue
		}
		for _, rotate := range []bool{false, true} {
			title := f.title + ", updatekeys"
			if rotate {
				title = f.title + ", rotate"
			}
			t.Run(title, func(t *testing.T) {
				dir := t.TempDir()
				sealed := sealByPeer(t, dir, f.name, f.plain, append([]string{"--age", old.public}, f.flags...)...)
				want, err := peer(t, dir, old.private, "decrypt", f.name)
				if err != nil {
					t.Fatal(err)
				}
				rule := ruleFor(t, dir, f.name, "", next.public)
				k := ring(t, old)
				do := k.UpdateKeys
				if rotate {
					do = k.Rotate
				}
				out, err := do(f.name, sealed, rule)
				if err != nil {
					t.Fatal(err)
				}
				if !out.Changed || !slices.Equal(out.Added(), []string{next.public}) || !slices.Equal(out.Removed(), []string{old.public}) {
					t.Errorf("got %v, %v, %v", out.Changed, out.Before, out.After)
				}
				if err := os.WriteFile(filepath.Join(dir, f.name), out.Data, 0o600); err != nil {
					t.Fatal(err)
				}
				got, err := peer(t, dir, next.private, "decrypt", f.name)
				if err != nil || got != want {
					t.Errorf("got %v\n%s\nwant\n%s", err, got, want)
				}
				if _, err := peer(t, dir, old.private, "decrypt", f.name); err == nil {
					t.Error("the old reader opens it still")
				}
				before := sealedValue.FindAllString(string(sealed), -1)
				after := sealedValue.FindAllString(string(out.Data), -1)
				if len(before) != len(after) {
					t.Fatalf("%d sealed values became %d", len(before), len(after))
				}
				for i := range before {
					if same := before[i] == after[i]; same == rotate {
						t.Errorf("value %d is the same: %v", i, same)
					}
				}
				if strings.HasSuffix(f.name, ".yaml") && outside(string(sealed)) != outside(string(out.Data)) {
					t.Errorf("other bytes changed: got\n%s\nfrom\n%s", out.Data, sealed)
				}
			})
		}
	}
}

func TestUpdateKeysLeavesWhatIsRightAlone(t *testing.T) {
	key, other := x25519(t), x25519(t)
	dir := t.TempDir()
	sealed := sealByPeer(t, dir, "a.yaml", secretYAML, "--age", key.public+","+other.public)
	// Without any private key: there is nothing to open.
	out, err := ring(t).UpdateKeys("a.yaml", sealed, ruleFor(t, dir, "a.yaml", "", other.public, key.public))
	if err != nil || out.Changed || string(out.Data) != string(sealed) {
		t.Errorf("got %v, %v", err, out.Changed)
	}
}

func TestSealsToKeyGroups(t *testing.T) {
	a, b, c := x25519(t), x25519(t), x25519(t)
	dir := t.TempDir()
	conf := "creation_rules:\n- shamir_threshold: 2\n  key_groups:\n  - age: [" + a.public + "]\n  - age: [" + b.public + "]\n  - age: [" + c.public + "]\n"
	if err := os.WriteFile(filepath.Join(dir, ".sops.yaml"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	rule, err := secret.Rules{Dir: dir}.For(filepath.Join(dir, "a.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	sealed := encrypt(t, "a.yaml", secretYAML, rule, secret.SealOptions{}).Data
	for name, data := range map[string][]byte{"a.yaml": sealed, "b.yaml": mustReseal(t, ring(t, a), sealByPeer(t, t.TempDir(), "b.yaml", secretYAML, "--age", a.public), rule)} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := peer(t, dir, a.private, "decrypt", name); err == nil {
			t.Error("one key opens it, two are needed")
		}
		if _, err := peer(t, dir, a.private+"\n"+c.private, "decrypt", name); err != nil {
			t.Error(err)
		}
	}
}

func mustReseal(t *testing.T, k *secret.Keyring, sealed []byte, rule secret.Rule) []byte {
	t.Helper()
	out, err := k.UpdateKeys("b.yaml", sealed, rule)
	if err != nil {
		t.Fatal(err)
	}
	return out.Data
}

// What was tampered with gets no new readers and no new MAC.
func TestResealRefusesWhatDoesNotOpen(t *testing.T) {
	key, other := x25519(t), x25519(t)
	dir := t.TempDir()
	sealed := string(sealByPeer(t, dir, "a.yaml", secretYAML, "--age", key.public, "--encrypted-regex", "^(data|stringData)$"))
	rule := ruleFor(t, dir, "a.yaml", "", other.public)
	for title, edit := range edits {
		bad := []byte(edit.do(t, sealed))
		k := ring(t, key)
		for _, do := range []func(string, []byte, secret.Rule) (secret.Resealed, error){k.UpdateKeys, k.Rotate} {
			out, err := do("a.yaml", bad, rule)
			if err == nil || out.Data != nil {
				t.Errorf("%s: it is resealed", title)
				continue
			}
			quiet(t, err.Error())
		}
	}
	if _, err := ring(t).Rotate("a.yaml", []byte(sealed), rule); err == nil || !strings.Contains(err.Error(), "no age key is at hand") {
		t.Errorf("got %v", err)
	}
}
