package gitops

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/plan"
)

// podSpecs is where the built-in kinds have the spec of their pods.
var podSpecs = map[string][]string{
	"/Pod":             {"spec"},
	"apps/Deployment":  {"spec", "template", "spec"},
	"apps/StatefulSet": {"spec", "template", "spec"},
	"apps/DaemonSet":   {"spec", "template", "spec"},
	"apps/ReplicaSet":  {"spec", "template", "spec"},
	"batch/Job":        {"spec", "template", "spec"},
	"batch/CronJob":    {"spec", "jobTemplate", "spec", "template", "spec"},
}

// podReference is a Secret or ConfigMap without which a pod does not start, in
// the pod's namespace.
type podReference struct {
	Kind, Name string
	Key        string `json:",omitempty"` // "" for all of it
	Path       string // of the reference, in the object
}

// podReferences are those of an object's pods, but for the optional ones.
func podReferences(o object.Object) []podReference {
	at := podSpecs[o.GroupVersionKind().Group+"/"+o.GetKind()]
	content, ok, _ := unstructured.NestedMap(o.Object, at...)
	if at == nil || !ok {
		return nil
	}
	var spec corev1.PodSpec
	if runtime.DefaultUnstructuredConverter.FromUnstructured(content, &spec) != nil {
		return nil // the server says it better
	}
	prefix := ""
	for _, step := range at {
		prefix += step + "."
	}
	var out []podReference
	add := func(kind, name, key string, optional *bool, path string, args ...any) {
		if name != "" && !ptr.Deref(optional, false) {
			out = append(out, podReference{Kind: kind, Name: name, Key: key, Path: prefix + fmt.Sprintf(path, args...)})
		}
	}
	for _, list := range []string{"initContainers", "containers"} {
		containers := spec.Containers
		if list == "initContainers" {
			containers = spec.InitContainers
		}
		for i, c := range containers {
			for j, env := range c.Env {
				switch from := env.ValueFrom; {
				case from == nil:
				case from.SecretKeyRef != nil:
					add("Secret", from.SecretKeyRef.Name, from.SecretKeyRef.Key, from.SecretKeyRef.Optional, "%s[%d].env[%d].valueFrom.secretKeyRef", list, i, j)
				case from.ConfigMapKeyRef != nil:
					add("ConfigMap", from.ConfigMapKeyRef.Name, from.ConfigMapKeyRef.Key, from.ConfigMapKeyRef.Optional, "%s[%d].env[%d].valueFrom.configMapKeyRef", list, i, j)
				}
			}
			for j, env := range c.EnvFrom {
				switch {
				case env.SecretRef != nil:
					add("Secret", env.SecretRef.Name, "", env.SecretRef.Optional, "%s[%d].envFrom[%d].secretRef", list, i, j)
				case env.ConfigMapRef != nil:
					add("ConfigMap", env.ConfigMapRef.Name, "", env.ConfigMapRef.Optional, "%s[%d].envFrom[%d].configMapRef", list, i, j)
				}
			}
		}
	}
	for i, v := range spec.Volumes {
		switch {
		case v.Secret != nil:
			add("Secret", v.Secret.SecretName, "", v.Secret.Optional, "volumes[%d].secret", i)
		case v.ConfigMap != nil:
			add("ConfigMap", v.ConfigMap.Name, "", v.ConfigMap.Optional, "volumes[%d].configMap", i)
		}
	}
	return out
}

// wanted calls f for each reference of the pods that p declares.
func (p *Planned) wanted(f func(by object.ID, ref podReference)) {
	for _, o := range p.objects {
		for _, ref := range podReferences(o) {
			f(o.ID(), ref)
		}
	}
	if p.recalled != nil {
		for _, o := range p.recalled.Objects {
			for _, ref := range o.Wants {
				f(o.id(), ref)
			}
		}
	}
}

// checkReferences warns of Secrets and ConfigMaps without which a pod would not
// start, and which neither this run makes nor the cluster has. What Git does not
// declare costs a request each; whoever may not read it is not told.
func (e *Engine) checkReferences(ctx context.Context, r *Run) error {
	type place struct {
		site
		id object.ID
	}
	type answer struct {
		found map[string]bool // the names of its entries; nil for nothing
		known bool
	}
	answers := map[place]*answer{}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(e.concurrency())
	each := func(f func(p *Planned, by, wants object.ID, ref podReference, a *answer)) {
		for _, p := range r.Kustomizations {
			if p.Suspended || len(p.Problems) > 0 {
				continue
			}
			p.wanted(func(by object.ID, ref podReference) {
				id := object.ID{Kind: ref.Kind, Namespace: by.Namespace, Name: ref.Name}
				f(p, by, id, ref, answers[place{p.site(), id}])
			})
		}
	}
	each(func(p *Planned, _, wants object.ID, _ podReference, a *answer) {
		if a == nil {
			a = &answer{}
			answers[place{p.site(), wants}] = a
			g.Go(func() error {
				a.found, a.known = e.provided(gctx, r, p, wants)
				return nil
			})
		}
	})
	if err := g.Wait(); err != nil {
		return err
	}
	shown := map[*Planned]*Planned{}
	type want struct {
		p       *Planned
		by      object.ID
		missing string
	}
	var wants []want // each once, in order
	places := map[want][]string{}
	each(func(p *Planned, by, id object.ID, ref podReference, a *answer) {
		var missing string
		switch {
		case !a.known || a.found != nil && (ref.Key == "" || a.found[ref.Key]):
			return
		case a.found == nil:
			missing = fmt.Sprintf("wants %s, which neither this repository nor the cluster has", id)
			for _, q := range r.declaredAll {
				if q.site() == p.site() && !slices.Contains(r.Kustomizations, q) && q.declares(id) {
					missing = fmt.Sprintf("wants %s, which the cluster does not have, and %s, which declares it, is not a part of this run", id, q.Ref)
				}
			}
		default:
			missing = fmt.Sprintf("wants %s of %s, which has no such key", ref.Key, id)
		}
		w := want{p, by, missing}
		if places[w] == nil {
			wants = append(wants, w)
		}
		places[w] = append(places[w], ref.Path)
	})
	for _, w := range wants {
		if shown[w.p] == nil {
			if shown[w.p] = w.p; w.p.recalled != nil {
				shown[w.p] = e.apart(ctx, w.p)
			}
		}
		warning := Warning{Code: "missing-reference", Object: w.by.String(),
			Message: w.missing + ": its pods would not start", Hint: "declare it, create it, or let the reference be optional"}
		if all := places[w]; len(all) > 1 {
			warning.Message = fmt.Sprintf("%s, and wants it in %d places: its pods would not start", w.missing, len(all))
			warning.Detail = strings.Join(all, "\n")
		}
		warning.File, warning.Line = shown[w.p].lineOf(w.by, places[w][0])
		r.warn(e, warning)
	}
	return nil
}

// lineOf is where a field of an object that p has rendered stands, as near as it
// is known.
func (p *Planned) lineOf(id object.ID, path string) (file string, line int) {
	for _, o := range p.objects {
		if o.ID() != id {
			continue
		}
		if doc, ok := p.rendered.Document(o); ok {
			return o.File, object.LineOf(doc.Node, path)
		}
		return o.File, o.Line
	}
	return "", 0
}

// dataKeys are the names of what a Secret or a ConfigMap holds; nil for other
// kinds.
func dataKeys(u *unstructured.Unstructured) []string {
	if gvk := u.GroupVersionKind(); gvk.Group != "" || gvk.Kind != "Secret" && gvk.Kind != "ConfigMap" {
		return nil
	}
	var keys []string
	for _, field := range []string{"data", "stringData", "binaryData"} {
		values, _ := u.Object[field].(map[string]any)
		keys = slices.AppendSeq(keys, maps.Keys(values))
	}
	return keys
}

// provided are the entries of a Secret or ConfigMap as it will be after the run,
// nil for none; known is false where nobody may look.
func (e *Engine) provided(ctx context.Context, r *Run, p *Planned, id object.ID) (entries map[string]bool, known bool) {
	named := func(keys []string) (map[string]bool, bool) {
		entries := map[string]bool{}
		for _, k := range keys {
			entries[k] = true
		}
		return entries, true
	}
	for _, q := range r.Kustomizations {
		if q.site() != p.site() {
			continue
		}
		for _, o := range q.objects {
			if o.ID() == id {
				return named(dataKeys(o.Unstructured))
			}
		}
		if q.recalled == nil {
			continue
		}
		for _, o := range q.recalled.Objects {
			if o.id() == id {
				return named(o.Keys)
			}
		}
	}
	for _, q := range r.Kustomizations {
		for _, c := range q.Prunes {
			if c.ID == id && c.Action == plan.Delete && q.site() == p.site() {
				return nil, true
			}
		}
	}
	live, err := p.cluster.Self().Get(ctx, id, "v1")
	if live == nil {
		return nil, err == nil
	}
	return named(dataKeys(live))
}
