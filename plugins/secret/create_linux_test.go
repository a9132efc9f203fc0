package secret

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// What is typed for --from-prompt is not shown, and Ctrl-C gives the terminal back
// as it was.
func TestPromptShowsNothing(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, ".git"), 0o755); err != nil {
		t.Fatal(err)
	}
	runIn(t, dir, "", "keygen", "--out", "keys.txt")
	master, slave := terminalPair(t)
	var shown, said lockedBuffer
	go func() { _, _ = io.Copy(&shown, master) }()
	start := func() *exec.Cmd {
		c := exec.Command(os.Args[0], "create", "generic", "db", "--from-prompt=password")
		c.Dir, c.Stdin, c.Stderr = dir, slave, &said
		c.Env = []string{testMain + "=1", "HOME=" + dir, "PATH=" + os.Getenv("PATH")}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Process.Kill() })
		return c
	}
	c := start()
	for _, prompt := range []string{"password: ", "password, once more: "} {
		eventually(t, prompt, func() bool { return said.Contains(prompt) && !echoes(t, slave) })
		if _, err := master.WriteString("hunter2\n"); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Wait(); err != nil || !echoes(t, slave) {
		t.Fatalf("%v: %s", err, said.String())
	}
	if said.Contains("hunter2") || shown.Contains("hunter2") {
		t.Errorf("shown: %q, %q", shown.String(), said.String())
	}

	said.Reset()
	if err := os.Remove(filepath.Join(dir, "db.yaml")); err != nil {
		t.Fatal(err)
	}
	c = start()
	eventually(t, "asked again", func() bool { return said.Contains("password: ") && !echoes(t, slave) })
	if err := c.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait()
	if c.ProcessState.ExitCode() != 130 || !echoes(t, slave) || !gone(filepath.Join(dir, "db.yaml")) {
		t.Errorf("exit code %d, the terminal shows what is typed: %t", c.ProcessState.ExitCode(), echoes(t, slave))
	}
}

func terminalPair(t *testing.T) (master, slave *os.File) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	master = os.NewFile(uintptr(fd), "ptmx")
	t.Cleanup(func() { _ = master.Close() })
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = slave.Close() })
	return master, slave
}

func echoes(t *testing.T, terminal *os.File) bool {
	t.Helper()
	state, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return state.Lflag&unix.ECHO != 0
}

// lockedBuffer is a buffer that a process writes to while a test looks.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *lockedBuffer) Contains(s string) bool { return bytes.Contains([]byte(l.String()), []byte(s)) }

func (l *lockedBuffer) Reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b.Reset()
}
