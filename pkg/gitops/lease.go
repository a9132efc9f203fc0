package gitops

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cluster"
)

// Actor is who makes a run, as locks, Events and annotations name them.
type Actor struct {
	User, Host string
	PID        int
	Version    string // of this program
}

// String names the process: "ada@laptop pid 4711, v0.3.0".
func (a Actor) String() string {
	return fmt.Sprintf("%s@%s pid %d, %s", a.User, a.Host, a.PID, a.Version)
}

// Locked is a root that no other run writes to until Release.
type Locked struct {
	// Context ends when the lock is lost.
	Context context.Context
	Release func()
	// Moved says that another run wrote after the plan was begun: it is to be
	// made again.
	Moved bool
}

// Lock keeps other runs of r's root away, where carrying out r would write
// anything: one with nothing to do takes no lock. wait is for how long another
// run may take to end; *cluster.BusyError is what it comes to then.
func (e *Engine) Lock(ctx context.Context, r *Run, wait time.Duration) (*Locked, error) {
	if !e.writes(r) {
		return &Locked{Context: ctx, Release: func() {}}, nil
	}
	root := r.Root.Ref
	lock, err := e.Cluster.Lock(ctx, root, e.Actor.String(), r.lock, wait, func(holder string) {
		e.progress(root, "waiting for another run to end: "+holder)
	})
	if err != nil {
		return nil, err
	}
	e.lock = lock
	held, release := lock.Hold(ctx)
	return &Locked{Context: held, Release: release, Moved: lock.Moved}, nil
}

// holds waits until it is certain that no other run may write: a process that was
// stopped for a while, with its machine or by Ctrl-Z, may have lost the lock, and
// does not know yet.
func (e *Engine) holds(ctx context.Context) error {
	if e.lock == nil {
		return ctx.Err()
	}
	return e.lock.Sure(ctx)
}

// lost reports whether another run may write by now: this one writes nothing more.
func lost(ctx context.Context) bool {
	var l *cluster.LostError
	return errors.As(context.Cause(ctx), &l)
}

// writes reports whether carrying out r would write anything beyond the
// condition of what fails.
func (e *Engine) writes(r *Run) bool {
	for _, p := range r.Kustomizations {
		if p.Suspended || len(p.Problems) > 0 && !e.Options.KeepGoing {
			continue
		}
		if p.Writes() > 0 || !p.remembered(p.Inventory()) {
			return true
		}
	}
	return false
}

// lookAtLock notes whether another run holds the root: what is read from now on
// may change under a plan that is only to be shown.
func (e *Engine) lookAtLock(ctx context.Context, r *Run) {
	if e.lock != nil {
		r.warn(e, Warning{Code: "planned-again", Object: r.Root.Ref.String(),
			Message: "another run wrote after this one had looked: planned again"})
		return
	}
	// One that may not be read is told when it is to be taken.
	if r.lock, _ = e.Cluster.LockState(ctx, r.Root.Ref); r.lock.Held() {
		r.warn(e, Warning{Code: "another-run", Object: r.Root.Ref.String(),
			Message: "another run is under way, and may change what is read here: " + r.lock.Holder()})
	}
}
