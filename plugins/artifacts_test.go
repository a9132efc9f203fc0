package plugins

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/notaryproject/notation-core-go/signature/jws"
	"github.com/notaryproject/notation-go"
	notary "github.com/notaryproject/notation-go/registry"
	"github.com/notaryproject/notation-go/signer"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/rogpeppe/go-internal/testscript"
)

// artifactPassword lets bot into the registry.
const artifactPassword = "not-to-be-printed"

// artifactServer serves a registry that lets in bot: artifactserver. $REGISTRY
// is its address.
func artifactServer(ts *testscript.TestScript, neg bool, args []string) {
	inner := ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "bot" || password != artifactPassword {
			w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	ts.Defer(srv.Close)
	ts.Setenv("REGISTRY", strings.TrimPrefix(srv.URL, "http://"))
	ts.Setenv("REGISTRYPASSWORD", artifactPassword)
}

// pushArtifact does what flux push artifact does with a folder: pushartifact DIR
// REPOSITORY:TAG. A third argument names the key, made when it is not there yet,
// that signs it as cosign does; KEY.pub is the public one.
func pushArtifact(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: pushartifact DIR REPOSITORY:TAG [KEY]")
	}
	var archive bytes.Buffer
	z := gzip.NewWriter(&archive)
	w := tar.NewWriter(z)
	ts.Check(w.AddFS(os.DirFS(ts.MkAbs(args[0]))))
	ts.Check(w.Close())
	ts.Check(z.Close())
	tag, err := name.NewTag(ts.Getenv("REGISTRY") + "/" + args[1])
	ts.Check(err)
	as := remote.WithAuth(&authn.Basic{Username: "bot", Password: artifactPassword})
	img, err := mutate.AppendLayers(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), "application/vnd.cncf.flux.config.v1+json"),
		static.NewLayer(archive.Bytes(), "application/vnd.cncf.flux.content.v1.tar+gzip"))
	ts.Check(err)
	ts.Check(remote.Write(tag, img, as))
	if len(args) == 2 {
		return
	}
	digest, err := img.Digest()
	ts.Check(err)
	payload := fmt.Appendf(nil, `{"critical":{"identity":{"docker-reference":%q},"image":{"docker-manifest-digest":%q},"type":"cosign container image signature"},"optional":null}`,
		tag.Context().Name(), digest)
	sum := sha256.Sum256(payload)
	signature, err := ecdsa.SignASN1(rand.Reader, cosignKey(ts, args[2]), sum[:])
	ts.Check(err)
	var signed v1.Image
	signed, err = mutate.Append(mutate.MediaType(empty.Image, types.OCIManifestSchema1), mutate.Addendum{
		Layer:       static.NewLayer(payload, "application/vnd.dev.cosign.simplesigning.v1+json"),
		Annotations: map[string]string{"dev.cosignproject.cosign/signature": base64.StdEncoding.EncodeToString(signature)},
	})
	ts.Check(err)
	ts.Check(remote.Write(tag.Context().Tag(strings.Replace(digest.String(), ":", "-", 1)+".sig"), signed, as))
}

func cosignKey(ts *testscript.TestScript, name string) *ecdsa.PrivateKey {
	file := ts.MkAbs(name)
	if data, err := os.ReadFile(file); err == nil {
		key, err := x509.ParseECPrivateKey(data)
		ts.Check(err)
		return key
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	private, err := x509.MarshalECPrivateKey(key)
	ts.Check(err)
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	ts.Check(err)
	ts.Check(os.WriteFile(file, private, 0o600))
	ts.Check(os.WriteFile(file+".pub", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}), 0o600))
	return key
}

// notarize signs an artifact as notation does, with a key and a certificate of
// its own, which it writes: notarize REPOSITORY:TAG FILE.
func notarize(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: notarize REPOSITORY:TAG FILE")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	about := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: args[1], Organization: []string{"team"}, Country: []string{"DE"}, Province: []string{"B"}},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, about, about, &key.PublicKey, key)
	ts.Check(err)
	certificate, err := x509.ParseCertificate(der)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))

	tag, err := name.NewTag(ts.Getenv("REGISTRY") + "/" + args[0])
	ts.Check(err)
	as := remote.WithAuth(&authn.Basic{Username: "bot", Password: artifactPassword})
	d, err := remote.Head(tag, as)
	ts.Check(err)
	by, err := signer.NewGenericSigner(key, []*x509.Certificate{certificate})
	ts.Check(err)
	envelope, _, err := by.Sign(context.Background(), ocispec.Descriptor{MediaType: string(d.MediaType), Digest: digest.Digest(d.Digest.String()), Size: d.Size},
		notation.SignerSignOptions{SignatureMediaType: jws.MediaTypeEnvelope})
	ts.Check(err)
	img, err := mutate.AppendLayers(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), notary.ArtifactTypeNotation), static.NewLayer(envelope, jws.MediaTypeEnvelope))
	ts.Check(err)
	img = mutate.Subject(img, *d).(v1.Image)
	h, err := img.Digest()
	ts.Check(err)
	ts.Check(remote.Write(tag.Context().Digest(h.String()), img, as))
}
