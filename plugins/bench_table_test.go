package plugins

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/gitops"
)

// What is measured, as the tables name it.
const (
	syncFirst  = "sync, first"
	syncCold   = "sync, nothing to do, cold"
	syncWarm   = "sync, nothing to do, warm"
	diffWarm   = "diff, nothing to do, warm"
	syncServer = "sync, nothing to do, `--verify server`"
	diffDrift  = "diff, 1 % drifted"
	syncDrift  = "sync, 1 % drifted"
	syncChange = "sync, 1 % changed in Git"

	ourBuild       = "`kubectl gitops build`"
	kustomizeBuild = "`kustomize build`"
	floorDryRuns   = "bare dry runs, then not there (floor)"
	floorPatches   = "bare PATCHes, first (floor)"
	fluxReconcile  = "`kustomize build` and ResourceManager, nothing to do"
	kubectlDiff    = "`kubectl diff --server-side -k`, nothing to do"
	kubectlApply   = "`kubectl apply --server-side -k`, nothing to do"

	startVersion    = "`kubectl-gitops version`"
	startHelp       = "`kubectl-gitops sync --help`"
	startCompletion = "`kubectl-gitops __complete sync --`"
)

// measure is one command, or the median of several.
type measure struct {
	seconds, cpu float64
	rss          int64 // KiB at most; 0 where it is not known
	requests     gitops.RequestReport
}

// table is what is measured in one run of the benchmark.
type table struct {
	b           *testing.B
	full, quick bool
	runs        int
	rows        []row
}

type row struct {
	objects, what string
	measure
}

func newTable(b *testing.B, mode string) *table {
	t := &table{b: b, full: mode == "full", quick: mode == "quick", runs: 3}
	if t.full {
		t.runs = 5
	}
	return t
}

// slow is how often what takes long is run.
func (t *table) slow(n int) int {
	switch {
	case t.full:
		return 3
	case t.quick || n > 1000:
		return 1
	}
	return t.runs
}

func (t *table) row(objects, what string, m measure) {
	t.rows = append(t.rows, row{objects, what, m})
	fmt.Fprintln(os.Stderr, t.rows[len(t.rows)-1].text()) // now, not when all is over
}

func (r row) text() string {
	number := func(n int64) string {
		if r.requests.Total == 0 {
			return ""
		}
		return fmt.Sprint(n)
	}
	mib := ""
	if r.rss > 0 {
		mib = fmt.Sprint(r.rss >> 10)
	}
	q := r.requests
	return fmt.Sprintf("| %s | %s | %.2f | %.2f | %s | %s | %s | %s | %s |", r.objects, r.what, r.seconds, r.cpu, mib, number(q.Total), number(q.Get), number(q.List), number(q.Patch))
}

// find is what was measured, false for what was not.
func (t *table) find(objects, what string) (measure, bool) {
	i := slices.IndexFunc(t.rows, func(r row) bool { return r.objects == objects && r.what == what })
	if i < 0 {
		return measure{}, false
	}
	return t.rows[i].measure, true
}

func (t *table) text() string {
	var lines []string
	for _, objects := range []string{"100", "1000", "5000", "200 × 20"} {
		for _, r := range t.rows {
			if r.objects == objects {
				lines = append(lines, r.text())
			}
		}
	}
	return fmt.Sprintf("Objects of ten kinds, in one Kustomization or in 200. What has nothing to do is the median of %d runs or more, what changes something is run once; "+
		"so is what takes long, at 5,000 objects. `cold` is without caches, `warm` with those of an earlier run. The floor is the requests alone, 16 at a time, of objects that were parsed before. "+
		"The API server, which all of them keep busy, has the same cores.\n\n"+
		"| objects | what | seconds | CPU seconds | MiB | requests | get | list | patch |\n|--:|---|--:|--:|--:|--:|--:|--:|--:|\n", t.runs) + strings.Join(lines, "\n")
}

func (t *table) startText() string {
	lines := []string{"| command | seconds | CPU seconds | MiB |", "|---|--:|--:|--:|"}
	for _, r := range t.rows {
		if r.objects == "" {
			lines = append(lines, fmt.Sprintf("| %s | %.3f | %.3f | %d |", r.what, r.seconds, r.cpu, r.rss>>10))
		}
	}
	return strings.Join(lines, "\n")
}

// median is the one in the middle of several runs, by seconds.
func (t *table) median(runs int, run func() measure) measure {
	all := make([]measure, runs)
	for i := range all {
		all[i] = run()
	}
	slices.SortFunc(all, func(a, b measure) int { return cmp.Compare(a.seconds, b.seconds) })
	return all[len(all)/2]
}

// kubectlRequest is how kubectl logs a request at -v=6.
var kubectlRequest = regexp.MustCompile(`"Response" verb="([A-Z]+)"`)

// command runs a command; the exit codes 0 and 1 are answers. home is where its
// caches are, "" for kubectl's own.
func (t *table) command(what, dir, home string, args ...string) measure {
	t.b.Helper()
	c := exec.Command(args[0], args[1:]...)
	c.Dir = dir
	c.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	if home != "" {
		c.Env = append(c.Env, "KUBECACHEDIR="+home)
	}
	var errOut strings.Builder
	c.Stderr = &errOut
	start := time.Now()
	out, err := c.Output()
	m := measure{seconds: time.Since(start).Seconds()}
	if code := c.ProcessState.ExitCode(); code != 0 && code != 1 {
		t.b.Fatalf("%s: %v: %v\n%s%s", what, args, err, out, errOut.String())
	}
	m.cpu = (c.ProcessState.UserTime() + c.ProcessState.SystemTime()).Seconds()
	if usage, ok := c.ProcessState.SysUsage().(*syscall.Rusage); ok {
		m.rss = usage.Maxrss
	}
	for _, match := range kubectlRequest.FindAllStringSubmatch(errOut.String(), -1) {
		count(&m.requests, match[1])
	}
	var report struct {
		Result   string
		Requests gitops.RequestReport
	}
	if json.Unmarshal(out, &report) == nil && report.Requests.Total > 0 {
		m.requests = report.Requests
		if report.Result == string(gitops.Failed) {
			t.b.Fatalf("%s: %s", what, out)
		}
	}
	return m
}

// count counts a request of a peer: none of them lists.
func count(r *gitops.RequestReport, method string) {
	r.Total++
	switch method {
	case "GET":
		r.Get++
	case "PATCH":
		r.Patch++
	}
}
