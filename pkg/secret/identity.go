package secret

import (
	"errors"
	"fmt"
	"strings"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"filippo.io/age/plugin"
	"golang.org/x/crypto/ssh"
)

// identity is a private key with its public half.
type identity struct {
	key       age.Identity
	recipient string // "age1…", "age1pq1…" or "ssh-ed25519 AAAA…"
	// plugin is the program that uses the key, "" for most: then nobody here
	// knows the recipient.
	plugin string
}

// identities is what one place held. Its texts never quote what was read: the
// errors of the parsers may, so they are not passed on.
type identities struct {
	ids []identity
	// bad says what could not be parsed, "" if all was.
	bad string
	// unused says what is a key all right, but none that this version uses.
	unused string
}

// outcome is the Why of a Place.
func (f identities) outcome() string {
	var parts []string
	switch n := len(f.ids); {
	case n == 1:
		parts = append(parts, "1 identity")
	case n > 1:
		parts = append(parts, fmt.Sprintf("%d identities", n))
	}
	for _, why := range []string{f.bad, f.unused} {
		if why != "" {
			parts = append(parts, why)
		}
	}
	if len(parts) == 0 {
		return "no identity in it"
	}
	return strings.Join(parts, "; ")
}

// notIdentities are the kinds of key that people put where age identities
// belong, told by how they begin, and what to do with each.
var notIdentities = []struct{ prefix, why string }{
	{"age-encryption.org/", "is protected by a passphrase, and nothing prompts here; set SOPS_AGE_KEY to what `age --decrypt` prints"},
	{"-----BEGIN AGE ENCRYPTED FILE", "is protected by a passphrase, and nothing prompts here; set SOPS_AGE_KEY to what `age --decrypt` prints"},
	{"-----BEGIN PGP", "is a PGP key; import it with `gpg --import`"},
	{"-----BEGIN ", "is not an age key file; name an SSH private key in SOPS_AGE_SSH_PRIVATE_KEY_FILE"},
}

// parseAge reads age identities, one a line, or also several a line for
// SOPS_AGE_KEY (as sops does). Blank lines and lines that begin with # are
// skipped. What is good is taken even when other lines are not.
func parseAge(text string, manyPerLine bool) identities {
	var out identities
	for _, n := range notIdentities {
		if strings.HasPrefix(strings.TrimSpace(text), n.prefix) {
			return identities{bad: n.why}
		}
	}
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		words := []string{line}
		if manyPerLine {
			words = strings.Fields(line)
		}
		for _, word := range words {
			id, err := parseIdentity(word)
			switch {
			case err && out.bad == "":
				out.bad = fmt.Sprintf("line %d is not an age identity (AGE-SECRET-KEY-…)", i+1)
			case id.key != nil:
				out.ids = append(out.ids, id)
			}
		}
	}
	return out
}

// parseIdentity reads one identity: X25519, the post-quantum hybrid, or one of an age
// plugin. err is set for anything else. It returns no error value on purpose: age's
// may quote the key.
func parseIdentity(s string) (id identity, err bool) {
	switch {
	case strings.HasPrefix(s, "AGE-PLUGIN-"):
		if key, err := plugin.NewIdentity(s, silentPlugin); err == nil {
			return identity{key: key, plugin: "age-plugin-" + key.Name()}, false
		}
	case strings.HasPrefix(s, "AGE-SECRET-KEY-PQ-1"):
		if key, err := age.ParseHybridIdentity(s); err == nil {
			return identity{key: key, recipient: key.Recipient().String()}, false
		}
	case strings.HasPrefix(s, "AGE-SECRET-KEY-1"):
		if key, err := age.ParseX25519Identity(s); err == nil {
			return identity{key: key, recipient: key.Recipient().String()}, false
		}
	}
	return identity{}, true
}

// silentPlugin refuses what a plugin may ask: nothing prompts here. One that waits for a
// touch of its key may do so.
var silentPlugin = &plugin.ClientUI{
	DisplayMessage: func(string, string) error { return nil },
	RequestValue: func(string, string, bool) (string, error) {
		return "", errors.New("the plugin asks for a value, and nothing prompts here")
	},
	Confirm: func(string, string, string, string) (bool, error) {
		return false, errors.New("the plugin asks a question, and nothing prompts here")
	},
	WaitTimer: func(string) {},
}

// parseSSH reads an SSH private key, ed25519 or RSA, as sops takes them.
func parseSSH(pem []byte) identities {
	key, err := agessh.ParseIdentity(pem)
	if locked := new(ssh.PassphraseMissingError); errors.As(err, &locked) {
		return identities{unused: "is protected by a passphrase, and nothing prompts here"}
	}
	if err != nil {
		return identities{bad: "is not an SSH private key that age can use (ed25519 or RSA)"}
	}
	signer, err := ssh.ParsePrivateKey(pem)
	if err != nil {
		return identities{bad: "is not an SSH private key that age can use (ed25519 or RSA)"}
	}
	public := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))
	return identities{ids: []identity{{key: key, recipient: public}}}
}

// sameRecipient compares two recipients; of an SSH key its type and key count,
// its comment does not.
func sameRecipient(a, b string) bool {
	if !strings.HasPrefix(a, "ssh-") {
		return a == b
	}
	fa, fb := strings.Fields(a), strings.Fields(b)
	return len(fa) > 1 && len(fb) > 1 && fa[0] == fb[0] && fa[1] == fb[1]
}
