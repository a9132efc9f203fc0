package gitops

import (
	"time"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
)

// Event is one thing that happened during a run, for whoever watches it.
type Event struct {
	Time time.Time
	// Kustomization is what it happened to; zero for the run as a whole.
	Kustomization flux.Ref
	Type          EventType
	// Message is what is being done or waited for, one line without a period:
	// "rendering apps", "waiting for deployment.apps/api in app: 1 of 3 available".
	Message string
	// Change is set for ObjectDone.
	Change ChangeReport
	// Report is set for KustomizationDone.
	Report *KustomizationReport
	// Warning is set for WarningFound.
	Warning Warning
}

// EventType tells what an Event is about.
type EventType int

const (
	// RunStarted comes once, when source, root and cluster are known: Message is
	// the line "cluster: …  root: …  revision: …".
	RunStarted EventType = iota
	// KustomizationQueued comes once for each Kustomization, in the order of the plan.
	KustomizationQueued
	// Progress replaces the Kustomization's previous Message.
	Progress
	// ObjectDone comes for each object written, deleted, skipped or failed.
	ObjectDone
	// KustomizationDone comes once for each Kustomization, with its report.
	KustomizationDone
	// WarningFound comes for each warning, as it is found.
	WarningFound
)

// Sink takes events. It must not block for long, and cannot fail a run.
type Sink func(Event)

// emit stamps the event and hands it on; a nil Sink drops it.
func (s Sink) emit(e Event) {
	if s == nil {
		return
	}
	e.Time = time.Now()
	s(e)
}
