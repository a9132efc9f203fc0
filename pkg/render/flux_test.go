package render

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	peer "github.com/fluxcd/pkg/kustomize"
	ssautil "github.com/fluxcd/pkg/ssa/utils"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// asFlux builds files on a disk with Flux's own code, in the order of
// kustomize-controller's build.
func asFlux(t *testing.T, files fs.FS, r Request) ([]byte, error) {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, files); err != nil {
		t.Fatal(err)
	}
	at := filepath.Join(dir, filepath.FromSlash(r.Kustomization.Path()))
	ks := unstructured.Unstructured{Object: r.Kustomization.Object.Object}
	if _, err := peer.NewGenerator(dir, ks).WriteFile(at); err != nil {
		return nil, err
	}
	m, err := peer.SecureBuild(dir, at, r.RemoteBases)
	if err != nil {
		return nil, err
	}
	post := r.Kustomization.Spec.PostBuild
	for _, res := range m.Resources() {
		if post == nil {
			break
		}
		out, err := peer.SubstituteVariables(context.Background(), nil, ks, res,
			peer.SubstituteWithStrict(r.Strict),
			peer.SubstituteWithAlways(post.SubstituteStrategy == kustomizev1.SubstituteStrategyAlways))
		if err != nil {
			return nil, err
		}
		if out != nil {
			if _, err := m.Replace(res); err != nil {
				return nil, err
			}
		}
	}
	return m.AsYaml()
}

// TestSameAsFlux holds every case to Flux: the same objects, in the same
// order, the same bytes, or an error on both sides.
func TestSameAsFlux(t *testing.T) {
	for _, c := range fluxCases {
		t.Run(c.name, func(t *testing.T) {
			files := source(c.files)
			r := Request{FS: files, Kustomization: fluxKustomization(t, c.spec), Strict: !c.lax}
			if post := r.Kustomization.Spec.PostBuild; post != nil {
				r.Variables = post.Substitute
			}
			want, fluxErr := asFlux(t, files, r)
			got, err := Build(context.Background(), r)
			if (err != nil) != (fluxErr != nil) {
				t.Fatalf("error:\n got %v\nflux %v", err, fluxErr)
			}
			if (err != nil) != c.fails {
				t.Fatalf("error: %v (flux: %v), want one: %v", err, fluxErr, c.fails)
			}
			if err != nil {
				t.Log(err)
				return
			}
			objects, err := ssautil.ReadObjects(bytes.NewReader(want))
			if err != nil {
				t.Fatal(err)
			}
			if len(objects) != len(got.Objects) {
				t.Fatalf("%d objects, flux has %d:\n%s", len(got.Objects), len(objects), want)
			}
			for i, u := range objects {
				if !reflect.DeepEqual(u.Object, got.Objects[i].Object) {
					t.Errorf("object %d:\n got %#v\nflux %#v", i, got.Objects[i].Object, u.Object)
				}
			}
			sum := sha256.Sum256(want)
			if digest := "sha256:" + hex.EncodeToString(sum[:]); got.Digest != digest {
				t.Errorf("digest %s, flux has %s of\n%s", got.Digest, digest, want)
			}
			if c.objects >= 0 && len(objects) != c.objects {
				t.Errorf("%d objects, the case wants %d", len(objects), c.objects)
			}
			for _, o := range got.Objects {
				if _, ok := got.Source(o.File); !ok || o.Line == 0 {
					t.Errorf("%s: no place in the source (%q)", o.ID(), o.Where())
				}
			}
		})
	}
}
