package source

import (
	"bytes"
	"errors"
	"strings"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"
)

// SignGPG signs with the one key of an armored OpenPGP key ring; passphrase opens it where it is
// locked.
func SignGPG(armored, passphrase []byte) (Signer, error) {
	ring, err := openpgp.ReadArmoredKeyRing(bytes.NewReader(armored))
	switch {
	case err != nil:
		return nil, &Error{What: "the OpenPGP signing key cannot be read", Why: err.Error(), Fix: "gpg --export-secret-keys --armor KEY", err: err}
	case len(ring) != 1:
		return nil, &Error{What: "the OpenPGP signing key is ambiguous", Why: "there are several in it", Fix: "gpg --export-secret-keys --armor KEY"}
	case ring[0].PrivateKey == nil:
		return nil, &Error{What: "the OpenPGP signing key is a public one", Fix: "gpg --export-secret-keys --armor KEY"}
	}
	if locked(ring[0]) {
		if len(passphrase) == 0 {
			return nil, &Error{What: "the OpenPGP signing key is locked", Why: "no passphrase was given", Fix: "put it beside the key, as passphrase"}
		}
		if err := ring[0].DecryptPrivateKeys(passphrase); err != nil {
			return nil, &Error{What: "the OpenPGP signing key does not open", Why: "is the passphrase right?", err: err}
		}
	}
	return func(content []byte) (string, error) {
		var out strings.Builder
		if err := openpgp.ArmoredDetachSign(&out, ring[0], bytes.NewReader(content), nil); err != nil {
			return "", &Error{What: "signing with the OpenPGP key failed", Why: err.Error(), err: err}
		}
		return out.String(), nil
	}, nil
}

func locked(e *openpgp.Entity) bool {
	if e.PrivateKey.Encrypted {
		return true
	}
	for _, k := range e.Subkeys {
		if k.PrivateKey != nil && k.PrivateKey.Encrypted {
			return true
		}
	}
	return false
}

// SignSSH signs with an SSH private key, as git does with gpg.format=ssh; password opens it where it
// is locked.
func SignSSH(pem, password []byte) (Signer, error) {
	key, err := ssh.ParsePrivateKey(pem)
	if missing := (*ssh.PassphraseMissingError)(nil); errors.As(err, &missing) {
		if len(password) == 0 {
			return nil, &Error{What: "the SSH signing key is locked", Why: "no password was given", Fix: "put it beside the key, as password", err: err}
		}
		if key, err = ssh.ParsePrivateKeyWithPassphrase(pem, password); err != nil {
			return nil, &Error{What: "the SSH signing key does not open", Why: "is the password right?", err: err}
		}
	}
	if err != nil {
		return nil, &Error{What: "the SSH signing key cannot be read", Why: err.Error(), Fix: "ssh-keygen -t ed25519", err: err}
	}
	return func(content []byte) (string, error) {
		signature, err := sshsig.Sign(bytes.NewReader(content), key, sshsig.HashSHA512, "git")
		if err != nil {
			return "", &Error{What: "signing with the SSH key failed", Why: err.Error(), err: err}
		}
		return string(sshsig.Armor(signature)), nil
	}, nil
}
