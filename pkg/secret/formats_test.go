package secret_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/secret"
)

// generatedAs is a file of a format, a function of its seed: with comments, blank lines and
// odd values as far as the format has them.
func generatedAs(format string, seed uint64) string {
	r := rand.New(rand.NewPCG(seed, 2))
	texts := []string{"x", "two words", "a=b", "#no", "ünï", "'q'", `"q"`, "1", "true", "http://a/?b=c#d", "-", "a\tb", "p@ss;w0rd", "$HOME", "back\\slash", "{}", "[a]"}
	text := func() string { return texts[r.IntN(len(texts))] }
	var b strings.Builder
	switch format {
	case "json":
		var value func(depth int) string
		pad := []string{"", " ", "\n  ", "\n\n\t"}
		value = func(depth int) string {
			p := pad[r.IntN(len(pad))]
			switch n := r.IntN(9); {
			case n < 2 && depth < 3:
				var items []string
				for i := range r.IntN(4) {
					items = append(items, fmt.Sprintf("%s\"k%d\"%s:%s%s", p, i, pad[r.IntN(2)], pad[r.IntN(2)], value(depth+1)))
				}
				return "{" + strings.Join(items, ",") + p + "}"
			case n < 4 && depth < 3:
				var items []string
				for range r.IntN(4) {
					items = append(items, p+value(depth+1))
				}
				return "[" + strings.Join(items, ",") + p + "]"
			case n == 4:
				return []string{"1", "-2.5", "1e3", "12345678901234567", "0"}[r.IntN(5)]
			case n == 5:
				return []string{"true", "false", "null"}[r.IntN(3)]
			}
			out, _ := json.Marshal(text())
			return string(out)
		}
		fmt.Fprintf(&b, "{\n  \"kind\": \"x\", \"a\":%s,\n  \"b\": %s\n}%s", value(0), value(1), pad[r.IntN(2)])
	case "env":
		for i := range 1 + r.IntN(6) {
			switch r.IntN(4) {
			case 0:
				b.WriteString("\n")
			case 1:
				fmt.Fprintf(&b, "# %s\n", text())
			}
			fmt.Fprintf(&b, "K%d=%s\n", i, strings.ReplaceAll(text(), "\t", " "))
		}
	case "ini":
		for s := range 1 + r.IntN(3) {
			fmt.Fprintf(&b, "[s%d]\n%s", s, []string{"", "\n"}[r.IntN(2)])
			for i := range 1 + r.IntN(3) {
				if r.IntN(3) == 0 {
					fmt.Fprintf(&b, "%s note %d\n", []string{";", "#", "\n;"}[r.IntN(3)], i)
				}
				fmt.Fprintf(&b, "k%d%s%s\n", i, []string{" = ", "=", "   = "}[r.IntN(3)], []string{"x", "two words", "1", "a=b", "ünï"}[r.IntN(5)])
			}
		}
	case "bin":
		for range r.IntN(40) {
			b.WriteByte(byte(r.IntN(256)))
		}
	}
	return b.String()
}

// checkOtherFormats seals and opens a generated file of each format but YAML: the values
// and their order are the same, a binary file byte by byte, and what did not change keeps
// its ciphertext.
func checkOtherFormats(t testing.TB, k *secret.Keyring, rule secret.Rule, seed uint64) {
	t.Helper()
	for _, format := range []string{"json", "env", "ini", "bin"} {
		name, plain := "a."+format, generatedAs(format, seed)
		sealed, err := secret.Encrypt(name, []byte(plain), rule, secret.SealOptions{})
		if err != nil {
			if strings.Contains(err.Error(), "nothing to seal") {
				continue
			}
			t.Fatalf("%v\n%s", err, plain)
		}
		opened, _, err := k.Decrypt(name, sealed.Data, secret.DecryptOptions{KeepLayout: true})
		if err != nil {
			t.Fatalf("%v\n%s\n%s", err, plain, sealed.Data)
		}
		if format == "bin" && string(opened) != plain {
			t.Fatalf("got %q, want %q", opened, plain)
		}
		if format != "bin" {
			got, gotNotes := tree(t, name, string(opened))
			want, wantNotes := tree(t, name, plain)
			if got != want || strings.Join(gotNotes, "|") != strings.Join(wantNotes, "|") {
				t.Fatalf("got  %s %q\nwant %s %q\nplain:\n%s\nsealed:\n%s", got, gotNotes, want, wantNotes, plain, sealed.Data)
			}
		}
		// Sealed and opened, a file is what it was, byte by byte; a number is in SOPS's spelling.
		if want := strings.ReplaceAll(plain, "1e3", "1000.0"); string(opened) != want {
			t.Fatalf("got\n%q\nwant\n%q\nsealed:\n%s", opened, want, sealed.Data)
		}
		again, err := secret.Encrypt(name, opened, rule, secret.SealOptions{Previous: sealed.Data, Keys: k})
		if err != nil {
			t.Fatal(err)
		}
		if string(again.Data) != string(sealed.Data) {
			t.Fatalf("sealed again, the bytes changed: got\n%s\nwant\n%s", again.Data, sealed.Data)
		}
	}
}

func TestRoundTripOfEveryFormat(t *testing.T) {
	key := x25519(t)
	rule, k := ruleFor(t, t.TempDir(), "a.yaml", "", key.public), ring(t, key)
	for seed := range uint64(150) {
		checkOtherFormats(t, k, rule, seed)
	}
}

// Other readers, or another data key, change nothing of what stands around the values.
func TestReadersChangeNoLayout(t *testing.T) {
	a, b := x25519(t), x25519(t)
	dir := t.TempDir()
	one, two := ruleFor(t, dir, "a.yaml", "", a.public), ruleFor(t, t.TempDir(), "a.yaml", "", a.public, b.public)
	for name, plain := range map[string]string{
		"a.json":   "{\n  \"kind\":   \"x\",\n\n  \"l\": [1, {\"a\": \"" + password + "\"} ]\n}\n",
		"one.json": `{"a":"` + password + `","b":null}`,
		"a.env":    "# note\n\nA=" + password + "\n\n\nB=x\n",
		"a.ini":    "; top\n\n[db]\npassword   =  " + password + "\n\n# other\n[x]\ny=1\n",
	} {
		t.Run(name, func(t *testing.T) {
			sealed := encrypt(t, name, plain, one, secret.SealOptions{}).Data
			for what, do := range map[string]func(string, []byte, secret.Rule) (secret.Resealed, error){"updatekeys": ring(t, a).UpdateKeys, "rotate": ring(t, a).Rotate} {
				res, err := do(name, sealed, two)
				if err != nil {
					t.Fatal(err)
				}
				if what == "updatekeys" {
					body, _, _ := strings.Cut(string(sealed), "sops")
					if !strings.HasPrefix(string(res.Data), body) {
						t.Errorf("was\n%s\nis\n%s", sealed, res.Data)
					}
				}
				opened, _, err := ring(t, b).Decrypt(name, res.Data, secret.DecryptOptions{KeepLayout: true})
				if err != nil || string(opened) != plain {
					t.Errorf("%s: got %v\n%q\nwant\n%q", what, err, opened, plain)
				}
			}
		})
	}
}
