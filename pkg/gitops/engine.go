// Package gitops is the reconcile itself. Plan reads: it renders every
// Kustomization below the root, observes the cluster, and decides each change.
// Apply executes that very plan, once. Both report through events; exit codes
// come from their results.
package gitops

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"sync"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cache"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/cluster"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/plan"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/registry"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/render"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/secret"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/source"
)

// Engine holds what a run works on. The zero value of a field is not useful
// but for Events.
type Engine struct {
	Cluster     *cluster.Cluster
	Source      *source.Snapshot
	Keys        *secret.Keyring
	Auth        source.Auth      // for the sources that Kustomizations name beside the one at hand
	Registries  *registry.Client // for artifacts; nil is one of its own
	SourceCache string           // directory for what Git servers sent; \"\" for none
	Options     Options
	Actor       Actor
	Events      Sink
	Cache       *cache.Dir // what earlier runs found out; nil for nothing

	verdicts *cache.Verdicts
	compared *comparison // with another state of the source; nil where a cluster is asked
	lookedUp sync.Map    // object.ID -> true: read by name, since no Kustomization of the run declares it

	begun    bool          // the first line is out
	lock     *cluster.Lock // keeps other runs from writing; nil for none
	identity string        // of the source, as the cluster remembers it

	clusterRoot *flux.Kustomization // the root as the cluster has it, where there was no source at hand
}

// Options are the decisions of the user, as flags state them (see cli.md).
type Options struct {
	Path string   // entry path in the source
	Root flux.Ref // the root Kustomization where the entry does not declare one

	Names            []flux.Ref // only these and what they depend on; all if empty
	KeepSpec         bool       // those of Names keep the spec that the cluster has
	NoDeps           bool
	IncludeSuspended bool

	Wait    WaitMode
	Timeout time.Duration // health wait where spec.timeout is absent

	ChangeRoot    bool // let the cluster have another root than it remembers
	AllowRollback bool // let it go back to an earlier revision
	Adopt         bool // take over objects that others have marked as theirs

	Prune       bool     // ANDed with spec.prune
	AllowPrune  int      // deletions of the run that are expected, -1 for none said
	AllowDelete []string // kinds that may be deleted although they take data along
	Allow       []string // codes of checks that may be overridden

	Verify VerifyMode // when the server is asked; VerifyAuto if ""
	Guess  bool       // the plan is only shown: what the server may not be asked is predicted

	Force          bool // recreate where a field is immutable
	KeepGoing      bool // write what is not refused although something is
	Concurrency    int  // requests under way at once, 16 if 0
	AllowDirty     bool
	StrictVars     bool
	KeepSealed     bool              // what no key at hand opens is rendered as it is
	Values         map[string]string // in place of substituteFrom, where no cluster is asked
	Given          *Given            // a Kustomization that is not in the source, all that Build renders
	RemoteBases    bool
	IgnoreMAC      bool
	FluxComponents ComponentsMode
}

// WaitMode tells what health is waited for.
type WaitMode string

// The values of --wait.
const (
	WaitAll  WaitMode = "true"  // all that the Kustomization declares
	WaitSpec WaitMode = "spec"  // what spec.wait and spec.healthChecks name, as Flux
	WaitNone WaitMode = "false" // nothing
)

// ComponentsMode tells what becomes of the Flux controllers that a bootstrap
// repository carries.
type ComponentsMode string

// The values of --flux-components.
const (
	ComponentsAuto  ComponentsMode = "auto"  // applied only where a Flux controller runs
	ComponentsApply ComponentsMode = "apply" // applied
	ComponentsSkip  ComponentsMode = "skip"  // left out
)

// Run is a plan: a value that can be shown, refused or executed, once.
type Run struct {
	Revision string
	// Previous is the revision that the cluster had of the root, "" for none.
	Previous string
	Root     *Planned
	// Kustomizations are in an order in which each comes after those it depends
	// on and after its parent, as far as there are no cycles.
	Kustomizations []*Planned
	Warnings       []Warning

	started  time.Time
	checked  bool        // checkSources has run
	live     liveObjects // what was seen of the clusters
	present  map[spaceAt]cluster.Presence
	records  *cluster.RecordSet          // of all Kustomizations; nil until the root is known
	crds     map[kindAt]*definition      // kinds that the run itself defines
	spaces   map[spaceAt]*Planned        // namespaces that the run itself makes
	hasFlux  bool                        // the cluster has the Kustomization kind already
	before   map[*Planned][]*Planned     // what must have ended before: named, or found out
	clusters map[string]*cluster.Cluster // beside the one at hand, and as whom
	leaving  map[spaceAt]string          // what keeps namespaces that are being deleted
	mu       sync.Mutex                  // guards Warnings and leaving

	declaredAll []*Planned             // also those that the user's names leave out
	otherSource bool                   // the cluster remembers another one, whose history is not this one's
	lock        cluster.LockState      // before anything else was read
	forward     map[string]bool        // recorded revisions that the one at hand may follow
	artifacts   map[object.ID]artifact // sources that were opened, other than the root's
	atHand      *source.Snapshot       // the root's source, as its artifact
	untrusted   *Refused               // why the source at hand cannot be trusted

	applied map[string]*source.Snapshot // commits that the cluster has, nil for one that is not to be had
	secrets func() ([]string, error)    // secretValues, once
}

// Planned is what is to be done for one Kustomization.
type Planned struct {
	flux.Kustomization
	Parent   *Planned // nil for the root
	Revision string   // of its source

	// Problems are why it cannot be applied, all that are known. None of its
	// objects is written if there is one.
	Problems  []Problem
	Suspended bool

	// Changes has one entry for each object that is declared, in apply order.
	Changes []plan.Change
	// Prunes has one entry for each object that is owned and no longer declared,
	// in the order of deletion. Those that stay say why.
	Prunes []plan.Change
	// Removed are the Kustomizations that its prune takes along, with their own.
	Removed []*Planned
	// LeftOut are the parts of Flux itself that are not applied.
	LeftOut []object.ID

	cluster   *cluster.Cluster // where its objects are, as whoever it is applied as
	snapshot  *source.Snapshot
	atHand    bool                    // its source is the one at hand
	keys      *secret.Keyring         // that may open its files
	variables map[string]string       // of spec.postBuild; nil where nothing is substituted
	hidden    []string                // values among them that are not to be shown
	inputs    cache.Sum               // of what it is rendered from beside the files
	trace     *cache.Trace            // of its rendering
	recalled  *recalled               // what an earlier run rendered; nil where this one has
	spared    *spared                 // why it is not rendered, until it is needed
	reach     *render.Reach           // of what does not render, once asked for
	twin      *Planned                // what it is on the other side of a comparison, which cannot differ
	sums      map[object.ID]cache.Sum // of what is declared
	files     *secret.FS
	rendered  *render.Result
	objects   []object.Object    // what is declared, with owner labels, normalized
	closed    map[object.ID]bool // Secrets with an entry that no key at hand opens
	record    *cluster.Record
	digest    string
	moves     map[object.ID]*Planned      // stale objects that another Kustomization of the run declares now
	otherRoot bool                        // the cluster remembers another root
	reason    string                      // Flux's word for the first problem
	node      *yaml.Node                  // of its document, where it is not in the source
	origin    *render.Result              // what declares it; nil for a root that nothing declares
	rules     flux.HealthRules            // spec.healthCheckExprs
	ready     map[flux.Ref]flux.ReadyExpr // spec.dependsOn[].readyExpr
	ignore    plan.Ignore                 // spec.ignore
}

// Inventory is what the Kustomization will own once the plan is carried out.
func (p *Planned) Inventory() plan.Inventory {
	inv := make(plan.Inventory, 0, len(p.Changes))
	for _, c := range p.Changes {
		inv = append(inv, c.Entry())
	}
	for _, c := range p.Prunes {
		if c.Action == plan.Skip && c.Reason != keptByOther {
			inv = append(inv, c.Entry())
		}
	}
	return inv
}

// Writes counts the objects that the plan would write or delete.
func (p *Planned) Writes() int {
	n := 0
	for _, c := range slices.Concat(p.Changes, p.Prunes) {
		if c.Action.Writes() {
			n++
		}
	}
	for _, r := range p.Removed {
		n += r.Writes()
	}
	return n
}

// Writes counts the objects that the run would write or delete.
func (r *Run) Writes() int {
	n := 0
	for _, p := range r.Kustomizations {
		n += p.Writes()
	}
	return n
}

func (p *Planned) problem(reason string, ps ...Problem) {
	if len(ps) > 0 && p.reason == "" {
		p.reason = reason
	}
	for _, q := range ps {
		q.Message = p.unseen(q.Message)
		p.Problems = append(p.Problems, q)
	}
}

func (e *Engine) allowed(code string) bool { return slices.Contains(e.Options.Allow, code) }

func (e *Engine) progress(ref flux.Ref, message string) {
	e.Events.emit(Event{Kustomization: ref, Type: Progress, Message: message})
}

func (r *Run) warn(e *Engine, ws ...Warning) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range ws {
		if slices.Contains(r.Warnings, w) {
			continue
		}
		r.Warnings = append(r.Warnings, w)
		e.Events.emit(Event{Type: WarningFound, Warning: w})
	}
}

// revisionDigest is the long part of a revision.
var revisionDigest = regexp.MustCompile(`(sha1|sha256):([0-9a-f]{7})[0-9a-f]+`)

// ShortRevision cuts a revision to what people read: main@sha1:9d22ce7.
func ShortRevision(revision string) string { return revisionDigest.ReplaceAllString(revision, "$1:$2") }

func (e *Engine) newRun() *Run {
	return &Run{Revision: e.Source.Revision, started: time.Now(), artifacts: map[object.ID]artifact{}, clusters: map[string]*cluster.Cluster{}, applied: map[string]*source.Snapshot{}}
}

// Plan decides what a sync would do. It writes nothing. What is wrong with one
// Kustomization is in its Problems; an error is what stops the whole run. A plan
// that is to be carried out goes through Guard first.
func (e *Engine) Plan(ctx context.Context) (*Run, error) {
	r := e.newRun()
	if !e.begun { // not where a plan is made again
		e.begun = true
		e.Events.emit(Event{Type: RunStarted, Message: fmt.Sprintf("cluster: %s (%s)  root: %s  revision: %s",
			e.Cluster.Context, e.Cluster.Server, e.Options.Path, ShortRevision(e.Source.Revision))})
	}
	e.tellUnborn(r)
	var err error
	if r.hasFlux, err = e.Cluster.HasKustomizations(); err != nil {
		return nil, err
	}
	if err := e.discover(ctx, r); err != nil {
		return nil, err
	}
	if r.Root.record != nil {
		r.Previous = r.Root.record.Status.LastAppliedRevision
	}
	if err := e.checkGraph(ctx, r); err != nil {
		return nil, err
	}
	if err := e.checkEmpty(r); err != nil {
		return nil, err
	}
	r.declaredAll = slices.Clone(r.Kustomizations)
	if err := e.limit(r); err != nil {
		return nil, err
	}
	for _, p := range r.Kustomizations {
		if err := e.checkForward(ctx, r, p); err != nil {
			return nil, err
		}
	}
	if err := e.checkDirty(r); err != nil {
		return nil, err
	}
	e.checkSources(r)
	if err := e.observe(ctx, r); err != nil {
		return nil, err
	}
	e.order(r)
	e.keep(r)
	e.verdicts.Save()
	return r, nil
}
