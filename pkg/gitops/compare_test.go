package gitops

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/secret"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/source"
)

// fleet is a repository of seven Kustomizations: the root, five that it declares
// and one that tenants declares.
type fleet struct {
	t   *testing.T
	dir string
	env []string
}

func ks(name, path, more string) string {
	return fmt.Sprintf("apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: %s, namespace: flux-system}\n"+
		"spec:\n  interval: 10m\n  prune: true\n  path: ./%s\n  sourceRef: {kind: GitRepository, name: flux-system}\n%s---\n", name, path, more)
}

func configMap(name, data string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, namespace: shop}\ndata: {%s}\n---\n", name, data)
}

const fromVars = "  postBuild: {substituteFrom: [{kind: ConfigMap, name: vars}]}\n"

func newFleet(t *testing.T) *fleet {
	t.Helper()
	f := &fleet{t: t, dir: t.TempDir()}
	f.env = []string{"HOME=" + f.dir, "PATH=" + os.Getenv("PATH"), "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com"}
	f.write("root/ks.yaml", ks("vars", "vars", "")+ks("apps", "apps/prod", fromVars)+ks("infra", "infra", "")+ks("web", "web", fromVars)+ks("tenants", "tenants", ""))
	f.write("vars/vars.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: vars, namespace: flux-system}\ndata: {host: example.com}\n")
	f.write("apps/prod/kustomization.yaml", "resources: [../base]\ncomponents: [../component]\n")
	f.write("apps/base/kustomization.yaml", "resources: [app.yaml]\n")
	f.write("apps/base/app.yaml", configMap("app", `host: "${host}"`))
	f.write("apps/base/README.md", "not an object\n")
	f.write("apps/component/kustomization.yaml", "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nlabels: [{pairs: {tier: a}}]\n")
	f.write("infra/infra.yaml", configMap("infra", "a: b"))
	f.write("web/web.yaml", configMap("web", `host: "${host}"`))
	f.write("tenants/ks.yaml", ks("tenant", "tenant", ""))
	f.write("tenant/tenant.yaml", configMap("tenant", "a: b"))
	f.git("init", "-q", "-b", "main")
	f.commit()
	return f
}

func (f *fleet) write(name, text string) {
	f.t.Helper()
	file := filepath.Join(f.dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fleet) remove(names ...string) {
	f.t.Helper()
	for _, name := range names {
		if err := os.RemoveAll(filepath.Join(f.dir, name)); err != nil {
			f.t.Fatal(err)
		}
	}
}

func (f *fleet) git(args ...string) {
	f.t.Helper()
	c := exec.Command("git", args...)
	c.Dir, c.Env = f.dir, f.env
	if out, err := c.CombinedOutput(); err != nil {
		f.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
}

func (f *fleet) commit() {
	f.t.Helper()
	f.git("add", "-A")
	f.git("commit", "-q", "-m", "x")
}

// compare compares the work tree with HEAD. It returns what was done to what, one
// line each, and the renderings.
func (f *fleet) compare(names ...string) (changes, rendered []string, report DiffReport) {
	f.t.Helper()
	snap, err := source.Open(f.t.Context(), source.Options{Source: f.dir, WorkTree: true, Auth: source.Auth{Env: f.env}})
	if err != nil {
		f.t.Fatal(err)
	}
	base, err := snap.Base(f.t.Context(), "HEAD", false)
	if err != nil {
		f.t.Fatal(err)
	}
	e := &Engine{Source: snap, Keys: &secret.Keyring{}, Options: Options{Path: "root", Root: flux.Ref{Namespace: "flux-system", Name: "flux-system"}, KeepSealed: true, NoDeps: true, StrictVars: true}}
	for _, n := range names {
		e.Options.Names = append(e.Options.Names, flux.Ref{Namespace: "flux-system", Name: n})
	}
	var mu sync.Mutex
	e.Events = func(ev Event) {
		mu.Lock()
		defer mu.Unlock()
		if what, ok := strings.CutPrefix(ev.Message, "rendering "); ok && ev.Type == Progress {
			what, _, atBase := strings.Cut(what, " at ")
			if atBase {
				what += " (base)"
			}
			rendered = append(rendered, what)
		}
	}
	if report, err = e.Compare(f.t.Context(), base, false); err != nil {
		f.t.Fatal(err)
	}
	for _, k := range report.Kustomizations {
		for _, p := range k.Problems {
			changes = append(changes, k.Name+": "+p.Message)
		}
		for _, c := range k.Changes {
			if c.Action != "unchanged" {
				changes = append(changes, fmt.Sprintf("%s: %s %s: %s", k.Name, c.Action, c.ID().Short(), c.Reason))
			}
		}
	}
	slices.Sort(rendered)
	return changes, rendered, report
}

func same(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n%s\nwant:\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// Whoever declares Kustomizations is rendered once, to find them; the others only
// where the change can touch them, and then on both sides.
func TestCompareRendersWhatTheChangeCanTouch(t *testing.T) {
	find := []string{"root (base)", "tenants (base)"}
	for name, c := range map[string]struct {
		edit     func(f *fleet)
		names    []string
		rendered []string
		changes  []string
	}{
		"nothing":                  {edit: func(*fleet) {}},
		"a file that nobody names": {edit: func(f *fleet) { f.write("apps/base/README.md", "other\n") }},
		"a file outside of all":    {edit: func(f *fleet) { f.write("docs/x.md", "x\n") }},
		"a base":                   {edit: func(f *fleet) { f.write("apps/base/app.yaml", configMap("app", `host: "x.${host}"`)) }, rendered: []string{"apps/prod", "apps/prod (base)", "vars (base)"}, changes: []string{"apps: configure configmap/app: fields differ"}},
		"a component": {edit: func(f *fleet) {
			f.write("apps/component/kustomization.yaml", "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nlabels: [{pairs: {tier: b}}]\n")
		}, rendered: []string{"apps/prod", "apps/prod (base)", "vars (base)"}, changes: []string{"apps: configure configmap/app: labels differ"}},
		"a file that is new": {edit: func(f *fleet) { f.write("infra/more.yaml", configMap("more", "a: b")) }, rendered: []string{"infra", "infra (base)"}, changes: []string{"infra: create configmap/more: not in the base"}},
		"a file that is gone": {edit: func(f *fleet) {
			f.write("infra/more.yaml", configMap("more", "a: b"))
			f.commit()
			f.remove("infra/infra.yaml")
		}, rendered: []string{"infra", "infra (base)"}, changes: []string{"infra: delete configmap/infra: no longer declared"}},
		"variables": {edit: func(f *fleet) {
			f.write("vars/vars.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: vars, namespace: flux-system}\ndata: {host: example.org}\n")
		}, rendered: []string{"apps/prod", "apps/prod (base)", "vars", "vars (base)", "web", "web (base)"}, changes: []string{"vars: configure configmap/vars: fields differ", "apps: configure configmap/app: fields differ", "web: configure configmap/web: fields differ"}},
		"variables, of one by name": {names: []string{"web"}, edit: func(f *fleet) {
			f.write("vars/vars.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: vars, namespace: flux-system}\ndata: {host: example.org}\n")
		}, rendered: []string{"vars", "vars (base)", "web", "web (base)"}, changes: []string{"web: configure configmap/web: fields differ"}},
		"a label of the variables": {edit: func(f *fleet) {
			f.write("vars/vars.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: vars, namespace: flux-system, labels: {a: b}}\ndata: {host: example.com}\n")
		}, rendered: []string{"vars", "vars (base)"}, changes: []string{"vars: configure configmap/vars: labels differ"}},
		"a spec":                   {edit: func(f *fleet) { f.write("tenants/ks.yaml", ks("tenant", "tenant", "  targetNamespace: other\n")) }, rendered: []string{"tenant", "tenant (base)", "tenants"}, changes: []string{"tenants: configure kustomization.kustomize.toolkit.fluxcd.io/tenant: fields differ", "tenant: create configmap/tenant: not in the base", "tenant: delete configmap/tenant: no longer declared"}},
		"a spec that says nothing": {edit: func(f *fleet) { f.write("tenants/ks.yaml", ks("tenant", "tenant", "  wait: true\n")) }, rendered: []string{"tenants"}, changes: []string{"tenants: configure kustomization.kustomize.toolkit.fluxcd.io/tenant: fields differ"}},
		"what is left out": {edit: func(f *fleet) {
			f.write("infra/more.yaml", configMap("more", "a: b"))
			f.commit()
			f.write(".sourceignore", "/infra/more.yaml\n")
		}, rendered: []string{"infra", "infra (base)"}, changes: []string{"infra: delete configmap/more: no longer declared"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t)
			c.edit(f)
			changes, rendered, _ := f.compare(c.names...)
			want := slices.Sorted(slices.Values(append(slices.Clone(find), c.rendered...)))
			same(t, "rendered", rendered, want...)
			same(t, "changes", changes, c.changes...)
		})
	}
}

// A root that declares itself, as a bootstrap writes it, is found by one rendering.
func TestCompareOfARootThatDeclaresItself(t *testing.T) {
	f := newFleet(t)
	f.write("root/self.yaml", ks("flux-system", "root", ""))
	f.commit()
	f.write("infra/infra.yaml", configMap("infra", "a: c"))
	changes, rendered, report := f.compare()
	same(t, "rendered", rendered, "infra", "infra (base)", "root (base)", "tenants (base)")
	same(t, "changes", changes, "infra: configure configmap/infra: fields differ")
	if k := report.Kustomizations[0]; k.Status != StatusUntouched {
		t.Errorf("the root is %s", k.Status)
	}
}

// What does not render, on either side, is an error of that Kustomization: its
// objects and those of the Kustomizations that it declares are not deleted, nor new.
func TestCompareFailsWhereASideDoesNotRender(t *testing.T) {
	broken := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: [x]}\n"
	f := newFleet(t)
	f.write("tenants/broken.yaml", broken)
	f.write("web/web.yaml", configMap("web", "a: b"))
	changes, _, report := f.compare()
	same(t, "here", changes,
		"web: configure configmap/web: fields differ",
		"tenants: not a Kubernetes object: it has no metadata.name; without a kustomization.yaml, every YAML file in tenants is one",
		"tenant: kustomization/tenants in flux-system, which declares it, does not render here: whether it is there is not known")
	if !report.Failed() {
		t.Error("the report does not say that it failed")
	}
	f.commit()
	f.remove("tenants/broken.yaml")
	changes, _, _ = f.compare()
	head := exec.Command("git", "rev-parse", "--short=7", "HEAD")
	head.Dir, head.Env = f.dir, f.env
	out, err := head.Output()
	if err != nil {
		t.Fatal(err)
	}
	at := "main@sha1:" + strings.TrimSpace(string(out))
	same(t, "at the base", changes,
		"tenants: at "+at+": not a Kubernetes object: it has no metadata.name; without a kustomization.yaml, every YAML file in tenants is one",
		"tenant: kustomization/tenants in flux-system, which declares it, does not render at "+at+": whether it is there is not known")
	f.write("root/ks.yaml", ks("tenants", "nowhere", ""))
	f.commit()
	f.write("infra/infra.yaml", configMap("infra", "a: c"))
	changes, _, _ = f.compare()
	same(t, "what is broken on both sides, and not touched", changes)
}

// Objects that go from one Kustomization to another are neither made nor deleted;
// what is to stay is not said to go.
func TestCompareTellsWhatMoves(t *testing.T) {
	f := newFleet(t)
	f.remove("infra/infra.yaml")
	f.write("infra/kustomization.yaml", "resources: []\n")
	f.write("web/infra.yaml", configMap("infra", "a: b"))
	changes, _, _ := f.compare()
	same(t, "a file moved", changes, "web: configure configmap/infra: moved from kustomization/infra in flux-system")

	f = newFleet(t)
	f.write("tenants/ks.yaml", ks("renamed", "tenant", ""))
	changes, _, report := f.compare()
	same(t, "a Kustomization renamed", changes,
		"tenants: create kustomization.kustomize.toolkit.fluxcd.io/renamed: not in the base",
		"tenants: delete kustomization.kustomize.toolkit.fluxcd.io/tenant: no longer declared",
		"renamed: configure configmap/tenant: moved from kustomization/tenant in flux-system")
	if n := report.Changes(); n != 3 {
		t.Errorf("%d changes, want 3", n)
	}

	f = newFleet(t)
	f.write("tenants/ks.yaml", strings.ReplaceAll(ks("tenant", "tenant", ""), "prune: true", "prune: false"))
	f.write("tenant/other.yaml", configMap("other", "a: b"))
	f.commit()
	f.remove("tenant/other.yaml")
	changes, _, _ = f.compare()
	same(t, "without prune", changes, "tenant: skip configmap/other: spec.prune is false")
	f.remove("tenants")
	f.write("tenants/kustomization.yaml", "resources: []\n")
	changes, _, _ = f.compare()
	same(t, "a Kustomization gone, without prune", changes,
		"tenants: delete kustomization.kustomize.toolkit.fluxcd.io/tenant: no longer declared",
		"tenant: skip configmap/tenant: stays: its Kustomization goes without it",
		"tenant: skip configmap/other: stays: its Kustomization goes without it")

	f = newFleet(t)
	f.git("mv", "root", "old")
	f.commit()
	f.git("mv", "old", "root")
	changes, _, _ = f.compare()
	if len(changes) != 11 || strings.Contains(strings.Join(changes, "\n"), "delete") {
		t.Errorf("a root that is new: %q", changes)
	}
}
