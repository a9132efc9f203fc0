package secret_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/secret"
)

func TestCheckFindsSecretsInClear(t *testing.T) {
	dir := t.TempDir()
	key := x25519(t)
	for title, c := range map[string]struct {
		name, data string
		rule       string // "" for no finding
		line       int
	}{
		"a Secret":               {"a.yaml", secretYAML, secret.PlaintextSecret, 8},
		"in the second document": {"a.yaml", "a: b\n---\n" + secretYAML, secret.PlaintextSecret, 10},
		"in a List":              {"a.yaml", "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Secret\n  data: {a: " + token + "}\n", secret.PlaintextSecret, 6},
		"JSON":                   {"a.json", "{\"apiVersion\": \"v1\", \"kind\": \"Secret\",\n\"data\": {\"a\": \"" + token + "\"}}", secret.PlaintextSecret, 2},
		"without a value":        {"a.yaml", "apiVersion: v1\nkind: Secret\ndata: {a: '', b: null}\n", "", 0},
		"another kind":           {"a.yaml", "apiVersion: v1\nkind: ConfigMap\ndata: {a: b}\n", "", 0},
		"of another group":       {"a.yaml", "apiVersion: example.com/v1\nkind: Secret\ndata: {a: b}\n", "", 0},
		"a template":             {"a.yaml", "{{ if . }}\nkind: Secret\n{{ end }}\n", "", 0},
		"a key in a comment":     {"a.yaml", "a: b\n# " + key.private + "\n", secret.PrivateKey, 2},
		"a key in a script":      {"a.sh", "#!/bin/sh\n\nexport X=" + hybrid(t).private + "\n", secret.PrivateKey, 3},
		"a name that says so":    {"db.sops.yaml", "a: b\n", secret.NotSealed, 0},
		"the rules":              {".sops.yaml", "creation_rules: []\n", "", 0},
	} {
		t.Run(title, func(t *testing.T) {
			found := secret.NewChecker(ring(t), secret.Rules{Dir: dir}, dir).File(c.name, filepath.Join(dir, c.name), []byte(c.data))
			if c.rule == "" {
				if len(found) > 0 {
					t.Errorf("got %+v", found)
				}
				return
			}
			if len(found) != 1 || found[0].Rule != c.rule || found[0].Line != c.line || found[0].File != c.name || found[0].Fix == "" {
				t.Fatalf("got %+v", found)
			}
			quiet(t, found[0].Message, found[0].Fix)
		})
	}
}

// Every edit that sops refuses is a finding with the key at hand, and none says a
// secret.
func TestCheckFindsWhatSopsRefuses(t *testing.T) {
	key := x25519(t)
	dir := t.TempDir()
	sealed := string(sealByPeer(t, dir, "a.yaml", secretYAML, "--age", key.public, "--encrypted-regex", "^(data|stringData)$"))
	rules := secret.Rules{Dir: dir}
	if err := os.WriteFile(filepath.Join(dir, ".sops.yaml"), []byte("creation_rules:\n- age: "+key.public+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if found := secret.NewChecker(ring(t, key), rules, dir).File("a.yaml", filepath.Join(dir, "a.yaml"), []byte(sealed)); len(found) > 0 {
		t.Errorf("got %+v", found)
	}
	for title, edit := range edits {
		found := secret.NewChecker(ring(t, key), rules, dir).File("a.yaml", filepath.Join(dir, "a.yaml"), []byte(edit.do(t, sealed)))
		if len(found) == 0 {
			t.Errorf("%s: no finding", title)
		}
		for _, f := range found {
			quiet(t, f.Message, f.Fix)
		}
	}
}

// Texts of all kinds come back from every style that they can be sealed in.
func TestStrangeTextsComeBack(t *testing.T) {
	key := x25519(t)
	rule, k := ruleFor(t, t.TempDir(), "a.yaml", "", key.public), ring(t, key)
	for _, text := range []string{
		" ", "  lead", "trail  ", "a\\nb", `\n\nb`, `a\n\n`, `\ta`, `a\tb`, "- a", "# a", "a # b", "a: b", "'", "''", "&a", "*a", "!a", "%a", "@a", "`a", "{a", "[a", "true", "null", "~", "1", "1.0", "0x1", "1e3",
		"2024-01-01", "=", "<<", "---", "...", "é", "日本語", "\\u0001", "\\u007f", "\\u0085", "\\u2028", "\\ufeff", "😀", `a\r\nb\r\n`, `a\n b\n`, ` a\nb\n`, `a\n\n\nb`, `a\n#b\n`, "ENC[x]", "ENC[AES256_GCM,data:x", "sops",
	} {
		quoted := `"` + strings.NewReplacer(`'`, `'`).Replace(text) + `"`
		for _, plain := range []string{
			"stringData:\n  a: " + quoted + "\n  b: x\n",
			"stringData:\n- " + quoted + "\n-   - " + quoted + "\n",
			"stringData: {a: " + quoted + ", b: [" + quoted + "]}\n",
		} {
			plain = "apiVersion: v1\nkind: Secret\n" + plain
			sealed := encrypt(t, "a.yaml", plain, rule, secret.SealOptions{}).Data
			// In no quotes too, as sops writes it.
			bare := strings.ReplaceAll(strings.ReplaceAll(string(sealed), `"ENC[`, "ENC["), `,type:str]"`, ",type:str]")
			for _, data := range []string{string(sealed), bare} {
				if strings.Contains(plain, "{") && data == bare {
					continue
				}
				opened, _, err := k.Decrypt("a.yaml", []byte(data), secret.DecryptOptions{KeepLayout: true})
				if err != nil {
					t.Fatalf("%q: %v", text, err)
				}
				got, _ := tree(t, "a.yaml", string(opened))
				want, _ := tree(t, "a.yaml", plain)
				if got != want {
					t.Errorf("%q: got %q, want %q\n%s", text, got, want, opened)
				}
			}
		}
	}
}
