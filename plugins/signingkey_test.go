package plugins

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"os"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/crypto/ssh"
)

// signingKey makes a key to sign commits with, locked: signingkey gpg|ssh FILE
// PASSPHRASE.
func signingKey(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: signingkey gpg|ssh FILE PASSPHRASE")
	}
	var out bytes.Buffer
	switch args[0] {
	case "gpg":
		e, err := openpgp.NewEntity("bot", "", "bot@example.com", nil)
		ts.Check(err)
		ts.Check(e.EncryptPrivateKeys([]byte(args[2]), nil))
		w, err := armor.Encode(&out, openpgp.PrivateKeyType, nil)
		ts.Check(err)
		ts.Check(e.SerializePrivateWithoutSigning(w, nil))
		ts.Check(w.Close())
	case "ssh":
		_, key, err := ed25519.GenerateKey(rand.Reader)
		ts.Check(err)
		block, err := ssh.MarshalPrivateKeyWithPassphrase(key, "", []byte(args[2]))
		ts.Check(err)
		ts.Check(pem.Encode(&out, block))
	default:
		ts.Fatalf("signingkey %s: want gpg or ssh", args[0])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), out.Bytes(), 0o600))
}
