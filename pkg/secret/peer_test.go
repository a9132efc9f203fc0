package secret_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/secret"
)

const everyYAML = `# who runs this
apiVersion: v1
kind: Secret
metadata:
  name: db # the name
  annotations: {}
stringData:
  # before
  password: ` + password + ` # behind
  multi: |
    -----BEGIN SOMETHING-----
    two
  number: 42
  float: 1.5
  yes: true
  none: null
  empty: ""
  when: 2024-05-06T07:08:09Z
  list:
    - ` + token + `
    # in between
    - b
  nested:
    "quoted: key": x
  ünï: côdé
`

// peerFiles are files as people seal them, and the flags with which they do.
var peerFiles = []struct {
	title, name, plain string
	flags              []string
	metadataSealed     bool
	rule               string // in a .sops.yaml, for what no flag says
}{
	{"yaml, data and stringData only", "secret.yaml", everyYAML, []string{"--encrypted-regex", "^(data|stringData)$"}, false, ""},
	{"yaml, everything, kind and name too", "all.yml", everyYAML, nil, true, ""},
	{"yaml, by suffix", "suffix.yaml", "a_enc: " + password + "\nb: clear\n", []string{"--encrypted-suffix", "_enc"}, false, ""},
	{"yaml, all but a suffix", "unsuffix.yaml", "kind_unencrypted: x\nb: " + password + "\n", []string{"--unencrypted-suffix", "_unencrypted"}, false, ""},
	{"yaml, all but a regex", "unregex.yaml", secretYAML, []string{"--unencrypted-regex", "^(apiVersion|kind|metadata)$"}, false, ""},
	{"yaml, by comment", "comment.yaml", "# sops:enc\na: " + password + "\nb: clear\n", nil, false, "encrypted_comment_regex: sops:enc"},
	{"yaml, MAC over sealed values only", "maconly.yaml", secretYAML, nil, false, "mac_only_encrypted: true\n  encrypted_regex: ^(data|stringData)$"},
	{"yaml, several documents", "multi.yaml", "# first\n---\n" + secretYAML + "---\n" + strings.ReplaceAll(secretYAML, "db", "cache"), []string{"--encrypted-regex", "^(data|stringData)$"}, false, ""},
	{"yaml, an empty document at the end", "tail.yaml", secretYAML + "---\n", []string{"--encrypted-regex", "^(data|stringData)$"}, false, ""},
	{"yaml, anchors", "anchor.yaml", "stringData:\n  a: &x " + password + "\n  b: *x\n", nil, false, ""},
	{"yaml, CRLF", "crlf.yaml", strings.ReplaceAll(secretYAML, "\n", "\r\n"), nil, true, ""},
	{"json", "secret.json", `{"kind": "Secret", "n": 12345678901234567, "f": 1.5, "l": ["a", {"b": "` + password + `"}], "z": null}`, []string{"--encrypted-regex", "^(l|n)$"}, false, ""},
	{"json, everything", "all.json", `{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}, "data": {"a": "` + password + `"}}`, nil, true, ""},
	{"dotenv", "app.env", "# a comment\nPASSWORD=" + password + "\nURL=http://a/?b=c\nEMPTY=\nLINES=a\\nb\n", nil, false, ""},
	{"ini", "app.ini", "; a comment\n[db]\npassword = " + password + "\n\n[other]\nport = 5432\n", nil, false, ""},
	{"binary", "tls.key", "-----BEGIN KEY-----\n" + password + "\x00\xff\n", nil, false, ""},
	{"binary, no extension", "keystore", password, nil, false, ""},
}

// Whatever the real sops seals opens here to what the real sops prints, byte for byte.
func TestOpensAsSopsDoes(t *testing.T) {
	for _, kind := range []struct {
		title string
		pair  pair
	}{{"X25519", x25519(t)}, {"hybrid", hybrid(t)}} {
		for _, f := range peerFiles {
			t.Run(kind.title+"/"+f.title, func(t *testing.T) {
				dir := t.TempDir()
				if f.rule != "" {
					rules := "creation_rules:\n- age: " + kind.pair.public + "\n  " + f.rule + "\n"
					if err := os.WriteFile(filepath.Join(dir, ".sops.yaml"), []byte(rules), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				sealed := sealByPeer(t, dir, f.name, f.plain, append([]string{"--age", kind.pair.public}, f.flags...)...)
				want, err := peer(t, dir, kind.pair.private, "decrypt", f.name)
				if err != nil {
					t.Fatal(err)
				}
				got, info, err := ring(t, x25519(t), kind.pair).Decrypt(f.name, sealed, secret.DecryptOptions{})
				if err != nil {
					t.Fatal(err)
				}
				if string(got) != want {
					t.Errorf("got\n%s\nwant, from sops\n%s", got, want)
				}
				if info.MetadataSealed != f.metadataSealed {
					t.Errorf("MetadataSealed is %v", info.MetadataSealed)
				}
				if len(info.Recipients) != 1 || info.Recipients[0] != kind.pair.public || info.Path != f.name || info.MACIgnored {
					t.Errorf("got %+v", info)
				}
			})
		}
	}
}

// What sops refuses is refused here, with a reason that quotes no secret.
func TestRefusesAsSopsDoes(t *testing.T) {
	key := x25519(t)
	dir := t.TempDir()
	sealed := string(sealByPeer(t, dir, "a.yaml", secretYAML, "--age", key.public, "--encrypted-regex", "^(data|stringData)$"))
	for title, edit := range edits {
		t.Run(title, func(t *testing.T) {
			bad := edit.do(t, sealed)
			if err := os.WriteFile(filepath.Join(dir, "bad.yaml"), []byte(bad), 0o600); err != nil {
				t.Fatal(err)
			}
			if out, err := peer(t, dir, key.private, "decrypt", "bad.yaml"); err == nil {
				t.Fatalf("sops itself takes it:\n%s", out)
			}
			mustRefuse(t, ring(t, key), "bad.yaml", bad, edit.kind, edit.says)
		})
	}
}

// A file that opens only under --ignore-mac opens to what sops prints then, and says so.
func TestIgnoreMACAsSopsDoes(t *testing.T) {
	key := x25519(t)
	dir := t.TempDir()
	sealed := string(sealByPeer(t, dir, "a.yaml", secretYAML, "--age", key.public, "--encrypted-regex", "^(data|stringData)$"))
	for title, edit := range edits {
		t.Run(title, func(t *testing.T) {
			bad := edit.do(t, sealed)
			if err := os.WriteFile(filepath.Join(dir, "bad.yaml"), []byte(bad), 0o600); err != nil {
				t.Fatal(err)
			}
			want, wantErr := peer(t, dir, key.private, "decrypt", "--ignore-mac", "bad.yaml")
			got, info, err := ring(t, key).Decrypt("bad.yaml", []byte(bad), secret.DecryptOptions{IgnoreMAC: true})
			if (err == nil) != (wantErr == nil) || string(got) != want {
				t.Fatalf("got %v\n%s\nwant, from sops, %v\n%s", err, got, wantErr, want)
			}
			if opens := edit.kind == secret.Tampered; (err == nil) != opens || info.MACIgnored != opens {
				t.Errorf("%s: MACIgnored is %v, err is %v", edit.kind, info.MACIgnored, err)
			}
		})
	}
}

// Two files sealed apart and put one behind the other are no file for sops, but
// are for Flux, which opens object by object; so are sealed beside plain ones.
func TestOpensWhatSopsCannotAndFluxCan(t *testing.T) {
	key := x25519(t)
	flags := []string{"--age", key.public, "--encrypted-regex", "^(data|stringData)$"}
	dir := t.TempDir()
	one := string(sealByPeer(t, dir, "one.yaml", secretYAML, flags...))
	two := string(sealByPeer(t, dir, "two.yaml", strings.ReplaceAll(secretYAML, "db", "cache")+"---\n"+strings.ReplaceAll(secretYAML, "db", "third"), flags...))
	const plain = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: clear # kept as it is\n"
	opened := func(name string) string {
		t.Helper()
		out, err := peer(t, dir, key.private, "decrypt", name)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	for title, f := range map[string]struct{ in, want string }{
		"two sealed files":              {one + "---\n" + two, opened("one.yaml") + "---\n" + opened("two.yaml")},
		"the same, without end of line": {strings.TrimSuffix(one, "\n") + "\n--- \n" + strings.TrimSuffix(two, "\n"), opened("one.yaml") + "---\n" + opened("two.yaml")},
		"plain before sealed":           {plain + "---\n" + one, plain + "---\n" + opened("one.yaml")},
		"plain behind sealed":           {one + "---\n" + plain, opened("one.yaml") + "---\n" + plain},
		"plain, empty, sealed, plain":   {"# top\n---\n" + plain + "---\n# nothing\n---\n" + two + "---\n" + plain, "# top\n---\n" + plain + "---\n# nothing\n---\n" + opened("two.yaml") + "---\n" + plain},
	} {
		t.Run(title, func(t *testing.T) {
			if err := os.WriteFile(filepath.Join(dir, "cat.yaml"), []byte(f.in), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := peer(t, dir, key.private, "decrypt", "cat.yaml"); err == nil {
				t.Fatal("sops takes it after all: then what it prints is the measure")
			}
			got, info, err := ring(t, key).Decrypt("cat.yaml", []byte(f.in), secret.DecryptOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != f.want {
				t.Errorf("got\n%s\nwant\n%s", got, f.want)
			}
			if len(info.Recipients) != 1 {
				t.Errorf("got recipients %v", info.Recipients)
			}
		})
	}
	t.Run("each part has its own MAC", func(t *testing.T) {
		bad := strings.Replace(one+"---\n"+two, "name: third", "name: other", 1)
		mustRefuse(t, ring(t, key), "cat.yaml", bad, secret.Tampered, "MAC mismatch")
	})
	t.Run("a document lost its metadata", func(t *testing.T) {
		docs := strings.Split(two, "\n---\n")
		cut := docs[1][:strings.Index(docs[1], "sops:")]
		mustRefuse(t, ring(t, key), "cat.yaml", docs[0]+"\n---\n"+cut, secret.BadMetadata, "no sops metadata")
	})
	t.Run("both parts are malformed", func(t *testing.T) {
		bad := strings.ReplaceAll(one+"---\n"+two, "    lastmodified: ", "    lastmodified: x")
		mustRefuse(t, ring(t, key), "cat.yaml", bad, secret.BadMetadata, "is not a time")
	})
	t.Run("a document is gone", func(t *testing.T) {
		mustRefuse(t, ring(t, key), "cat.yaml", strings.Split(two, "\n---\n")[0]+"\n", secret.Tampered, "MAC mismatch")
	})
}

// sealByPeer writes a file, has the real sops seal it in place, and returns it.
func sealByPeer(t testing.TB, dir, name, plain string, flags ...string) []byte {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(plain), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := peer(t, dir, "", append(append([]string{"encrypt", "-i"}, flags...), name)...); err != nil {
		t.Fatal(err)
	}
	sealed, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}
