package gitops

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/konfig"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cache"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/cluster"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/plan"
)

// recalled is what an earlier run rendered of the very same inputs: names (also of
// what pods want, and of the entries of Secrets), places and sums, no content. It
// serves as long as all of it is known to be in sync; else its Kustomization is
// rendered after all.
type recalled struct {
	Objects []recalledObject
	Files   []string
	Digest  string
	// Seen is what was looked at in the source, with what was found.
	Seen map[string]cache.Sum
}

// recalledObject is one object of a recalled rendering.
type recalledObject struct {
	Group, Version, Kind, Namespace, Name string
	File                                  string
	Line                                  int
	Sum                                   cache.Sum      // of what is declared
	Wants                                 []podReference `json:",omitempty"`
	Keys                                  []string       `json:",omitempty"` // of what a Secret or a ConfigMap holds
}

func (o recalledObject) id() object.ID {
	return object.ID{Group: o.Group, Kind: o.Kind, Namespace: o.Namespace, Name: o.Name}
}

// inputs are what p renders from, beside the files.
func (e *Engine) inputs(p *Planned) cache.Sum {
	spec, err := json.Marshal([]any{p.Spec, p.PatchesStrategicMerge, p.PatchesJSON6902})
	if err != nil {
		spec = fmt.Append(nil, p.Kustomization) // never equal, at worst
	}
	parts := []string{"render", p.Namespace, p.Name, string(spec), p.Path(), strings.Join(p.keys.Recipients(), "\n"),
		fmt.Sprint(e.Options.StrictVars, e.Options.IgnoreMAC, e.Options.RemoteBases, e.Options.FluxComponents, p.variables == nil)}
	for _, k := range slices.Sorted(maps.Keys(p.variables)) {
		parts = append(parts, k, p.variables[k])
	}
	return e.Cache.Sum(parts...)
}

// recall finds what an earlier run has kept of the same inputs and files.
func (e *Engine) recall(p *Planned) bool {
	if !e.remembers(p) {
		return false
	}
	p.inputs = e.inputs(p)
	var was recalled
	if e.Options.Verify == VerifyServer || !e.Cache.Recall(p.inputs, &was) || !e.Cache.Same(p.snapshot.FS, was.Seen) {
		return false
	}
	p.recalled, p.digest = &was, was.Digest
	p.files, p.trace = nil, nil // of a rendering with what was there before
	p.sums = make(map[object.ID]cache.Sum, len(was.Objects))
	for _, o := range was.Objects {
		p.sums[o.id()] = o.Sum
	}
	return true
}

// remembers reports whether what is found out about p's objects holds for a later
// run: that of the cluster at hand, seen by oneself, by no rule of its spec.
func (e *Engine) remembers(p *Planned) bool {
	return p.cluster == e.Cluster && e.Cache != nil && len(p.Spec.Ignore) == 0 && len(p.Spec.HealthCheckExprs) == 0
}

// forget renders what was recalled, after all: something of it is needed.
func (e *Engine) forget(ctx context.Context, r *Run, ps ...*Planned) {
	e.atOnce(ps, func(p *Planned) {
		p.recalled, p.Changes, p.sums = nil, nil, nil
		e.progress(p.Ref, "rendering "+p.Path())
		e.build(ctx, p)
		p.finish()
	})
	if r.checked {
		for _, p := range ps {
			e.checkSource(r, p)
		}
	}
}

// apart renders what was recalled of p beside the plan, which stays as it is: for
// what is to be said of it. What does not render now has Problems.
func (e *Engine) apart(ctx context.Context, p *Planned) *Planned {
	q := &Planned{Kustomization: p.Kustomization, cluster: p.cluster, snapshot: p.snapshot, keys: p.keys, variables: p.variables, hidden: p.hidden}
	e.build(ctx, q)
	q.finish()
	return q
}

// inputFiles are the files that p was rendered from.
func (p *Planned) inputFiles() []string {
	switch {
	case p.rendered != nil:
		return p.rendered.Files
	case p.recalled != nil:
		return p.recalled.Files
	}
	return nil
}

// sum sums up what is declared.
func (e *Engine) sum(o *unstructured.Unstructured) cache.Sum {
	text, err := o.MarshalJSON()
	if err != nil {
		text = fmt.Append(nil, o.Object)
	}
	return e.Cache.Sum("declared", string(text))
}

// sumUp sums up what p declares, where it was rendered in this run.
func (e *Engine) sumUp(p *Planned) {
	if !e.remembers(p) || p.recalled != nil || p.sums != nil {
		return
	}
	p.sums = make(map[object.ID]cache.Sum, len(p.Changes))
	for _, c := range p.Changes {
		p.sums[c.ID] = e.sum(c.Object.Unstructured)
	}
}

// keep keeps for later runs what this one has rendered, where that has said all
// there is to say: without a problem or a warning, and nothing in it by which
// other Kustomizations are found.
func (e *Engine) keep(r *Run) {
	if e.Cache == nil {
		return
	}
	kept := false
	for _, p := range r.Kustomizations {
		if p.trace == nil || len(p.Problems) > 0 || len(p.files.Problems()) > 0 || len(p.LeftOut) > 0 || !e.remembers(p) || p.sums == nil || r.warnedOf(p) || mayBeRemote(p) {
			continue
		}
		seen, ok := p.trace.Seen()
		if !ok {
			continue
		}
		was := recalled{Files: p.rendered.Files, Digest: p.digest, Seen: seen}
		for _, c := range p.Changes {
			gk := c.ID.GroupKind()
			if flux.IsKustomization(gk) || object.IsCRD(gk) || c.Object.GetLabels()[partOf] == partOfFlux || p.sums[c.ID] == (cache.Sum{}) {
				was.Objects = nil
				break
			}
			was.Objects = append(was.Objects, recalledObject{Group: c.ID.Group, Version: c.Version, Kind: c.ID.Kind, Namespace: c.ID.Namespace, Name: c.ID.Name,
				File: c.Object.File, Line: c.Object.Line, Sum: p.sums[c.ID], Wants: podReferences(*c.Object), Keys: dataKeys(c.Object.Unstructured)})
		}
		if len(was.Objects) > 0 {
			e.Cache.Keep(p.inputs, was)
			kept = true
		}
	}
	if kept {
		e.Cache.Trim()
	}
}

// warnedOf reports whether a warning was about p, one of its objects or files:
// it is to be told the next time too.
func (r *Run) warnedOf(p *Planned) bool {
	if len(r.Warnings) == 0 {
		return false
	}
	about := map[string]bool{p.Ref.String(): true}
	for _, c := range p.Changes {
		about[c.ID.String()] = true
	}
	return slices.ContainsFunc(r.Warnings, func(w Warning) bool {
		return about[w.Object] || w.File != "" && slices.Contains(p.rendered.Files, w.File)
	})
}

// mayBeRemote reports whether a kustomization of p seems to name something by
// URL, of which nobody knows whether it has changed.
func mayBeRemote(p *Planned) bool {
	for _, file := range p.rendered.Files {
		if !slices.Contains(konfig.RecognizedKustomizationFileNames(), path.Base(file)) {
			continue
		}
		data, _ := p.rendered.Source(file)
		for line := range strings.Lines(string(data)) {
			if line = strings.TrimSpace(line); strings.HasPrefix(line, "#") {
				continue
			}
			for _, sign := range []string{"://", "git@", "git::", "github.com", "gh:"} {
				if strings.Contains(line, sign) {
					return true
				}
			}
		}
	}
	return false
}

// state is what the server says of one state of an object without its content.
// The resourceVersion alone would do, were it not that a cluster that was
// restored from a backup may use one again.
type state struct{ parts []string }

func stateOf(u *unstructured.Unstructured) state {
	s := state{[]string{string(u.GetUID()), u.GetResourceVersion(), fmt.Sprint(u.GetGeneration())}}
	metadata, _ := u.Object["metadata"].(map[string]any)
	entries, _ := metadata["managedFields"].([]any)
	for _, entry := range entries {
		m, _ := entry.(map[string]any)
		manager, _ := m["manager"].(string)
		operation, _ := m["operation"].(string)
		at, _ := m["time"].(string)
		s.parts = append(s.parts, manager, operation, at)
	}
	return s
}

func stateOfMetadata(m *metav1.PartialObjectMetadata) state {
	s := state{[]string{string(m.UID), m.ResourceVersion, fmt.Sprint(m.Generation)}}
	for _, f := range m.ManagedFields {
		at := ""
		if f.Time != nil {
			at = f.Time.UTC().Format(time.RFC3339)
		}
		s.parts = append(s.parts, f.Manager, string(f.Operation), at)
	}
	return s
}

// inSync stands for: an object in this state is what is declared, and an apply
// changes nothing.
func (e *Engine) inSync(s state, declared cache.Sum) cache.Sum {
	return e.Cache.Sum(append([]string{"in sync", e.Cluster.FieldManager, declared.String()}, s.parts...)...)
}

// ready stands for: an object in this state is ready.
func (e *Engine) ready(s state) cache.Sum {
	return e.Cache.Sum(append([]string{"ready"}, s.parts...)...)
}

// remember keeps that c's object is in sync in its live state, or in the one that
// the server answered to a write.
func (e *Engine) remember(p *Planned, c *plan.Change, live *unstructured.Unstructured, o *observed) {
	res, err := p.cluster.Resolve(c.ID.GroupKind().WithVersion(c.Version))
	if err != nil || o == nil || !e.remembers(p) || o.mutators.Touch(res) || p.sums[c.ID] == (cache.Sum{}) {
		return
	}
	s := stateOf(live)
	e.verdicts.Add(e.inSync(s, p.sums[c.ID]))
	if object.HealthOf(live).Ready() {
		e.verdicts.Add(e.ready(s))
	}
}

// known decides the changes of p of which an earlier run knows that they are
// none, from metadata alone. It reports whether that was all of them, and adds the
// kinds of the others, and of what is not known to be ready, to lists.
func (e *Engine) known(p *Planned, o *observed, lists kindLists) (all bool) {
	all = true
	for i := range p.Changes {
		c := &p.Changes[i]
		if c.Action == plan.Skip {
			continue
		}
		gvk := c.ID.GroupKind().WithVersion(c.Version)
		res, err := p.cluster.Resolve(gvk)
		if err != nil || c.Pending != "" {
			all = false
			continue
		}
		m := o.metadata[c.Entry()]
		if m == nil || !e.remembers(p) || m.DeletionTimestamp != nil || o.mutators.Touch(res) {
			all = false
			lists.add(p, res, c.ID.Namespace)
			continue
		}
		s := stateOfMetadata(m)
		if !e.verdicts.Has(e.inSync(s, p.sums[c.ID])) {
			all = false
			lists.add(p, res, c.ID.Namespace)
			continue
		}
		c.Action, c.Local, c.Live = plan.Unchanged, true, bare(m)
		c.Settled = e.verdicts.Has(e.ready(s))
		if !c.Settled {
			lists.add(p, res, c.ID.Namespace)
		}
	}
	return all
}

// bare is an object of which only the metadata is there.
func bare(m *metav1.PartialObjectMetadata) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": m.APIVersion, "kind": m.Kind}}
	u.SetName(m.Name)
	u.SetNamespace(m.Namespace)
	u.SetUID(m.UID)
	u.SetResourceVersion(m.ResourceVersion)
	u.SetGeneration(m.Generation)
	u.SetLabels(m.Labels)
	u.SetAnnotations(m.Annotations)
	return u
}

// resolveRecalled turns what was recalled of p into changes, as resolve does with
// what is rendered. false: it takes the objects themselves to say what becomes of
// one of them.
func (e *Engine) resolveRecalled(r *Run, p *Planned, lists kindLists) (bool, error) {
	p.Changes = nil
	for _, o := range p.recalled.Objects {
		c := plan.Change{ID: o.id(), Version: o.Version, Object: &object.Object{File: o.File, Line: o.Line}}
		res, err := p.cluster.Resolve(c.ID.GroupKind().WithVersion(o.Version))
		switch {
		case cluster.IsNoKind(err), err == nil && res.Namespaced != (o.Namespace != ""):
			return false, nil
		case err != nil:
			return false, err
		}
		lists.add(p, res, o.Namespace)
		p.Changes = append(p.Changes, c)
	}
	p.sortChanges()
	return true, nil
}

// rememberWritten remembers what the server answered to this run's own writes,
// where that proves to be what is declared.
func (e *Engine) rememberWritten(r *Run, tasks map[*Planned]*task) {
	if e.verdicts == nil {
		return
	}
	for p, t := range tasks {
		for i := range p.Changes {
			c := &p.Changes[i]
			if u := t.live[c.ID]; u != nil && c.Action.Writes() && plan.InSync(c.Object.Unstructured, u, e.Cluster.FieldManager) == "" {
				e.remember(p, c, u, r.live.in(p))
			}
		}
	}
	e.verdicts.Save()
}
