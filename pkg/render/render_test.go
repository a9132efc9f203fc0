package render

import (
	"context"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
)

// source reads a txtar-like text, "-- name --" before each file's content.
func source(text string) fstest.MapFS {
	files := fstest.MapFS{}
	name := ""
	for line := range strings.Lines(text) {
		if n, ok := strings.CutPrefix(line, "-- "); ok && strings.HasSuffix(line, " --\n") {
			name = strings.TrimSuffix(n, " --\n")
			files[name] = &fstest.MapFile{}
			continue
		}
		if name != "" {
			files[name].Data = append(files[name].Data, line...)
		}
	}
	return files
}

// fluxKustomization is a Flux Kustomization of the given spec, as if it stood at
// clusters/prod/apps.yaml:1.
func fluxKustomization(t testing.TB, spec string) flux.Kustomization {
	t.Helper()
	content := map[string]any{}
	if err := yaml.Unmarshal([]byte(spec), &content); err != nil {
		t.Fatal(err)
	}
	for field, value := range map[string]any{ // what a Kustomization must have
		"interval": "1h", "prune": true, "sourceRef": map[string]any{"kind": "GitRepository", "name": "flux-system"},
	} {
		if _, given := content[field]; !given {
			content[field] = value
		}
	}
	version := "v1"
	if content["patchesStrategicMerge"] != nil || content["patchesJson6902"] != nil {
		version = "v1beta2" // the last that has them
	}
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "kustomize.toolkit.fluxcd.io/" + version, "kind": "Kustomization",
		"metadata": map[string]any{"name": "apps", "namespace": "flux-system"},
		"spec":     content,
	}}
	k, err := flux.ParseKustomization(object.Object{Unstructured: u, File: "clusters/prod/apps.yaml", Line: 1})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func build1(t *testing.T, files fs.FS, spec string, change ...func(*Request)) (*Result, error) {
	t.Helper()
	r := Request{FS: files, Kustomization: fluxKustomization(t, spec), Strict: true}
	for _, c := range change {
		c(&r)
	}
	return Build(context.Background(), r)
}

const (
	deployment = `apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  namespace: shop
spec:
  replicas: 2
  template:
    spec:
      containers:
      - name: web
        image: web:1
`
	configMap = `apiVersion: v1
kind: ConfigMap
metadata:
  name: settings
data:
  a: "1"
`
)
