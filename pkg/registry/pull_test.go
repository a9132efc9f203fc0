package registry

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// The media types of flux push artifact.
const (
	fluxConfig  = "application/vnd.cncf.flux.config.v1+json"
	fluxContent = "application/vnd.cncf.flux.content.v1.tar+gzip"
)

// artifacts is a registry on loopback with a client for one repository in it.
type artifacts struct {
	t     *testing.T
	image string
	repo  *Repository
}

func newArtifacts(t *testing.T, options ...ggcr.Option) *artifacts {
	t.Helper()
	srv := httptest.NewServer(ggcr.New(append(options, ggcr.Logger(log.New(io.Discard, "", 0)))...))
	t.Cleanup(srv.Close)
	return artifactsAt(t, srv)
}

func artifactsAt(t *testing.T, srv *httptest.Server) *artifacts {
	t.Helper()
	image := strings.TrimPrefix(srv.URL, "http://") + "/team/fleet"
	repo, err := (&Client{}).Open(Request{Image: image})
	if err != nil {
		t.Fatal(err)
	}
	return &artifacts{t, image, repo}
}

// push writes an artifact of these layers, media type and content in turn.
func (a *artifacts) push(tag string, layers ...string) (digest string) {
	a.t.Helper()
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), fluxConfig)
	for i := 0; i < len(layers); i += 2 {
		var err error
		if img, err = mutate.AppendLayers(img, static.NewLayer([]byte(layers[i+1]), types.MediaType(layers[i]))); err != nil {
			a.t.Fatal(err)
		}
	}
	return a.write(tag, img)
}

func (a *artifacts) write(tag string, img v1.Image) string {
	a.t.Helper()
	ref, err := name.ParseReference(a.image + ":" + tag)
	if err == nil {
		err = remote.Write(ref, img)
	}
	if err != nil {
		a.t.Fatal(err)
	}
	h, err := img.Digest()
	if err != nil {
		a.t.Fatal(err)
	}
	return h.String()
}

func TestFindAnArtifact(t *testing.T) {
	t.Parallel()
	a := newArtifacts(t)
	digests := map[string]string{}
	for _, tag := range []string{"latest", "v1.0.0", "1.1.0", "1.2.0-rc.1", "1.9", "nightly-1.5.0", "2.0.0_build.1"} {
		digests[tag] = a.push(tag, fluxContent, "content of "+tag)
	}
	for _, c := range []struct {
		ref       Ref
		mediaType string
		tag       string
	}{
		{Ref{}, "", "latest"},
		{Ref{Tag: "v1.0.0"}, "", "v1.0.0"},
		{Ref{SemVer: "1.x", Tag: "latest"}, "", "1.1.0"},
		{Ref{SemVer: ">=1.0.0-0"}, "", "1.2.0-rc.1"},
		{Ref{SemVer: ">=1.0.0-0", Filter: `^\d+\.\d+\.\d+$`}, "", "1.1.0"},
		{Ref{SemVer: ">=2.0.0"}, chartLayer, "2.0.0_build.1"},
	} {
		found, err := a.repo.Find(t.Context(), c.ref, c.mediaType)
		if err != nil {
			t.Fatalf("%+v: %v", c.ref, err)
		}
		if want := c.tag + "@" + digests[c.tag]; found.Revision() != want {
			t.Errorf("%+v: %s, want %s", c.ref, found.Revision(), want)
		}
		data, err := found.Layer(t.Context(), "")
		if err != nil || string(data) != "content of "+c.tag {
			t.Errorf("%+v: %q %v", c.ref, data, err)
		}
	}
	byDigest, err := a.repo.Find(t.Context(), Ref{Digest: digests["1.9"], SemVer: "9.x"}, "")
	if err != nil || byDigest.Revision() != digests["1.9"] {
		t.Errorf("%+v %v", byDigest, err)
	}
	for want, ref := range map[string]Ref{
		`there is no tag gone`: {Tag: "gone"},
		`no tag in the semver range "9.x": it has 1.1.0, 1.2.0-rc.1, 1.9, 2.0.0_build.1, latest and 2 more`: {SemVer: "9.x"},
		`spec.ref.semver "x.y.z.0" is not a range`:                                                          {SemVer: "x.y.z.0"},
		`spec.ref.semverFilter "(" is not a regular expression`:                                             {SemVer: "1.x", Filter: "("},
		`spec.ref.digest "1234" is not a digest`:                                                            {Digest: "1234"},
	} {
		if _, err := a.repo.Find(t.Context(), ref, ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", ref, err)
		}
	}
	gone, err := a.repo.Find(t.Context(), Ref{Digest: "sha256:" + strings.Repeat("e", 64)}, "")
	if err == nil {
		_, err = gone.Layer(t.Context(), "")
	}
	if err == nil || !strings.Contains(err.Error(), "has no such manifest") {
		t.Error(err)
	}
}

func TestLayersOfAnArtifact(t *testing.T) {
	t.Parallel()
	a := newArtifacts(t)
	a.push("latest", "application/x.docs", "docs", fluxContent, "manifests", fluxContent, "more")
	a.push("none")
	find := func(tag string) *Artifact {
		t.Helper()
		found, err := a.repo.Find(t.Context(), Ref{Tag: tag}, "")
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	for mediaType, want := range map[string]string{"": "docs", "application/x.docs": "docs", fluxContent: "manifests"} {
		if data, err := find("latest").Layer(t.Context(), mediaType); err != nil || string(data) != want {
			t.Errorf("%s: %q %v", mediaType, data, err)
		}
	}
	if _, err := find("latest").Layer(t.Context(), "x/y"); err == nil || !strings.Contains(err.Error(), "no layer of the media type x/y: it has application/x.docs, "+fluxContent) {
		t.Error(err)
	}
	if _, err := find("none").Layer(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "has no layers") {
		t.Error(err)
	}
}

// What is not what its digest says is not used, be it changed at the registry or on the way.
func TestAnArtifactThatWasChanged(t *testing.T) {
	t.Parallel()
	inner := ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)))
	change := ""
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if change == "" || r.Method != http.MethodGet || !strings.Contains(r.URL.Path, change) {
			inner.ServeHTTP(w, r)
			return
		}
		rec := httptest.NewRecorder()
		inner.ServeHTTP(rec, r)
		for k, v := range rec.Header() {
			w.Header()[k] = v
		}
		w.WriteHeader(rec.Code)
		_, _ = w.Write(bytes.Replace(rec.Body.Bytes(), []byte("kind"), []byte("mind"), 1))
	}))
	t.Cleanup(srv.Close)
	a := artifactsAt(t, srv)
	a.push("latest", "application/x.kind", "kind: Secret")
	for _, change = range []string{"/manifests/", "/blobs/"} {
		found, err := a.repo.Find(t.Context(), Ref{}, "")
		if err != nil {
			t.Fatal(err)
		}
		if data, err := found.Layer(t.Context(), ""); err == nil {
			t.Errorf("%s: took %q", change, data)
		}
	}
}

// cosignKey is a key pair as cosign takes them: its own are ECDSA, others can be imported.
type cosignKey struct {
	crypto.Signer
	pem string
}

func newCosignKey(t *testing.T, kind string) cosignKey {
	t.Helper()
	var s crypto.Signer
	var err error
	switch kind {
	case "ecdsa":
		s, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "rsa":
		s, err = rsa.GenerateKey(rand.Reader, 2048)
	case "ed25519":
		_, s, err = ed25519.GenerateKey(rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(s.Public())
	if err != nil {
		t.Fatal(err)
	}
	return cosignKey{s, string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))}
}

func (k cosignKey) sign(t *testing.T, text []byte) string {
	t.Helper()
	message, hash := text, crypto.Hash(0)
	if _, plain := k.Signer.(ed25519.PrivateKey); !plain {
		sum := sha256.Sum256(text)
		message, hash = sum[:], crypto.SHA256
	}
	sig, err := k.Sign(rand.Reader, message, hash)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(sig)
}

// signSimply puts a signature of digest where cosign 2 puts that of subject (SIGNATURE_SPEC.md).
func (a *artifacts) signSimply(k cosignKey, subject, digest string) {
	a.t.Helper()
	payload := fmt.Appendf(nil, `{"critical":{"identity":{"docker-reference":%q},"image":{"docker-manifest-digest":%q},"type":"cosign container image signature"},"optional":null}`, a.image, digest)
	img, err := mutate.Append(mutate.MediaType(empty.Image, types.OCIManifestSchema1), mutate.Addendum{
		Layer:       static.NewLayer(payload, "application/vnd.dev.cosign.simplesigning.v1+json"),
		Annotations: map[string]string{"dev.cosignproject.cosign/signature": k.sign(a.t, payload)},
	})
	if err != nil {
		a.t.Fatal(err)
	}
	a.write(strings.Replace(subject, ":", "-", 1)+".sig", img)
}

// signBundle attaches a bundle as cosign 3 does (BUNDLE_SPEC.md).
func (a *artifacts) signBundle(k cosignKey, subject, digest string) {
	a.t.Helper()
	const payloadType = "application/vnd.in-toto+json"
	payload := fmt.Appendf(nil, `{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":%q}}],"predicateType":"https://sigstore.dev/cosign/sign/v1","predicate":{}}`, strings.TrimPrefix(digest, "sha256:"))
	bundle, err := json.Marshal(map[string]any{
		"mediaType":            "application/vnd.dev.sigstore.bundle.v0.3+json",
		"verificationMaterial": map[string]any{"publicKey": map[string]string{"hint": "x"}},
		"dsseEnvelope": map[string]any{
			"payload": base64.StdEncoding.EncodeToString(payload), "payloadType": payloadType,
			"signatures": []map[string]string{{"sig": k.sign(a.t, fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(payloadType), payloadType, len(payload), payload))}},
		},
	})
	if err != nil {
		a.t.Fatal(err)
	}
	ref, err := name.NewDigest(a.image + "@" + subject)
	if err != nil {
		a.t.Fatal(err)
	}
	d, err := remote.Head(ref)
	if err != nil {
		a.t.Fatal(err)
	}
	img, err := mutate.AppendLayers(mutate.MediaType(empty.Image, types.OCIManifestSchema1), static.NewLayer(bundle, "application/vnd.dev.sigstore.bundle.v0.3+json"))
	if err != nil {
		a.t.Fatal(err)
	}
	img = mutate.ConfigMediaType(img, "application/vnd.dev.sigstore.bundle.v0.3+json")
	img = mutate.Subject(img, *d).(v1.Image)
	h, err := img.Digest()
	if err != nil {
		a.t.Fatal(err)
	}
	if err := remote.Write(ref.Context().Digest(h.String()), img); err != nil {
		a.t.Fatal(err)
	}
}

// The signatures are made here, as cosign's specifications say; no cosign is at hand to make them.
func TestCosignSignatures(t *testing.T) {
	t.Parallel()
	for _, api := range []bool{false, true} {
		a := newArtifacts(t, ggcr.WithReferrersSupport(api))
		for _, kind := range []string{"ecdsa", "rsa", "ed25519"} {
			ada, eve := newCosignKey(t, kind), newCosignKey(t, kind)
			for form, sign := range map[string]func(cosignKey, string, string){"simple": a.signSimply, "bundle": a.signBundle} {
				t.Run(fmt.Sprintf("%s, %s, referrers=%v", form, kind, api), func(t *testing.T) {
					verify := func(digest string, keys ...string) (string, error) {
						found, err := a.repo.Find(t.Context(), Ref{Digest: digest}, "")
						if err != nil {
							t.Fatal(err)
						}
						named := map[string]string{}
						for i, k := range keys {
							named[fmt.Sprintf("%d.pub", i)] = k
						}
						return found.VerifyCosign(t.Context(), named)
					}
					refused := func(digest, want string, keys ...string) {
						t.Helper()
						if by, err := verify(digest, keys...); err == nil || !strings.Contains(err.Error(), want) {
							t.Errorf("by %s: %v, want %q", by, err, want)
						}
					}
					tag := form + kind
					digest := a.push(tag, fluxContent, "signed by ada "+tag)
					refused(digest, "it has no cosign signature", ada.pem)
					sign(ada, digest, digest)
					if by, err := verify(digest, eve.pem, ada.pem); err != nil || by != "1.pub" {
						t.Errorf("by %q: %v", by, err)
					}
					refused(digest, "none of the keys in the Secret of spec.verify signed it", eve.pem)
					refused(digest, "the Secret of spec.verify has no public key")
					refused(digest, "the key 0.pub cannot be used: it is not PEM", "nonsense")

					// A signature of something else is none of this.
					other := a.push(tag+"-other", fluxContent, "not signed "+tag)
					sign(ada, other, digest)
					refused(other, "its signatures are of something else", ada.pem)
				})
			}
		}
	}
}
