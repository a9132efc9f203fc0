package plugins

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// holder writes the lock of a root as another run would:
// holder NAMESPACE ROOT USER@HOST [--ago DURATION | --ahead DURATION | --dead].
// --ahead is by a clock that is ahead, for a lock that outlives its holder by a second.
func holder(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 3 {
		ts.Fatalf("usage: holder NAMESPACE ROOT USER@HOST [--ago DURATION | --ahead DURATION | --dead]")
	}
	at, process, seconds := time.Now(), "", 600 // longer than a slow machine needs for what follows
	switch {
	case len(args) == 5 && args[3] == "--ago":
		ago, err := time.ParseDuration(args[4])
		ts.Check(err)
		at, seconds = at.Add(-ago), 15
	case len(args) == 5 && args[3] == "--ahead":
		ahead, err := time.ParseDuration(args[4])
		ts.Check(err)
		at, seconds = at.Add(ahead), 1
	case len(args) == 4 && args[3] == "--dead":
		ended := exec.Command("true")
		ts.Check(ended.Run())
		boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
		ts.Check(err)
		space, err := os.Readlink("/proc/self/ns/pid")
		ts.Check(err)
		process = fmt.Sprintf("%s/%s/%d/1", strings.TrimSpace(string(boot)), space, ended.Process.Pid)
	}
	file := ts.MkAbs(".holder.yaml")
	stamp := at.UTC().Format("2006-01-02T15:04:05.000000Z")
	text := fmt.Sprintf("apiVersion: coordination.k8s.io/v1\nkind: Lease\nmetadata: {namespace: %s, name: gitops-%s, annotations: {kubectl-gitops.dev/process: %q}}\n"+
		"spec: {holderIdentity: %q, leaseDurationSeconds: %d, leaseTransitions: 0, renewTime: %q, acquireTime: %q}\n",
		args[0], args[1], process, args[2]+" pid 7, v0.9.0", seconds, stamp, stamp)
	ts.Check(os.WriteFile(file, []byte(text), 0o600))
	ts.Check(ts.Exec("kubectl", "apply", "--server-side", "--force-conflicts", "-f", file))
}

// A run that was overtaken between its plan and its first write plans again. To
// write what it had planned would store an inventory without what the other run
// has made since, which nobody would own any more.
func TestOvertakenRunPlansAgain(t *testing.T) {
	const ns = "overtaken"
	kubectl(t, "create", "namespace", ns)
	slow := repo(t, map[string]string{"root/x.yaml": configMap(ns, "x", "slow")})
	fast := repo(t, map[string]string{"root/x.yaml": configMap(ns, "x", "fast"), "root/y.yaml": configMap(ns, "y", "fast")})
	var once sync.Once
	g := &gate{hook: func(int, *http.Request) bool {
		once.Do(func() { // the slow run is about to write for the first time
			if code, out := runSync(t, t.Context(), os.Getenv("KUBECONFIG"), fast, ns, nil); code != 0 {
				t.Errorf("the other run: exit %d\n%s", code, out)
			}
		})
		return true
	}}
	code, out := runSync(t, t.Context(), startGate(t, g), slow, ns, nil)
	if code != 0 || !strings.Contains(out, "planned again") {
		t.Fatalf("exit %d\n%s", code, out)
	}
	live := kubectl(t, "get", "configmaps", "-n", ns, "-l", "kustomize.toolkit.fluxcd.io/name=flux-system", "-o", "jsonpath={.items[*].metadata.name}")
	if inventory := owned(t, ns, "flux-system"); live != "x" || strings.Contains(inventory, "_y_") {
		t.Errorf("the cluster has %q, and the inventory is %s: want x alone in both\n%s", live, inventory, out)
	}
}
