package gitops

import (
	"context"
	"slices"
	"time"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/plan"
)

// StatusUntouched is a Kustomization that the change cannot have touched.
const StatusUntouched = "untouched"

// DiffReport is what a sync would change.
type DiffReport struct {
	APIVersion     string                    `json:"apiVersion"`
	Kind           string                    `json:"kind"` // DiffReport
	Revision       string                    `json:"revision"`
	Base           string                    `json:"base,omitempty"`   // revision that is compared with; that which the cluster has, as far as it remembers
	Cluster        ClusterReport             `json:"cluster,omitzero"` // where none is asked, none
	Root           string                    `json:"root"`
	Requests       RequestReport             `json:"requests"`
	Warnings       []Warning                 `json:"warnings"`
	Kustomizations []KustomizationDiffReport `json:"kustomizations"`
}

// KustomizationDiffReport is what a sync would change of one Kustomization.
type KustomizationDiffReport struct {
	Namespace string       `json:"namespace"`
	Name      string       `json:"name"`
	Path      string       `json:"path"`
	Status    string       `json:"status"` // ready (to be applied) | failed | suspended | untouched
	Message   string       `json:"message,omitempty"`
	Changes   []DiffChange `json:"changes"`
	Problems  []Problem    `json:"problems,omitempty"`
}

// DiffChange is what a sync would do to one object.
type DiffChange struct {
	Group     string `json:"group"`
	Version   string `json:"version"`
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	Action    string `json:"action"` // create | configure | recreate | delete | unchanged | skip
	Reason    string `json:"reason,omitempty"`
	// Verified says who decided: server (a dry run), or local for what is proved to
	// be in sync, for what cannot be asked before the run has made its kind or its
	// namespace, and where the user may not ask.
	Verified string `json:"verified"`
	// LastManager is who last wrote a field that would be set back, LastTime when
	// (RFC 3339, UTC).
	LastManager string `json:"lastManager,omitempty"`
	LastTime    string `json:"lastTime,omitempty"`
	Diff        string `json:"diff,omitempty"` // unified

	// Before and After are the two sides in full, for an external program; values
	// of Secrets are masked whatever the user asked for.
	Before string `json:"-"`
	After  string `json:"-"`
}

// Changes counts the objects that would be written or deleted.
func (r DiffReport) Changes() int {
	n := 0
	for _, k := range r.Kustomizations {
		for _, c := range k.Changes {
			if plan.Action(c.Action).Writes() {
				n++
			}
		}
	}
	return n
}

// Failed reports whether the plan of a Kustomization is not known.
func (r DiffReport) Failed() bool {
	return slices.ContainsFunc(r.Kustomizations, func(k KustomizationDiffReport) bool { return k.Status == StatusFailed })
}

// Diff reports the plan, object by object. Values of Secrets are masked unless
// showSecrets. One that was interrupted is an error: which fields are passwords may
// not be known then.
func (e *Engine) Diff(ctx context.Context, r *Run, showSecrets bool) (DiffReport, error) {
	kustomizations := []KustomizationDiffReport{}
	fields := e.newPasswords(r)
	for _, p := range r.Kustomizations {
		k := KustomizationDiffReport{Namespace: p.Namespace, Name: p.Name, Path: p.Path(), Status: StatusReady, Changes: []DiffChange{}, Problems: p.Problems}
		switch {
		case p.Suspended:
			k.Status, k.Message = StatusSuspended, p.suspended()
		case len(p.Problems) > 0:
			k.Status, k.Message = StatusFailed, p.Problems[0].Message
		default:
			k.Changes = append(k.Changes, e.diffChanges(ctx, p, fields, showSecrets)...)
		}
		kustomizations = append(kustomizations, k)
	}
	sync := e.newReport(r)
	return DiffReport{
		APIVersion: APIVersion, Kind: "DiffReport", Revision: r.Revision, Base: r.Previous,
		Cluster: sync.Cluster, Root: sync.Root, Requests: sync.Requests, Warnings: sync.Warnings,
		Kustomizations: kustomizations,
	}, ctx.Err()
}

func (e *Engine) diffChanges(ctx context.Context, p *Planned, fields *passwords, showSecrets bool) []DiffChange {
	var out []DiffChange
	for _, c := range slices.Concat(p.Changes, p.Prunes) {
		if c.Action == plan.Skip && c.Reason == keptByOther {
			continue
		}
		if c.Object != nil {
			c.Secrets = p.secrets(*c.Object)
		}
		if c.Action.Writes() {
			c.Passwords = fields.of(ctx, p, c.ID.GroupKind().WithVersion(c.Version))
		}
		d := diffChange(&c, showSecrets)
		if c.Action.Writes() {
			if manager, at := c.Touched(p.cluster.FieldManager); manager != "" {
				d.LastManager = manager
				if !at.IsZero() {
					d.LastTime = at.UTC().Format(time.RFC3339)
				}
			}
		}
		out = append(out, d)
	}
	for _, r := range p.Removed {
		for _, d := range e.diffChanges(ctx, r, fields, showSecrets) {
			if d.Action == string(plan.Delete) {
				out = append(out, d)
			}
		}
	}
	return out
}

func diffChange(c *plan.Change, showSecrets bool) DiffChange {
	d := DiffChange{Group: c.ID.Group, Version: c.Version, Kind: c.ID.Kind, Namespace: c.ID.Namespace, Name: c.ID.Name,
		Action: string(c.Action), Reason: c.Reason, Verified: "server"}
	if c.Pending != "" || c.Local {
		d.Verified = "local"
	}
	if c.Action.Writes() {
		d.Diff = c.Unified(showSecrets)
		d.Before, d.After = c.Texts(false)
	}
	return d
}

// ID is the identity of the object.
func (d DiffChange) ID() object.ID {
	return object.ID{Group: d.Group, Kind: d.Kind, Namespace: d.Namespace, Name: d.Name}
}
