package secret_test

import (
	"errors"
	"io/fs"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/secret"
)

// edits are what people and attackers do to a sealed secretYAML, and what is
// said of it. TestRefusesAsSopsDoes holds them to the real sops.
var edits = map[string]struct {
	kind secret.Kind
	says string
	do   func(t testing.TB, sealed string) string
}{
	"a value in clear is edited":      {secret.Tampered, "MAC mismatch", swap("name: db", "name: other")},
	"a value in clear is added":       {secret.Tampered, "MAC mismatch", swap("app: shop", "app: shop\n        tier: x")},
	"a sealed value is removed":       {secret.Tampered, "MAC mismatch", match(`(?m)^    token: .*\n`, "")},
	"what the MAC covers is edited":   {secret.Tampered, "MAC mismatch", match(`(?m)^    lastmodified:`, "    mac_only_encrypted: true\n    lastmodified:")},
	"lastmodified is edited":          {secret.Tampered, "MAC cannot be read", match(`lastmodified: "\d{4}`, `lastmodified: "1999`)},
	"the MAC is edited":               {secret.Tampered, "MAC cannot be read", flip(`mac: ENC\[AES256_GCM,data:`)},
	"the MAC is removed":              {secret.Tampered, "has no MAC", match(`(?m)^    mac: .*\n`, "")},
	"ciphertext is edited":            {secret.TamperedCiphertext, "stringData.password does not open: its ciphertext", flip(`password: ENC\[AES256_GCM,data:`)},
	"a tag is edited":                 {secret.TamperedCiphertext, "stringData.password does not open: its ciphertext", flip(`password: ENC.*tag:`)},
	"a sealed value is renamed":       {secret.TamperedCiphertext, "stringData.passwd does not open", swap("password:", "passwd:")},
	"sealed values are swapped":       {secret.TamperedCiphertext, "stringData.password does not open", swapValues},
	"a sealed value is cut off":       {secret.TamperedCiphertext, "stringData.password is not a whole sealed value", match(`(?m)(password: ENC.{40}).*$`, "$1")},
	"a sealed value is not base64":    {secret.TamperedCiphertext, "stringData.password is not a whole sealed value", match(`(password: ENC\[AES256_GCM,data:)`, "$1!")},
	"a sealed value has another type": {secret.TamperedCiphertext, "stringData.password does not open: its type", match(`(?m)^(    password: .*)type:str`, "${1}type:int")},
	"a sealed value is put in clear":  {secret.TamperedCiphertext, "stringData.password is in clear", match(`(?m)^(    password: ).*$`, "${1}hunter2-"+password)},
	"a number is put in clear":        {secret.TamperedCiphertext, "as a number", match(`(?m)^(    password: ).*$`, "${1}123")},
	"a secret is added in clear":      {secret.TamperedCiphertext, "stringData.more is in clear", swap("stringData:\n", "stringData:\n    more: "+password+"\n")},
	"a type that makes sops panic":    {secret.BadMetadata, "cannot bear", match(`(?m)^(    password: .*)type:str`, "${1}type:bytes")},
	"a secret stands twice":           {secret.BadMetadata, "not valid YAML at line 9", match(`(?m)^(    password: .*\n)`, "$1$1")},
	"a merge conflict":                {secret.BadMetadata, "not valid YAML", swap("stringData:\n", "<<<<<<< HEAD\nstringData:\n")},
	"a stray document marker":         {secret.BadMetadata, "not valid YAML", swap("    name: db\n", "---\n        name: db\n")},
	"cut off in a value":              {secret.BadMetadata, "holds 1 sealed value(s) but no sops metadata", match(`(?s)    token: .*`, "")},
	"cut off before the metadata":     {secret.BadMetadata, "holds 3 sealed value(s) but no sops metadata", match(`(?s)\nsops:.*`, "\n")},
	"cut off in the data key":         {secret.BadMetadata, "no sops metadata", match(`(?s)(BEGIN AGE ENCRYPTED FILE-----\n.{100}).*`, "$1")},
	"the recipients are removed":      {secret.BadMetadata, "names no recipient", match(`(?s)\n    age:.*END AGE.*?recipient: \S+`, "")},
	"the data key is edited":          {secret.BadMetadata, "is damaged", flip(`BEGIN AGE ENCRYPTED FILE-----\n.*\n.{20}`)},
	"the data key is cut off":         {secret.BadMetadata, "is damaged", match(`(?s)(BEGIN AGE ENCRYPTED FILE-----\n.{100}).*?(\n\s+-----END)`, "$1$2")},
	"lastmodified is removed":         {secret.BadMetadata, "is not a time", match(`(?m)^    lastmodified: .*\n`, "")},
	"two rules of what is sealed":     {secret.BadMetadata, "more than one of", match(`(?m)^    encrypted_regex`, "    unencrypted_suffix: _x\n    encrypted_regex")},
	"the metadata is of another type": {secret.BadMetadata, "malformed", match(`(?s)    age:\n.*?recipient: \S+`, "    age: 1")},
	"the sops section is moved down":  {secret.BadMetadata, "no sops metadata", swap("sops:", "spec:")},
}

func swap(old, new string) func(testing.TB, string) string {
	return func(t testing.TB, s string) string { return changed(t, s, strings.Replace(s, old, new, 1)) }
}

// match replaces the first match of an expression.
func match(expr, new string) func(testing.TB, string) string {
	re := regexp.MustCompile(expr)
	return func(t testing.TB, s string) string {
		at := re.FindStringSubmatchIndex(s)
		if at == nil {
			t.Fatalf("nothing matches %s", expr)
		}
		return changed(t, s, s[:at[0]]+string(re.ExpandString(nil, new, s, at))+s[at[1]:])
	}
}

// flip changes the letter behind the first match of an expression, to another
// one that base64 allows.
func flip(expr string) func(testing.TB, string) string {
	re := regexp.MustCompile(expr)
	return func(t testing.TB, s string) string {
		at := re.FindStringIndex(s)
		if at == nil {
			t.Fatalf("nothing matches %s", expr)
		}
		other := "A"
		if s[at[1]] == 'A' {
			other = "B"
		}
		return changed(t, s, s[:at[1]]+other+s[at[1]+1:])
	}
}

func swapValues(t testing.TB, s string) string {
	m := regexp.MustCompile(`(?m)^    password: (.*)\n    token: (.*)$`).FindStringSubmatch(s)
	return changed(t, s, strings.Replace(s, m[0], "    password: "+m[2]+"\n    token: "+m[1], 1))
}

func changed(t testing.TB, before, after string) string {
	t.Helper()
	if before == after {
		t.Fatal("the edit edits nothing")
	}
	return after
}

// mustRefuse requires that a file is not opened, neither by itself nor in an
// overlay, for a reason of this kind, and that no secret is said.
func mustRefuse(t testing.TB, k *secret.Keyring, name, sealed string, kind secret.Kind, says string) {
	t.Helper()
	plain, _, err := k.Decrypt(name, []byte(sealed), secret.DecryptOptions{})
	p, ok := errors.AsType[secret.Problem](err)
	if !ok || plain != nil {
		t.Fatalf("got error %v, and %d bytes", err, len(plain))
	}
	if p.Kind != kind || p.Path != name || !strings.HasPrefix(p.Error(), name+": ") || !strings.Contains(p.Error(), says) {
		t.Errorf("got %q: %v, want %q with %q", p.Kind, p, kind, says)
	}
	if p.Hint == "" {
		t.Error("no hint")
	}
	quiet(t, p.Error(), p.Hint)

	f := secret.Overlay(fstest.MapFS{name: {Data: []byte(sealed)}}, k, secret.OverlayOptions{Configured: true})
	read, err := fs.ReadFile(f, name)
	if err != nil || string(read) != sealed {
		t.Errorf("reads as %v\n%s", err, read)
	}
	if ps := f.Problems(); len(ps) != 1 || ps[0].Kind != kind || ps[0].Error() != p.Error() {
		t.Errorf("got problems %v", ps)
	}
	if o := f.Opened(); len(o) != 0 {
		t.Errorf("got opened %v", o)
	}
}

// quiet requires that no secret of these tests, nor any private key, is said.
func quiet(t testing.TB, texts ...string) {
	t.Helper()
	for _, text := range texts {
		for _, hidden := range []string{password, token, "hunter2", "AGE-SECRET-KEY-1", "AGE-SECRET-KEY-PQ-1", "PRIVATE KEY-----"} {
			if strings.Contains(text, hidden) {
				t.Errorf("says a secret: %s", text)
			}
		}
		if strings.Contains(text, "\n") {
			t.Errorf("is more than a line: %s", text)
		}
	}
}
