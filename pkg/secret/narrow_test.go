package secret_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/secret"
)

const exported = `apiVersion: v1
kind: Secret
metadata:
    name: db # stays
    uid: 6e4ec3f6-8ad8-4cf3-9c4a-0a9d1c6a4f3e
    annotations:
        kubectl.kubernetes.io/last-applied-configuration: |
            {"data":{"password":"` + password + `"}}
    creationTimestamp: "2025-08-10T22:18:54Z"
    labels: {app: shop}
    managedFields:
        - manager: kubectl
          fieldsV1: {"f:data": {}}
    resourceVersion: "12345"
stringData:
    # who has it
    password: ` + password + `
    token: '` + token + `'
type: Opaque
`

const narrowed = `apiVersion: v1
kind: Secret
metadata:
    name: db # stays
    labels: {app: shop}
stringData:
    # who has it
    password: ` + password + `
    token: '` + token + `'
type: Opaque
`

// sealedBesides are the lines of a sealed file that hold nothing sealed, its sops
// section left out.
func sealedBesides(sealed string) string {
	var out []string
	body, _, _ := strings.Cut(sealed, "\nsops:")
	for line := range strings.Lines(body + "\n") {
		if !strings.Contains(line, "ENC[") {
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}

// What the real sops sealed whole becomes a file that Flux takes, which the real
// sops opens; its ciphertexts and its readers stay.
func TestNarrowSealsDataOnly(t *testing.T) {
	key, other := x25519(t), x25519(t)
	dir := t.TempDir()
	plain := strings.Replace(exported, "db # stays", "db", 1)
	sealed := sealByPeer(t, dir, "a.yaml", plain, "--age", key.public+","+other.public)
	k := ring(t, key)
	out, done, err := k.Narrow("a.yaml", sealed)
	if err != nil {
		t.Fatal(err)
	}
	if len(done) != 2 || !strings.Contains(done[1], "metadata.uid") {
		t.Errorf("got %q", done)
	}
	if err := os.WriteFile(filepath.Join(dir, "a.yaml"), out, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, p := range []pair{key, other} {
		opened, err := peer(t, dir, p.private, "decrypt", "a.yaml")
		if err != nil {
			t.Fatal(err)
		}
		got, gotNotes := tree(t, "a.yaml", opened)
		want, wantNotes := tree(t, "a.yaml", strings.Replace(narrowed, "db # stays", "db", 1))
		if got != want || strings.Join(gotNotes, "|") != strings.Join(wantNotes, "|") {
			t.Errorf("opens to\n%s", opened)
		}
	}
	for _, line := range strings.Split(string(sealed), "\n") {
		if strings.Contains(line, "    password: ENC[") && !strings.Contains(string(out), strings.TrimSpace(line)) {
			t.Error("the ciphertext of the password is another")
		}
	}
	if got := sealedBesides(string(out)); got != "apiVersion: v1\nkind: Secret\nmetadata:\n    name: db\n    labels:\n        app: shop\nstringData:\ntype: Opaque\n" {
		t.Errorf("in clear:\n%s", got)
	}
	if again, done, err := k.Narrow("a.yaml", out); err != nil || len(done) > 0 || string(again) != string(out) {
		t.Errorf("does it again: %v, %q", err, done)
	}
}

func TestNarrowTakesOutWhatAServerMade(t *testing.T) {
	key := x25519(t)
	k := ring(t, key)
	rule := ruleFor(t, t.TempDir(), "a.yaml", "encrypted_regex: "+secret.KubernetesRegex, key.public)
	for title, c := range map[string]struct{ plain, want string }{
		"of everything": {exported, narrowed},
		"another annotation stays": {
			strings.Replace(exported, "    annotations:\n", "    annotations:\n        a: b\n", 1),
			strings.Replace(narrowed, "    labels:", "    annotations:\n        a: b\n    labels:", 1),
		},
		"CRLF":              {strings.ReplaceAll(exported, "\n", "\r\n"), strings.ReplaceAll(narrowed, "\n", "\r\n")},
		"a flow list":       {strings.Replace(narrowed, "    labels", "    managedFields: [{a: {b: c}},\n      {d: e}]\n    labels", 1), narrowed},
		"a second document": {narrowed + "---\n" + exported, narrowed + "---\n" + narrowed},
	} {
		t.Run(title, func(t *testing.T) {
			sealed := encrypt(t, "a.yaml", c.plain, rule, secret.SealOptions{}).Data
			out, _, err := k.Narrow("a.yaml", sealed)
			if err != nil {
				t.Fatal(err)
			}
			opened, _, err := k.Decrypt("a.yaml", out, secret.DecryptOptions{KeepLayout: true})
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.ReplaceAll(string(opened), `"`+token+`"`, `'`+token+`'`); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
	t.Run("JSON", func(t *testing.T) {
		plain := `{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x", "uid": "u", "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"}}, "data": {"a": "` + token + `"}}`
		out, _, err := k.Narrow("a.json", seal(t, "a.json", plain, whole(key)))
		if err != nil {
			t.Fatal(err)
		}
		opened, _, err := k.Decrypt("a.json", out, secret.DecryptOptions{})
		if err != nil || strings.Contains(string(opened), "uid") || strings.Contains(string(opened), "annotations") || !strings.Contains(string(opened), token) || !strings.Contains(string(out), `"kind": "Secret"`) {
			t.Errorf("got %v\n%s\n%s", err, out, opened)
		}
	})
}

func TestNarrowLetsNothingOut(t *testing.T) {
	key := x25519(t)
	k := ring(t, key)
	for title, c := range map[string]struct{ plain, says string }{
		"of another kind":   {"apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nspec: {values: {p: " + password + "}}\n", "holds an object that is no Secret"},
		"one of two":        {secretYAML + "---\napiVersion: v1\nkind: ConfigMap\ndata: {a: b}\n", "holds an object that is no Secret"},
		"a comment":         {"# the password was " + password + "\n" + secretYAML, "sealed comment outside of data"},
		"a comment between": {strings.Replace(secretYAML, "    labels:", "    # "+password+"\n    labels:", 1), "sealed comment outside of data"},
	} {
		t.Run(title, func(t *testing.T) {
			_, _, err := k.Narrow("a.yaml", seal(t, "a.yaml", c.plain, whole(key)))
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("got %v", err)
			}
			quiet(t, err.Error())
		})
	}
	sealed := seal(t, "a.yaml", strings.Replace(exported, " # stays", "", 1), whole(key))
	if _, _, err := ring(t, x25519(t)).Narrow("a.yaml", sealed); err == nil || !strings.Contains(err.Error(), "cannot be opened") {
		t.Errorf("got %v", err)
	}
	if _, _, err := k.Narrow("a.yaml", []byte(changed(t, string(sealed), strings.Replace(string(sealed), "lastmodified: \"20", "lastmodified: \"19", 1)))); err == nil || !strings.Contains(err.Error(), "MAC") {
		t.Errorf("got %v", err)
	}
	if _, _, err := k.Narrow("a.yaml", []byte(secretYAML)); !errors.Is(err, secret.ErrNotSealed) {
		t.Errorf("got %v", err)
	}
}
