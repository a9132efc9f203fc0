package controlplane

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"
)

// RestartSignal asks the process that owns a control plane to restart its API server.
const RestartSignal = syscall.SIGUSR1

// RestartAPIServer kills the API server and starts it again on the same port, as after a crash: connections break,
// and those that come before it serves again wait. It returns when it serves.
func (c *Cluster) RestartAPIServer(ctx context.Context) error {
	if err := c.replaceAPIServer(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		err := c.api.ready(ctx)
		if err == nil {
			c.mu.Lock()
			defer c.mu.Unlock()
			if c.stopped {
				return context.Canceled
			}
			return writeState(c.dir, c.State)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the API server: %w; at last: %v", ctx.Err(), err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (c *Cluster) replaceAPIServer() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return context.Canceled
	}
	i := slices.IndexFunc(c.processes, func(p *Process) bool { return p.Name == apiserverName })
	c.processes[i].replaced.Store(true)
	c.processes[i].kill()
	p, err := c.launch(apiserverName, etcdName, []*os.File{c.socket}, c.apiserverArgs)
	if err != nil {
		return err
	}
	c.processes[i] = p
	c.State.Processes = slices.Clone(c.State.Processes)
	c.State.Processes[i].PID = p.PID
	return nil
}

// AskForRestart asks the process that owns the control plane in dir to restart the API server, and returns when the
// new one serves.
func AskForRestart(ctx context.Context, dir string) error {
	before, err := ReadState(dir)
	if err != nil {
		return err
	}
	owner, err := os.FindProcess(before.PID)
	if err == nil {
		err = owner.Signal(RestartSignal)
	}
	if err != nil {
		return fmt.Errorf("cannot signal process %d, which owns %s: %w", before.PID, dir, err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, errors.New("the API server did not come back; see the logs in "+dir))
	defer cancel()
	for {
		now, err := ReadState(dir)
		if err != nil {
			return err
		}
		if !slices.Equal(now.Processes, before.Processes) {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
