package render

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
)

// sized builds with batches of n objects; none where n is 0.
func sized(files fstest.MapFS, k flux.Kustomization, n int) (r *Result, batched bool, err error) {
	if n == 0 {
		n = 1 << 30
	}
	b := newBuild(context.Background(), Request{FS: files, Kustomization: k})
	b.batchSize = n
	r, err = b.run()
	return r, b.batched, err
}

// sameAsWhole builds files whole and in batches of a few objects, and compares.
func sameAsWhole(t *testing.T, files fstest.MapFS, k flux.Kustomization) (batched bool) {
	t.Helper()
	whole, _, wholeErr := sized(files, k, 0)
	parts, batched, err := sized(files, k, 2)
	switch {
	case fmt.Sprint(err) != fmt.Sprint(wholeErr):
		t.Errorf("in batches: %v\nwhole: %v", err, wholeErr)
	case err != nil:
	case parts.Digest != whole.Digest:
		t.Errorf("in batches it is other YAML: %s", firstDifference(parts, whole))
	case !reflect.DeepEqual(parts.Objects, whole.Objects):
		t.Errorf("in batches the objects are from other places: %s", firstDifference(parts, whole))
	case !reflect.DeepEqual(parts.Files, whole.Files):
		t.Errorf("in batches it reads %v, whole %v", parts.Files, whole.Files)
	}
	if t.Failed() {
		for name, f := range files {
			t.Logf("-- %s --\n%s", name, f.Data)
		}
	}
	return batched
}

func firstDifference(parts, whole *Result) string {
	for i := range whole.Objects {
		if i >= len(parts.Objects) {
			return fmt.Sprintf("%d objects, want %d", len(parts.Objects), len(whole.Objects))
		}
		if p, w := parts.Objects[i], whole.Objects[i]; !reflect.DeepEqual(p, w) {
			return fmt.Sprintf("object %d\n%s %v\nwant\n%s %v", i, p.Where(), p.Object, w.Where(), w.Object)
		}
	}
	return "no object differs"
}

// generated is a random tree of kustomizations below apps/.
type generated struct {
	*rand.Rand
	files fstest.MapFS
	names int
}

func (g *generated) pick(of ...string) string { return of[g.IntN(len(of))] }

func (g *generated) write(name, text string) { g.files[name] = &fstest.MapFile{Data: []byte(text)} }

// target is an object that a patch can name; namespace is "" or as YAML.
type target struct{ kind, name, namespace string }

// manifest is a random object, seldom one that another one has the name of.
func (g *generated) manifest() (t target, text string) {
	g.names++
	name := fmt.Sprintf("o%d", g.names)
	if g.IntN(30) == 0 {
		name = g.pick("web", "db")
	}
	namespace := g.pick("", "", "\n  namespace: a", "\n  namespace: b")
	kind := g.pick("ConfigMap", "ConfigMap", "Deployment", "Deployment", "Service", "ServiceAccount", "RoleBinding", "ClusterRoleBinding", "Secret", "Widget", "HorizontalPodAutoscaler")
	if g.IntN(60) == 0 {
		kind = "Namespace"
	}
	meta := fmt.Sprintf("metadata:\n  name: %s%s\n", name, namespace)
	if g.IntN(6) == 0 {
		meta += "  labels: {app: " + name + "}\n  annotations: {note: 'yes'}\n"
	}
	switch kind {
	case "Deployment":
		text = "apiVersion: apps/v1\nkind: Deployment\n" + meta + "spec:\n  replicas: 1\n  selector: {matchLabels: {app: x}}\n  template:\n    metadata: {labels: {app: x}}\n    spec:\n" +
			"      serviceAccountName: " + g.pick("web", "o1", "o2") + "\n      containers:\n      - name: app\n        image: " + g.pick("nginx", "app:1", "registry/app@sha256:"+strings.Repeat("0", 64)) +
			"\n        envFrom: [{configMapRef: {name: " + g.pick("web", "o1", "o3") + "}}]\n"
	case "Service":
		text = "apiVersion: v1\nkind: Service\n" + meta + "spec:\n  selector: {app: x}\n  ports: [{port: 80}]\n"
	case "RoleBinding", "ClusterRoleBinding":
		text = "apiVersion: rbac.authorization.k8s.io/v1\nkind: " + kind + "\n" + meta + "roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}\nsubjects:\n- kind: ServiceAccount\n  name: " +
			g.pick("web", "o1", "o2", "o3", "o4", "o5", "default") + g.pick("", "\n  namespace: a", "\n  namespace: b") + "\n"
	case "Secret":
		text = "apiVersion: v1\nkind: Secret\n" + meta + "stringData:\n  k: |\n    a\n    b\n"
	case "Widget":
		text = "apiVersion: example.com/v1\nkind: Widget\n" + meta + "spec:\n  image: app:1\n  size: 3\n"
	case "HorizontalPodAutoscaler":
		text = "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\n" + meta + "spec:\n  maxReplicas: 3\n  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: " + g.pick("web", "o1", "o2") + "}\n"
	default:
		text = "apiVersion: v1\nkind: " + kind + "\n" + meta
		if kind == "ConfigMap" {
			text += "data:\n  k: \"1\" # a comment\n"
		}
	}
	return target{kind, name, strings.TrimPrefix(namespace, "\n  ")}, text
}

func (g *generated) apiVersion(kind string) string {
	v, ok := map[string]string{
		"Deployment": "apps/v1", "Widget": "example.com/v1", "HorizontalPodAutoscaler": "autoscaling/v2",
		"RoleBinding": "rbac.authorization.k8s.io/v1", "ClusterRoleBinding": "rbac.authorization.k8s.io/v1",
	}[kind]
	if !ok || g.IntN(30) == 0 {
		return "v1"
	}
	return v
}

// kustomization writes a kustomization of dir and what it includes.
func (g *generated) kustomization(dir string, depth int) {
	var k strings.Builder
	k.WriteString("resources:\n")
	var have []target
	for i := range 2 + g.IntN(5) {
		var docs []string
		for range 1 + g.IntN(3) {
			t, text := g.manifest()
			docs = append(docs, text)
			have = append(have, t)
		}
		file := fmt.Sprintf("f%d.yaml", i)
		g.write(dir+"/"+file, g.pick("", "---\n", "# first\n")+strings.Join(docs, g.pick("---\n", "---\n# next\n", "--- \n"))+g.pick("", "---\n"))
		k.WriteString("- " + file + "\n")
	}
	for i := range g.IntN(3) {
		if depth == 0 {
			break
		}
		sub := fmt.Sprintf("sub%d", i)
		g.kustomization(dir+"/"+sub, depth-1)
		k.WriteString("- " + sub + "\n")
	}
	one := func() target { return have[g.IntN(len(have))] }
	for _, add := range []struct {
		one  int // in so many
		text func() string
	}{
		{4, func() string { return "namespace: " + g.pick("a", "c") + "\n" }},
		{5, func() string { return "commonLabels: {team: x}\n" }},
		{5, func() string {
			return "labels:\n- pairs: {l: v}\n  includeSelectors: " + g.pick("true", "false") + "\n"
		}},
		{5, func() string { return "commonAnnotations: {a: b}\n" }},
		{4, func() string { return "images:\n- name: " + g.pick("nginx", "app") + "\n  newTag: \"2\"\n" }},
		{4, func() string {
			t := one()
			for range 20 {
				if t.kind == "Deployment" {
					break
				}
				t = one()
			}
			return "replicas:\n- name: " + t.name + "\n  count: 4\n"
		}},
		{3, func() string {
			return "patches:\n- target: {kind: " + g.pick("Deployment", "ConfigMap", "Role.*") + "}\n  patch: |-\n    - op: add\n      path: " +
				g.pick("/metadata/labels", "/metadata/labels", "/metadata/labels", "/metadata/labels/x", "/metadata/annotations", "/metadata/name", "/data") + "\n      value: " + g.pick("{p: q}", "{p: q}", "{p: q}", "x") + "\n"
		}},
		{4, func() string {
			t := one()
			return "patchesStrategicMerge:\n- |-\n  apiVersion: " + g.apiVersion(t.kind) + "\n  kind: " + t.kind + "\n  metadata: {name: " + t.name + ", " + g.pick(t.namespace, t.namespace, "", "namespace: a") + "}\n  " + g.pick("data: {n: w}", "data: {n: w}", "metadata: {labels: {s: m}}", "spec: {replicas: 7}", "$patch: delete") + "\n"
		}},
		{14, func() string { return "namePrefix: p-\n" }},
		{14, func() string { return "configMapGenerator:\n- name: web\n  literals: [a=b]\n" }},
		{8, func() string {
			g.write(dir+"/comp/kustomization.yaml", "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\n"+g.pick("commonAnnotations: {c: d}\n", "labels: [{pairs: {c: d}}]\n",
				"patches:\n- patch: '{apiVersion: v1, kind: ConfigMap, metadata: {name: "+one().name+"}, data: {c: d}}'\n",
				"patches:\n- patch: '{apiVersion: v1, kind: x, metadata: {name: x, labels: {c: d}}}'\n  target: {name: o.*}\n"))
			return "components: [comp]\n"
		}},
		{10, func() string {
			return "buildMetadata: [" + g.pick("originAnnotations", "transformerAnnotations", "managedByLabel") + "]\n"
		}},
		{40, func() string { return "unknown: field\n" }},
	} {
		if g.IntN(2*add.one) == 0 {
			k.WriteString(add.text())
		}
	}
	g.write(dir+"/kustomization.yaml", k.String())
}

func generate(seed uint64) fstest.MapFS {
	g := &generated{Rand: rand.New(rand.NewPCG(seed, 1)), files: fstest.MapFS{}}
	g.kustomization("apps", 2)
	if g.IntN(4) == 0 {
		delete(g.files, "apps/kustomization.yaml") // Flux generates one
	}
	return g.files
}

var specs = []string{"path: apps", "path: apps\ntargetNamespace: t", "path: apps\ncommonMetadata: {labels: {a: b}}\nimages: [{name: app, newTag: '9'}]"}

func TestBatchesAreWhole(t *testing.T) {
	batched, n := 0, 120
	for seed := range uint64(n) {
		k := fluxKustomization(t, specs[seed%uint64(len(specs))])
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			if sameAsWhole(t, generate(seed), k) {
				batched++
			}
		})
	}
	t.Logf("%d of %d were built in batches", batched, n)
	if batched < n/5 {
		t.Errorf("only %d of %d were built in batches: this proves little", batched, n)
	}
}

// FuzzBatches is TestBatchesAreWhole for as long as it is let.
func FuzzBatches(f *testing.F) {
	f.Fuzz(func(t *testing.T, seed uint64) {
		sameAsWhole(t, generate(seed), fluxKustomization(t, specs[seed%uint64(len(specs))]))
	})
}

// TestReferencesWithNamespaces reads kustomize's own table of references: where
// one ends in a mapping, kustomize completes its namespace.
func TestReferencesWithNamespaces(t *testing.T) {
	table, err := os.ReadFile(filepath.Join(moduleDir(t, "sigs.k8s.io/kustomize/api"), "internal/konfig/builtinpluginconsts/namereference.go"))
	if err != nil {
		t.Fatal(err)
	}
	scalars := regexp.MustCompile(`(?i)(name|resourceNames|secretRef|\\/[a-z-]+)$`)
	target, path := "", ""
	found := 0
	for line := range strings.Lines(string(table)) {
		switch line = strings.TrimRight(line, "\n"); {
		case strings.HasPrefix(line, "- kind: "):
			target = strings.TrimPrefix(line, "- kind: ")
		case strings.HasPrefix(line, "  - path: "):
			path = strings.TrimPrefix(line, "  - path: ")
		case strings.HasPrefix(line, "    kind: ") && !scalars.MatchString(path):
			found++
			if kind := strings.TrimPrefix(line, "    kind: "); writesNamespaces[kind] != target && kind != "Node" {
				t.Errorf("%s of %s names a %s", path, kind, target)
			}
		}
	}
	if found != 5 {
		t.Errorf("%d references with a namespace, want 5: has the table another form?", found)
	}
}

// moduleDir is where go has the source of a module.
func moduleDir(t *testing.T, module string) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// BenchmarkRender renders plain objects of ten kinds, each in a file of its own.
func BenchmarkRender(b *testing.B) {
	for _, n := range []int{100, 1000, 5000} {
		files := plainObjects(n)
		k := fluxKustomization(b, "path: apps")
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Build(context.Background(), Request{FS: files, Kustomization: k}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// plainObjects is a kustomization of n objects.
func plainObjects(n int) fstest.MapFS {
	g := &generated{Rand: rand.New(rand.NewPCG(1, 2)), files: fstest.MapFS{}}
	var list strings.Builder
	list.WriteString("namespace: shop\ncommonAnnotations: {a: b}\nresources:\n")
	for i := range n {
		t, text := g.manifest()
		for t.name != fmt.Sprintf("o%d", g.names) || t.kind == "Namespace" {
			t, text = g.manifest()
		}
		name := fmt.Sprintf("f%d.yaml", i)
		g.write("apps/"+name, text)
		list.WriteString("- " + name + "\n")
	}
	g.write("apps/kustomization.yaml", list.String())
	return g.files
}
