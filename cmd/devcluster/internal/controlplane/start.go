// Package controlplane starts the components of a Kubernetes control plane as processes on loopback, waits until they
// can be used, and ends them together. It knows the components only by their arguments.
package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

// startTimeout is how long a start may take: far above what a loaded machine of two cores needs.
const startTimeout = 2 * time.Minute

// Options are what Start needs to know.
type Options struct {
	Dir        string // where to keep everything; "" for a temporary directory
	Components Set
	Nodes      int    // simulated nodes; with All only
	Executable string // the program whose `component NAME` are the components
	// IgnoreMemory starts although too little memory is available.
	IgnoreMemory bool
	Versions     map[string]string // what runs, for State
}

// Cluster is a control plane that runs.
type Cluster struct {
	State State
	// Bin is a directory in which `kubectl` is the executable.
	Bin string

	dir    *Dir
	failed chan *Process

	// What a restart of the API server needs.
	executable    string
	socket        *os.File // it listens on the API server's port, whether there is an API server or not
	apiserverArgs []string
	api           *api

	mu        sync.Mutex // of the rest, and of State once the start is over
	processes []*Process
	stopped   bool
}

// Names of components.
const (
	etcdName      = "etcd"
	apiserverName = "kube-apiserver"
)

// Start starts a control plane and returns when it can be used. Upon an error nothing is left but the logs, and these
// only where a component failed.
func Start(ctx context.Context, opts Options) (*Cluster, error) {
	if available, ok := memoryAvailable(); ok && !opts.IgnoreMemory {
		if err := memoryError(opts.Components, available); err != nil {
			return nil, err
		}
	}
	Sweep()
	dir, err := Claim(opts.Dir)
	if err != nil {
		return nil, err
	}
	c := &Cluster{dir: dir, failed: make(chan *Process, 8), executable: opts.Executable}
	begin := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("not ready after %s", startTimeout))
	defer cancel()
	if err := c.start(ctx, opts); err != nil {
		c.killAll()
		var failed *ExitError
		return nil, errors.Join(err, dir.Remove(errors.As(err, &failed)))
	}
	c.State.Took = time.Since(begin)
	if err := writeState(dir, c.State); err != nil {
		return nil, errors.Join(err, c.Stop(false))
	}
	return c, nil
}

// memoryError says why the set must not start with so many bytes available. It is nil when it may.
func memoryError(set Set, available uint64) error {
	need := set.memoryNeeded()
	if available >= need {
		return nil
	}
	hint := "free some"
	if set == All {
		hint += ", start less with --components apiserver"
	}
	return fmt.Errorf("too little memory: %d MiB are available, --components %s needs %d MiB — %s, or go on with --ignore-memory",
		available>>20, set, need>>20, hint)
}

// start is the whole order of a start.
func (c *Cluster) start(ctx context.Context, opts Options) error {
	credentials, err := newCredentials(c.dir)
	if err != nil {
		return fmt.Errorf("make credentials in %s: %w", c.dir.Path, err)
	}
	if c.Bin, err = linkKubectl(c.dir, opts.Executable); err != nil {
		return err
	}
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("no free port on 127.0.0.1: %w — see what holds them with: ss -ltn", err)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	c.socket, err = listener.(*net.TCPListener).File()
	if err := errors.Join(err, listener.Close()); err != nil {
		return err
	}

	server := fmt.Sprintf("https://127.0.0.1:%d", port)
	c.State = State{
		PID:        os.Getpid(),
		Server:     server,
		Components: opts.Components,
		Nodes:      nodeNames(opts),
		Dir:        c.dir.Path,
		Kubeconfig: c.dir.file(kubeconfigName),
		CacheDir:   c.dir.file(cacheDir),
		Versions:   opts.Versions,
		Started:    time.Now(),
	}
	if err := writeKubeconfig(c.State.Kubeconfig, server, credentials.ca, []contextUser{
		{"devcluster", credentials.users[Admin]},
		{"devcluster-nobody", credentials.users[Nobody]},
		{"devcluster-viewer", credentials.users[Viewer]},
	}); err != nil {
		return err
	}

	if err := c.run(etcdName, etcdName, nil, etcdArgs()); err != nil {
		return err
	}
	// The API server runs in etcd's directory, where the sockets are.
	c.apiserverArgs = apiserverArgs(c.dir, opts.Components, port)
	if err := c.run(apiserverName, etcdName, []*os.File{c.socket}, c.apiserverArgs); err != nil {
		return err
	}
	api, err := newAPI(server, credentials.ca, credentials.users[Admin].Token)
	if err != nil {
		return err
	}
	c.api = api
	if err := c.wait(ctx, "the API server", api.ready); err != nil {
		return err
	}
	if opts.Components == APIServer {
		return c.wait(ctx, "the namespace default", api.exists("/api/v1/namespaces/default"))
	}

	if err := c.runControllers(credentials, server); err != nil {
		return err
	}
	for _, name := range c.State.Nodes {
		if err := api.createNode(ctx, name); err != nil {
			return fmt.Errorf("create node %s: %w", name, err)
		}
	}
	for _, name := range c.State.Nodes {
		if err := c.wait(ctx, "the node "+name, api.nodeReady(name)); err != nil {
			return err
		}
	}
	return c.wait(ctx, "the service account of the namespace default", api.exists("/api/v1/namespaces/default/serviceaccounts/default"))
}

// runControllers starts what acts on objects: the controllers, the scheduler, and the kubelets' stand-in.
func (c *Cluster) runControllers(credentials *credentials, server string) error {
	for _, component := range []struct {
		name, user string
		args       func(kubeconfig string) []string
	}{
		{"kube-controller-manager", "system:kube-controller-manager", func(k string) []string { return controllerManagerArgs(c.dir, k) }},
		{"kwok", "kwok", kwokArgs},
		{"kube-scheduler", "system:kube-scheduler", schedulerArgs},
	} {
		kubeconfig, err := componentKubeconfig(c.dir, credentials, server, component.user)
		if err != nil {
			return err
		}
		if err := c.run(component.name, component.name, nil, component.args(kubeconfig)); err != nil {
			return err
		}
	}
	return nil
}

// run starts a component with the working directory dir, which etcd and the API server share.
func (c *Cluster) run(name, dir string, files []*os.File, args []string) error {
	p, err := c.launch(name, dir, files, args)
	if err != nil {
		return err
	}
	c.processes = append(c.processes, p)
	c.State.Processes = append(c.State.Processes, ProcessState{Name: p.Name, PID: p.PID, Log: p.Log})
	return nil
}

// launch starts the process of a component. Failed delivers it when it ends and has not been replaced.
func (c *Cluster) launch(name, dir string, files []*os.File, args []string) (*Process, error) {
	if err := os.MkdirAll(c.dir.file(logsDir), 0o700); err != nil {
		return nil, err
	}
	p, err := start(c.executable, name, c.dir.file(runDir, dir), c.dir.file(logsDir, name+".log"), files, args)
	if err != nil {
		return nil, err
	}
	go func() {
		<-p.done
		if !p.replaced.Load() {
			c.failed <- p
		}
	}()
	return p, nil
}

// wait polls until condition holds. It ends early when ctx does or a component dies.
func (c *Cluster) wait(ctx context.Context, what string, condition func(context.Context) error) error {
	for {
		err := condition(ctx)
		if err == nil {
			return nil
		}
		select {
		case p := <-c.failed:
			return &ExitError{Process: p}
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return ctx.Err()
			}
			return fmt.Errorf("waiting for %s: %w; at last: %v; logs are in %s", what, context.Cause(ctx), err, c.dir.file(logsDir))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Failed delivers a component that ended although nobody stopped it.
func (c *Cluster) Failed() <-chan *Process { return c.failed }

// Stop ends every component and removes what Start made. With keepLogs the logs stay.
func (c *Cluster) Stop(keepLogs bool) error {
	c.killAll()
	return c.dir.Remove(keepLogs)
}

// Temporary tells whether Start chose the directory.
func (c *Cluster) Temporary() bool { return c.dir.Temporary }

// Dir returns the directory of the cluster.
func (c *Cluster) Dir() string { return c.dir.Path }

// killAll ends the components, those first that write through the others.
func (c *Cluster) killAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped = true
	if c.socket != nil {
		_ = c.socket.Close()
	}
	for i := len(c.processes) - 1; i >= 0; i-- {
		c.processes[i].kill()
	}
}

func nodeNames(opts Options) []string {
	if opts.Components == APIServer {
		return nil
	}
	names := make([]string, 0, opts.Nodes)
	for i := range opts.Nodes {
		names = append(names, fmt.Sprintf("devcluster-%d", i+1))
	}
	return names
}
