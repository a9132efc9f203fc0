package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestBackground tells the life of one control plane in the background, and tests there what needs controllers.
func TestBackground(t *testing.T) {
	w := newWorld(t)
	dir := filepath.Join(t.TempDir(), "a dir") // a space, for the quoting of what `up` prints
	w.want(1, []string{"nothing runs in", "devcluster up --dir"}, "status", "--dir", dir)

	up := w.want(0, []string{"devcluster down --dir '"}, "up", "--dir", dir)
	stopped := false
	t.Cleanup(func() {
		if !stopped {
			w.run("down", "--dir", dir)
		}
	})
	kubeconfig := filepath.Join(dir, "kubeconfig")
	if want := "export 'KUBECONFIG=" + kubeconfig + "'\n"; !strings.HasPrefix(up.stdout, want) {
		t.Errorf("stdout %q does not begin with %q", up.stdout, want)
	}
	w.env = append(w.env, "KUBECONFIG="+kubeconfig, "KUBECACHEDIR="+t.TempDir())
	w.want(0, []string{"yes, ", "kube-apiserver", "kwok", "total", "kubernetes v"}, "status", "--dir", dir)

	t.Run("directory in use", func(t *testing.T) {
		w.want(1, []string{"is in use by the devcluster with pid"}, "up", "--dir", dir, "--", "true")
		w.want(1, []string{"is in use by the devcluster with pid"}, "up", "--dir", dir)
	})
	t.Run("secrets are the owner's", func(t *testing.T) {
		for _, name := range []string{"kubeconfig", "credentials/tokens.csv", "credentials/service-account.key", "state.json"} {
			if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: %v, %v; want mode 0600", name, info, err)
			}
		}
	})
	t.Run("deployment becomes available and its pods go", func(t *testing.T) {
		w.want(0, nil, "kubectl", "create", "deployment", "web", "--image=example.com/web", "--replicas=3")
		w.want(0, nil, "kubectl", "wait", "deployment/web", "--for=condition=Available", "--timeout=20s")
		w.want(0, nil, "kubectl", "delete", "deployment", "web")
		w.want(0, nil, "kubectl", "wait", "pod", "-l", "app=web", "--for=delete", "--timeout=20s")
	})
	t.Run("job completes", func(t *testing.T) {
		w.want(0, nil, "kubectl", "create", "job", "once", "--image=example.com/once")
		w.want(0, nil, "kubectl", "wait", "job/once", "--for=condition=Complete", "--timeout=20s")
	})
	t.Run("namespace goes", func(t *testing.T) {
		w.want(0, nil, "kubectl", "create", "namespace", "short")
		w.want(0, nil, "kubectl", "delete", "namespace", "short", "--timeout=20s")
	})
	t.Run("nobody may do nothing and viewer what is bound", func(t *testing.T) {
		w.want(1, []string{"no"}, "kubectl", "--context", "devcluster-nobody", "auth", "can-i", "get", "pods")
		w.want(1, []string{"no"}, "kubectl", "--context", "devcluster-viewer", "auth", "can-i", "get", "pods")
		w.want(0, []string{`nobody ["system:authenticated"]`}, "kubectl", "--context", "devcluster-nobody", "auth", "whoami",
			"-o", "jsonpath={.status.userInfo.username} {.status.userInfo.groups}")
		w.want(0, nil, "kubectl", "create", "rolebinding", "viewer", "--clusterrole=view", "--user=viewer")
		eventually(t, "the binding", func() bool {
			return w.run("kubectl", "--context", "devcluster-viewer", "auth", "can-i", "get", "pods").code == 0
		})
		w.want(1, []string{"no"}, "kubectl", "--context", "devcluster-viewer", "auth", "can-i", "delete", "pods")
	})

	w.want(0, nil, "down", "--dir", dir)
	stopped = true
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("%s: %v, want it gone", dir, err)
	}
	w.want(1, []string{"nothing runs in"}, "status", "--dir", dir)
	w.want(0, []string{"nothing runs in"}, "down", "--dir", dir)
}

// What was stored is there after a restart, and the rest of the control plane finds the API server again.
func TestRestartOfTheAPIServer(t *testing.T) {
	w := newWorld(t)
	dir := filepath.Join(t.TempDir(), "d")
	w.want(1, []string{"nothing runs in"}, "restart", "apiserver", "--dir", dir)
	w.want(0, nil, "up", "--dir", dir)
	t.Cleanup(func() { w.run("down", "--dir", dir) })
	w.want(1, []string{"restart what?"}, "restart", "etcd", "--dir", dir)
	w.env = append(w.env, "KUBECONFIG="+filepath.Join(dir, "kubeconfig"), "KUBECACHEDIR="+t.TempDir())
	w.want(0, nil, "kubectl", "create", "deployment", "web", "--image=example.com/web")
	before := readState(t, filepath.Join(dir, "state.json"))
	for range 2 {
		w.want(0, nil, "restart", "apiserver", "--dir", dir)
	}
	after := readState(t, filepath.Join(dir, "state.json"))
	if alive(before.Processes[1].PID) || before.Processes[1].PID == after.Processes[1].PID || before.Processes[0].PID != after.Processes[0].PID {
		t.Errorf("processes before %+v, and after %+v", before.Processes, after.Processes)
	}
	w.want(0, nil, "status", "--dir", dir)
	w.want(0, nil, "kubectl", "scale", "deployment", "web", "--replicas=3")
	w.want(0, nil, "kubectl", "wait", "deployment/web", "--for=jsonpath={.status.readyReplicas}=3", "--timeout=40s")
}

func TestBackgroundTellsWhyItBroke(t *testing.T) {
	w := newWorld(t)
	dir := filepath.Join(t.TempDir(), "d")
	w.want(0, nil, "up", "--dir", dir, "--components", "apiserver")
	t.Cleanup(func() { w.run("down", "--dir", dir) })
	s := readState(t, filepath.Join(dir, "state.json"))
	if err := syscall.Kill(s.Processes[1].PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end of the rest", func() bool { return !alive(s.PID) && !alive(s.Processes[0].PID) })
	log := filepath.Join(dir, "logs", "devcluster.log")
	w.want(1, []string{"any more; " + log + " says why"}, "status", "--dir", dir)
	if text, err := os.ReadFile(log); err != nil || !strings.Contains(string(text), "kube-apiserver ended on its own (signal: killed)") {
		t.Errorf("%s: %q, %v", log, text, err)
	}
	w.want(0, nil, "down", "--dir", dir)
}

func TestUpKeepsLogsInGivenDirectory(t *testing.T) {
	w := newWorld(t)
	dir := filepath.Join(t.TempDir(), "d")
	for range 2 { // the second finds the logs of the first
		w.want(0, nil, "up", "--dir", dir, "--components", "apiserver", "--", "true")
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != 1 || entries[0].Name() != "logs" {
			t.Errorf("%v, %v; want the logs and nothing else", entries, err)
		}
	}
	w.want(0, nil, "down", "--dir", dir)
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("%s: %v, want it gone", dir, err)
	}
}
