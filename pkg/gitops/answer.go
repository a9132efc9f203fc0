package gitops

import (
	"cmp"
	"slices"
	"time"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/plan"
)

func (e *Engine) newReport(r *Run) SyncReport {
	n := e.Cluster.Requests()
	return SyncReport{
		APIVersion: APIVersion, Kind: "SyncReport",
		Revision: r.Revision, PreviousRevision: r.Previous,
		Cluster: ClusterReport{Context: e.Cluster.Context, Server: e.Cluster.Server},
		Root:    e.Options.Path,
		Seconds: time.Since(r.started).Seconds(),
		Requests: RequestReport{Total: n.Total, Get: n.Get, List: n.List, Watch: n.Watch,
			Patch: n.Patch, Create: n.Create, Update: n.Update, Delete: n.Delete},
		Warnings: append([]Warning{}, r.Warnings...),
	}
}

// Preview is the report that carrying out the plan would give, as far as it is
// known: what --dry-run prints.
func (e *Engine) Preview(r *Run) SyncReport {
	report := e.newReport(r)
	report.DryRun, report.Result = true, Succeeded
	bad := map[*Planned]bool{}
	for _, p := range r.Kustomizations {
		k := KustomizationReport{Namespace: p.Namespace, Name: p.Name, Path: p.Path(), Revision: p.Revision,
			Status: StatusReady, Reason: reasonSucceeded, Changes: []ChangeReport{}, Problems: p.Problems}
		switch {
		case p.Suspended:
			k.Status, k.Reason, k.Message = StatusSuspended, reasonSuspended, p.suspended()
		case len(p.Problems) > 0:
			k.Status, k.Reason, k.Message = StatusFailed, p.reason, p.Problems[0].Message
		case p.Parent != nil && bad[p.Parent]:
			k.Status, k.Reason, k.Message = StatusSkipped, reasonDependency, "its parent "+p.Parent.Name+" would not be applied"
		}
		required := p.DependsOn()
		for _, b := range r.before[p] {
			if bad[b] && k.Status == StatusReady && slices.Contains(required, b.Ref) {
				k.Status, k.Reason, k.Message = StatusSkipped, reasonDependency, "dependency "+b.Name+" would not be ready"
			}
		}
		if k.Status == StatusReady {
			k.Changes = append(k.Changes, p.preview()...)
		} else if k.Status != StatusSuspended {
			bad[p] = true
			report.Result = Failed
		}
		k.Written.Objects = len(p.Changes)
		for _, c := range k.Changes {
			k.Written.Add(c.Action)
		}
		sortChanges(k.Changes)
		report.Kustomizations = append(report.Kustomizations, k)
	}
	return report
}

func (p *Planned) preview() []ChangeReport {
	var out []ChangeReport
	for _, c := range slices.Concat(p.Changes, p.Prunes) {
		if c.Action == plan.Skip && c.Reason == keptByOther {
			continue
		}
		out = append(out, changeReport(&c, c.Action.Done(), c.Reason))
	}
	for _, r := range p.Removed {
		for _, c := range r.preview() {
			if c.Action == plan.Delete.Done() {
				out = append(out, c)
			}
		}
	}
	return out
}

// sortChanges puts changes in the order of an apply, deletions last and in
// theirs, whatever order parallel writes ended in.
func sortChanges(changes []ChangeReport) {
	id := func(c ChangeReport) object.ID {
		return object.ID{Group: c.Group, Kind: c.Kind, Namespace: c.Namespace, Name: c.Name}
	}
	slices.SortStableFunc(changes, func(a, b ChangeReport) int {
		da, db := a.Action == "deleted", b.Action == "deleted"
		switch {
		case da && db:
			return object.Compare(id(b), id(a))
		case da:
			return 1
		case db:
			return -1
		}
		return cmp.Or(cmp.Compare(object.StageOf(id(a).GroupKind()), object.StageOf(id(b).GroupKind())), object.Compare(id(a), id(b)))
	})
}
