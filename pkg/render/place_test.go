package render

import (
	"fmt"
	"regexp"
	"slices"
	"testing"
)

const places = `
-- apps/kustomization.yaml --
# the whole shop
namespace: shop
namePrefix: eu-
resources:
- web.yaml
- ../base
- list.yaml
configMapGenerator:
- name: env
  literals: [a=b]
- name: env-more
  literals: [a=b]
secretGenerator:
- literals: [a=b]
  name: keys
patches:
- target: {kind: Service}
  patch: |
    - {op: replace, path: /metadata/name, value: renamed}
-- apps/web.yaml --
# a comment

---
` + deployment + `---
apiVersion: v1
kind: Service
metadata:
  name: web
---
apiVersion: v1
kind: ConfigMap
metadata: {name: web, namespace: other}
-- apps/list.yaml --
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: ConfigMap
  metadata: {name: one}
- apiVersion: v1
  kind: ConfigMap
  metadata: {name: two}
-- base/kustomization.yaml --
namespace: base
resources: [db.yaml]
-- base/db.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: db}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: db-more}
`

var hashes = regexp.MustCompile(`-[0-9a-z]{10} in`)

func TestPlaces(t *testing.T) {
	r, err := build1(t, source(places), "path: apps")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, o := range r.Objects {
		doc := "none"
		if d, ok := r.Document(o); ok {
			doc = d.Kind + " " + d.Name
		}
		got = append(got, fmt.Sprintf("%s | %s | %s", o.ID(), o.Where(), doc))
		if len(o.GetAnnotations()) > 0 || o.Object["metadata"].(map[string]any)["annotations"] != nil {
			t.Errorf("%s: annotations %v", o.ID(), o.GetAnnotations())
		}
	}
	want := []string{
		"deployment.apps/eu-web in shop | apps/web.yaml:4 | Deployment web",
		"service/eu-renamed in shop | apps/web.yaml:17 | Service web",
		"configmap/eu-web in shop | apps/web.yaml:22 | ConfigMap web",
		"configmap/eu-db in shop | base/db.yaml:1 | ConfigMap db",
		"configmap/eu-db-more in shop | base/db.yaml:5 | ConfigMap db-more",
		"configmap/eu-one in shop | apps/list.yaml:4 | ConfigMap one",
		"configmap/eu-two in shop | apps/list.yaml:7 | ConfigMap two",
		"configmap/eu-env-5dmcfkdtfk in shop | apps/kustomization.yaml:9 | none",
		"configmap/eu-env-more-fhctmf2ttd in shop | apps/kustomization.yaml:11 | none",
		"secret/eu-keys-dk97t7ddtf in shop | apps/kustomization.yaml:15 | none",
	}
	hash := func(s string) string { return hashes.ReplaceAllString(s, "-HASH in") }
	for i := range max(len(got), len(want)) {
		g, w := "", ""
		if i < len(got) {
			g = hash(got[i])
		}
		if i < len(want) {
			w = hash(want[i])
		}
		if g != w {
			t.Errorf("object %d:\n got %s\nwant %s", i, g, w)
		}
	}
	files := []string{"apps/kustomization.yaml", "apps/list.yaml", "apps/web.yaml", "base/db.yaml", "base/kustomization.yaml"}
	if !slices.Equal(r.Files, files) {
		t.Errorf("files %v, want %v", r.Files, files)
	}
	if data, ok := r.Source("base/kustomization.yaml"); !ok || string(data) != "namespace: base\nresources: [db.yaml]\n" {
		t.Errorf("source: %q, %v", data, ok)
	}
	if data, ok := r.Source("apps/kustomization.yaml"); !ok || string(data[:6]) != "# the " {
		t.Errorf("source of the entry is not what was committed: %q, %v", data, ok)
	}
}

func TestPlacesAfterASecondRun(t *testing.T) {
	r, err := build1(t, source(`
-- apps/kustomization.yaml --
resources: [a.yaml]
patches:
- target: {kind: Deployment}
  patch: |
    - {op: test, path: /metadata/namespace, value: shop}
    - {op: remove, path: /metadata/annotations}
-- apps/a.yaml --
`+deployment), "path: apps")
	if err != nil {
		t.Fatal(err)
	}
	if o := r.Objects[0]; o.Where() != "apps/a.yaml:1" {
		t.Errorf("%s at %s", o.ID(), o.Where())
	}
}

func TestNamespaceLine(t *testing.T) {
	for _, c := range []struct{ name, spec, files, of, want string }{
		{"outermost", "path: apps", places, "base/db.yaml", "apps/kustomization.yaml:2"},
		{"its_own_kustomization", "path: apps", places, "apps/web.yaml", "apps/kustomization.yaml:2"},
		{"generated", "path: apps", places, "apps/kustomization.yaml", "apps/kustomization.yaml:2"},
		{"nearest_that_has_one", "path: base", places, "base/db.yaml", "base/kustomization.yaml:1"},
		{"spec", "path: apps\ntargetNamespace: x", places, "base/db.yaml", ""},
		{"object", "path: a", "-- a/b.yaml --\n" + configMap + "---\n" + deployment, "a/b.yaml", "a/b.yaml:12"},
		{"nothing", "path: a", "-- a/b.yaml --\n" + configMap, "a/b.yaml", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := build1(t, source(c.files), c.spec)
			if err != nil {
				t.Fatal(err)
			}
			file, line := r.NamespaceLine(c.of)
			got := ""
			if file != "" {
				got = fmt.Sprintf("%s:%d", file, line)
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestFilesThatFluxLeavesOut(t *testing.T) {
	r, err := build1(t, source(`
-- .sops.yaml --
creation_rules: []
-- apps/.flux.yaml --
version: 1
-- apps/.goreleaser.yml --
builds: []
-- .github/workflows/ci.yaml --
on: push
-- .gitlab-ci.yml --
stages: []
-- apps/a.yaml --
`+configMap), "path: .")
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Objects) != 1 || !slices.Equal(r.Files, []string{"apps/a.yaml"}) {
		t.Errorf("%d objects from %v", len(r.Objects), r.Files)
	}
}

func TestEmptyDirectory(t *testing.T) {
	r, err := build1(t, source("-- apps/README.md --\n"), "path: apps")
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Objects) != 0 || r.Digest != "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" {
		t.Errorf("%d objects, digest %s", len(r.Objects), r.Digest)
	}
}

// TestIntegersAreExact: Flux's substitution takes all numbers through float64.
func TestIntegersAreExact(t *testing.T) {
	for _, spec := range []string{"path: apps", "path: apps\npostBuild: {substitute: {a: b}}"} {
		r, err := build1(t, source(`
-- apps/a.yaml --
apiVersion: example.com/v1
kind: Thing
metadata: {name: t}
spec: {n: 9007199254740993, max: 9223372036854775807, s: "${a:=x}"}
`), spec, func(r *Request) {
			if post := r.Kustomization.Spec.PostBuild; post != nil {
				r.Variables = post.Substitute
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		m := r.Objects[0].Object["spec"].(map[string]any)
		if m["n"] != int64(9007199254740993) || m["max"] != int64(9223372036854775807) {
			t.Errorf("%s: %v", spec, m)
		}
	}
}
