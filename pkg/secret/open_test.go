package secret_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/getsops/sops/v3"
	"github.com/getsops/sops/v3/pgp"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/secret"
)

func TestNoKeySaysWhoWhereAndWhatToType(t *testing.T) {
	key := x25519(t)
	sealed := string(seal(t, "apps/db.yaml", secretYAML, to(key)))
	k := ring(t).WithMissing("secret/sops-age in flux-system", "not found")
	mustRefuse(t, k, "apps/db.yaml", sealed, secret.NoKey, "it is sealed to "+key.public+"; no age key is at hand")

	_, f, err := k.Decrypt("apps/db.yaml", []byte(sealed), secret.DecryptOptions{})
	if len(f.Recipients) != 1 || f.Recipients[0] != key.public || f.MetadataSealed {
		t.Errorf("got %+v", f)
	}
	ke, ok := errors.AsType[*secret.KeyError](err)
	if !ok || len(ke.Held) != 0 || len(ke.Recipients) != 1 {
		t.Fatalf("got %#v", err)
	}
	if last := ke.Places[len(ke.Places)-1]; last.String() != "secret/sops-age in flux-system: not found" {
		t.Errorf("got place %s", last)
	}
	hint := err.(secret.Problem).Hint
	for _, want := range []string{"export SOPS_AGE_KEY_FILE=FILE", "--age-key-file FILE", "kubectl gitops secret install-key --age-key-file FILE"} {
		if !strings.Contains(hint, want) {
			t.Errorf("hint %q lacks %q", hint, want)
		}
	}
}

func TestWrongKeySaysWhoseKeysAreHeld(t *testing.T) {
	key, other, third := x25519(t), x25519(t), hybrid(t)
	sealed := string(seal(t, "a.yaml", secretYAML, to(key)))
	mustRefuse(t, ring(t, other), "a.yaml", sealed, secret.WrongKey, "it is sealed to "+key.public+"; the keys at hand are for "+other.public)
	_, _, err := ring(t, third, other).Decrypt("a.yaml", []byte(sealed), secret.DecryptOptions{})
	if ke, _ := errors.AsType[*secret.KeyError](err); ke == nil || len(ke.Held) != 2 || ke.Held[0] != third.public {
		t.Fatalf("got %#v", err)
	}
	if want := "kubectl gitops secret updatekeys --add-recipient " + other.public + " ."; !strings.Contains(err.(secret.Problem).Hint, want) {
		t.Errorf("hint %q lacks %q", err.(secret.Problem).Hint, want)
	}
	if len(err.Error()) > 400 {
		t.Errorf("a hybrid recipient makes the line %d letters long", len(err.Error()))
	}
}

func TestAnyOneRecipientOpens(t *testing.T) {
	a, b := x25519(t), x25519(t)
	sealed := seal(t, "a.yaml", secretYAML, sealing{groups: [][]string{{a.public, b.public}}})
	for _, p := range []pair{a, b} {
		plain, f, err := ring(t, p).Decrypt("a.yaml", sealed, secret.DecryptOptions{})
		if err != nil || string(plain) != secretYAML {
			t.Fatalf("got %v\n%s", err, plain)
		}
		if strings.Join(f.Recipients, " ") != a.public+" "+b.public {
			t.Errorf("got recipients %v", f.Recipients)
		}
	}
}

func TestKeyGroups(t *testing.T) {
	a, b, c, d := x25519(t), x25519(t), hybrid(t), x25519(t)
	how := sealing{groups: [][]string{{a.public, d.public}, {b.public}, {c.public}}, threshold: 2}
	sealed := string(seal(t, "a.yaml", secretYAML, how))
	for title, k := range map[string]*secret.Keyring{"two": ring(t, d, c), "all": ring(t, c, b, a)} {
		if plain, _, err := k.Decrypt("a.yaml", []byte(sealed), secret.DecryptOptions{}); err != nil || string(plain) != secretYAML {
			t.Errorf("%s: got %v\n%s", title, err, plain)
		}
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.yaml"), []byte(sealed), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := peer(t, dir, b.private+" "+c.private, "decrypt", "a.yaml"); err != nil || got != secretYAML {
		t.Errorf("sops itself: got %v\n%s", err, got)
	}
	mustRefuse(t, ring(t, a, d), "a.yaml", sealed, secret.WrongKey, "2 key groups are needed and 1 could be opened")
	mustRefuse(t, ring(t), "a.yaml", sealed, secret.NoKey, "2 key groups are needed and 0 could be opened")
	mustRefuse(t, ring(t, a), "a.yaml", swap("shamir_threshold: 2", "shamir_threshold: 1")(t, sealed), secret.BadMetadata, "do not make up one data key")
}

// The parts of two files do not make up a key.
func TestKeyGroupsOfDifferentFiles(t *testing.T) {
	a, b := x25519(t), x25519(t)
	how := sealing{groups: [][]string{{a.public}, {b.public}}, threshold: 2}
	one, two := string(seal(t, "a.yaml", secretYAML, how)), string(seal(t, "a.yaml", secretYAML, how))
	i, j := strings.LastIndex(one, "-----BEGIN AGE"), strings.LastIndex(one, "-----END AGE")
	x, y := strings.LastIndex(two, "-----BEGIN AGE"), strings.LastIndex(two, "-----END AGE")
	mustRefuse(t, ring(t, a, b), "a.yaml", one[:i]+two[x:y]+one[j:], secret.TamperedCiphertext, "does not open")
}

// A recipient other than age is asked of sops's own code, with what is ambient:
// here a gpg that knows no better than base64.
func TestPGPGoesToGPG(t *testing.T) {
	gpg := filepath.Join(t.TempDir(), "gpg")
	script := "#!/bin/sh\ncase \"$*\" in *--encrypt*) exec base64 ;; esac\n[ -e \"$0.locked\" ] && { echo 'gpg: decryption failed: No secret key' >&2; exit 2; }\nexec base64 -d\n"
	if err := os.WriteFile(gpg, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SOPS_GPG_EXEC", gpg)
	t.Setenv("GNUPGHOME", t.TempDir())
	const fingerprint = "FBC7B9E2A4F9289AC0C1D4843D16CEE4A27381B4"
	sealed := string(sealTo(t, "a.yaml", secretYAML, []sops.KeyGroup{{pgp.NewMasterKeyFromFingerprint(fingerprint)}}, sealing{}))

	plain, f, err := ring(t).Decrypt("a.yaml", []byte(sealed), secret.DecryptOptions{})
	if err != nil || string(plain) != secretYAML {
		t.Fatalf("got %v\n%s", err, plain)
	}
	if len(f.Recipients) != 1 || f.Recipients[0] != "pgp:"+fingerprint {
		t.Errorf("got recipients %v", f.Recipients)
	}

	if err := os.WriteFile(gpg+".locked", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	k := ring(t, x25519(t))
	mustRefuse(t, k, "a.yaml", sealed, secret.NoKey, "it is sealed to pgp:"+fingerprint+"; pgp:"+fingerprint+": ")
	_, _, err = k.Decrypt("a.yaml", []byte(sealed), secret.DecryptOptions{})
	ke, _ := errors.AsType[*secret.KeyError](err)
	if ke == nil || len(ke.Tried) != 1 || !strings.Contains(ke.Tried[0].Why, "No secret key") {
		t.Errorf("got %#v", err)
	}
	if hint := err.(secret.Problem).Hint; hint != "gpg --import FILE" {
		t.Errorf("got hint %q", hint)
	}
}

func TestNotSealed(t *testing.T) {
	for name, text := range map[string]string{
		"a.yaml":       "kind: ConfigMap\n",
		"values.yaml":  "sops:\n  enabled: true\n",
		"prose.yaml":   "text: |\n  a file sealed by sops has lastmodified and mac: ENC[AES256_GCM,data:x]\n",
		"chart.yaml":   "{{ if .Values.sops }}\nmac: ENC[AES256_GCM,lastmodified]\n{{ end }}\n",
		"a.json":       `{"sops": "ENC[AES256_GCM, lastmodified"}`,
		"a.env":        "A=sops lastmodified ENC[AES256_GCM,\n",
		"a.ini":        "[a]\nsops = lastmodified\n",
		"README.md":    "sops: lastmodified ENC[AES256_GCM,data:…]\n",
		"empty.yaml":   "",
		"nothing.json": "",
		"broken.json":  "{ sops lastmodified",
		"HOWTO.md":     "# How to\n```yaml\nkey: ENC[AES256_GCM,data:a,iv:b,tag:c,type:str]\nsops:\n    mac: x\n    lastmodified: y\n```\n",
	} {
		plain, f, err := ring(t).Decrypt(name, []byte(text), secret.DecryptOptions{})
		if !errors.Is(err, secret.ErrNotSealed) || plain != nil || f.Path != name {
			t.Errorf("%s: got %v, %q, %+v", name, err, plain, f)
		}
	}
}

// A name says the format where it can; where it cannot, the marks in the file do.
func TestFormatOfNamesThatSayNothing(t *testing.T) {
	key := x25519(t)
	for _, f := range []struct{ sealedAs, name, plain string }{
		{"a.yaml", "a.yaml.enc", "a: " + password + "\n"},
		{"a.env", "secrets.sealed", "A=" + password + "\n"},
		{"a.ini", "my.cnf", "[db]\na = " + password + "\n\n"},
		{"a.json", ".dockerconfigjson", "{\n\t\"auths\": {\n\t\t\"r\": \"" + password + "\"\n\t}\n}\n"},
		{"a.bin", "a.json.enc", `{"data": "` + password + `"}`},
	} {
		sealed := seal(t, f.sealedAs, f.plain, sealing{groups: [][]string{{key.public}}})
		plain, _, err := ring(t, key).Decrypt(f.name, sealed, secret.DecryptOptions{})
		if err != nil {
			t.Errorf("%s: %v", f.name, err)
		} else if f.sealedAs != "a.ini" && string(plain) != f.plain || !strings.Contains(string(plain), password) {
			t.Errorf("%s: got\n%s\nwant\n%s", f.name, plain, f.plain)
		}
	}
}

func TestMalformedInOtherFormats(t *testing.T) {
	key := x25519(t)
	for _, f := range []struct{ name, plain, expr, with, says string }{
		{"a.json", `{"a": "` + password + `"}`, `(?s)\}\s*$`, "", "not valid JSON"},
		{"b.json", `{"a": "` + password + `"}`, `(?s),\s*"sops": .*`, "}", "no sops metadata"},
		{"c.key", password, `(?s)\}\s*$`, "", "not valid JSON"},
		{"d.key", password, `^`, "<<<<<<< HEAD\n", "not valid JSON"},
		{"a.env", "A=" + password + "\n", `(?m)(^sops_age.*\n)+`, "", "names no recipient"},
		{"b.env", "A=" + password + "\n", `(?m)^A=.*$`, "A " + password, "not NAME=VALUE"},
		{"d.env", "A=" + password + "\n", `(?m)(^sops_.*\n)+`, "", "holds 1 sealed value(s) but no sops metadata"},
		{"b.ini", "[a]\nb = " + password + "\n", `(?s)\[sops\].*`, "", "holds 1 sealed value(s) but no sops metadata"},
		{"a.ini", "[a]\nb = " + password + "\n", `(?m)^lastmodified.*\n`, "", "not a time"},
	} {
		sealed := string(seal(t, f.name, f.plain, sealing{groups: [][]string{{key.public}}}))
		t.Run(f.name, func(t *testing.T) {
			mustRefuse(t, ring(t, key), f.name, match(f.expr, f.with)(t, sealed), secret.BadMetadata, f.says)
		})
	}
}

// Aliases that contain themselves or blow up, in a document that sops does not
// look at before it follows them.
func TestAliasBombs(t *testing.T) {
	key := x25519(t)
	sealed := string(seal(t, "a.yaml", secretYAML, to(key)))
	bomb := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'k'; c++ {
		p := string(c - 1)
		bomb += string(c) + ": &" + string(c) + " [*" + strings.Join([]string{p, p, p, p, p, p, p, p, p}, ", *") + "]\n"
	}
	for _, doc := range []string{bomb, "a: &a\n  b: *a\n"} {
		mustRefuse(t, ring(t, key), "a.yaml", sealed+"---\n"+doc, secret.BadMetadata, "not valid YAML")
	}
	mustRefuse(t, ring(t, key), "a.yaml", sealed+"...\na: 1\n", secret.BadMetadata, "not valid YAML at line 26")
}

func TestTooLarge(t *testing.T) {
	key := x25519(t)
	sealed := string(seal(t, "a.yaml", "a: "+password+"\n", whole(key)))
	pad := "# " + strings.Repeat("x", 1<<10) + "\n"
	mustRefuse(t, ring(t, key), "a.yaml", sealed+strings.Repeat(pad, 5<<10), secret.TooLarge, "above the limit of 5242880")
	if plain, _, err := ring(t, key).Decrypt("a.yaml", []byte(sealed+strings.Repeat(pad, 4<<10)), secret.DecryptOptions{}); err != nil || !strings.Contains(string(plain), password) {
		t.Errorf("below the limit: %v", err)
	}
	prose := "text: about sops, lastmodified\n" + strings.Repeat(pad, 6<<10)
	if _, _, err := ring(t).Decrypt("a.yaml", []byte(prose), secret.DecryptOptions{}); !errors.Is(err, secret.ErrNotSealed) {
		t.Errorf("large and not sealed: %v", err)
	}
}

// Metadata that makes the sops library panic is bad metadata, and nobody is asked.
func TestMetadataThatMakesSopsPanic(t *testing.T) {
	const kms = "sops: {lastmodified: \"2001-01-01T00:00:00Z\", mac: x, kms: [{arn: x, enc: x, context: {a: null}, created_at: \"2001-01-01T00:00:00Z\"}]}\n"
	mustRefuse(t, ring(t), "a.yaml", "a: "+password+"\n"+kms, secret.BadMetadata, "cannot bear")
}

// What stands in a file does not command the terminal that shows it, nor the
// shell into which a hint is pasted.
func TestTextsOfTheFileAreHarmless(t *testing.T) {
	key := x25519(t)
	sealed := string(seal(t, "a.yaml", secretYAML, to(key)))
	evil := match(`recipient: \S+`, `recipient: "age1\e[2J\nx"`)(t, sealed)
	name := "it's $(rm -rf ~).yaml"
	mustRefuse(t, ring(t), name, evil, secret.NoKey, `sealed to "age1\x1b[2J\nx"; no age key`)
	_, _, err := ring(t, key).Decrypt(name, []byte(swap("name: db", "name: x")(t, sealed)), secret.DecryptOptions{})
	if p, _ := errors.AsType[secret.Problem](err); !strings.Contains(p.Hint, `-- 'it'\''s $(rm -rf ~).yaml' shows`) {
		t.Errorf("got hint %s", p.Hint)
	}
}
