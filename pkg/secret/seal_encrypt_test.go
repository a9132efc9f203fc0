package secret_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/getsops/sops/v3"
	"github.com/getsops/sops/v3/cmd/sops/common"
	"github.com/getsops/sops/v3/config"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/secret"
)

// ruleFor writes a .sops.yaml of one rule, and returns the rule for a file
// beside it.
func ruleFor(t testing.TB, dir, name, rule string, recipients ...string) secret.Rule {
	t.Helper()
	text := "creation_rules:\n- age: [" + strings.Join(recipients, ", ") + "]\n"
	if rule != "" {
		text += "  " + rule + "\n"
	}
	if err := os.WriteFile(filepath.Join(dir, ".sops.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := secret.Rules{Dir: dir}.For(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func encrypt(t testing.TB, name, plain string, rule secret.Rule, o secret.SealOptions) secret.SealedFile {
	t.Helper()
	out, err := secret.Encrypt(name, []byte(plain), rule, o)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// tree is what sops reads of a plain file: values and their order, and comments.
func tree(t testing.TB, name, plain string) (values string, comments []string) {
	t.Helper()
	branches, err := common.DefaultStoreForPath(config.NewStoresConfig(), name).LoadPlainFile([]byte(plain))
	if err != nil {
		t.Fatalf("%v\n%s", err, plain)
	}
	var b strings.Builder
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case sops.TreeBranch:
			b.WriteString("{")
			for _, item := range v {
				if c, ok := item.Key.(sops.Comment); ok {
					comments = append(comments, strings.TrimSpace(c.Value))
					continue
				}
				fmt.Fprintf(&b, "%v: ", item.Key)
				walk(item.Value)
			}
			b.WriteString("}")
		case []any:
			b.WriteString("[")
			for _, e := range v {
				if c, ok := e.(sops.Comment); ok {
					comments = append(comments, strings.TrimSpace(c.Value))
					continue
				}
				walk(e)
			}
			b.WriteString("]")
		default:
			fmt.Fprintf(&b, "%T %v, ", v, v)
		}
	}
	for _, branch := range branches {
		walk(branch)
	}
	slices.Sort(comments)
	return b.String(), comments
}

// Whatever is sealed here opens with the real sops, and here, to what it was.
func TestSopsOpensWhatIsSealedHere(t *testing.T) {
	for _, kind := range []struct {
		title string
		pair  pair
	}{{"X25519", x25519(t)}, {"hybrid", hybrid(t)}} {
		for _, f := range peerFiles {
			t.Run(kind.title+"/"+f.title, func(t *testing.T) {
				dir := t.TempDir()
				rule := f.rule
				if len(f.flags) == 2 {
					rule = strings.ReplaceAll(strings.TrimPrefix(f.flags[0], "--"), "-", "_") + ": " + f.flags[1]
				}
				plain := f.plain
				if f.title == "yaml, anchors" {
					plain = strings.Replace(plain, "*x", password, 1)
				}
				sealed := encrypt(t, f.name, plain, ruleFor(t, dir, f.name, rule, kind.pair.public), secret.SealOptions{})
				if strings.Contains(string(sealed.Data), password) {
					t.Errorf("a secret is in clear:\n%s", sealed.Data)
				}
				if err := os.WriteFile(filepath.Join(dir, f.name), sealed.Data, 0o600); err != nil {
					t.Fatal(err)
				}
				want, err := peer(t, dir, kind.pair.private, "decrypt", f.name)
				if err != nil {
					t.Fatalf("%v\n%s", err, sealed.Data)
				}
				got, _, err := ring(t, kind.pair).Decrypt(f.name, sealed.Data, secret.DecryptOptions{})
				if err != nil {
					t.Fatal(err)
				}
				if string(got) != want {
					t.Errorf("got\n%s\nwant, from sops\n%s", got, want)
				}
				if strings.HasSuffix(f.name, ".key") || f.name == "keystore" {
					if want != plain {
						t.Errorf("got %q", want)
					}
					return
				}
				gotValues, gotComments := tree(t, f.name, want)
				wantValues, wantComments := tree(t, f.name, plain)
				if gotValues != wantValues || !slices.Equal(gotComments, wantComments) {
					t.Errorf("got  %s %q\nwant %s %q", gotValues, gotComments, wantValues, wantComments)
				}
			})
		}
	}
}

const laidOut = `---
# who runs this


apiVersion:   v1
kind: "Secret"   # the kind
metadata:
      name: 'db'
      labels: {app: shop,   tier: "x"}
stringData:
      # before
      password:   ` + password + `   # behind
      double: "two \"words\""
      single: 'it''s'

      literal: |
          line one

          line two
      kept: |+
          a

      folded: >-
          one
          two
      plain over
        lines
      flow: {a: b, "c": 'd', e: [1, 2.5, true]}
      list:
      - ` + token + `

      # in between
      - - nested
        - key: value
          other: |
            text
      tagged: !!str 42
      anchored: &x fine
      empty: ""
      none:
type:   Opaque

# the end
`

// Only what is sealed changes: every other byte is where it was.
func TestBytesAroundSealedValuesStay(t *testing.T) {
	key := x25519(t)
	dir := t.TempDir()
	plain := strings.Replace(laidOut, "      plain over\n        lines\n", "      plain: over\n        lines\n", 1)
	sealed := encrypt(t, "a.yaml", plain, ruleFor(t, dir, "a.yaml", "", key.public), secret.SealOptions{})
	if !sealed.Kubernetes {
		t.Error("it does not say that data and stringData were chosen")
	}
	text := string(sealed.Data)
	enc := regexp.MustCompile(`ENC\[AES256_GCM,data:[^\]]*\]`)
	body := enc.ReplaceAllString(text[:strings.Index(text, "sops:\n")], "ENC")
	want := `---
# who runs this


apiVersion:   v1
kind: "Secret"   # the kind
metadata:
      name: 'db'
      labels: {app: shop,   tier: "x"}
stringData:
      #ENC
      password:   ENC   #ENC
      double: "ENC"
      single: 'ENC'

      literal: ENC
      kept: ENC
      folded: ENC
      plain: ENC
      flow: {a: "ENC", "c": 'ENC', e: ["ENC", "ENC", "ENC"]}
      list:
      - ENC

      #ENC
      - - ENC
        - key: ENC
          other: ENC
      tagged: ENC
      anchored: &x ENC
      empty: ""
      none:
type:   Opaque

# the end
`
	if body != want {
		t.Errorf("got\n%s", body)
	}
	got, _, err := ring(t, key).Decrypt("a.yaml", sealed.Data, secret.DecryptOptions{KeepLayout: true})
	if err != nil {
		t.Fatal(err)
	}
	want = plain
	for _, r := range [][2]string{
		{"          line one\n\n          line two", "        line one\n\n        line two"},
		{"          a\n\n", "        a\n\n"},
		{">-\n          one\n          two", "one two"},
		{"over\n        lines", "over lines"},
		{"{a: b, ", `{a: "b", `},
		{"!!str 42", `"42"`},
	} {
		want = strings.Replace(want, r[0], r[1], 1)
	}
	if string(got) != want {
		t.Errorf("opened to\n%s\nwant\n%s", got, want)
	}
}

// Sealed again over its previous version, a file changes where its values did.
func TestUnchangedValuesKeepTheirCiphertext(t *testing.T) {
	key := x25519(t)
	for _, name := range []string{"a.yaml", "a.json", "a.env"} {
		t.Run(name, func(t *testing.T) {
			plain := map[string]string{
				"a.yaml": "# c\n" + secretYAML,
				"a.json": `{"a": "` + password + `", "b": "` + token + `", "c": 5}`,
				"a.env":  "A=" + password + "\nB=" + token + "\n",
			}[name]
			rule := ruleFor(t, t.TempDir(), name, "", key.public)
			first := encrypt(t, name, plain, rule, secret.SealOptions{})
			same := encrypt(t, name, plain, rule, secret.SealOptions{Previous: first.Data, Keys: ring(t, key)})
			if string(same.Data) != string(first.Data) || same.Kept != same.Sealed || same.Sealed == 0 {
				t.Errorf("nothing changed, and yet, %d of %d kept:\n%s\n%s", same.Kept, same.Sealed, first.Data, same.Data)
			}
			next := encrypt(t, name, strings.ReplaceAll(plain, token, "another"), rule, secret.SealOptions{Previous: first.Data, Keys: ring(t, key)})
			if next.Kept != next.Sealed-1 {
				t.Errorf("%d of %d kept", next.Kept, next.Sealed)
			}
			anew := encrypt(t, name, plain, rule, secret.SealOptions{Previous: first.Data, Keys: ring(t, x25519(t))})
			if anew.Kept != 0 || anew.Anew != "no key at hand opens the previous version" {
				t.Errorf("got %d, %q", anew.Kept, anew.Anew)
			}
			other := encrypt(t, name, plain, ruleFor(t, t.TempDir(), name, "", key.public, x25519(t).public), secret.SealOptions{Previous: first.Data, Keys: ring(t, key)})
			if other.Kept != 0 || other.Anew != "the previous version is sealed to others" {
				t.Errorf("got %d, %q", other.Kept, other.Anew)
			}
		})
	}
}

// What cannot be sealed byte by byte is refused, with a line and no secret.
func TestRefusesToSeal(t *testing.T) {
	key := x25519(t)
	rule := ruleFor(t, t.TempDir(), "a.yaml", "", key.public)
	for title, c := range map[string]struct{ plain, says string }{
		"sealed":               {string(encrypt(t, "a.yaml", secretYAML, rule, secret.SealOptions{}).Data), "is sealed already"},
		"empty":                {"", "is empty"},
		"not YAML":             {"a: b: " + password, "is not valid YAML"},
		"a list":               {"- " + password, "line 1: the document is a list"},
		"braces":               {"{a: " + password + "}", "line 1: the document is written in braces"},
		"sops":                 {"sops: " + password, "a top-level entry called sops"},
		"dots":                 {"a: " + password + "\n...\n", "three dots"},
		"an alias in clear":    {"a: &x " + password + "\nb_unencrypted: *x\n", "line 2: *x refers to a value that is to be sealed"},
		"an alias of a map":    {"a: &x {b: " + password + "}\nc: *x\n", "line 2: *x stands for a mapping"},
		"a key of a number":    {"1: " + password, "key that is not a string"},
		"a key twice":          {"a: " + password + "\na: b\n", "is not valid YAML"},
		"an empty first":       {"---\n---\na: " + password + "\n", "first document is empty"},
		"a byte order mark":    {"\ufeffa: " + password, "byte order mark"},
		"aliases that blow up": {"a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\ng: [*f,*f,*f,*f,*f,*f,*f,*f,*f]\n", "is not valid YAML"},
	} {
		t.Run(title, func(t *testing.T) {
			out, err := secret.Encrypt("a.yaml", []byte(c.plain), rule, secret.SealOptions{})
			if err == nil || !strings.Contains(err.Error(), c.says) || !strings.HasPrefix(err.Error(), "a.yaml: ") {
				t.Fatalf("got %v\n%s", err, out.Data)
			}
			quiet(t, err.Error())
		})
	}
}

// A file that looks sealed, and has everything in clear, is worse than one in clear: a rule
// that matches no value of it seals nothing.
func TestARuleThatMatchesNothingSealsNothing(t *testing.T) {
	key := x25519(t)
	for name, plain := range map[string]string{"a.yaml": "data:\n  a: " + password + "\n", "a.json": `{"data": {"a": "` + password + `"}}`} {
		rule := ruleFor(t, t.TempDir(), name, "encrypted_regex: ^elsewhere$", key.public)
		_, err := secret.Encrypt(name, []byte(plain), rule, secret.SealOptions{})
		if err == nil || !strings.Contains(err.Error(), "the rule matches no value in it") {
			t.Errorf("%s: %v", name, err)
			continue
		}
		quiet(t, err.Error())
	}
}

var pieces = []string{
	"%s: word\n", "%s: \"double \\u00e9\"\n", "%s: 'it''s'\n", "%s: 42\n", "%s: 1.5\n", "%s: true\n", "%s:\n", "%s: \"\"\n",
	"%s: two words # behind\n", "# before\n%s: x\n", "\n%s: after a blank line\n", "%s: |\n    one\n\n    two\n", "%s: >-\n    a\n    b\n",
	"%s: |2\n      indented\n    less\n", "%s: {a: b, c: [d, 'e']}\n", "%s: [1, \"two\"]\n", "%s:\n  - a\n  # in a list\n  - b\n", "%s:\n- x\n- y: z\n  w: v\n",
	"%s: over\n  two lines\n", "%s: http://a.b/?c=d#e\n", "%s: ünï côdé\n", "%s: 2024-05-06\n", "%s:   spaced   \n", "%s: |+\n    kept\n\n", "%s: &anchor%[1]s v\n", "%s: !!str 5\n",
	"# twice\n%s: a\n", "#\n%s: b\n", "%s: # header\n  deep: er\n", "%s:\n  \"quoted\"\n", "%s: ~\n", "%s: \"a # b\"\n", "%s: | # comment\n    x\n",
}

// generated is a Kubernetes manifest of pieces, a function of its seed.
func generated(seed uint64) string {
	r := rand.New(rand.NewPCG(seed, 1))
	var b strings.Builder
	for doc := range 1 + r.IntN(2) {
		if doc > 0 || r.IntN(3) == 0 {
			b.WriteString("---\n")
		}
		b.WriteString("apiVersion: v1\nkind: Secret\n")
		for _, section := range []string{"metadata", "stringData", "extra"} {
			fmt.Fprintf(&b, "%s:\n  name: n%d\n", section, doc)
			for i := range r.IntN(5) {
				piece := fmt.Sprintf(pieces[r.IntN(len(pieces))], fmt.Sprintf("k%d%d%c", doc, i, section[0]))
				for _, line := range strings.SplitAfter(piece, "\n") {
					if strings.TrimSpace(line) != "" {
						line = "  " + line
					}
					b.WriteString(line)
				}
			}
		}
	}
	return b.String()
}

// outside is a YAML file without its sealed values, sealed comments and metadata.
func outside(sealed string) string {
	sealed = regexp.MustCompile(`(?m)^sops:\n((  .*)?\n)*`).ReplaceAllString(sealed, "")
	return regexp.MustCompile(`["']?ENC\[AES256_GCM,[^\]]*\]["']?`).ReplaceAllString(sealed, "ENC")
}

// besidesData is a manifest without its stringData and its sops section, line by line.
func besidesData(text string) string {
	var out strings.Builder
	skip := false
	for line := range strings.Lines(text) {
		if line[0] != ' ' && line[0] != '\n' && line[0] != '#' {
			skip = strings.HasPrefix(line, "stringData:") || strings.HasPrefix(line, "sops:")
		}
		if !skip {
			out.WriteString(line)
		}
	}
	return out.String()
}

// checkRoundTrip tells whether it was sealed; a comment that SOPS would lose is
// a reason not to.
func checkRoundTrip(t testing.TB, k *secret.Keyring, rule secret.Rule, plain string) bool {
	t.Helper()
	sealed, err := secret.Encrypt("a.yaml", []byte(plain), rule, secret.SealOptions{})
	if err != nil {
		if strings.Contains(err.Error(), "comment") {
			return false
		}
		t.Fatalf("%v\n%s", err, plain)
	}
	if got, want := besidesData(string(sealed.Data)), besidesData(plain); got != want {
		t.Fatalf("what is not sealed changed: got\n%s\nwant\n%s", got, want)
	}
	for _, keep := range []bool{false, true} {
		opened, _, err := k.Decrypt("a.yaml", sealed.Data, secret.DecryptOptions{KeepLayout: keep})
		if err != nil {
			t.Fatalf("%v\n%s", err, sealed.Data)
		}
		gotValues, gotComments := tree(t, "a.yaml", string(opened))
		wantValues, wantComments := tree(t, "a.yaml", plain)
		if gotValues != wantValues || !slices.Equal(gotComments, wantComments) {
			t.Fatalf("got  %s %q\nwant %s %q\nplain:\n%s\nsealed:\n%s\nopened:\n%s", gotValues, gotComments, wantValues, wantComments, plain, sealed.Data, opened)
		}
		if !keep {
			continue
		}
		again, err := secret.Encrypt("a.yaml", opened, rule, secret.SealOptions{Previous: sealed.Data, Keys: k})
		if err != nil {
			t.Fatalf("%v\n%s", err, opened)
		}
		if again.Kept != again.Sealed {
			t.Fatalf("%d of %d kept", again.Kept, again.Sealed)
		}
		if got, want := outside(string(again.Data)), outside(string(sealed.Data)); got != want {
			t.Fatalf("sealed again, other bytes changed: got\n%s\nwant\n%s", got, want)
		}
	}
	return true
}

// Hundreds of generated manifests are sealed and opened: values, comments and
// order are the same, and sealing what was opened gives the same bytes.
func TestRoundTripOfGeneratedManifests(t *testing.T) {
	key := x25519(t)
	rule, k := ruleFor(t, t.TempDir(), "a.yaml", "", key.public), ring(t, key)
	const n = 600
	sealed := 0
	for seed := range uint64(n) {
		if checkRoundTrip(t, k, rule, generated(seed)) {
			sealed++
		}
	}
	if sealed < n*95/100 {
		t.Errorf("only %d of %d were sealed", sealed, n)
	}
}

// FuzzGenerated does so with tens of thousands of them, in each format.
func FuzzGenerated(f *testing.F) {
	key := x25519(f)
	rule, k := ruleFor(f, f.TempDir(), "a.yaml", "", key.public), ring(f, key)
	for seed := range uint64(20) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		checkRoundTrip(t, k, rule, generated(seed))
		checkOtherFormats(t, k, rule, seed)
	})
}

// FuzzRoundTrip seals and opens whatever YAML there is. Where it is sealed, the
// sealed file has the values, comments and order of the plain one.
func FuzzRoundTrip(f *testing.F) {
	key := x25519(f)
	rule, k := ruleFor(f, f.TempDir(), "a.yaml", "", key.public), ring(f, key)
	for seed := range uint64(20) {
		f.Add(generated(seed))
	}
	f.Add(laidOut)
	f.Add("a: 000008\nb: 1e3\nc: .inf\n")
	f.Fuzz(func(t *testing.T, plain string) {
		sealed, err := secret.Encrypt("a.yaml", []byte(plain), rule, secret.SealOptions{})
		if err != nil {
			return
		}
		opened, _, err := k.Decrypt("a.yaml", sealed.Data, secret.DecryptOptions{KeepLayout: true})
		if err != nil {
			t.Fatalf("%v\n%s", err, sealed.Data)
		}
		gotValues, gotComments := tree(t, "a.yaml", string(opened))
		wantValues, wantComments := tree(t, "a.yaml", plain)
		if gotValues != wantValues || !slices.Equal(gotComments, wantComments) {
			t.Fatalf("got %s %q\nwant %s %q\n%s", gotValues, gotComments, wantValues, wantComments, sealed.Data)
		}
	})
}

// What sops sealed opens in place too, to what it was: to the values, their order
// and the comments, in the layout that sops gave it.
func TestOpensInPlaceWhatSopsSealed(t *testing.T) {
	key := x25519(t)
	for _, f := range peerFiles {
		if secret.Format(f.name) != "yaml" || f.rule != "" {
			continue
		}
		t.Run(f.title, func(t *testing.T) {
			dir := t.TempDir()
			sealed := sealByPeer(t, dir, f.name, f.plain, append([]string{"--age", key.public}, f.flags...)...)
			got, _, err := ring(t, key).Decrypt(f.name, sealed, secret.DecryptOptions{KeepLayout: true})
			if err != nil {
				t.Fatal(err)
			}
			want, err := peer(t, dir, key.private, "decrypt", f.name)
			if err != nil {
				t.Fatal(err)
			}
			gotValues, gotComments := tree(t, f.name, string(got))
			wantValues, wantComments := tree(t, f.name, want)
			if gotValues != wantValues || !slices.Equal(gotComments, wantComments) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}
