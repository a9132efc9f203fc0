package gitops

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"filippo.io/age"
	"sigs.k8s.io/yaml"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/secret"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/source"
)

// repositoryOfMany is a source with Kustomizations of every sort beside each
// other: plain, nested, broken, declared twice, of another's values, with a schema
// of its own, sealed for a key that another one brings, with a warning.
func repositoryOfMany(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	put := func(name, text string) {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	kustomization := func(in, name, more string) {
		put(in+"/"+name+".yaml", "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: "+name+", namespace: flux-system}\n"+
			"spec:\n  interval: 1h\n  prune: true\n  path: ./"+name+"\n  sourceRef: {kind: GitRepository, name: flux-system}\n"+more)
	}
	configMap := func(file, name, data string) {
		put(file, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: "+name+", namespace: apps}\ndata: {"+data+"}\n")
	}
	for i := range 12 {
		name := fmt.Sprintf("plain-%02d", i)
		kustomization("root", name, "")
		for j := range 5 {
			configMap(fmt.Sprintf("%s/%d.yaml", name, j), fmt.Sprintf("%s-%d", name, j), "v: '1'")
		}
	}
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	kustomization("root", "a-key", "")
	put("a-key/key.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: sops-age, namespace: flux-system}\ndata: {k.agekey: "+
		base64.StdEncoding.EncodeToString([]byte(id.String()))+"}\n")
	kustomization("root", "sealed", "  decryption: {provider: sops, secretRef: {name: sops-age}}\n")
	rule, err := secret.Rules{Age: []string{id.Recipient().String()}}.For("s.yaml")
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := secret.Encrypt("s.yaml", []byte("apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: apps}\nstringData: {password: hunter2}\n"), rule, secret.SealOptions{})
	if err != nil {
		t.Fatal(err)
	}
	put("sealed/s.yaml", string(sealed.Data))
	kustomization("root", "broken", "")
	put("broken/kustomization.yaml", "resources: [missing.yaml]\n")
	kustomization("root", "unknown", "")
	put("unknown/d.yaml", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d, namespace: apps}\nspec: {replica: 1, selector: {matchLabels: {a: b}}}\n")
	kustomization("root", "parent", "")
	kustomization("parent", "child-a", "")
	kustomization("parent", "child-b", "")
	configMap("child-a/c.yaml", "child-a", "v: '1'")
	configMap("child-b/c.yaml", "child-b", "v: '1'")
	kustomization("root", "twin", "")
	kustomization("twin", "plain-03", "")
	kustomization("root", "values", "  postBuild: {substituteFrom: [{kind: ConfigMap, name: settings}]}\n")
	configMap("values/v.yaml", "values", "v: '${color}'")
	kustomization("root", "zz-settings", "")
	put("zz-settings/s.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, namespace: flux-system}\ndata: {color: green}\n")
	kustomization("root", "schema", "")
	put("schema/kustomization.yaml", "openapi: {path: schema.json}\nnamePrefix: my-\nresources: [c.yaml]\n")
	put("schema/schema.json", `{"definitions":{}}`)
	configMap("schema/c.yaml", "with-schema", "v: '1'")
	kustomization("root", "scaled", "")
	put("scaled/all.yaml", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d, namespace: apps}\nspec: {replicas: 2, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: a, image: b}]}}}\n---\n"+
		"apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: d, namespace: apps}\nspec: {maxReplicas: 3, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: d}}\n")
	return dir
}

// However many Kustomizations are rendered at the same time, what comes out is the
// same: objects, problems and warnings, and the order of all of them. To be run
// under -race too, where something of it changes.
func TestRenderedAtTheSameTimeIsTheSame(t *testing.T) {
	dir := repositoryOfMany(t)
	snapshot, err := source.Open(t.Context(), source.Options{Source: dir})
	if err != nil {
		t.Fatal(err)
	}
	build := func(workers int) string {
		t.Helper()
		keys, err := secret.Find(secret.FindOptions{Getenv: func(string) string { return "" }, Home: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		var mu sync.Mutex
		var warnings []Warning
		e := &Engine{Source: snapshot, Keys: keys, Options: Options{Path: "root", Root: flux.Ref{Namespace: "flux-system", Name: "flux-system"}, Concurrency: workers},
			Events: func(ev Event) {
				mu.Lock()
				defer mu.Unlock()
				if ev.Type == WarningFound {
					warnings = append(warnings, ev.Warning)
				}
			}}
		built, err := e.Build(t.Context(), true)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range built {
			fmt.Fprintf(&out, "# %s %+v\n", b.Ref, b.Problems)
			for _, o := range b.Objects {
				text, err := yaml.Marshal(o.Object)
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(&out, "# %s\n%s", o.Where(), text)
			}
		}
		fmt.Fprintf(&out, "# %+v\n", warnings)
		return out.String()
	}
	one := build(1)
	for range 3 {
		if eight := build(8); eight != one {
			t.Fatalf("with one at a time\n%s\n\neight at a time\n%s", one, eight)
		}
	}
	for _, want := range []string{"aHVudGVyMg==", "v: green", "my-with-schema", "missing.yaml", "declared-twice", "unknown-field", "replicas-under-hpa", "child-b", "plain-11-4"} {
		if !strings.Contains(one, want) {
			t.Errorf("%s is not in\n%s", want, one)
		}
	}
}
