package ui

import (
	"container/list"
	"sync"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/gitops"
)

// queue holds the events that wait for a writer, in order. Putting one in never
// blocks and none is dropped but Progress that newer Progress of the same
// Kustomization replaces, so what waits is bounded by what the run is about,
// its Kustomizations, their objects and warnings, and not by how long it lasts.
type queue struct {
	mu       sync.Mutex
	events   list.List
	progress map[flux.Ref]*list.Element
	closed   bool
	wake     chan struct{} // holds a token while events wait
}

func newQueue() *queue {
	return &queue{progress: map[flux.Ref]*list.Element{}, wake: make(chan struct{}, 1)}
}

// put is the sink. After close it drops what comes. A report is copied, since
// its owner may go on with it.
func (q *queue) put(e gitops.Event) {
	if e.Report != nil {
		report := *e.Report
		e.Report = &report
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	if e.Type == gitops.Progress {
		if old := q.progress[e.Kustomization]; old != nil {
			q.events.Remove(old)
		}
		q.progress[e.Kustomization] = q.events.PushBack(e)
	} else {
		q.events.PushBack(e)
	}
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take hands out the oldest event. Events are taken one at a time, so that
// Progress is still replaced while the writer is busy with what came before.
func (q *queue) take() (gitops.Event, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	front := q.events.Front()
	if front == nil {
		return gitops.Event{}, false
	}
	e := q.events.Remove(front).(gitops.Event)
	if q.progress[e.Kustomization] == front {
		delete(q.progress, e.Kustomization)
	}
	return e, true
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
}
