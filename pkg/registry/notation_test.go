package registry

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/notaryproject/notation-core-go/signature/cose"
	"github.com/notaryproject/notation-core-go/signature/jws"
	"github.com/notaryproject/notation-go"
	notary "github.com/notaryproject/notation-go/registry"
	"github.com/notaryproject/notation-go/signer"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// notationKey is a key with a certificate of its own.
type notationKey struct {
	key         *ecdsa.PrivateKey
	certificate *x509.Certificate
	pem         string
}

func newNotationKey(t *testing.T, who string) notationKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: who, Organization: []string{"team"}, Country: []string{"DE"}, Province: []string{"B"}},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return notationKey{key, certificate, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))}
}

// notarize signs a digest with notation's own signer, and pushes that as its specification says.
func (a *artifacts) notarize(k notationKey, digestOf, form string) {
	a.t.Helper()
	ref, err := name.NewDigest(a.image + "@" + digestOf)
	if err != nil {
		a.t.Fatal(err)
	}
	d, err := remote.Head(ref)
	if err != nil {
		a.t.Fatal(err)
	}
	by, err := signer.NewGenericSigner(k.key, []*x509.Certificate{k.certificate})
	if err != nil {
		a.t.Fatal(err)
	}
	envelope, _, err := by.Sign(a.t.Context(), ocispec.Descriptor{MediaType: string(d.MediaType), Digest: digest.Digest(digestOf), Size: d.Size},
		notation.SignerSignOptions{SignatureMediaType: form})
	if err != nil {
		a.t.Fatal(err)
	}
	img, err := mutate.AppendLayers(mutate.MediaType(empty.Image, types.OCIManifestSchema1), static.NewLayer(envelope, types.MediaType(form)))
	if err != nil {
		a.t.Fatal(err)
	}
	img = mutate.Subject(mutate.ConfigMediaType(img, notary.ArtifactTypeNotation), *d).(v1.Image)
	h, err := img.Digest()
	if err == nil {
		err = remote.Write(ref.Context().Digest(h.String()), img)
	}
	if err != nil {
		a.t.Fatal(err)
	}
}

func TestNotationSignatures(t *testing.T) {
	t.Parallel()
	policy := func(level, identity string) string {
		return fmt.Sprintf(`{"version":"1.0","trustPolicies":[{"name":"p","registryScopes":["*"],"signatureVerification":{"level":%q},"trustStores":["ca:team"],"trustedIdentities":[%q]}]}`, level, identity)
	}
	ada, eve := newNotationKey(t, "ada"), newNotationKey(t, "eve")
	for _, api := range []bool{false, true} {
		a := newArtifacts(t, ggcr.WithReferrersSupport(api))
		verify := func(digest, policy string, certificates map[string]string, want string) {
			t.Helper()
			found, err := a.repo.Find(t.Context(), Ref{Digest: digest}, "")
			if err != nil {
				t.Fatal(err)
			}
			err = found.VerifyNotation(t.Context(), policy, certificates)
			switch {
			case want == "" && err != nil:
				t.Errorf("referrers=%v: %v", api, err)
			case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
				t.Errorf("referrers=%v: %v, want %q", api, err, want)
			}
		}
		adas := map[string]string{"ada.crt": ada.pem}
		for _, form := range []string{jws.MediaTypeEnvelope, cose.MediaTypeEnvelope} {
			d := a.push("v1", fluxContent, "content "+form)
			verify(d, policy("strict", "*"), adas, "is not to be trusted: it has no notation signature")
			verify(d, policy("skip", "*"), adas, "")
			a.notarize(eve, d, form)
			verify(d, policy("strict", "*"), adas, "is not to be trusted: ")
			a.notarize(ada, d, form)
			verify(d, policy("strict", "*"), adas, "")
			verify(d, policy("strict", "*"), map[string]string{"eve.pem": eve.pem, "ada.crt": ada.pem}, "")
			verify(d, policy("strict", "x509.subject: C=DE, ST=B, O=team, CN=ada"), adas, "")
			verify(d, policy("strict", "x509.subject: C=DE, ST=B, O=team, CN=root"), adas, "is not to be trusted: ")
		}
		// A signature of something else is none.
		other := a.push("v2", fluxContent, "other")
		verify(other, policy("strict", "*"), adas, "it has no notation signature")
		verify(other, "", adas, "the Secret of spec.verify has no trustpolicy.json")
		verify(other, "{", adas, "trustpolicy.json in the Secret of spec.verify: unexpected end of JSON input")
		verify(other, policy("strict", ""), adas, "trustpolicy.json in the Secret of spec.verify: ")
		verify(other, policy("strict", "*"), nil, "has no certificate (*.crt, *.pem)")
		verify(other, policy("strict", "*"), map[string]string{"ada.crt": "x"}, "the certificate ada.crt in the Secret of spec.verify cannot be used")
	}
}
