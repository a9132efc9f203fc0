package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kubectl-gitops/kubectl-gitops/cmd/devcluster/internal/controlplane"
)

// grace is how long a command may take to end after SIGTERM or SIGHUP.
const grace = 10 * time.Second

// runCommand runs the command to its end, with the signals that devcluster gets. The error is its exit code (128+N
// when signal N ended it), or a *controlplane.ExitError when a component died under it.
func runCommand(ctx context.Context, command []string, failed <-chan *controlplane.Process) error {
	cmd := exec.Command(command[0], command[1:]...)
	if cmd.Err != nil {
		return fmt.Errorf("%w — the command after -- is a program; for shell syntax: devcluster up -- sh -c '…'", cmd.Err)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr

	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer signal.Stop(signals)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err := controlplane.StartTied(cmd); err != nil {
		return fmt.Errorf("%s: %w", command[0], err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()

	var broken error
	var deadline <-chan time.Time
	for {
		select {
		case err := <-ended:
			if broken != nil {
				return broken
			}
			return commandExit(err)
		case s := <-signals:
			// A terminal sends Ctrl-C and Ctrl-\ to the whole foreground process group: the command has it already.
			if fromKeyboard := s == syscall.SIGINT || s == syscall.SIGQUIT; !fromKeyboard || !inForeground() {
				_ = cmd.Process.Signal(s)
			}
			if s == syscall.SIGTERM || s == syscall.SIGHUP {
				deadline = time.After(grace)
			}
		case p := <-failed:
			broken = &controlplane.ExitError{Process: p}
			failed = nil
			_ = cmd.Process.Signal(syscall.SIGTERM)
			deadline = time.After(grace)
		case <-deadline:
			_ = cmd.Process.Kill()
		}
	}
}

// commandExit turns the end of a command into an exit code.
func commandExit(err error) error {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return exitCode(128 + int(status.Signal()))
	}
	return exitCode(exit.ExitCode())
}

// inForeground tells whether this process is in the foreground group of a terminal.
func inForeground() bool {
	tty, err := os.Open("/dev/tty")
	if err != nil {
		return false
	}
	defer tty.Close()
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}
