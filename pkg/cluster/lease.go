package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
)

var leases = Resource{schema.GroupVersionResource{Group: "coordination.k8s.io", Version: "v1", Resource: "leases"}, "Lease", true}

const (
	// lockFor is how long a lock outlives the last sign of life of its holder, by
	// the API server's clock: a killed run blocks the next for no longer.
	lockFor = 15 * time.Second
	// renewEvery is how often its holder gives one.
	renewEvery = 5 * time.Second
	// lockPoll is how often who waits for a lock looks.
	lockPoll = 500 * time.Millisecond
	// processKey tells a process from all others of its machine.
	processKey = "kubectl-gitops.dev/process"
)

// LockState is what the Lease of a root says.
type LockState struct {
	lease *coordinationv1.Lease // nil for none
	held  bool
}

// Holder names who holds the lock, or held it last; "" for nobody.
func (s LockState) Holder() string {
	if s.lease == nil {
		return ""
	}
	return ptr.Deref(s.lease.Spec.HolderIdentity, "")
}

// Held reports whether a run that lives holds the lock.
func (s LockState) Held() bool { return s.held }

// heldBy reports whether this process holds the lock as holder.
func (s LockState) heldBy(holder string) bool {
	return s.held && s.Holder() == holder && s.lease.Annotations[processKey] == thisProcess()
}

// since is when the holder took the lock.
func (s LockState) since() time.Time {
	if s.lease == nil || s.lease.Spec.AcquireTime == nil {
		return time.Time{}
	}
	return s.lease.Spec.AcquireTime.UTC()
}

// sameAs reports whether nobody has held the lock between s and a later state.
func (s LockState) sameAs(later LockState) bool {
	if s.held || (s.lease == nil) != (later.lease == nil) {
		return false
	}
	return s.lease == nil || s.lease.UID == later.lease.UID && transitions(s.lease) == transitions(later.lease)
}

func transitions(l *coordinationv1.Lease) int32 { return ptr.Deref(l.Spec.LeaseTransitions, 0) }

// BusyError is a lock that another run holds.
type BusyError struct {
	Root   flux.Ref
	Holder string
	Since  time.Time
}

func (e *BusyError) Error() string {
	return fmt.Sprintf("%s: another run holds it: %s, since %s", e.Root, e.Holder, e.Since.Format(time.RFC3339))
}

// Hint is what to type next.
func (e *BusyError) Hint() string {
	return fmt.Sprintf("let it end, or wait for longer: --lock-timeout 10m; if it was killed, its lock ends by itself within %s", lockFor)
}

// LostError is why a run that held a lock must not go on.
type LostError struct {
	Root flux.Ref
	Why  string
}

func (e *LostError) Error() string { return fmt.Sprintf("the lock of %s was lost: %s", e.Root, e.Why) }

// Lock keeps other runs of a root away while it is held.
type Lock struct {
	c     *Cluster
	root  flux.Ref
	lease *coordinationv1.Lease
	// sign is our last sign of life: when it was sent, which is what the others go by. On the
	// clock of the wall, which goes on while we do not.
	sign atomic.Int64
	// Moved says that another run held the lock after the state that Lock was
	// given: what was seen before then may no longer hold.
	Moved bool
}

// LockState reads the lock of a root.
func (c *Cluster) LockState(ctx context.Context, root flux.Ref) (LockState, error) {
	u, err := c.at(leases, root.Namespace).Get(ctx, RecordName(root), metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return LockState{}, nil
	case err != nil:
		return LockState{}, c.lockError(root, "get", err)
	}
	l, err := toLease(u)
	if err != nil {
		return LockState{}, err
	}
	return LockState{lease: l, held: c.alive(l)}, nil
}

// alive reports whether somebody holds l: it was renewed lately, and its holder
// is not known to be dead.
func (c *Cluster) alive(l *coordinationv1.Lease) bool {
	if ptr.Deref(l.Spec.HolderIdentity, "") == "" || l.Spec.RenewTime == nil {
		return false
	}
	if c.now().Sub(l.Spec.RenewTime.Time) > duration(l) {
		return false
	}
	return !isDead(l.Annotations[processKey])
}

// duration is how long l outlives a sign of life.
func duration(l *coordinationv1.Lease) time.Duration {
	return time.Duration(ptr.Deref(l.Spec.LeaseDurationSeconds, int32(lockFor.Seconds()))) * time.Second
}

// Lock takes the lock of a root for holder, and waits for whoever has it for at
// most wait: *BusyError then. seen is a state that was read before; waiting is
// told of the holder. ctx ends the waiting only.
func (c *Cluster) Lock(ctx context.Context, root flux.Ref, holder string, seen LockState, wait time.Duration, waiting func(string)) (*Lock, error) {
	end := time.Now().Add(wait)
	before := seen
	var last string     // the version of the Lease that was seen last
	var since time.Time // when it was seen first, here
	var asked time.Time // the first time that nobody had it
	for failed := 0; ; {
		now, err := c.LockState(ctx, root)
		if err != nil {
			return nil, err
		}
		if failed > 0 && now.heldBy(holder) {
			// We took it, and the answer was lost.
			return c.held(root, now.lease, asked, !seen.sameAs(before)), nil
		}
		switch {
		case !now.held:
		case now.lease.ResourceVersion != last:
			last, since = now.lease.ResourceVersion, time.Now()
		case time.Since(since) > duration(now.lease):
			// A sign of life from the future, of a clock that has been set right since, would
			// count for as long as that was wrong. Who lives gives another.
			now.held = false
		}
		if before = now; now.held {
			if time.Now().After(end) {
				return nil, &BusyError{Root: root, Holder: now.Holder(), Since: now.since()}
			}
			waiting(now.Holder())
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-time.After(lockPoll):
			}
			continue
		}
		if failed == 0 {
			asked = time.Now()
		}
		l, err := c.take(ctx, root, holder, now)
		switch {
		case apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err):
			failed++ // another was faster, or an earlier answer was lost
			continue
		case err != nil && apierrors.ReasonForError(err) == metav1.StatusReasonUnknown && failed < askAgain && sleep(ctx, firstPause) == nil:
			failed++ // nobody knows whether it was taken
			continue
		case err != nil:
			return nil, c.lockError(root, "take", err)
		}
		return c.held(root, l, asked, !seen.sameAs(now)), nil
	}
}

// held is a lock that was asked for at asked.
func (c *Cluster) held(root flux.Ref, lease *coordinationv1.Lease, asked time.Time, moved bool) *Lock {
	l := &Lock{c: c, root: root, lease: lease, Moved: moved}
	l.sign.Store(asked.UnixNano())
	return l
}

// take writes the Lease over the state that was read, or fails with a conflict.
func (c *Cluster) take(ctx context.Context, root flux.Ref, holder string, now LockState) (*coordinationv1.Lease, error) {
	l := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: RecordName(root), Namespace: root.Namespace}}
	if now.lease != nil {
		l = now.lease.DeepCopy()
		l.Spec.LeaseTransitions = ptr.To(transitions(l) + 1)
	}
	metav1.SetMetaDataLabel(&l.ObjectMeta, managedBy, managedByUs)
	metav1.SetMetaDataAnnotation(&l.ObjectMeta, processKey, thisProcess())
	at := metav1.NewMicroTime(c.now())
	l.Spec.HolderIdentity, l.Spec.LeaseDurationSeconds = ptr.To(holder), ptr.To(int32(lockFor.Seconds()))
	l.Spec.AcquireTime, l.Spec.RenewTime = &at, &at
	if now.lease != nil {
		return c.putLease(ctx, l)
	}
	create := func() (*coordinationv1.Lease, error) {
		u, err := fromLease(l)
		if err != nil {
			return nil, err
		}
		if u, err = c.at(leases, l.Namespace).Create(ctx, u, metav1.CreateOptions{FieldManager: managerName}); err != nil {
			return nil, err
		}
		return toLease(u)
	}
	created, err := create()
	if apierrors.IsNotFound(err) {
		if err := c.makeNamespace(ctx, root.Namespace); err != nil {
			return nil, err
		}
		return create()
	}
	return created, err
}

func (c *Cluster) putLease(ctx context.Context, l *coordinationv1.Lease) (*coordinationv1.Lease, error) {
	u, err := fromLease(l)
	if err != nil {
		return nil, err
	}
	if u, err = c.at(leases, l.Namespace).Update(ctx, u, metav1.UpdateOptions{FieldManager: managerName}); err != nil {
		return nil, err
	}
	return toLease(u)
}

// Sure returns once the lock is held for certain, and an error where it is lost or
// ctx, which is the one of Hold, is done. While the last sign of life is older than
// the others may wait for, nobody knows.
func (l *Lock) Sure(ctx context.Context) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		// Round(0) leaves the monotonic clock out: that of a machine that sleeps stands.
		if time.Now().Round(0).Sub(time.Unix(0, l.sign.Load())) < lockFor-renewEvery/2 {
			return nil
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Hold renews the lock until release is called. The context that it returns
// ends, with *LostError as its cause, once the lock can no longer be relied on:
// another took it, or it could not be renewed for as long as it lasts.
func (l *Lock) Hold(ctx context.Context) (held context.Context, release func()) {
	held, lose := context.WithCancelCause(ctx)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		l.renew(context.WithoutCancel(ctx), stop, lose)
	}()
	return held, func() {
		close(stop)
		<-stopped
		lose(nil)
		rctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), renewEvery)
		defer cancel()
		// Where this fails the lock ends by itself; so it does where another has it.
		_ = l.update(rctx, func(lease *coordinationv1.Lease) { lease.Spec.HolderIdentity = ptr.To("") })
	}
}

// update changes the Lease while it is ours. A conflict with ourselves is an
// update of ours whose answer was lost.
func (l *Lock) update(ctx context.Context, change func(*coordinationv1.Lease)) error {
	for again := true; ; again = false {
		next := l.lease.DeepCopy()
		change(next)
		updated, err := l.c.putLease(ctx, next)
		if err == nil {
			l.lease = updated
			return nil
		}
		if !again || !apierrors.IsConflict(err) {
			return err
		}
		now, lerr := l.c.LockState(ctx, l.root)
		if lerr != nil || !now.heldBy(ptr.Deref(l.lease.Spec.HolderIdentity, "")) {
			return err
		}
		l.lease = now.lease
	}
}

func (l *Lock) renew(ctx context.Context, stop <-chan struct{}, lose context.CancelCauseFunc) {
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		sent := time.Now()
		rctx, cancel := context.WithTimeout(ctx, renewEvery)
		err := l.update(rctx, func(lease *coordinationv1.Lease) { lease.Spec.RenewTime = ptr.To(metav1.NewMicroTime(l.c.now())) })
		cancel()
		switch {
		case err == nil:
			last = sent
			l.sign.Store(sent.UnixNano())
		case apierrors.IsNotFound(err):
			lose(&LostError{l.root, "somebody deleted its lease"})
			return
		case apierrors.IsConflict(err):
			by := "another"
			if s, err := l.c.LockState(ctx, l.root); err == nil && s.Holder() != "" {
				by = s.Holder()
			}
			lose(&LostError{l.root, by + " has it now"})
			return
		case time.Since(last) > lockFor:
			lose(&LostError{l.root, fmt.Sprintf("it could not be renewed for %s: %s", lockFor, err)})
			return
		}
	}
}

func (c *Cluster) lockError(root flux.Ref, verb string, err error) error {
	where := fmt.Sprintf("lease/%s in %s", RecordName(root), root.Namespace)
	if apierrors.IsForbidden(err) {
		return c.about(where+", which keeps two runs apart", err)
	}
	return fmt.Errorf("%s: %s: %w", where, verb, err)
}

func toLease(u *unstructured.Unstructured) (*coordinationv1.Lease, error) {
	l := &coordinationv1.Lease{}
	err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, l)
	return l, err
}

func fromLease(l *coordinationv1.Lease) (*unstructured.Unstructured, error) {
	m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(l)
	u := &unstructured.Unstructured{Object: m}
	u.SetAPIVersion("coordination.k8s.io/v1")
	u.SetKind("Lease")
	return u, err
}

// thisProcess tells this process from all others that its machine sees, by what
// Linux has in /proc: the boot, the namespace of process numbers (a container
// has one of its own), the number and when it began. "" where there is no /proc.
func thisProcess() string {
	return processToken(os.Getpid())
}

func processToken(pid int) string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	space, lerr := os.Readlink("/proc/self/ns/pid")
	stat, serr := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Join(err, lerr, serr) != nil {
		return ""
	}
	// proc(5): the state is the first field behind the command, which stands in
	// parentheses and may hold anything; the start is the twentieth.
	_, rest, ok := cutLast(string(stat), ") ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return ""
	}
	return strings.Join([]string{strings.TrimSpace(string(boot)), space, strconv.Itoa(pid), fields[19]}, "/")
}

// isDead reports whether token is of a process that would be seen here and is
// not: what cannot be told counts as alive.
func isDead(token string) bool {
	parts, own := strings.Split(token, "/"), strings.Split(thisProcess(), "/")
	if len(parts) != 4 || len(own) != 4 || parts[0] != own[0] || parts[1] != own[1] {
		return false
	}
	pid, err := strconv.Atoi(parts[2])
	return err == nil && processToken(pid) != token
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}
