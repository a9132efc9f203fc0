package plugins

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// soakKinds are the kinds of the objects in the soak's repository, each with its
// manifest: of name, namespace and value. An object's id is KIND/NAMESPACE/NAME. The namespaces and the custom kind are made by the Kustomization infra.
var soakKinds = map[string]string{
	"ConfigMap":      "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: NAME, namespace: NS, annotations: {value: 'VALUE'}}\ndata: {value: 'VALUE', kVALUE: x}\n",
	"Secret":         "apiVersion: v1\nkind: Secret\nmetadata: {name: NAME, namespace: NS, annotations: {value: 'VALUE'}}\nstringData: {value: 'VALUE'}\n",
	"Service":        "apiVersion: v1\nkind: Service\nmetadata: {name: NAME, namespace: NS, annotations: {value: 'VALUE'}}\nspec: {selector: {app: 'vVALUE'}, ports: [{port: 80}]}\n",
	"ServiceAccount": "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: NAME, namespace: NS, annotations: {value: 'VALUE'}}\n",
	"Role":           "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: NAME, namespace: NS, annotations: {value: 'VALUE'}}\nrules: [{apiGroups: [''], resources: [pods], resourceNames: ['vVALUE'], verbs: [get]}]\n",
	"ClusterRole":    "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: soak-NAME, annotations: {value: 'VALUE'}}\nrules: []\n",
	"Widget":         "apiVersion: soak.example.com/v1\nkind: Widget\nmetadata: {name: NAME, namespace: NS, annotations: {value: 'VALUE'}}\nspec: {value: 'VALUE'}\n",
	"Deployment": "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: NAME, namespace: NS, annotations: {value: 'VALUE'}}\nspec:\n  selector: {matchLabels: {app: NAME}}\n" +
		"  template:\n    metadata: {labels: {app: NAME}}\n    spec: {containers: [{name: c, image: 'registry.example.com/web:vVALUE'}]}\n",
}

const soakInfra = `apiVersion: v1
kind: Namespace
metadata: {name: soak-a}
---
apiVersion: v1
kind: Namespace
metadata: {name: soak-b}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.soak.example.com}
spec:
  group: soak.example.com
  names: {kind: Widget, plural: widgets, singular: widget, listKind: WidgetList}
  scope: Namespaced
  versions:
    - name: v1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {value: {type: string}}}}}}
`

// model is what the repository says: Kustomizations, and of each the
// objects that it has and which one it depends on. Its changes are commits of a real repository.
type model struct {
	t       *testing.T
	rand    *rand.Rand
	dir     string
	has     map[string]map[string]int // Kustomization -> id -> value
	depends map[string]string
	names   int // how many were given so far
	commits map[string]int
}

func newModel(t *testing.T, r *rand.Rand, dir string) *model {
	m := &model{t: t, rand: r, dir: dir, has: map[string]map[string]int{}, depends: map[string]string{}, commits: map[string]int{}}
	write(t, dir, map[string]string{
		"infra/infra.yaml":            soakInfra,
		"clusters/soak/root.yaml":     kustomization("soak", "flux-system", "clusters/soak"),
		"clusters/soak/ks-infra.yaml": kustomization("soak", "infra", "infra"),
	})
	m.git("init", "-q", "-b", "main")
	for range 4 {
		m.addKustomization()
	}
	m.commit("a beginning")
	return m
}

func (m *model) git(args ...string) {
	m.t.Helper()
	c := exec.Command("git", append([]string{"-C", m.dir, "-c", "user.name=Ada", "-c", "user.email=ada@example.com", "-c", "commit.gpgsign=false"}, args...)...)
	if out, err := c.CombinedOutput(); err != nil {
		m.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func (m *model) commit(message string) {
	m.git("add", "-A")
	m.git("commit", "-q", "--allow-empty", "-m", message)
}

// one is any key of a map, the same one for the same seed.
func one[V any](r *rand.Rand, of map[string]V) string {
	keys := slices.Sorted(maps.Keys(of))
	return keys[r.IntN(len(keys))]
}

func (m *model) name(prefix string) string {
	m.names++
	return fmt.Sprintf("%s-%d", prefix, m.names)
}

func (m *model) path(ks, id string) string {
	return filepath.Join("apps", ks, strings.ReplaceAll(id, "/", "_")+".yaml")
}

func (m *model) put(ks, id string, value int) {
	m.has[ks][id] = value
	part := strings.Split(id, "/")
	text := strings.NewReplacer("soak-NAME", part[2], "NAME", part[2], "NS", part[1], "VALUE", fmt.Sprint(value)).Replace(soakKinds[part[0]])
	write(m.t, m.dir, map[string]string{m.path(ks, id): text})
}

func (m *model) drop(ks, id string) {
	delete(m.has[ks], id)
	if err := os.Remove(filepath.Join(m.dir, m.path(ks, id))); err != nil {
		m.t.Fatal(err)
	}
}

func (m *model) addThing(ks string) {
	kind := one(m.rand, soakKinds)
	ns, name := []string{"soak-a", "soak-b"}[m.rand.IntN(2)], m.name("o")
	if kind == "ClusterRole" {
		ns, name = "", "soak-"+name
	}
	m.put(ks, kind+"/"+ns+"/"+name, m.rand.IntN(1000))
}

func (m *model) addKustomization() {
	name := m.name("ks")
	if len(m.has) > 0 && m.rand.IntN(2) == 0 {
		m.depends[name] = one(m.rand, m.has)
	}
	m.has[name] = map[string]int{}
	m.declare(name)
	for range 3 + m.rand.IntN(6) {
		m.addThing(name)
	}
}

func (m *model) declare(name string) {
	text := kustomization("soak", name, "apps/"+name)
	if on := m.depends[name]; on != "" {
		text = strings.Replace(text, "spec: {", "spec: {dependsOn: [{name: "+on+"}], ", 1)
	}
	write(m.t, m.dir, map[string]string{"clusters/soak/ks-" + name + ".yaml": text})
}

// removeKustomization takes one out; those that depended on it depend on what
// it depended on.
func (m *model) removeKustomization(name string) {
	for other, on := range m.depends {
		if on == name {
			if m.depends[other] = m.depends[name]; m.depends[name] == "" {
				delete(m.depends, other)
			}
			m.declare(other)
		}
	}
	for id := range maps.Clone(m.has[name]) {
		m.drop(name, id)
	}
	delete(m.has, name)
	delete(m.depends, name)
	if err := os.Remove(filepath.Join(m.dir, "clusters/soak/ks-"+name+".yaml")); err != nil {
		m.t.Fatal(err)
	}
}

// change makes one commit of one to four random changes, and says what they are.
func (m *model) change() string {
	var did []string
	for range 1 + m.rand.IntN(4) {
		ks := one(m.rand, m.has)
		what := "change"
		switch n := m.rand.IntN(100); {
		case n < 25 || len(m.has[ks]) == 0:
			what = "add"
			m.addThing(ks)
		case n < 50:
			m.put(ks, one(m.rand, m.has[ks]), m.rand.IntN(1000))
		case n < 70 && len(m.has[ks]) > 1:
			what = "remove"
			m.drop(ks, one(m.rand, m.has[ks]))
		case n < 85 && len(m.has[ks]) > 1:
			what = "move"
			id, to := one(m.rand, m.has[ks]), one(m.rand, m.has)
			value := m.has[ks][id]
			m.drop(ks, id)
			m.put(to, id, value)
		case n < 92 && len(m.has) < 8:
			what = "add a Kustomization"
			m.addKustomization()
		case n < 96 && len(m.has) > 3:
			what = "remove a Kustomization"
			m.removeKustomization(ks)
		case n >= 96:
			what = "rename a Kustomization"
			name, things := m.name("ks"), maps.Clone(m.has[ks])
			m.has[name] = map[string]int{}
			m.removeKustomization(ks)
			for id, value := range things {
				m.put(name, id, value)
			}
			m.declare(name)
		default:
			m.put(ks, one(m.rand, m.has[ks]), m.rand.IntN(1000))
		}
		m.commits[what]++
		did = append(did, what)
	}
	message := strings.Join(did, ", ")
	m.commit(message)
	return message
}

// owners is, for each thing that is declared, its Kustomization.
func (m *model) owners() map[string]string {
	out := map[string]string{}
	for ks, things := range m.has {
		for id := range things {
			out[id] = ks
		}
	}
	return out
}
