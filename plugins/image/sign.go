package image

import (
	"bytes"
	"context"
	"fmt"
	"os"

	autov1 "github.com/fluxcd/image-automation-controller/api/v1"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/image"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/source"
)

// passphraseVar has the passphrase of --signing-key.
const passphraseVar = "GITOPS_SIGNING_PASSPHRASE"

// signers finds the keys that automations sign with: that of the flag for all of
// them, else the Secret that each names, in the source or the cluster. One whose
// key is not to be had makes no commit.
func (u *update) signers(ctx context.Context) error {
	if u.o.dryRun {
		return nil // shows what would be committed, and needs no key for that
	}
	if u.o.signingKey != "" {
		key, err := os.ReadFile(u.o.signingKey)
		if err != nil {
			return fmt.Errorf("--signing-key: %w", err)
		}
		sign, err := source.SignSSH, error(nil)
		if bytes.Contains(key, []byte("BEGIN PGP")) {
			sign = source.SignGPG
		}
		all, err := sign(key, []byte(u.env.Getenv(passphraseVar)))
		if err != nil {
			return fmt.Errorf("--signing-key %s, %s: %w", u.o.signingKey, passphraseVar, err)
		}
		for _, g := range u.groups {
			for _, a := range g.automations {
				a.sign = all
			}
		}
		return nil
	}
	for _, g := range u.groups {
		for _, a := range g.automations {
			if key := a.Git().Commit.SigningKey; key != nil {
				a.sign, a.unsigned = signer(ctx, u.secrets(), a, key)
			}
		}
	}
	return nil
}

// signer reads the key of one automation.
func signer(ctx context.Context, store *secrets, a *automation, key *autov1.SigningKey) (source.Signer, *image.Problem) {
	refuse := func(format string, args ...any) *image.Problem {
		return &image.Problem{Code: "image-signing", File: a.File, Line: a.Line, Object: a.String(), Message: "spec.git.commit.signingKey: " + fmt.Sprintf(format, args...),
			Hint: "--signing-key FILE"}
	}
	data, where, why := store.secret(ctx, image.Ref{Namespace: a.Namespace, Name: key.SecretRef.Name}, a.File)
	if data == nil {
		return nil, refuse("%s", why)
	}
	field, lock, read := "git.asc", "passphrase", source.SignGPG
	if key.Type == autov1.SigningKeyTypeSSH {
		field, lock, read = "identity", "password", source.SignSSH
	}
	if len(data[field]) == 0 {
		return nil, refuse("%s: the Secret has no %s", where, field)
	}
	sign, err := read(data[field], data[lock])
	if err != nil {
		return nil, refuse("%s: %s", where, err)
	}
	return sign, nil
}
