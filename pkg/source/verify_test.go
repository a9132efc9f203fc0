package source

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/source/gitserver"
)

// signer is a home in which git signs: with ssh, or with PGP.
type signer struct {
	env    []string
	public string // what goes into the Secret
}

func sshSigner(t *testing.T) signer {
	t.Helper()
	k, env := gitserver.NewKey(t), home(t)
	dir := strings.TrimPrefix(env[0], "HOME=")
	must(t, os.WriteFile(filepath.Join(dir, "id"), k.PEM(t, ""), 0o600))
	public := string(ssh.MarshalAuthorizedKey(k.Signer.PublicKey()))
	must(t, os.WriteFile(filepath.Join(dir, "id.pub"), []byte(public), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, ".gitconfig"), []byte("[gpg]\n format = ssh\n[user]\n signingKey = "+dir+"/id.pub\n"), 0o600))
	return signer{env, public}
}

func pgpSigner(t *testing.T) signer {
	t.Helper()
	gpg, err := exec.LookPath("gpg")
	if err != nil {
		t.Skip("there is no gpg to sign with")
	}
	dir, err := os.MkdirTemp("", "gpg") // t.TempDir may be too long for the agent's socket
	must(t, err)
	env := append(home(t), "GNUPGHOME="+dir)
	run := func(name string, args ...string) string {
		cmd := exec.Command(name, args...)
		cmd.Env = env
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %v: %v\n%s", name, args, err, out)
		}
		return string(out)
	}
	t.Cleanup(func() { run("gpgconf", "--kill", "all"); os.RemoveAll(dir) })
	run(gpg, "-q", "--batch", "--passphrase", "", "--quick-gen-key", "c@example.com", "ed25519", "sign", "never")
	must(t, os.WriteFile(filepath.Join(strings.TrimPrefix(env[0], "HOME="), ".gitconfig"), []byte("[user]\n signingKey = c@example.com\n"), 0o600))
	return signer{env, run(gpg, "--armor", "--export", "c@example.com")}
}

// Commits and tags signed by the real git hold under their key, and under no other.
func TestSignatures(t *testing.T) {
	t.Parallel()
	for kind, with := range map[string]struct {
		of   func(*testing.T) signer
		name string
	}{"ssh": {sshSigner, "ada.sshpub"}, "pgp": {pgpSigner, "ada.asc"}} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			ada, eve := with.of(t), with.of(t)
			c := withFiles(t, "a.yaml", "1\n")
			unsigned := c.head()
			c.git("tag", "light")
			c.git("tag", "-a", "-m", "not signed", "plain")
			c.env = ada.env
			c.write("a.yaml", "2\n")
			c.git("commit", "-q", "-a", "-S", "-m", "signed\n\nwith a body\n\n-----BEGIN it says-----")
			signed := c.head()
			c.git("tag", "-s", "-m", "signed", "v1.0.0")
			c.git("tag", "-s", "-m", "signed", "v0.9.0", unsigned)
			keys := map[string]string{with.name: ada.public}
			at := func(ref string) *Snapshot {
				o := c.options()
				o.Ref = ref
				return open(t, o)
			}
			for _, ok := range []struct{ ref, mode string }{{"", "HEAD"}, {"", "head"}, {"", ""}, {"v1.0.0", "Tag"}, {"v1.0.0", "TagAndHEAD"}, {"v0.9.0", "Tag"}, {"v1.0.0", "HEAD"}} {
				said, err := at(ok.ref).Verify(ok.mode, keys)
				must(t, err)
				if !strings.Contains(strings.Join(said, "\n"), " is signed by ") {
					t.Errorf("%v: %q", ok, said)
				}
			}
			both, err := at("").Verify("HEAD", map[string]string{"eve" + filepath.Ext(with.name): eve.public, with.name: ada.public})
			must(t, err)
			is(t, "one of two keys", both[0][:len("commit "+signed)], "commit "+signed)
			wrong := map[string]string{"ada.asc": eve.public}
			if kind == "ssh" {
				wrong = map[string]string{"ada.sshpub": eve.public}
			}
			for _, no := range []struct {
				ref, mode string
				keys      map[string]string
				want      string
			}{
				{"", "HEAD", wrong, "the signature of commit " + signed + " cannot be trusted: none of the keys in the Secret of spec.verify made it"},
				{"", "HEAD", nil, "and the Secret of spec.verify has no "},
				{unsigned, "HEAD", keys, "cannot be trusted: it has none"},
				{"v0.9.0", "TagAndHEAD", keys, "the signature of commit " + unsigned + " cannot be trusted: it has none"},
				{"v1.0.0", "Tag", wrong, "the signature of tag v1.0.0 cannot be trusted"},
				{"plain", "Tag", keys, "the signature of tag plain cannot be trusted: it has none"},
				{"light", "Tag", keys, "tag light is not signed: it is not an annotated tag"},
				{"", "Tag", keys, "no tag was read, and spec.verify asks for one"},
				{"", "Always", keys, `spec.verify.mode "Always" is unknown`},
			} {
				if _, err := at(no.ref).Verify(no.mode, no.keys); err == nil || !strings.Contains(err.Error(), no.want) {
					t.Errorf("%s %s: %v, want %q", no.ref, no.mode, err, no.want)
				}
			}

			// What was signed is changed under its signature.
			raw := c.git("cat-file", "commit", signed)
			cmd := exec.Command("git", "hash-object", "-t", "commit", "-w", "--stdin")
			cmd.Dir, cmd.Env, cmd.Stdin = c.dir, c.env, strings.NewReader(strings.Replace(raw, "signed\n", "resigned\n", 1)+"\n")
			out, err := cmd.Output()
			must(t, err)
			if _, err := at(strings.TrimSpace(string(out))).Verify("HEAD", keys); err == nil {
				t.Error("a commit that was changed is trusted")
			}
		})
	}
}
