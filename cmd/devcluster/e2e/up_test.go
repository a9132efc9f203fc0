package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// apiserver are the arguments of an `up` that is fast.
func apiserver(command ...string) []string {
	return append([]string{"up", "--components", "apiserver", "--"}, command...)
}

func TestUpRunsCommandWithNodesAndKubectl(t *testing.T) {
	w := newWorld(t)
	got := w.want(0, []string{"devcluster-1", "devcluster-2", "ready in"}, "up", "--nodes", "2", "--", "kubectl", "get", "nodes", "--no-headers")
	if n := strings.Count(got.stdout, " Ready "); n != 2 {
		t.Errorf("%d nodes are Ready, want 2:\n%s", n, got.stdout)
	}
}

func TestUpPassesExitCodeOn(t *testing.T) {
	w := newWorld(t)
	w.want(7, nil, apiserver("sh", "-c", "exit 7")...)
}

func TestUpReportsSignalOfCommandAsShellsDo(t *testing.T) {
	w := newWorld(t)
	w.want(128+9, nil, apiserver("sh", "-c", "kill -9 $$")...)
}

func TestUpFindsPluginNextToItself(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	plugin := filepath.Join(dir, "kubectl-greet")
	if err := os.WriteFile(plugin, []byte("#!/bin/sh\necho \"hello $1\"\nexit 5\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	// The plugin's folder comes after the one of the binary, so this is PATH's own rule at work.
	w.env = append(w.env, "PATH="+dir+":"+os.Getenv("PATH"))
	w.want(5, []string{"hello you"}, apiserver("kubectl", "greet", "you")...)
}

func TestUpForwardsTerm(t *testing.T) {
	w := newWorld(t)
	cmd, stdout, stderr := w.command(apiserver("sh", "-c", "trap 'echo bye; exit 3' TERM; echo go > $DEVCLUSTER/cache; while :; do sleep 0.1; done")...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the command", func() bool { return len(w.glob("devcluster-*/cache")) == 1 })
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 3 || stdout.String() != "bye\n" {
		t.Errorf("exit code %d, stdout %q; want 3 and the command's last word\n%s", code, stdout, stderr)
	}
}

func TestUpInterruptedWhileStartingLeavesNothing(t *testing.T) {
	w := newWorld(t)
	cmd, _, stderr := w.command(apiserver("true")...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the start", func() bool { return len(w.glob("devcluster-*/logs/etcd.log")) == 1 })
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 130 {
		t.Errorf("exit code %d, want 130\n%s", code, stderr)
	}
}

func TestUpKilledLeavesNoProcessAndNextSweeps(t *testing.T) {
	w := newWorld(t)
	cmd, _, stderr := w.command(apiserver("sh", "-c", "echo $$ > $DEVCLUSTER/cache.tmp; mv $DEVCLUSTER/cache.tmp $DEVCLUSTER/cache; exec sleep 300")...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the command", func() bool { return len(w.glob("devcluster-*/cache")) == 1 })
	pids := w.pids()
	if len(pids) != 3 {
		t.Fatalf("pids %v, want etcd, API server and the command\n%s", pids, stderr)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	for _, pid := range pids {
		eventually(t, "the end of process "+strconv.Itoa(pid), func() bool { return !alive(pid) })
	}
	if left := w.glob("devcluster-*"); len(left) != 1 {
		t.Errorf("%v is left, want the killed one's directory", left)
	}
	w.want(0, nil, apiserver("true")...)
}

func TestUpTwoSideBySide(t *testing.T) {
	w := newWorld(t)
	var both sync.WaitGroup
	for _, name := range []string{"one", "two"} {
		both.Go(func() {
			// Each waits for the other, so that both run at the same time.
			script := "touch $TMPDIR/../" + name + "; until [ -e $TMPDIR/../one ] && [ -e $TMPDIR/../two ]; do sleep 0.05; done; " +
				"kubectl create namespace " + name + " && kubectl get namespaces -o name"
			got := w.run(apiserver("sh", "-c", script)...)
			if got.code != 0 || strings.Contains(got.stdout, "namespace/one") == strings.Contains(got.stdout, "namespace/two") {
				t.Errorf("%s: exit code %d\n%s%s", name, got.code, got.stdout, got.stderr)
			}
		})
	}
	both.Wait()
}

func TestUpNamesComponentThatDied(t *testing.T) {
	w := newWorld(t)
	cmd, _, stderr := w.command(apiserver("sh", "-c", "echo $$ > $DEVCLUSTER/cache.tmp; mv $DEVCLUSTER/cache.tmp $DEVCLUSTER/cache; exec sleep 300")...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the command", func() bool { return len(w.glob("devcluster-*/cache")) == 1 })
	if err := syscall.Kill(w.state().Processes[0].PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // long before the command's 300 seconds are over, or it is killed, and ends with another code
	if code := cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(stderr.String(), "etcd ended on its own (signal: killed)") {
		t.Errorf("exit code %d, want 1 and an error that names etcd\n%s", code, stderr)
	}
	logs := w.glob("devcluster-*/logs/etcd.log")
	if len(logs) != 1 || !strings.Contains(stderr.String(), logs[0]) {
		t.Errorf("logs %v, want the one that the error names\n%s", logs, stderr)
	}
	w.want(0, nil, apiserver("true")...) // which sweeps
}

func TestUpRefuses(t *testing.T) {
	w := newWorld(t)
	foreign := t.TempDir()
	if err := os.WriteFile(filepath.Join(foreign, "thesis.tex"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		args []string
		want string
	}{
		{"foreign directory", []string{"up", "--dir", foreign, "--", "true"}, "is not empty and not a devcluster's"},
		{"directory below a file", []string{"up", "--dir", filepath.Join(foreign, "thesis.tex", "x"), "--", "true"}, "choose another with --dir"},
		{"unknown components", []string{"up", "--components", "some", "--", "true"}, `"some" is neither all nor apiserver`},
		{"command without dashes", []string{"up", "true"}, "devcluster up -- true"},
		{"dashes without command", []string{"up", "--"}, "no command after --"},
		{"nodes", []string{"up", "--nodes", "-1", "--", "true"}, "--nodes -1"},
		{"no such command", apiserver("no-such-program"), "devcluster up -- sh -c"},
	} {
		t.Run(test.name, func(t *testing.T) { w.want(1, []string{test.want}, test.args...) })
	}
}

// glob returns what matches in the temporary directory.
func (w *world) glob(pattern string) []string {
	w.t.Helper()
	paths, err := filepath.Glob(filepath.Join(w.temp, pattern))
	if err != nil {
		w.t.Fatal(err)
	}
	return paths
}

// state is the part of state.json that the tests read.
type state struct {
	PID       int
	Processes []struct {
		Name string
		PID  int
	}
}

// state reads that of the one devcluster in the temporary directory.
func (w *world) state() state {
	w.t.Helper()
	paths := w.glob("devcluster-*/state.json")
	if len(paths) != 1 {
		w.t.Fatalf("%v, want one state.json", paths)
	}
	return readState(w.t, paths[0])
}

func readState(t *testing.T, path string) state {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var s state
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// pids are those of the components, and the one that the command wrote into the file `cache`.
func (w *world) pids() []int {
	w.t.Helper()
	var pids []int
	for _, p := range w.state().Processes {
		pids = append(pids, p.PID)
	}
	text, err := os.ReadFile(w.glob("devcluster-*/cache")[0])
	if err != nil {
		w.t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		w.t.Fatal(err)
	}
	return append(pids, pid)
}
