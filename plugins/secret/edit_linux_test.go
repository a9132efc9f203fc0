package secret

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// editUnderWay starts an edit, in a process of its own, whose editor stays until
// the test ends. memory is a directory for the text.
func editUnderWay(t *testing.T, dir, memory string) (c *exec.Cmd, text string) {
	t.Helper()
	runIn(t, dir, "", "keygen", "--out", "keys.txt")
	if err := os.Mkdir(filepath.Join(dir, ".git"), 0o755); err != nil {
		t.Fatal(err)
	}
	const manifest = "apiVersion: v1\nkind: Secret\nstringData: {a: hunter2}\n"
	recipient := strings.TrimSpace(runIn(t, dir, "", "keygen", "--out", "keys2.txt").out)
	if got := runIn(t, dir, manifest, "encrypt", "-", "--out", "a.yaml", "--age", recipient); got.code != 0 {
		t.Fatalf("got %+v", got)
	}
	editor := filepath.Join(dir, "editor.sh")
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf("#!/bin/sh\necho \"$1\" > %[1]s/where.tmp; mv %[1]s/where.tmp %[1]s/where; read x < %[1]s/fifo\n", dir)
	if err := os.WriteFile(editor, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	c = exec.Command(os.Args[0], "edit", "a.yaml")
	c.Dir = dir
	c.Env = []string{testMain + "=1", "HOME=" + dir, "PATH=" + os.Getenv("PATH"), "SOPS_AGE_KEY_FILE=" + filepath.Join(dir, "keys2.txt"), "EDITOR=" + editor, "XDG_RUNTIME_DIR=" + memory}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
		if f, err := os.OpenFile(fifo, os.O_WRONLY|syscall.O_NONBLOCK, 0); err == nil { // lets the editor go
			_ = f.Close()
		}
	})
	eventually(t, "the editor has the text", func() bool {
		where, err := os.ReadFile(filepath.Join(dir, "where"))
		text = strings.TrimSpace(string(where))
		return err == nil
	})
	if got, err := os.ReadFile(text); err != nil || !bytes.Contains(got, []byte("hunter2")) || !strings.HasPrefix(text, memory+"/") {
		t.Fatalf("got %v, %s in %s", err, got, text)
	}
	return c, text
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in a minute: %s", what)
		}
	}
}

// memoryDir is a directory in memory that is this test's alone.
func memoryDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "kubectl-gitops-test-")
	if err != nil {
		t.Skip("there is no /dev/shm here")
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func gone(path string) bool {
	_, err := os.Lstat(path)
	return os.IsNotExist(err)
}

// Killed in the middle of an edit, with the editor still there: the guard removes
// the text.
func TestGuardRemovesWhatAKilledEditLeaves(t *testing.T) {
	dir, memory := t.TempDir(), memoryDir(t)
	c, text := editUnderWay(t, dir, memory)
	for pid, line := range processes(t) {
		if strings.Contains(line, "hunter2") || strings.Contains(line, "AGE-SECRET-KEY") {
			t.Errorf("the process list has it: %d: %s", pid, line)
		}
	}
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait()
	eventually(t, "the guard has removed the text", func() bool { return gone(filepath.Dir(text)) })
	eventually(t, "the guard is gone", func() bool { return guardOf(t, text) == 0 })
}

// The guard killed first: the next command removes the text; it does not touch
// that of an edit that is under way, nor what is somebody else's.
func TestNextCommandRemovesStrays(t *testing.T) {
	dir, memory := t.TempDir(), memoryDir(t)
	c, text := editUnderWay(t, dir, memory)
	t.Setenv("XDG_RUNTIME_DIR", memory)
	outside := filepath.Join(dir, "outside")
	if err := os.Mkdir(outside, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(memory, "kubectl-gitops-edit-link")); err != nil {
		t.Fatal(err)
	}
	anyCommand := func() {
		e := exec.Command(os.Args[0], "decrypt", "a.yaml")
		e.Dir, e.Env = dir, c.Env
		if out, err := e.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	anyCommand()
	if gone(text) {
		t.Fatal("the text of an edit that is under way was removed")
	}
	if err := syscall.Kill(guardOf(t, text), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait()
	if gone(text) {
		t.Fatal("nobody was there to remove it")
	}
	anyCommand()
	if !gone(filepath.Dir(text)) || gone(outside) {
		t.Errorf("the stray is there still, or too much is gone")
	}
}

// Ended in good order, the edit takes everything along, and its editor.
func TestTerminatedEditLeavesNothing(t *testing.T) {
	dir, memory := t.TempDir(), memoryDir(t)
	c, text := editUnderWay(t, dir, memory)
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait()
	if c.ProcessState.ExitCode() != 130 || !gone(filepath.Dir(text)) {
		t.Errorf("exit code %d, the text is there: %t", c.ProcessState.ExitCode(), !gone(text))
	}
	if left, _ := os.ReadDir(memory); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func processes(t *testing.T) map[int]string {
	t.Helper()
	out := make(map[int]string)
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range lines {
		line, _ := os.ReadFile(path)
		pid, _ := strconv.Atoi(strings.Split(path, "/")[2])
		out[pid] = string(line)
	}
	return out
}

func guardOf(t *testing.T, text string) int {
	for pid, line := range processes(t) {
		if strings.Contains(line, "guard\x00"+filepath.Dir(text)) {
			return pid
		}
	}
	return 0
}
