package secret_test

import (
	"encoding/base64"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	"filippo.io/age"
	"filippo.io/age/plugin"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/secret"
)

const testPlugin = "gitopstest"

// TestMain makes an age plugin of this very program, under the name of one.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "age-plugin-"+testPlugin {
		os.Exit(runPlugin())
	}
	debug.SetGCPercent(400) // thousands of files are parsed, and none is kept
	os.Exit(m.Run())
}

// runPlugin is an age plugin by age's own framework. Its keys are X25519 keys in the
// plugin's encoding. Where ASK is set it asks for a PIN first.
func runPlugin() int {
	p, err := plugin.New(testPlugin)
	if err != nil {
		return 1
	}
	p.HandleRecipient(func(data []byte) (age.Recipient, error) { return age.ParseX25519Recipient(string(data)) })
	p.HandleIdentity(func(data []byte) (age.Identity, error) {
		if os.Getenv("ASK") != "" {
			if _, err := p.RequestValue("PIN", true); err != nil {
				return nil, errors.New("no PIN")
			}
		}
		return age.ParseX25519Identity(string(data))
	})
	return p.Main()
}

// withPlugin puts the plugin on PATH, and makes a key for it.
func withPlugin(t *testing.T) pair {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(self, filepath.Join(dir, "age-plugin-"+testPlugin)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return pair{plugin.EncodeIdentity(testPlugin, []byte(id.String())), plugin.EncodeRecipient(testPlugin, []byte(id.Recipient().String()))}
}

// Keys of an age plugin, as YubiKeys have them: sealed and opened by both sides.
func TestAgePlugins(t *testing.T) {
	key := withPlugin(t)
	dir := t.TempDir()
	sealed := sealByPeer(t, dir, "a.yaml", secretYAML, "--age", key.public)
	k := ring(t, x25519(t), key)
	plain, f, err := k.Decrypt("a.yaml", sealed, secret.DecryptOptions{})
	if err != nil || string(plain) != secretYAML || f.Recipients[0] != key.public {
		t.Fatalf("got %v %+v\n%s", err, f, plain)
	}
	if got := k.Recipients(); len(got) != 2 || got[1] != "age-plugin-"+testPlugin {
		t.Errorf("holds %q", got)
	}
	ours := encrypt(t, "b.yaml", secretYAML, ruleFor(t, dir, "b.yaml", "", key.public), secret.SealOptions{}).Data
	if err := os.WriteFile(filepath.Join(dir, "b.yaml"), ours, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := peer(t, dir, key.private, "decrypt", "b.yaml"); err != nil || !strings.Contains(got, password) {
		t.Errorf("sops: %v\n%s", err, got)
	}
	mustRefuse(t, ring(t, withPlugin(t)), "a.yaml", string(sealed), secret.WrongKey, "the keys at hand are for age-plugin-"+testPlugin)

	t.Run("one that asks", func(t *testing.T) {
		t.Setenv("ASK", "1")
		mustRefuse(t, ring(t, key), "a.yaml", string(sealed), secret.WrongKey, "age-plugin-"+testPlugin+": "+testPlugin+" plugin: no PIN")
	})
	t.Run("one that is not installed", func(t *testing.T) {
		t.Setenv("PATH", t.TempDir())
		mustRefuse(t, ring(t, key), "a.yaml", string(sealed), secret.WrongKey, "age-plugin-"+testPlugin+": no program of this name is on PATH")
	})
	t.Run("the cluster does not choose programs", func(t *testing.T) {
		k, err := ring(t).With("secret/sops-age in flux-system", map[string][]byte{"age.agekey": []byte(key.private)})
		if err != nil {
			t.Fatal(err)
		}
		if len(k.Recipients()) > 0 || !strings.Contains(places(k), "age.agekey: is of an age plugin") {
			t.Errorf("got %q\n%s", k.Recipients(), places(k))
		}
	})
}

// gpgHome makes a PGP key in a keyring of its own with the real gpg, and returns its
// fingerprint.
func gpgHome(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("gpg"); err != nil {
		t.Skip("gpg is not on this machine: apt-get install gnupg")
	}
	home, err := os.MkdirTemp("", "gpg") // a socket in it must have a short path
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GNUPGHOME", home)
	t.Cleanup(func() {
		_ = exec.Command("gpgconf", "--homedir", home, "--kill", "all").Run()
		_ = os.RemoveAll(home)
	})
	run := func(args ...string) string {
		out, err := exec.Command("gpg", append([]string{"--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("gpg %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	run("--quick-generate-key", "Test <test@example.com>", "future-default", "default", "never")
	for _, line := range strings.Split(run("--list-keys", "--with-colons"), "\n") {
		if f := strings.Split(line, ":"); f[0] == "fpr" {
			return f[9]
		}
	}
	t.Fatal("gpg lists no fingerprint")
	return ""
}

// One file to PGP, age, ssh and two readers more, by key groups too: what either
// side seals the other opens, in every format, each key by itself.
func TestEveryFormatAndReaderBothWays(t *testing.T) {
	fingerprint := gpgHome(t)
	home := os.Getenv("GNUPGHOME")
	key, other, id := x25519(t), hybrid(t), sshKey(t, "")
	dir := t.TempDir()
	sshFile := filepath.Join(t.TempDir(), "id_ed25519")
	if err := os.WriteFile(sshFile, []byte(id.private), 0o600); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{
		"a.yaml": secretYAML, "a.json": `{"kind": "Secret", "n": 12345678901234567, "data": {"a": "` + password + `", "l": [1.5, "x", null, true]}}`,
		"a.env": "# c\nA=" + password + "\nB=\n", "a.ini": "[db]\npassword = " + password + "\n", "a.bin": "\x00\xff" + password,
	}
	rules := map[string]string{
		"all":    "- pgp: " + fingerprint + "\n  age: >-\n    " + key.public + ",\n    " + other.public + ",\n    " + id.public + "\n",
		"groups": "- shamir_threshold: 2\n  key_groups:\n  - pgp: [" + fingerprint + "]\n  - age: [" + key.public + ", " + other.public + "]\n  - age: ['" + id.public + "']\n",
	}
	// Each set of keys opens what it must: one reader of many, two groups of three.
	opens := map[string][]struct {
		title, age, ssh, gpg string
	}{
		"all":    {{"age", key.private, "", ""}, {"hybrid", other.private, "", ""}, {"ssh", "", sshFile, ""}, {"pgp", "", "", home}},
		"groups": {{"pgp and age", key.private, "", home}, {"age and ssh", other.private, sshFile, ""}, {"pgp and ssh", "", sshFile, home}},
	}
	for how, conf := range rules {
		if err := os.WriteFile(filepath.Join(dir, ".sops.yaml"), []byte("creation_rules:\n"+conf), 0o600); err != nil {
			t.Fatal(err)
		}
		for name, plain := range files {
			rule, err := secret.Rules{Dir: dir}.For(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			ours := encrypt(t, name, plain, rule, secret.SealOptions{}).Data
			theirs := sealByPeer(t, dir, name, plain)
			if err := os.WriteFile(filepath.Join(dir, name), ours, 0o600); err != nil {
				t.Fatal(err)
			}
			want := ""
			for _, keys := range opens[how] {
				t.Run(how+"/"+name+"/"+keys.title, func(t *testing.T) {
					t.Setenv("GNUPGHOME", keys.gpg)
					if keys.gpg == "" {
						t.Setenv("GNUPGHOME", t.TempDir())
					}
					env := map[string]string{"SOPS_AGE_KEY": keys.age, "SOPS_AGE_SSH_PRIVATE_KEY_FILE": keys.ssh}
					got := sopsDecrypt(t, dir, env, name)
					if want == "" {
						want = got
					}
					for _, sealed := range [][]byte{theirs, ours} {
						plain, _, err := find(t, env).Decrypt(name, sealed, secret.DecryptOptions{})
						if err != nil {
							t.Fatal(err)
						}
						if string(plain) != want || got != want || !strings.Contains(got, password) {
							t.Errorf("got\n%s\nsops prints\n%s", plain, got)
						}
					}
				})
			}
		}
	}
}

// sopsDecrypt has the real sops open a file with just these keys.
func sopsDecrypt(t *testing.T, dir string, env map[string]string, name string) string {
	t.Helper()
	bin, err := sopsBinary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "decrypt", name)
	cmd.Dir = dir
	cmd.Env = []string{"HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH"), "GNUPGHOME=" + os.Getenv("GNUPGHOME")}
	for k, v := range env {
		if v != "" {
			cmd.Env = append(cmd.Env, k+"="+v)
		}
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("sops decrypt %s: %v\n%s", name, err, stderr.String())
	}
	return string(out)
}

// Cloud KMS and Vault are asked through sops's own code. Here nobody answers: the error
// says who was asked and that there are no credentials, and nothing hangs.
func TestKeyServicesWithoutCredentials(t *testing.T) {
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "GOOGLE_CREDENTIALS", "GOOGLE_OAUTH_ACCESS_TOKEN", "AZURE_CLIENT_ID", "AZURE_TENANT_ID", "VAULT_TOKEN"} {
		t.Setenv(name, "")
	}
	t.Setenv("HOME", t.TempDir())
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(t.TempDir(), "none"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(t.TempDir(), "none"))
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", filepath.Join(t.TempDir(), "none.json"))
	at := "        created_at: \"2026-01-02T03:04:05Z\"\n"
	enc := base64.StdEncoding.EncodeToString([]byte(made(40, base62)))
	for title, c := range map[string]struct{ section, who, says, hint string }{
		"AWS KMS":      {"    kms:\n      - arn: arn:aws:kms:eu-central-1:111122223333:key/abc\n        enc: " + enc + "\n" + at, "kms:arn:aws:kms:eu-central-1:111122223333:key/abc", "credential", "aws sso login"},
		"Google Cloud": {"    gcp_kms:\n      - resource_id: projects/p/locations/global/keyRings/r/cryptoKeys/k\n        enc: " + enc + "\n" + at, "gcp_kms:projects/p/locations/global/keyRings/r/cryptoKeys/k", "none.json", "gcloud auth application-default login"},
		"Vault":        {"    hc_vault:\n      - vault_address: http://127.0.0.1:1\n        engine_path: transit\n        key_name: k\n        enc: vault:v1:" + enc + "\n" + at, "hc_vault:http://127.0.0.1:1/v1/transit/keys/k", "127.0.0.1:1", "export VAULT_TOKEN=…"},
	} {
		t.Run(title, func(t *testing.T) {
			sealed := "a: ENC[AES256_GCM,data:YQ==,iv:YQ==,tag:YQ==,type:str]\nsops:\n" + c.section +
				"    lastmodified: \"2026-01-02T03:04:05Z\"\n    mac: ENC[AES256_GCM,data:YQ==,iv:YQ==,tag:YQ==,type:str]\n    version: 3.13.3\n"
			plain, _, err := ring(t).Decrypt("a.yaml", []byte(sealed), secret.DecryptOptions{})
			p, ok := errors.AsType[secret.Problem](err)
			if !ok || plain != nil || p.Kind != secret.NoKey || p.Hint != c.hint {
				t.Fatalf("got %v, hint %q", err, p.Hint)
			}
			if !strings.Contains(p.Error(), "it is sealed to "+c.who+"; "+c.who+": ") || !strings.Contains(p.Error(), c.says) {
				t.Errorf("got %v", p)
			}
		})
	}
}
