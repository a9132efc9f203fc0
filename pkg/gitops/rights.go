package gitops

import (
	"context"
	"fmt"
	"reflect"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cluster"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/plan"
)

// Access is what an account must be allowed to do for a run.
type Access struct {
	plan.Rights
	// Missing are the namespaces that the rights and the account need and the
	// cluster does not have: nothing can be made in them.
	Missing []string
	// Others names whose own rights count for a part of the objects: the
	// ServiceAccounts that are impersonated, and the other clusters.
	Others []string
}

// Names of what is asked for by everybody.
var (
	configMaps      = schema.GroupResource{Resource: "configmaps"}
	pods            = schema.GroupResource{Resource: "pods"}
	podLogs         = schema.GroupResource{Resource: "pods/log"}
	coreEvents      = schema.GroupResource{Resource: "events"}
	serviceAccounts = schema.GroupResource{Resource: "serviceaccounts"}
	tokens          = schema.GroupResource{Resource: "serviceaccounts/token"}
	events          = schema.GroupResource{Group: "events.k8s.io", Resource: "events"}
	leases          = schema.GroupResource{Group: "coordination.k8s.io", Resource: "leases"}
	roles           = schema.GroupResource{Group: rbacv1.GroupName, Resource: "roles"}
	clusterRoles    = schema.GroupResource{Group: rbacv1.GroupName, Resource: "clusterroles"}
	kustomizations  = schema.GroupResource{Group: flux.KustomizeGroup, Resource: "kustomizations"}
	statuses        = schema.GroupResource{Group: flux.KustomizeGroup, Resource: "kustomizations/status"}
)

// access collects the rights for one run.
type access struct {
	Access
	e *Engine
	r *Run

	account  flux.Ref
	readOnly bool
	hasFlux  bool // once the definitions are written
	roles    []plan.Change
	spaces   []string // namespaces that Git declares
}

// Access tells what an account must be allowed to do, and nothing else, so that
// it can carry out what Git says now, from the first run on: to write it, to
// change it, to prune it, to wait for it, and to explain why it is not ready.
// readOnly is for a diff alone. Of what Options.AllowDelete does not name of
// ProtectedKinds, nothing may be deleted. A plan that has problems is an error:
// half of the rights would be missing.
func (e *Engine) Access(ctx context.Context, account flux.Ref, readOnly bool) (*Access, error) {
	r, err := e.Plan(ctx)
	if err != nil {
		return nil, err
	}
	a := &access{e: e, r: r, account: account, readOnly: readOnly, hasFlux: r.hasFlux || r.definition(r.Root, schema.GroupKind{Group: flux.KustomizeGroup, Kind: "Kustomization"}) != nil}
	for _, p := range r.Kustomizations {
		if len(p.Problems) > 0 {
			q := p.Problems[0]
			return nil, &Refused{Code: "problems", Fix: "kubectl gitops diff shows all that is wrong; put that right first",
				Msg: fmt.Sprintf("%s cannot be applied, so that nobody can tell what it takes: %s: %s", p.Ref, object.Where(q.File, q.Line), q.Message)}
		}
	}
	for _, p := range r.Kustomizations {
		a.record(p, p.record, p.Parent != nil)
		if p.Suspended {
			continue
		}
		a.place(ctx, p)
		for i := range p.Changes {
			if err := a.change(ctx, p, &p.Changes[i]); err != nil {
				return nil, err
			}
		}
		if err := a.stale(ctx, p); err != nil {
			return nil, err
		}
	}
	a.e.lookedUp.Range(func(key, _ any) bool {
		if id := key.(object.ID); err == nil {
			var res cluster.Resource
			if res, err = e.Cluster.Resolve(id.GroupKind().WithVersion("v1")); err == nil {
				a.Add(id.Namespace, res.GroupResource(), id.Name, "get")
			} else if cluster.IsNoKind(err) {
				err = nil
			}
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	if !readOnly {
		a.lock()
	}
	a.aboutFlux()
	a.grant()
	return &a.Access, a.missing(ctx)
}

// record is what the cluster remembers of a Kustomization. It may be removed
// from Git where it is not the root.
func (a *access) record(p *Planned, rec *cluster.Record, removable bool) {
	name := cluster.RecordName(p.Ref)
	a.Add(p.Namespace, configMaps, name, "get")
	if a.hasFlux {
		a.Add(p.Namespace, kustomizations, p.Name, "get")
	}
	if a.readOnly || p.Suspended {
		return
	}
	a.Add(p.Namespace, events, "", "create")
	declared := p.Object.Unstructured != nil
	if a.hasFlux {
		a.Add(p.Namespace, statuses, p.Name, "patch")
		if rec.Live != nil {
			a.Add(p.Namespace, kustomizations, p.Name, "patch")
		}
	}
	// The ConfigMap: where there is no such kind, or not yet; where the root is
	// nowhere declared; and as long as what it has is not in the status.
	kept := !a.hasFlux || !declared
	if kept || rec.Live == nil && p.Parent == nil {
		a.Add(p.Namespace, configMaps, name, "create", "patch")
	}
	if rec.InConfigMap && !kept || !kept && rec.Live == nil && p.Parent == nil || kept && removable {
		a.Add(p.Namespace, configMaps, name, "delete")
	}
}

// place is what it takes to ask as another account, or another cluster.
func (a *access) place(ctx context.Context, p *Planned) {
	account := p.Spec.ServiceAccountName
	switch ref := p.Spec.KubeConfig; {
	case ref != nil:
		a.Others = append(a.Others, "the user of the cluster of "+p.Ref.String())
		if ref.ConfigMapRef != nil {
			if data, why := a.e.data(ctx, a.r, object.ID{Kind: "ConfigMap", Namespace: p.Namespace, Name: ref.ConfigMapRef.Name}); why == nil {
				a.Add(p.Namespace, tokens, data["serviceAccountName"], "create")
			}
		}
	case account != "":
		a.Others = append(a.Others, fmt.Sprintf("serviceaccount/%s in %s", account, p.Namespace))
		a.Add(p.Namespace, serviceAccounts, account, "impersonate")
		if !a.readOnly && p.Parent != nil {
			a.Add(p.Namespace, serviceAccounts, account, "get") // whether it is there, before it has to prune
		}
	}
	for _, d := range p.DependsOn() {
		if !slices.ContainsFunc(a.r.Kustomizations, func(q *Planned) bool { return q.Ref == d }) {
			a.Add(d.Namespace, configMaps, cluster.RecordName(d), "get")
			if a.hasFlux {
				a.Add(d.Namespace, kustomizations, d.Name, "get")
			}
		}
	}
}

// resource is where the objects of c's kind live, also where the kind is made in
// this run. ok is false where they are not to be had.
func (a *access) resource(p *Planned, c *plan.Change) (r schema.GroupResource, ok bool, err error) {
	gvk := c.ID.GroupKind().WithVersion(c.Version)
	res, err := p.cluster.Resolve(gvk)
	if err == nil {
		return res.GroupResource(), true, nil
	}
	if !cluster.IsNoKind(err) {
		return r, false, err
	}
	d := a.r.definition(p, c.ID.GroupKind())
	if d == nil {
		return r, false, nil
	}
	return schema.GroupResource{Group: c.ID.Group, Resource: d.resource}, true, nil
}

// ours reports whether the objects of p are asked for by this account itself.
func (a *access) ours(p *Planned) bool { return p.cluster == a.e.Cluster }

// change is what it takes to have one object as Git declares it.
func (a *access) change(ctx context.Context, p *Planned, c *plan.Change) error {
	res, ok, err := a.resource(p, c)
	if err != nil || !ok {
		return err
	}
	if !a.readOnly && a.e.Cluster == p.cluster.Self() {
		a.explain(ctx, p, c)
	}
	if !a.ours(p) {
		return nil
	}
	ns, name := c.ID.Namespace, c.ID.Name
	a.Add(ns, res, name, "get")
	if a.readOnly {
		return nil
	}
	a.Add(ns, res, name, "patch")
	if object.IsNamespace(c.ID.GroupKind()) {
		a.spaces = append(a.spaces, name)
	} else {
		a.Add(ns, res, name, "create") // an apply names what it creates
	}
	if a.prunable(p, c) {
		a.Add(ns, res, name, "delete")
	}
	if a.e.mayRecreate(p, c) {
		a.Add(ns, res, name, "delete")
		a.Add(ns, res, "", "create") // by the dry run under another name, before anything is deleted
	}
	if a.watched(ctx, p, c) {
		a.Add(ns, res, name, "list", "watch")
	}
	if c.ID.Group == rbacv1.GroupName {
		a.roles = append(a.roles, *c)
	}
	return nil
}

func (a *access) prunable(p *Planned, c *plan.Change) bool {
	return p.Spec.Prune && a.deletable(c.ID.Kind) && !flux.Marked(c.Object, flux.PruneKey, "disabled")
}

func (a *access) deletable(kind string) bool {
	return !contains(ProtectedKinds, kind) || contains(a.e.Options.AllowDelete, kind)
}

// watched reports whether the health of c may be something to wait for: that of
// a kind of Kubernetes whose status says nothing is not.
func (a *access) watched(ctx context.Context, p *Planned, c *plan.Change) bool {
	if flux.IsFluxGroup(c.ID.Group) {
		return false
	}
	typed, err := scheme.Scheme.New(c.ID.GroupKind().WithVersion(c.Version))
	return err != nil || observes(typed) || !p.rules.Of(ctx, c.Object.Unstructured).Ready()
}

// observes reports whether the status of a kind tells the generation that it is
// of.
func observes(typed runtime.Object) bool {
	status := reflect.ValueOf(typed).Elem().FieldByName("Status")
	return status.IsValid() && status.Kind() == reflect.Struct && status.FieldByName("ObservedGeneration").IsValid()
}

// explain is what tells why something is not ready: its pods, their logs, Events.
func (a *access) explain(ctx context.Context, p *Planned, c *plan.Change) {
	ns := c.ID.Namespace
	if ns == "" || !a.watched(ctx, p, c) {
		return
	}
	a.Add(ns, coreEvents, "", "list")
	switch gk := c.ID.GroupKind(); {
	case gk.Group == "" && gk.Kind == "Pod":
		a.Add(ns, podLogs, c.ID.Name, "get")
	case gk.Group == "apps", gk.Group == "batch" && gk.Kind == "Job":
		a.Add(ns, pods, "", "list")
		a.Add(ns, podLogs, "", "get")
	}
}

// stale is what it takes to prune what p owns and Git no longer declares.
func (a *access) stale(ctx context.Context, p *Planned) error {
	for i := range p.Prunes {
		c := &p.Prunes[i]
		res, ok, err := a.resource(p, c)
		if err != nil {
			return err
		}
		if !ok || !a.ours(p) {
			continue
		}
		a.Add(c.ID.Namespace, res, c.ID.Name, "get")
		if !a.readOnly && c.Action == plan.Delete && a.deletable(c.ID.Kind) {
			a.Add(c.ID.Namespace, res, c.ID.Name, "delete")
		}
	}
	for _, gone := range p.Removed {
		a.Add(gone.Namespace, configMaps, cluster.RecordName(gone.Ref), "get")
		if a.hasFlux {
			a.Add(gone.Namespace, kustomizations, gone.Name, "get")
		}
		a.place(ctx, gone)
		if !a.readOnly {
			if gone.record.InConfigMap {
				a.Add(gone.Namespace, configMaps, cluster.RecordName(gone.Ref), "delete")
			}
			if gone.record.Live != nil && len(gone.record.Live.GetFinalizers()) > 0 {
				a.Add(gone.Namespace, kustomizations, gone.Name, "patch")
			}
		}
		if err := a.stale(ctx, gone); err != nil {
			return err
		}
	}
	return nil
}

// lock keeps two runs apart.
func (a *access) lock() {
	root := a.r.Root.Ref
	a.Add(root.Namespace, leases, "", "create")
	a.Add(root.Namespace, leases, cluster.RecordName(root), "get", "update")
}

// aboutFlux tells whether a controller does the work. Where nothing else is to be
// allowed in its namespace, that may not exist: no Role is made in it.
func (a *access) aboutFlux() {
	if a.readOnly && !slices.ContainsFunc(a.r.Kustomizations, func(p *Planned) bool { return len(p.LeftOut) > 0 }) {
		return // a diff needs it for a bootstrap repository alone
	}
	ns, name := cluster.FluxLease()
	if !slices.Contains(a.Namespaces(), ns) {
		ns = ""
	}
	a.Add(ns, leases, name, "get")
}

// grant is what the API asks of whoever writes Roles and bindings: to hold what
// a Role allows, or where that is more than can be listed to escalate it; and to
// bind the role that a binding names, which need not exist yet.
func (a *access) grant() {
	for _, c := range a.roles {
		switch c.ID.Kind {
		case "Role", "ClusterRole":
			res := roles
			if c.ID.Kind == "ClusterRole" {
				res = clusterRoles
			}
			var role rbacv1.ClusterRole // a Role has the same fields
			if runtime.DefaultUnstructuredConverter.FromUnstructured(c.Object.Object, &role) != nil {
				continue // the server has refused it in the plan
			}
			if role.AggregationRule != nil || !a.Hold(c.ID.Namespace, role.Rules) {
				a.Add(c.ID.Namespace, res, c.ID.Name, "escalate")
			}
		case "RoleBinding", "ClusterRoleBinding":
			kind, _, _ := unstructured.NestedString(c.Object.Object, "roleRef", "kind")
			name, _, _ := unstructured.NestedString(c.Object.Object, "roleRef", "name")
			res := roles
			if kind == "ClusterRole" {
				res = clusterRoles
			}
			a.Add(c.ID.Namespace, res, name, "bind")
		}
	}
}

// missing finds the namespaces that are not there. One that Git declares and in
// which nothing is allowed is the run's own to make.
func (a *access) missing(ctx context.Context) error {
	needed := append(a.Namespaces(), a.account.Namespace)
	slices.Sort(needed)
	for _, ns := range slices.Compact(needed) {
		found, err := a.e.Cluster.HasNamespace(ctx, ns)
		if err != nil {
			return err
		}
		if found != cluster.Present {
			a.Missing = append(a.Missing, ns)
		}
	}
	for _, ns := range a.spaces {
		if !slices.Contains(a.Namespaces(), ns) {
			a.Add("", schema.GroupResource{Resource: "namespaces"}, ns, "create")
		}
	}
	slices.Sort(a.Others)
	a.Others = slices.Compact(a.Others)
	return nil
}
