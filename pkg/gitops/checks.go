package gitops

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/image"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/plan"
)

// finish prepares what p rendered: the labels of its owner, then
// commonMetadata, as Flux orders them; and finds the fields that do not exist.
func (p *Planned) finish() {
	for _, o := range p.objects {
		labels := o.GetLabels()
		if labels == nil {
			labels = map[string]string{}
		}
		labels[flux.OwnerNameLabel], labels[flux.OwnerNamespaceLabel] = p.Name, p.Namespace
		annotations := o.GetAnnotations()
		// kubectl's copy of an object that somebody exported is not part of it.
		delete(annotations, "kubectl.kubernetes.io/last-applied-configuration")
		if m := p.Spec.CommonMetadata; m != nil {
			for k, v := range m.Labels {
				labels[k] = v
			}
			if annotations == nil && len(m.Annotations) > 0 {
				annotations = map[string]string{}
			}
			for k, v := range m.Annotations {
				annotations[k] = v
			}
		}
		o.SetLabels(labels)
		if len(annotations) == 0 {
			unstructured.RemoveNestedField(o.Object, "metadata", "annotations")
		} else {
			o.SetAnnotations(annotations)
		}
		if _, sealed := o.Object["sops"]; sealed {
			continue // it is to stay so
		}
		for _, fe := range object.Normalize(o.Unstructured) {
			problem := Problem{Code: "unknown-field", File: o.File, Line: o.Line, Object: o.ID().String(), Message: fe.Error()}
			if doc, ok := p.rendered.Document(o); ok {
				problem.Line = object.LineOf(doc.Node, fe.Path)
			}
			p.problem(reasonBuild, problem)
		}
	}
}

// checkSources looks at what can be told from Git alone, with or without keys
// and a cluster.
func (e *Engine) checkSources(r *Run) {
	r.checked = true
	for _, p := range r.Kustomizations {
		e.checkSource(r, p)
	}
}

func (e *Engine) checkSource(r *Run, p *Planned) {
	if p.rendered == nil {
		return
	}
	e.checkMarkers(r, p)
	e.checkReplicas(r, p)
	for _, s := range p.files.Opened() {
		if s.MetadataSealed {
			r.warn(e, Warning{Code: "sealed-metadata", File: s.Path,
				Message: "apiVersion, kind or metadata is encrypted too: a Flux controller would refuse this file",
				Hint:    "encrypt data and stringData only: sops encrypt --encrypted-regex '^(data|stringData)$'"})
		}
		if s.MACIgnored {
			r.warn(e, Warning{Code: "mac-ignored", File: s.Path, Message: "its MAC does not match: the file was edited after it was encrypted"})
		}
	}
}

// checkMarkers refuses what an image update has destroyed.
func (e *Engine) checkMarkers(r *Run, p *Planned) {
	for _, file := range p.rendered.Files {
		data, ok := p.rendered.Source(file)
		if !ok {
			continue
		}
		for _, m := range image.Markers(file, data) {
			why := m.Nonsense()
			hint := "kubectl gitops image update --repair mends it and its marker, in a commit of its own"
			switch {
			case why == "":
				if trap := m.Trap(); trap != "" {
					r.warn(e, Warning{Code: "image-marker", File: file, Line: m.Line, Message: trap, Hint: hint})
				}
			case e.allowed(bareTag):
				r.warn(e, Warning{Code: "image-bare-tag", File: file, Line: m.Line, Message: why, Hint: hint})
			default:
				p.problem(reasonBuild, Problem{Code: "image-bare-tag", File: file, Line: m.Line, Message: why, Hint: hint})
			}
		}
	}
}

// checkReplicas warns where Git and a HorizontalPodAutoscaler both set a
// number of replicas: each sync would undo the other.
func (e *Engine) checkReplicas(r *Run, p *Planned) {
	for _, hpa := range p.objects {
		if hpa.GetKind() != "HorizontalPodAutoscaler" {
			continue
		}
		kind, _, _ := unstructured.NestedString(hpa.Object, "spec", "scaleTargetRef", "kind")
		name, _, _ := unstructured.NestedString(hpa.Object, "spec", "scaleTargetRef", "name")
		for _, o := range p.objects {
			if o.GetKind() != kind || o.GetName() != name || o.GetNamespace() != hpa.GetNamespace() {
				continue
			}
			if _, set, _ := unstructured.NestedFieldNoCopy(o.Object, "spec", "replicas"); !set {
				continue
			}
			line := o.Line
			if doc, ok := p.rendered.Document(o); ok {
				line = object.LineOf(doc.Node, "spec.replicas")
			}
			r.warn(e, Warning{Code: "replicas-under-hpa", File: o.File, Line: line, Object: o.ID().String(),
				Message: fmt.Sprintf("spec.replicas is fixed while %s scales it: each sync sets it back", hpa.ID().Short()),
				Hint:    "take spec.replicas out of " + o.File})
		}
	}
}

// The label of the parts of Flux itself.
const (
	partOf     = "app.kubernetes.io/part-of"
	partOfFlux = "flux"
)

// leaveOut takes the Flux controllers of a bootstrap repository out of what is
// applied: its namespace and its CRDs stay.
func (e *Engine) leaveOut(r *Run, p *Planned, running bool) {
	mode := e.Options.FluxComponents
	if mode == ComponentsApply || mode == ComponentsAuto && running {
		return
	}
	kept := p.objects[:0]
	for _, o := range p.objects {
		gk := o.GroupVersionKind().GroupKind()
		part := o.GetLabels()[partOf] == partOfFlux && !flux.IsFluxGroup(gk.Group)
		if part && !object.IsCRD(gk) && !object.IsNamespace(gk) {
			p.LeftOut = append(p.LeftOut, o.ID())
			continue
		}
		kept = append(kept, o)
	}
	p.objects = kept
	if n := len(p.LeftOut); n > 0 {
		names := make([]string, n)
		for i, id := range p.LeftOut {
			names[i] = id.Short()
		}
		w := Warning{Code: "flux-components", Object: p.Ref.String(), Hint: "--flux-components apply installs them",
			Message: fmt.Sprintf("%s of Flux itself left out: %s", count(n, "object"), strings.Join(names, ", "))}
		if n > 3 { // each run says it
			w.Message = fmt.Sprintf("%s of Flux itself left out: its controllers, their rights and policies", count(n, "object"))
			w.Detail = strings.Join(names, "\n")
		}
		r.warn(e, w)
	}
}

// Overridable are the codes of the checks that --allow turns into warnings.
var Overridable = []string{bareTag, unknownField}

// bareTag is the code of an image that an update has destroyed.
const bareTag = "image-bare-tag"

// ProtectedKinds take data or other objects along when they are deleted.
var ProtectedKinds = []string{"Namespace", "CustomResourceDefinition", "PersistentVolume", "PersistentVolumeClaim"}

// Guard refuses a run of a source that cannot be trusted, and one that would
// delete more than its user can have meant.
// Deletions are counted whole, with what a removed Kustomization takes along.
func (e *Engine) Guard(r *Run) error {
	if r.untrusted != nil {
		return r.untrusted
	}
	total := 0
	deletions := map[*Planned][]plan.Change{}
	for _, p := range r.Kustomizations {
		deletions[p] = p.deletions()
		total += len(deletions[p])
	}
	for _, p := range r.Kustomizations {
		if len(p.Problems) > 0 {
			continue
		}
		gone := deletions[p]
		if kinds := e.protected(gone); len(kinds) > 0 {
			var names []string
			for _, c := range gone {
				if contains(kinds, c.ID.Kind) {
					names = append(names, c.ID.String())
				}
			}
			return &Refused{Code: "delete-protected",
				Msg: fmt.Sprintf("%s would delete %s, with all that is in %s", p.Ref, some(names, 5), map[bool]string{true: "it", false: "them"}[len(names) == 1]),
				Fix: fmt.Sprintf("if that is meant: --allow-delete %s; to keep one: annotate it with %s: disabled", strings.Join(kinds, ","), flux.PruneKey)}
		}
		if total > e.Options.AllowPrune {
			if err := p.most(total); err != nil {
				return err
			}
		}
	}
	return nil
}

// most refuses where p, or a Kustomization that goes with it, would lose all of
// what it owns or most of it. Each is judged by its own inventory: that of its
// parent must not hide what goes.
func (p *Planned) most(total int) error {
	for _, r := range p.Removed {
		if err := r.most(total); err != nil {
			return err
		}
	}
	gone := 0
	for _, c := range p.Prunes {
		if c.Action == plan.Delete && c.Live != nil {
			gone++
		}
	}
	owned := len(p.record.Inventory)
	why := fmt.Sprintf("%s rendered %s", p.Path(), count(len(p.Changes), "object"))
	empty := len(p.Changes) == 0 && gone > 0
	if p.rendered == nil && p.recalled == nil { // removed
		why, empty = "it is no longer declared", false
	}
	if !empty && (gone*2 <= owned || gone <= 10) {
		return nil
	}
	return &Refused{Code: "prune-most",
		Msg: fmt.Sprintf("%s: refusing to prune %d of %s: %s", p.Ref, gone, count(owned, "object"), why),
		Fix: fmt.Sprintf("if that is meant: --allow-prune %d", total)}
}

// deletions are all objects that p's prune deletes, with those of the
// Kustomizations that it removes.
func (p *Planned) deletions() []plan.Change {
	var out []plan.Change
	for _, c := range p.Prunes {
		if c.Action == plan.Delete && c.Live != nil {
			out = append(out, c)
		}
	}
	for _, r := range p.Removed {
		out = append(out, r.deletions()...)
	}
	return out
}

func (e *Engine) protected(gone []plan.Change) []string {
	var kinds []string
	for _, c := range gone {
		k := c.ID.Kind
		if contains(ProtectedKinds, k) && (c.ID.Group == "" || c.ID.Group == "apiextensions.k8s.io") && !contains(e.Options.AllowDelete, k) && !contains(kinds, k) {
			kinds = append(kinds, k)
		}
	}
	return kinds
}

// contains compares names of kinds, as people type them: in any case.
func contains(list []string, s string) bool {
	for _, e := range list {
		if strings.EqualFold(e, s) {
			return true
		}
	}
	return false
}
