//go:build unix

package controlplane

import (
	"io"
	"os"
	"os/exec"
	"syscall"
)

// LifelineVariable is set to "stdin" in the environment of a component that must end when its stdin closes.
const LifelineVariable = "DEVCLUSTER_LIFELINE"

// HoldLifeline ends this process when its parent does, where the parent asked for it and the kernel does not do it.
func HoldLifeline() {
	if os.Getenv(LifelineVariable) != "stdin" {
		return
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
}

// ownGroup puts the command into a process group of its own.
func ownGroup(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
}

// Detach puts the command into a session of its own, so that no terminal's end reaches it.
func Detach(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
}
