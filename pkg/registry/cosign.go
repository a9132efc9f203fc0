package registry

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// VerifyCosign checks that one of the public keys, each PEM by the name it has
// in its Secret, made a cosign signature of the artifact. Both of cosign's forms
// are read: the bundle that refers to the artifact (cosign 3,
// application/vnd.dev.sigstore.bundle.v0.3+json), and the image at the tag
// sha256-<hex>.sig (simple signing). As in Flux the transparency log is not asked
// where there is a key.
func (a *Artifact) VerifyCosign(ctx context.Context, keys map[string]string) (by string, err error) {
	public := map[string]crypto.PublicKey{}
	for _, file := range slices.Sorted(maps.Keys(keys)) {
		key, err := publicKey(keys[file])
		if err != nil {
			return "", a.r.refuse("the key "+file+" cannot be used", err.Error(), "the file that cosign generate-key-pair made: cosign.pub")
		}
		public[file] = key
	}
	if len(public) == 0 {
		return "", a.r.refuse("its signature cannot be verified", "the Secret of spec.verify has no public key (*.pub)", "")
	}
	err = a.r.ask(ctx, func(ctx context.Context) error {
		signed, found, err := a.r.signatures(ctx, a.Digest)
		if err != nil {
			return err
		}
		for _, s := range signed {
			for _, file := range slices.Sorted(maps.Keys(public)) {
				if s.by(public[file]) {
					by = file
					return nil
				}
			}
		}
		switch {
		case len(signed) > 0:
			return a.r.refuse(a.Revision()+" is not to be trusted", "none of the keys in the Secret of spec.verify signed it", "")
		case found:
			return a.r.refuse(a.Revision()+" is not to be trusted", "its signatures are of something else", "")
		}
		return a.r.refuse(a.Revision()+" is not to be trusted", "it has no cosign signature", "cosign sign --key cosign.key "+a.r.request.Image+"@"+a.Digest)
	})
	return by, err
}

func publicKey(text string) (crypto.PublicKey, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("it is not PEM")
	}
	if block.Type == "RSA PUBLIC KEY" {
		return x509.ParsePKCS1PublicKey(block.Bytes)
	}
	return x509.ParsePKIXPublicKey(block.Bytes)
}

// signed is a text and a signature of it.
type signed struct{ text, signature []byte }

// by reports whether key made the signature, over SHA-256 as cosign does.
func (s signed) by(key crypto.PublicKey) bool {
	sum := sha256.Sum256(s.text)
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(k, sum[:], s.signature)
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(k, crypto.SHA256, sum[:], s.signature) == nil
	case ed25519.PublicKey:
		return ed25519.Verify(k, s.text, s.signature)
	}
	return false
}

// signatures are those that say something of digest; found tells that there were
// any at all.
func (r *Repository) signatures(ctx context.Context, digest string) (out []signed, found bool, err error) {
	bundles, err := r.bundles(ctx, digest)
	if err != nil {
		return nil, false, err
	}
	simple, err := r.simpleSignatures(ctx, digest)
	if err != nil {
		return nil, false, err
	}
	for _, s := range append(bundles, simple...) {
		found = true
		if s.of == digest {
			out = append(out, s.signed)
		}
	}
	return out, found, nil
}

// claim is a signature and the digest that the signed text is about.
type claim struct {
	signed
	of string
}

// absentIs404 is nil where the registry has no such thing.
func absentIs404(err error) error {
	if answer := (*transport.Error)(nil); errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound {
		return nil
	}
	return err
}

// simpleSignatures reads the image at sha256-<hex>.sig: a layer for each
// signature, with the signature in an annotation (cosign, SIGNATURE_SPEC.md).
func (r *Repository) simpleSignatures(ctx context.Context, digest string) ([]claim, error) {
	d, err := r.puller.Get(ctx, r.name.Tag(strings.Replace(digest, ":", "-", 1)+".sig"))
	if err != nil {
		return nil, absentIs404(err)
	}
	layers, err := layersOf(d)
	if err != nil {
		return nil, err
	}
	var out []claim
	for _, l := range layers {
		if l.MediaType != "application/vnd.dev.cosign.simplesigning.v1+json" {
			continue
		}
		signature, err := base64.StdEncoding.DecodeString(l.Annotations["dev.cosignproject.cosign/signature"])
		if err != nil {
			continue // not one that could hold
		}
		text, err := r.blob(ctx, l.Digest)
		if err != nil {
			return nil, err
		}
		var payload struct {
			Critical struct {
				Image struct {
					Digest string `json:"docker-manifest-digest"`
				}
				Type string
			}
		}
		if json.Unmarshal(text, &payload) == nil && payload.Critical.Type == "cosign container image signature" {
			out = append(out, claim{signed{text, signature}, payload.Critical.Image.Digest})
		}
	}
	return out, nil
}

// bundles reads the sigstore bundles that refer to digest: a DSSE envelope about
// an in-toto statement whose subject is the artifact (cosign, specs/BUNDLE_SPEC.md).
func (r *Repository) bundles(ctx context.Context, digest string) ([]claim, error) {
	index, err := r.referrers(ctx, digest)
	if err != nil {
		return nil, err
	}
	var out []claim
	for _, d := range index {
		if !strings.HasPrefix(d.ArtifactType, "application/vnd.dev.sigstore.bundle") {
			continue
		}
		text, err := r.layer(ctx, d.Digest.String(), "")
		if err != nil {
			return nil, err
		}
		var bundle struct {
			DSSEEnvelope struct {
				Payload, PayloadType string
				Signatures           []struct{ Sig string }
			}
		}
		if json.Unmarshal(text, &bundle) != nil {
			continue
		}
		e := bundle.DSSEEnvelope
		payload, err := base64.StdEncoding.DecodeString(e.Payload)
		var statement struct {
			Subject []struct{ Digest map[string]string }
		}
		if err != nil || json.Unmarshal(payload, &statement) != nil {
			continue
		}
		// What a DSSE signature is over: its pre-authentication encoding.
		var pae bytes.Buffer
		fmt.Fprintf(&pae, "DSSEv1 %d %s %d %s", len(e.PayloadType), e.PayloadType, len(payload), payload)
		for _, s := range e.Signatures {
			signature, err := base64.StdEncoding.DecodeString(s.Sig)
			if err != nil {
				continue
			}
			for _, subject := range statement.Subject {
				out = append(out, claim{signed{pae.Bytes(), signature}, "sha256:" + subject.Digest["sha256"]})
			}
		}
	}
	return out, nil
}

// referrers are what refers to digest: by the API for it, or at the tag that
// stands for that where a registry has none.
func (r *Repository) referrers(ctx context.Context, digest string) ([]v1.Descriptor, error) {
	index, err := remote.Referrers(r.name.Digest(digest), remote.Reuse(r.puller), remote.WithContext(ctx))
	if err != nil {
		return nil, absentIs404(err)
	}
	m, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	return m.Manifests, nil
}
