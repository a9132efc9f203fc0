package controlplane

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
)

// Process is a component that runs, or ran.
type Process struct {
	Name string
	PID  int
	Log  string // path of its log

	replaced atomic.Bool // it was killed to be started again
	done     chan struct{}
	err      error // how it ended; valid once done is closed
}

// ExitError says that a component ended on its own.
type ExitError struct {
	Process *Process
}

func (e *ExitError) Error() string {
	return fmt.Sprintf("%s ended on its own (%v); the last lines of %s:\n%s",
		e.Process.Name, e.Process.err, e.Process.Log, tail(e.Process.Log, 20))
}

// tail returns the last n lines of the file at path, each indented.
func tail(path string, n int) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return "  " + err.Error()
	}
	lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	return "  " + strings.Join(lines[max(0, len(lines)-n):], "\n  ")
}

// forker runs functions on one OS thread that lives as long as this process. A child that asks for a signal upon its
// parent's death gets it when the thread that forked it ends, and Go ends threads as it pleases.
var forker = sync.OnceValue(func() chan<- func() {
	work := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range work {
			f()
		}
	}()
	return work
})

// StartTied starts cmd so that it is killed when this process dies, also by SIGKILL.
func StartTied(cmd *exec.Cmd) error {
	tie(cmd)
	result := make(chan error)
	forker() <- func() { result <- cmd.Start() }
	return <-result
}

// start runs a component of the executable with its output in logPath and its working directory dir.
func start(executable, name, dir, logPath string, files []*os.File, args []string) (*Process, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()

	cmd := exec.Command(executable, append([]string{"component", name}, args...)...)
	cmd.Dir = dir
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = files
	// kwok reads defaults from a directory in the user's home unless told otherwise.
	cmd.Env = append(os.Environ(), "KWOK_WORKDIR="+dir)
	// Ctrl-C on a terminal goes to the whole process group; the components must outlive the command they serve.
	ownGroup(cmd)
	lifeline(cmd)
	if err := StartTied(cmd); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &Process{Name: name, PID: cmd.Process.Pid, Log: logPath, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// kill ends the process and returns when it is gone. Nothing is flushed: its state is about to be removed.
func (p *Process) kill() {
	if proc, err := os.FindProcess(p.PID); err == nil {
		select {
		case <-p.done:
		default:
			_ = proc.Kill()
		}
	}
	<-p.done
}
