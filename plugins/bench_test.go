package plugins

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/bench"
)

// BenchmarkSync measures whole runs of the real binaries on the devcluster,
// beside what else does the same with the same objects: bare requests (the floor),
// kubectl, kustomize, and the ResourceManager that Flux's controller applies with.
// Requests are the figure that holds on any machine. Each table is written as soon
// as it is whole. BENCH=full takes the median of more runs, of the slow peers at
// 5,000 objects too; BENCH=quick stops at 1,000.
func BenchmarkSync(b *testing.B) {
	if os.Getenv("DEVCLUSTER") == "" {
		b.Fatal(needCluster)
	}
	t := newTable(b, os.Getenv("BENCH"))
	sizes := []int{100, 1000, 5000}
	if t.quick {
		sizes = sizes[:2]
	}
	defer t.record() // what there is, also where a peer fails
	t.startUp()
	for _, n := range sizes {
		t.oneKustomization(n)
		if n == 1000 && !t.quick { // before what takes longest
			t.manyKustomizations(200, 20)
		}
		t.record()
	}
}

// startUp is what every command costs before it does anything.
func (t *table) startUp() {
	for _, c := range []struct {
		what string
		args []string
	}{
		{startVersion, []string{"kubectl-gitops", "version"}},
		{startHelp, []string{"kubectl-gitops", "sync", "--help"}},
		{startCompletion, []string{"kubectl-gitops", "__complete", "sync", "--"}},
	} {
		t.row("", c.what, t.median(4*t.runs-1, func() measure { return t.command(c.what, "", "", c.args...) }))
	}
}

// oneKustomization is n objects in one Kustomization.
func (t *table) oneKustomization(n int) {
	b, objects := t.b, fmt.Sprint(n)
	ns, floor := fmt.Sprintf("bench-%d", n), fmt.Sprintf("floor-%d", n)
	repo := func(ns string) string {
		return benchRepo(b, map[string]string{"objects.yaml": benchObjects(ns, 0, n), "kustomization.yaml": "resources: [objects.yaml]\n"})
	}
	dir, home := repo(ns), b.TempDir()
	benchNamespace(b, ns)
	benchNamespace(b, floor)
	run := func(what, home, verb string, more ...string) measure {
		args := []string{"kubectl-gitops", verb, "--source", dir, "--path", ".", "-n", ns, "-o", "json", "--progress", "none"}
		if verb == "sync" {
			args = append(args, "--wait=false")
		}
		return t.command(what, "", home, append(args, more...)...)
	}
	t.row(objects, syncFirst, run(syncFirst, home, "sync"))
	t.floor(n, floor)
	t.row(objects, syncCold, t.median(t.runs, func() measure { return run(syncCold, b.TempDir(), "sync") }))
	for range 2 { // what is ready by then is remembered
		run("learn", home, "sync")
	}
	t.row(objects, syncWarm, t.median(2*t.runs-1, func() measure { return run(syncWarm, home, "sync") }))
	t.row(objects, diffWarm, t.median(t.runs, func() measure { return run(diffWarm, home, "diff") }))
	t.row(objects, syncServer, run(syncServer, home, "sync", "--verify", "server"))
	benchDrift(b, ns, n/100, "drifted")
	t.row(objects, diffDrift, t.median(t.runs, func() measure { return run(diffDrift, home, "diff") }))
	t.row(objects, syncDrift, run(syncDrift, home, "sync"))
	benchCommit(b, dir, map[string]string{"objects.yaml": strings.Replace(benchObjects(ns, 0, n), "v: '1'", "v: '2'", max(n/100, 1))})
	t.row(objects, syncChange, run(syncChange, home, "sync"))

	t.row(objects, ourBuild, t.median(t.runs, func() measure {
		return t.command(ourBuild, dir, "", "kubectl-gitops", "build", "--path", ".", "--progress", "none")
	}))
	rendered := filepath.Join(b.TempDir(), "rendered.yaml")
	t.row(objects, kustomizeBuild, t.median(t.slow(n), func() measure {
		return t.command(kustomizeBuild, "", "", benchKustomize(b), "build", dir, "-o", rendered)
	}))
	t.resourceManager(n, rendered)
	peer := repo(floor) // as the bare PATCHes have left it: nothing is to be done
	manager := []string{"--server-side", "--force-conflicts", "--field-manager=" + floorManager, "-v=6", "-k", peer}
	for _, p := range []struct{ what, verb string }{{kubectlDiff, "diff"}, {kubectlApply, "apply"}} {
		t.row(objects, p.what, t.median(t.slow(n), func() measure {
			return t.command(p.what, "", "", append([]string{"kubectl", p.verb}, manager...)...)
		}))
	}
}

// manyKustomizations is k Kustomizations of n objects.
func (t *table) manyKustomizations(k, n int) {
	b := t.b
	const ns = "bench-many"
	files := map[string]string{}
	for i := range k {
		name := fmt.Sprintf("k%03d", i)
		files["root/"+name+".yaml"] = fmt.Sprintf("apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: %s, namespace: %s}\n"+
			"spec: {interval: 1h, path: ./%s, prune: true, sourceRef: {kind: GitRepository, name: flux-system}}\n", name, ns, name)
		files[name+"/objects.yaml"] = benchObjects(ns, i*n, n)
	}
	dir, home := benchRepo(b, files), b.TempDir()
	benchNamespace(b, ns)
	run := func(what, home, verb string, more ...string) measure {
		return t.command(what, "", home, append([]string{"kubectl-gitops", verb, "--source", dir, "--path", "root", "-n", ns, "-o", "json", "--progress", "none"}, more...)...)
	}
	objects := fmt.Sprintf("%d × %d", k, n)
	t.row(objects, syncFirst, run(syncFirst, home, "sync", "--wait=false"))
	t.row(objects, syncCold, run(syncCold, b.TempDir(), "sync", "--wait=false"))
	for range 2 {
		run("learn", home, "sync", "--wait=false")
	}
	t.row(objects, syncWarm, t.median(t.runs, func() measure { return run(syncWarm, home, "sync", "--wait=false") }))
	t.row(objects, diffWarm, t.median(t.runs, func() measure { return run(diffWarm, home, "diff") }))
}

// record writes down what is measured so far.
func (t *table) record() {
	bench.Record(t.b, "reach", "What is to be reached", t.reach())
	bench.Record(t.b, "sync", "Syncing", t.text())
	bench.Record(t.b, "start", "Start-up", t.startText())
}
