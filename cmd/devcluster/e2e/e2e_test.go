// Package e2e tests the devcluster binary as its users run it. It imports nothing of the module, so that running the
// tests does not link Kubernetes once more.
package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// binary is the devcluster under test: DEVCLUSTER_BIN, or what build.sh makes.
var binary string

func TestMain(m *testing.M) {
	code, err := runTests(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func runTests(m *testing.M) (code int, err error) {
	if binary = os.Getenv("DEVCLUSTER_BIN"); binary == "" {
		dir, err := os.MkdirTemp("", "devcluster-e2e-")
		if err != nil {
			return 0, err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		binary = filepath.Join(dir, "devcluster")
		build := exec.Command("../build.sh", binary)
		build.Stdout, build.Stderr = os.Stderr, os.Stderr
		if err := build.Run(); err != nil {
			return 0, fmt.Errorf("build.sh: %w", err)
		}
	}
	if binary, err = filepath.Abs(binary); err != nil {
		return 0, err
	}
	if _, err := os.Stat(binary); err != nil {
		return 0, fmt.Errorf("DEVCLUSTER_BIN: %w", err)
	}
	return m.Run(), nil
}

// result is how a program ended.
type result struct {
	stdout, stderr string
	code           int
}

// patience is what a start may take at most.
const patience = 2 * time.Minute

// world is where a test's devclusters live: nothing they make is outside of it.
type world struct {
	t    *testing.T
	temp string
	env  []string
}

// newWorld lets the test run beside others, since starts are waiting for the most part, and fails it when anything is
// left in the temporary directory at its end.
func newWorld(t *testing.T) *world {
	t.Helper()
	t.Parallel()
	w := &world{t: t, temp: t.TempDir()}
	w.env = append(os.Environ(), "TMPDIR="+w.temp, "XDG_STATE_HOME="+t.TempDir(), "HOME="+t.TempDir())
	t.Cleanup(func() {
		entries, err := os.ReadDir(w.temp)
		if err != nil {
			t.Error(err)
		}
		for _, e := range entries {
			t.Errorf("%s is left in the temporary directory", e.Name())
		}
	})
	return w
}

// command is a devcluster that has not been started.
func (w *world) command(args ...string) (*exec.Cmd, *bytes.Buffer, *bytes.Buffer) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	w.t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, binary, args...)
	var stdout, stderr bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = w.env, &stdout, &stderr
	return cmd, &stdout, &stderr
}

// run runs devcluster to its end.
func (w *world) run(args ...string) result {
	w.t.Helper()
	cmd, stdout, stderr := w.command(args...)
	err := cmd.Run()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		w.t.Fatalf("devcluster %q: %v", args, err)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// want fails the test unless devcluster ends with the code and prints each of the texts on stdout or stderr.
func (w *world) want(code int, texts []string, args ...string) result {
	w.t.Helper()
	got := w.run(args...)
	if got.code != code {
		w.t.Fatalf("devcluster %q: exit code %d, want %d\n%s%s", args, got.code, code, got.stdout, got.stderr)
	}
	for _, text := range texts {
		if !strings.Contains(got.stdout+got.stderr, text) {
			w.t.Errorf("devcluster %q does not print %q:\n%s%s", args, text, got.stdout, got.stderr)
		}
	}
	return got
}

// eventually waits for condition to hold.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still waiting for %s", what)
		}
	}
}

// alive tells whether there is a process with the pid that has not ended.
func alive(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	// A process that ended and whose new parent has not noticed yet is a zombie; ps knows on every system.
	state, err := exec.Command("ps", "-o", "stat=", "-p", fmt.Sprint(pid)).Output()
	return err == nil && !strings.HasPrefix(strings.TrimSpace(string(state)), "Z")
}
