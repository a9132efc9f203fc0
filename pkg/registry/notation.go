package registry

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	_ "github.com/notaryproject/notation-core-go/signature/cose" // the two forms of a signature
	_ "github.com/notaryproject/notation-core-go/signature/jws"
	"github.com/notaryproject/notation-go"
	notary "github.com/notaryproject/notation-go/registry"
	"github.com/notaryproject/notation-go/verifier"
	"github.com/notaryproject/notation-go/verifier/trustpolicy"
	"github.com/notaryproject/notation-go/verifier/truststore"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// VerifyNotation checks the notation signatures of the artifact as policy says, a trust policy
// document of notation in JSON. certificates are those of its trust stores, PEM or DER by the names
// that they have in their Secret: as in Flux each store has all of them. A policy of the level
// skip asks for no signature; audit and permissive let pass what notation lets pass.
func (a *Artifact) VerifyNotation(ctx context.Context, policy string, certificates map[string]string) error {
	if policy == "" {
		return a.r.refuse("its signature cannot be verified", "the Secret of spec.verify has no trustpolicy.json", "flux create secret notation")
	}
	var document trustpolicy.Document
	if err := json.Unmarshal([]byte(policy), &document); err != nil {
		return a.r.refuse("its signature cannot be verified", "trustpolicy.json in the Secret of spec.verify: "+err.Error(), "")
	}
	for i, p := range document.TrustPolicies { // as in Flux: notation would refuse the document
		if p.SignatureVerification.VerificationLevel == trustpolicy.LevelSkip.Name {
			document.TrustPolicies[i].TrustStores, document.TrustPolicies[i].TrustedIdentities = nil, nil
		}
	}
	store := certificateStore{}
	for _, file := range slices.Sorted(maps.Keys(certificates)) {
		der := []byte(certificates[file])
		if block, _ := pem.Decode(der); block != nil {
			der = block.Bytes
		}
		found, err := x509.ParseCertificates(der)
		if err != nil {
			return a.r.refuse("the certificate "+file+" in the Secret of spec.verify cannot be used", err.Error(), "")
		}
		store = append(store, found...)
	}
	if len(store) == 0 {
		return a.r.refuse("its signature cannot be verified", "the Secret of spec.verify has no certificate (*.crt, *.pem)", "")
	}
	by, err := verifier.New(&document, store, nil)
	if err != nil {
		return a.r.refuse("its signature cannot be verified", "trustpolicy.json in the Secret of spec.verify: "+err.Error(), "")
	}
	return a.r.ask(ctx, func(ctx context.Context) error {
		signed := &notarized{r: a.r, digest: a.Digest}
		_, _, err := notation.Verify(ctx, by, signed, notation.VerifyOptions{
			ArtifactReference: a.r.name.Digest(a.Digest).Name(), MaxSignatureAttempts: 3, // as Flux
		})
		switch {
		case err == nil:
			return nil
		case signed.err != nil: // the registry's, which notation has made a text of
			return signed.err
		case signed.found == 0 && errors.As(err, new(notation.ErrorSignatureRetrievalFailed)):
			return a.r.refuse(a.Revision()+" is not to be trusted", "it has no notation signature", "notation sign "+a.r.name.Digest(a.Digest).Name())
		}
		why := strings.Split(err.Error(), "\n") // a summary, and a line for each signature
		return a.r.refuse(a.Revision()+" is not to be trusted", strings.Join(why[min(1, len(why)-1):], "; "), "")
	})
}

// certificateStore has every store that a policy names.
type certificateStore []*x509.Certificate

func (s certificateStore) GetCertificates(context.Context, truststore.Type, string) ([]*x509.Certificate, error) {
	return s, nil
}

// maxSignature is how large a signature may be.
const maxSignature = 4 << 20

// notarized is an artifact as notation asks for it.
type notarized struct {
	r      *Repository
	digest string
	found  int   // signatures
	err    error // what the registry said
}

var _ notary.Repository = (*notarized)(nil)

func (n *notarized) Resolve(ctx context.Context, _ string) (ocispec.Descriptor, error) {
	d, err := n.r.manifest(ctx, n.digest)
	if err != nil {
		n.err = err
		return ocispec.Descriptor{}, err
	}
	return ocispec.Descriptor{MediaType: string(d.MediaType), Digest: digest.Digest(d.Digest.String()), Size: d.Size}, nil
}

func (n *notarized) ListSignatures(ctx context.Context, _ ocispec.Descriptor, each func([]ocispec.Descriptor) error) error {
	index, err := n.r.referrers(ctx, n.digest)
	if err != nil {
		n.err = err
		return err
	}
	var out []ocispec.Descriptor
	for _, d := range index {
		if d.ArtifactType == notary.ArtifactTypeNotation {
			out = append(out, ocispec.Descriptor{MediaType: string(d.MediaType), Digest: digest.Digest(d.Digest.String()), Size: d.Size, ArtifactType: d.ArtifactType})
		}
	}
	n.found = len(out)
	return each(out)
}

func (n *notarized) FetchSignatureBlob(ctx context.Context, of ocispec.Descriptor) ([]byte, ocispec.Descriptor, error) {
	fail := func(err error) ([]byte, ocispec.Descriptor, error) {
		n.err = err
		return nil, ocispec.Descriptor{}, err
	}
	d, err := n.r.manifest(ctx, of.Digest.String())
	if err != nil {
		return fail(err)
	}
	layers, err := layersOf(d)
	if err != nil {
		return fail(err)
	}
	if len(layers) != 1 || layers[0].Size > maxSignature {
		return fail(n.r.refuse(of.Digest.String()+" is no signature of notation", fmt.Sprintf("it has %d layers, or a large one", len(layers)), ""))
	}
	l := layers[0]
	data, err := n.r.blob(ctx, l.Digest)
	if err != nil {
		return fail(err)
	}
	return data, ocispec.Descriptor{MediaType: string(l.MediaType), Digest: digest.Digest(l.Digest.String()), Size: l.Size}, nil
}

func (n *notarized) PushSignature(context.Context, string, []byte, ocispec.Descriptor, map[string]string) (ocispec.Descriptor, ocispec.Descriptor, error) {
	return ocispec.Descriptor{}, ocispec.Descriptor{}, errors.New("nothing is signed here")
}
