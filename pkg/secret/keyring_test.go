package secret_test

import (
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/secret"
)

// home is a home directory in memory: what each path reads as, "" for a file
// that may not be read.
type home map[string]string

func (h home) read(path string) ([]byte, error) {
	text, ok := h[path]
	switch {
	case !ok:
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	case text == "":
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrPermission}
	}
	return []byte(text), nil
}

func places(k *secret.Keyring) string {
	var out []string
	for _, p := range k.Places() {
		out = append(out, p.String())
	}
	return strings.Join(out, "\n")
}

func TestFindLooksWhereSopsDoes(t *testing.T) {
	a, b, c, d := x25519(t), x25519(t), hybrid(t), x25519(t)
	ed, locked := sshKey(t, ""), sshKey(t, "a passphrase")
	for _, test := range []struct {
		title  string
		o      secret.FindOptions
		env    map[string]string
		files  home
		held   []string
		places string
	}{{
		title: "nothing anywhere",
		places: `SOPS_AGE_KEY: not set
SOPS_AGE_KEY_FILE: not set
SOPS_AGE_KEY_CMD: not set
/home/me/.config/sops/age/keys.txt: no such file
SOPS_AGE_SSH_PRIVATE_KEY_FILE: not set
SOPS_AGE_SSH_PRIVATE_KEY_CMD: not set
/home/me/.ssh/id_ed25519: no such file
/home/me/.ssh/id_rsa: no such file`,
	}, {
		title: "everywhere",
		o:     secret.FindOptions{KeyFile: "flag.txt"},
		env: map[string]string{
			"SOPS_AGE_KEY":                  b.private + " " + a.private,
			"SOPS_AGE_KEY_FILE":             "/keys/c",
			"SOPS_AGE_KEY_CMD":              "cat /keys/e",
			"SOPS_AGE_SSH_PRIVATE_KEY_FILE": "/keys/ssh",
		},
		files: home{
			"flag.txt":                           "# created: today\r\n# public key: x\r\n\r\n" + a.private + "\r\n",
			"/keys/c":                            c.private,
			"/home/me/.config/sops/age/keys.txt": d.private + "\n" + a.private + "\n",
			"/keys/ssh":                          ed.private,
			"/home/me/.ssh/id_ed25519":           locked.private,
			"/home/me/.ssh/id_rsa":               "garbage",
		},
		held: []string{a.public, b.public, c.public, d.public, ed.public},
		places: `--age-key-file flag.txt: 1 identity
SOPS_AGE_KEY: 2 identities
SOPS_AGE_KEY_FILE=/keys/c: 1 identity
SOPS_AGE_KEY_CMD: not run: no sealed file needed it
/home/me/.config/sops/age/keys.txt: 2 identities
SOPS_AGE_SSH_PRIVATE_KEY_FILE=/keys/ssh: 1 identity
SOPS_AGE_SSH_PRIVATE_KEY_CMD: not set
/home/me/.ssh/id_ed25519: is protected by a passphrase, and nothing prompts here
/home/me/.ssh/id_rsa: is not an SSH private key that age can use (ed25519 or RSA)`,
	}, {
		title: "files that are no good",
		env:   map[string]string{"SOPS_AGE_KEY": "AGE-SECRET-KEY-1NOT", "SOPS_AGE_KEY_FILE": "/keys/mixed", "XDG_CONFIG_HOME": "/xdg"},
		files: home{
			"/keys/mixed":             "AGE-PLUGIN-YUBIKEY-1XYZ\n" + a.private + "\n" + a.private + "x\n",
			"/xdg/sops/age/keys.txt":  "",
			"/home/me/.ssh/id_rsa":    "",
			"/home/me/.ssh/id_dsa":    ed.private,
			"/home/me/.config/unused": a.private,
		},
		held: []string{a.public},
		places: `SOPS_AGE_KEY: line 1 is not an age identity (AGE-SECRET-KEY-…)
SOPS_AGE_KEY_FILE=/keys/mixed: 1 identity; line 1 is not an age identity (AGE-SECRET-KEY-…)
SOPS_AGE_KEY_CMD: not set
/xdg/sops/age/keys.txt: permission denied
SOPS_AGE_SSH_PRIVATE_KEY_FILE: not set
SOPS_AGE_SSH_PRIVATE_KEY_CMD: not set
/home/me/.ssh/id_ed25519: no such file
/home/me/.ssh/id_rsa: permission denied`,
	}, {
		title: "darwin has a place of its own",
		o:     secret.FindOptions{GOOS: "darwin"},
		files: home{
			"/home/me/Library/Application Support/sops/age/keys.txt": a.private,
			"/home/me/.config/sops/age/keys.txt":                     b.private,
		},
		held: []string{a.public, b.public},
		places: `SOPS_AGE_KEY: not set
SOPS_AGE_KEY_FILE: not set
SOPS_AGE_KEY_CMD: not set
/home/me/Library/Application Support/sops/age/keys.txt: 1 identity
/home/me/.config/sops/age/keys.txt: 1 identity
SOPS_AGE_SSH_PRIVATE_KEY_FILE: not set
SOPS_AGE_SSH_PRIVATE_KEY_CMD: not set
/home/me/.ssh/id_ed25519: no such file
/home/me/.ssh/id_rsa: no such file`,
	}, {
		title: "darwin under XDG_CONFIG_HOME",
		o:     secret.FindOptions{GOOS: "darwin"},
		env:   map[string]string{"XDG_CONFIG_HOME": "/xdg"},
		files: home{"/xdg/sops/age/keys.txt": a.private},
		held:  []string{a.public},
	}, {
		title: "windows",
		o:     secret.FindOptions{GOOS: "windows"},
		env:   map[string]string{"AppData": "/appdata"},
		files: home{filepath.Join("/appdata", "sops", "age", "keys.txt"): a.private},
		held:  []string{a.public},
	}} {
		t.Run(test.title, func(t *testing.T) {
			o := test.o
			if o.GOOS == "" {
				o.GOOS = "linux"
			}
			o.Home, o.ReadFile = "/home/me", test.files.read
			o.Getenv = func(name string) string { return test.env[name] }
			k, err := secret.Find(o)
			if err != nil {
				t.Fatal(err)
			}
			if got := k.Recipients(); !slices.Equal(got, test.held) && len(got)+len(test.held) > 0 {
				t.Errorf("holds %v, want %v", got, test.held)
			}
			if got := places(k); test.places != "" && got != test.places {
				t.Errorf("got places\n%s\nwant\n%s", got, test.places)
			}
			for _, p := range k.Places() {
				quiet(t, p.String())
			}
		})
	}
}

// A flag that was given and does not serve stops the run before it starts.
func TestKeyFileFlagMustServe(t *testing.T) {
	key := x25519(t)
	for text, want := range map[string]string{
		"-":                                    "no such file",
		"":                                     "permission denied",
		"# nothing\n":                          "no identity in it",
		key.private + "\n" + "huh":             "1 identity; line 2 is not an age identity (AGE-SECRET-KEY-…)",
		key.private[:30]:                       "line 1 is not an age identity (AGE-SECRET-KEY-…)",
		key.public:                             "line 1 is not an age identity (AGE-SECRET-KEY-…)",
		"AGE-PLUGIN-YUBIKEY-1XYZ":              "line 1 is not an age identity (AGE-SECRET-KEY-…)",
		"age-encryption.org/v1\n->":            "is protected by a passphrase, and nothing prompts here; set SOPS_AGE_KEY to what `age --decrypt` prints",
		"-----BEGIN AGE ENCRYPTED FILE-----\n": "is protected by a passphrase, and nothing prompts here; set SOPS_AGE_KEY to what `age --decrypt` prints",
		"-----BEGIN PGP PRIVATE KEY BLOCK-----\n": "is a PGP key; import it with `gpg --import`",
		"-----BEGIN OPENSSH PRIVATE KEY-----\n":   "is not an age key file; name an SSH private key in SOPS_AGE_SSH_PRIVATE_KEY_FILE",
	} {
		files := home{"F": text}
		if text == "-" {
			files = home{}
		}
		_, err := secret.Find(secret.FindOptions{KeyFile: "F", ReadFile: files.read, Getenv: func(string) string { return "" }, Home: "/home/me"})
		if err == nil || err.Error() != "--age-key-file F: "+want {
			t.Errorf("%q: got %v, want %s", text, err, want)
		} else {
			quiet(t, err.Error())
		}
	}
	if _, err := secret.Find(secret.FindOptions{KeyFile: t.TempDir(), Home: t.TempDir()}); err == nil || !strings.HasSuffix(err.Error(), ": is a directory") {
		t.Errorf("a directory: got %v", err)
	}
}

func TestWithASecretOfTheCluster(t *testing.T) {
	a, b, c := x25519(t), x25519(t), hybrid(t)
	base := ring(t, a)
	const where = "secret/sops-keys in flux-system"
	k, err := base.With(where, map[string][]byte{
		"age.agekey":    []byte("# comment\n" + b.private + "\n" + c.private + "\n"),
		"again.agekey":  []byte(a.private),
		"sops.aws-kms":  []byte("aws_access_key_id: AKIA\naws_secret_access_key: " + password),
		"readme":        []byte("not for us"),
		"sops.vault-to": []byte("not for Flux either"),
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := k.Recipients(), []string{a.public, b.public, c.public}; !slices.Equal(got, want) {
		t.Errorf("holds %v, want %v", got, want)
	}
	got := strings.TrimPrefix(places(k), places(base)+"\n")
	want := where + ": again.agekey: 1 identity\n" +
		where + ": age.agekey: 2 identities\n" +
		where + ": sops.aws-kms: credentials for AWS"
	if got != want {
		t.Errorf("got places\n%s\nwant\n%s", got, want)
	}
	if len(base.Recipients()) != 1 || strings.Contains(places(base), where) {
		t.Error("the Keyring that it came from has changed")
	}
	sealed := seal(t, "a.yaml", secretYAML, to(c))
	if _, _, err := k.Decrypt("a.yaml", sealed, secret.DecryptOptions{}); err != nil {
		t.Error(err)
	}
	if _, _, err := base.Decrypt("a.yaml", sealed, secret.DecryptOptions{}); err == nil {
		t.Error("the Keyring that it came from opens what only the Secret's key can")
	}

	_, err = base.With(where, map[string][]byte{"age.agekey": []byte(a.private + "\n" + b.private[:40])})
	if err == nil || err.Error() != where+": age.agekey: line 2 is not an age identity (AGE-SECRET-KEY-…)" {
		t.Errorf("got %v", err)
	}
	k, err = base.With(where, map[string][]byte{"other": []byte(a.private)})
	if err != nil || !strings.HasSuffix(places(k), where+": holds no *.agekey, *.asc or sops.*") {
		t.Errorf("got %v, places\n%s", err, places(k))
	}
}

// The command runs when a file needs it, once for a recipient, and learns which.
func TestKeyCommand(t *testing.T) {
	a, b, other := x25519(t), x25519(t), x25519(t)
	dir := t.TempDir()
	for _, p := range []pair{a, b} {
		if err := os.WriteFile(filepath.Join(dir, p.public), []byte(p.private), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	script := filepath.Join(dir, "a key command.sh")
	text := fmt.Sprintf("#!/bin/sh\ncd '%s'\necho \"$1 $SOPS_AGE_RECIPIENT\" >> log\necho %s >&2\ncat \"$SOPS_AGE_RECIPIENT\"\n", dir, password)
	if err := os.WriteFile(script, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	k := find(t, map[string]string{"SOPS_AGE_KEY": other.private, "SOPS_AGE_KEY_CMD": "'" + script + "' arg"})
	open := func(p pair) error {
		_, _, err := k.Decrypt("a.yaml", seal(t, "a.yaml", secretYAML, to(p)), secret.DecryptOptions{})
		return err
	}
	ran := func() string {
		log, err := os.ReadFile(filepath.Join(dir, "log"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		return string(log)
	}
	if err := open(other); err != nil || ran() != "" {
		t.Errorf("with a key at hand: %v, ran %q", err, ran())
	}
	for range 3 {
		for _, p := range []pair{a, b} {
			if err := open(p); err != nil {
				t.Error(err)
			}
		}
	}
	if want := "arg " + a.public + "\narg " + b.public + "\n"; ran() != want {
		t.Errorf("ran\n%swant\n%s", ran(), want)
	}
	if !strings.Contains(places(k), "SOPS_AGE_KEY_CMD: 1 identity") {
		t.Errorf("got places\n%s", places(k))
	}
	err := open(x25519(t))
	if err == nil || !strings.Contains(places(k), "SOPS_AGE_KEY_CMD: exit status 1; run it by hand to see why") {
		t.Errorf("got %v, places\n%s", err, places(k))
	}
	quiet(t, err.Error(), err.(secret.Problem).Hint)
	for _, p := range k.Places() {
		quiet(t, p.String())
	}

	for line, want := range map[string]string{"/no/such/program": "the program cannot be started", "'": "is not a command line", "printf hunter2": "line 1 is not an age identity (AGE-SECRET-KEY-…)"} {
		k = find(t, map[string]string{"SOPS_AGE_KEY_CMD": line})
		if err := open(a); err == nil || !strings.Contains(places(k), "SOPS_AGE_KEY_CMD: "+want+"\n") {
			t.Errorf("%s: got %v, places\n%s", line, err, places(k))
		}
	}
}

func TestSSHKeys(t *testing.T) {
	ed := sshKey(t, "")
	sealed := seal(t, "a.yaml", secretYAML, sealing{groups: [][]string{{ed.public + " me@laptop"}}})
	file := filepath.Join(t.TempDir(), "id")
	if err := os.WriteFile(file, []byte(ed.private), 0o600); err != nil {
		t.Fatal(err)
	}
	for env, value := range map[string]string{"SOPS_AGE_SSH_PRIVATE_KEY_FILE": file, "SOPS_AGE_SSH_PRIVATE_KEY_CMD": "cat " + file} {
		plain, _, err := find(t, map[string]string{env: value}).Decrypt("a.yaml", sealed, secret.DecryptOptions{})
		if err != nil || string(plain) != secretYAML {
			t.Errorf("%s: got %v\n%s", env, err, plain)
		}
	}
	// With the private key at hand damage is known for damage, whatever the comment.
	bad := flip(`BEGIN AGE ENCRYPTED FILE-----\n.*\n.*\n.{20}`)(t, string(sealed))
	mustRefuse(t, find(t, map[string]string{"SOPS_AGE_SSH_PRIVATE_KEY_CMD": "cat " + file}), "a.yaml", bad, secret.BadMetadata, "is damaged")
}

// sshKey is an ed25519 key of OpenSSH, under a passphrase unless that is "".
func sshKey(t testing.TB, passphrase string) pair {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	var block *pem.Block
	if passphrase == "" {
		block, err = ssh.MarshalPrivateKey(private, "")
	} else {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	pub, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return pair{string(pem.EncodeToMemory(block)), strings.TrimSpace(string(ssh.MarshalAuthorizedKey(pub)))}
}
