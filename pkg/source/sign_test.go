package source

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/go-git/go-git/v5/plumbing"
	"golang.org/x/crypto/ssh"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/source/gitserver"
)

// armored is an OpenPGP key, private and public.
func armored(t *testing.T, passphrase string) (private, public []byte) {
	t.Helper()
	e, err := openpgp.NewEntity("bot", "", "bot@example.com", nil)
	must(t, err)
	write := func(kind string, serialize func(*bytes.Buffer) error) []byte {
		var raw, out bytes.Buffer
		must(t, serialize(&raw))
		w, err := armor.Encode(&out, kind, nil)
		must(t, err)
		_, err = w.Write(raw.Bytes())
		must(t, err)
		must(t, w.Close())
		return out.Bytes()
	}
	public = write(openpgp.PublicKeyType, func(b *bytes.Buffer) error { return e.Serialize(b) })
	if passphrase != "" {
		must(t, e.EncryptPrivateKeys([]byte(passphrase), nil))
		return write(openpgp.PrivateKeyType, func(b *bytes.Buffer) error { return e.SerializePrivateWithoutSigning(b, nil) }), public
	}
	return write(openpgp.PrivateKeyType, func(b *bytes.Buffer) error { return e.SerializePrivate(b, nil) }), public
}

// signed pushes a commit signed by sign, and returns the server's name of it.
func signed(t *testing.T, p *pushable, sign Signer, err error) string {
	t.Helper()
	if err != nil {
		t.Fatalf("%v (hint: %s)", err, hint(err))
	}
	b, err := p.upstream(Options{Source: p.dir}).Fetch(t.Context(), "main", "", isBot)
	must(t, err)
	o := bot("signed\n\nwith a body, and without a line break at its end")
	o.Sign = sign
	b, err = b.Commit(t.Context(), map[string][]byte{"a.yaml": []byte(t.Name() + "\n")}, o)
	must(t, err)
	push(t, b, PushOptions{})
	p.served("fsck", "--strict")
	return b.Commits()[0]
}

func TestSignedWithOpenPGP(t *testing.T) {
	t.Parallel()
	p := newPushable(t, "a.yaml", "1\n")
	for _, passphrase := range []string{"", "of the key"} {
		private, public := armored(t, passphrase)
		sign, err := SignGPG(private, []byte(passphrase))
		h := signed(t, p, sign, err)
		c, err := p.upstream(Options{Source: "file://" + p.bare}).Read(t.Context(), h)
		must(t, err)
		commit, err := c.repo.objects.commit(plumbing.NewHash(h))
		must(t, err)
		if _, err := commit.Verify(string(public)); err != nil {
			t.Error(err)
		}
		if _, err := exec.LookPath("gpg"); err != nil {
			continue
		}
		home, err := os.MkdirTemp("", "gpg") // t.TempDir is too long for its sockets
		must(t, err)
		env := append([]string{"GNUPGHOME=" + home}, p.env...)
		must(t, os.WriteFile(filepath.Join(home, "key.asc"), public, 0o600))
		cmd := exec.Command("gpg", "--batch", "--import", filepath.Join(home, "key.asc"))
		cmd.Env = env
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		runGit(t, p.bare, env, "verify-commit", h)
		cmd = exec.Command("gpgconf", "--kill", "all")
		cmd.Env = env
		_ = cmd.Run()
		_ = os.RemoveAll(home)
	}
	private, public := armored(t, "secret")
	for _, test := range []struct{ key, passphrase, want string }{
		{string(private), "", "is locked: no passphrase was given"},
		{string(private), "wrong", "does not open"},
		{string(public), "", "is a public one"},
		{"no key", "", "cannot be read"},
	} {
		if _, err := SignGPG([]byte(test.key), []byte(test.passphrase)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("got %v, want %s", err, test.want)
		}
	}
}

func TestSignedWithSSH(t *testing.T) {
	t.Parallel()
	p := newPushable(t, "a.yaml", "1\n")
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	ed := gitserver.NewKey(t).Private
	for name, key := range map[string]any{"ecdsa": ec, "rsa": r, "ed25519": ed, "locked": ed} {
		t.Run(name, func(t *testing.T) {
			block, err := ssh.MarshalPrivateKey(key, "")
			password := ""
			if name == "locked" {
				password = "of the key"
				block, err = ssh.MarshalPrivateKeyWithPassphrase(key, "", []byte(password))
			}
			must(t, err)
			sign, err := SignSSH(pem.EncodeToMemory(block), []byte(password))
			h := signed(t, p, sign, err)
			if _, err := exec.LookPath("ssh-keygen"); err != nil {
				t.Skip("ssh-keygen is not here to verify it")
			}
			signer, err := ssh.NewSignerFromKey(key)
			must(t, err)
			allowed := filepath.Join(t.TempDir(), "allowed")
			must(t, os.WriteFile(allowed, append([]byte("bot@example.com "), ssh.MarshalAuthorizedKey(signer.PublicKey())...), 0o600))
			runGit(t, p.bare, p.env, "-c", "gpg.ssh.allowedSignersFile="+allowed, "verify-commit", h)
		})
	}
	block, err := ssh.MarshalPrivateKeyWithPassphrase(ed, "", []byte("secret"))
	must(t, err)
	for _, test := range []struct{ key, password, want string }{
		{string(pem.EncodeToMemory(block)), "", "is locked: no password was given"},
		{string(pem.EncodeToMemory(block)), "wrong", "does not open"},
		{"no key", "", "cannot be read"},
	} {
		if _, err := SignSSH([]byte(test.key), []byte(test.password)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("got %v, want %s", err, test.want)
		}
	}
}
