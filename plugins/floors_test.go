package plugins

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/kubectl-gitops/kubectl-gitops/"

// floors says what each package of ours may import of ours, and why. Data flows
// down; packages on one floor of the edge do not know each other, the engine
// passes values between them.
var floors = map[string]struct {
	may []string
	why string
}{
	"pkg/object":           {nil, "values: what is true of an object by itself"},
	"pkg/flux":             {[]string{"pkg/object"}, "values: Flux's objects"},
	"pkg/image":            {[]string{"pkg/object"}, "values: image policies and markers"},
	"pkg/plan":             {[]string{"pkg/object", "pkg/flux"}, "values: what to do and why"},
	"pkg/source":           {values, "edge: Git and the disk"},
	"pkg/bench":            {nil, "tests: figures into docs/benchmarks.md"},
	"pkg/source/gitserver": {nil, "tests: real Git servers"},
	"pkg/source/s3server":  {nil, "tests: an S3 server"},
	"pkg/secret":           {values, "edge: keys"},
	"pkg/render":           {values, "edge: kustomize, in memory"},
	"pkg/registry":         {values, "edge: OCI registries"},
	"pkg/registry/server":  {nil, "tests and the demo: a registry with token authentication"},
	"pkg/cluster":          {values, "edge: the API server"},
	"pkg/cloud":            {values, "edge: the logins of clouds"},
	"pkg/cache":            {nil, "edge: kubectl's cache directory"},
	"pkg/gitops":           {slices.Concat(values, edge), "engine: the one that sees all of the edge"},
	"pkg/ui":               {append(values, "pkg/gitops"), "presentation: events and reports, nothing of the edge"},
	"pkg/cli":              {slices.Concat(values, edge, []string{"pkg/gitops", "pkg/ui"}), "wiring: streams, flags, clients, exit codes"},
	"plugins/sync":         {anything, "a plugin may use all below it, and no other plugin"},
	"plugins/diff":         {anything, "as above"},
	"plugins/build":        {anything, "as above"},
	"plugins/secret":       {anything, "as above"},
	"plugins/status":       {anything, "as above"},
	"plugins/suspend":      {anything, "as above"},
	"plugins/rbac":         {anything, "as above"},
	"plugins/image":        {anything, "as above"},
	"plugins":              {append(anything, "plugins/sync", "plugins/diff", "plugins/build", "plugins/status", "plugins/suspend", "plugins/secret", "plugins/image", "plugins/rbac"), "the one list of plugins"},
}

var values = []string{"pkg/object", "pkg/flux", "pkg/image", "pkg/plan"}

var edge = []string{"pkg/source", "pkg/secret", "pkg/registry", "pkg/render", "pkg/cluster", "pkg/cloud", "pkg/cache"}

var anything = slices.Concat(values, edge, []string{"pkg/gitops", "pkg/ui", "pkg/cli"})

func TestPackagesImportOnlyDownward(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports,Name", module+"...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for dec.More() {
		var p struct {
			ImportPath, Name string
			Imports          []string
		}
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(p.ImportPath, module)
		if strings.HasPrefix(name, "cmd/") {
			if p.Name != "main" {
				t.Errorf("%s: cmd/ holds mains only", name)
			}
			continue
		}
		floor, ok := floors[name]
		if !ok {
			t.Errorf("%s has no floor: add it to floors with its reason", name)
			continue
		}
		for _, imp := range p.Imports {
			if below, ours := strings.CutPrefix(imp, module); ours && !slices.Contains(floor.may, below) {
				t.Errorf("%s (%s) imports %s: it may import %v", name, floor.why, below, floor.may)
			}
		}
	}
}

// Each plugin has a main of its own, and no main is without a plugin.
func TestMainsAreThePlugins(t *testing.T) {
	want := []string{"kubectl-gitops"}
	for _, p := range All {
		want = append(want, "kubectl-gitops-"+p.Verb)
	}
	dirs, err := filepath.Glob("../cmd/kubectl-gitops*")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range dirs {
		got = append(got, filepath.Base(d))
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("cmd/ has %v, plugins.All says %v", got, want)
	}
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range All {
		if !strings.Contains(string(readme), "kubectl gitops "+p.Verb) {
			t.Errorf("README.md does not mention kubectl gitops %s", p.Verb)
		}
	}
}
