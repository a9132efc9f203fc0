package gitops

import (
	"context"
	"fmt"

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

// podReference is a Secret or ConfigMap without which a pod does not start.
type podReference struct {
	id   object.ID
	key  string // "" for all of it
	path string // of the reference, in the object
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
			out = append(out, podReference{id: object.ID{Kind: kind, Namespace: o.GetNamespace(), Name: name}, key: key, path: prefix + fmt.Sprintf(path, args...)})
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

// checkReferences warns of Secrets and ConfigMaps without which a pod would not
// start, and which neither this run makes nor the cluster has. What Git does not
// declare costs a request each; whoever may not read it is not told.
func (e *Engine) checkReferences(ctx context.Context, r *Run) error {
	type place struct {
		site
		id object.ID
	}
	type answer struct {
		found *unstructured.Unstructured
		known bool
	}
	answers := map[place]*answer{}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(e.concurrency())
	each := func(f func(p *Planned, o object.Object, ref podReference, a *answer)) {
		for _, p := range r.Kustomizations {
			if p.Suspended || len(p.Problems) > 0 {
				continue
			}
			for _, o := range p.objects {
				for _, ref := range podReferences(o) {
					f(p, o, ref, answers[place{p.site(), ref.id}])
				}
			}
		}
	}
	each(func(p *Planned, _ object.Object, ref podReference, a *answer) {
		if a == nil {
			a = &answer{}
			answers[place{p.site(), ref.id}] = a
			g.Go(func() error {
				a.found, a.known = e.provided(gctx, r, p, ref.id)
				return nil
			})
		}
	})
	if err := g.Wait(); err != nil {
		return err
	}
	each(func(p *Planned, o object.Object, ref podReference, a *answer) {
		missing := ref.missing(a.found)
		if !a.known || missing == "" {
			return
		}
		line := o.Line
		if doc, ok := p.rendered.Document(o); ok {
			line = object.LineOf(doc.Node, ref.path)
		}
		r.warn(e, Warning{Code: "missing-reference", File: o.File, Line: line, Object: o.ID().String(),
			Message: missing + ": its pods would not start", Hint: "declare it, create it, or let the reference be optional"})
	})
	return nil
}

// missing says what of a reference found does not have; found is nil for what is
// nowhere, and without data for what is declared and not looked into.
func (ref podReference) missing(found *unstructured.Unstructured) string {
	if found == nil {
		return fmt.Sprintf("wants %s, which neither this repository nor the cluster has", ref.id)
	}
	if ref.key == "" || found.Object == nil {
		return ""
	}
	for _, field := range []string{"data", "stringData", "binaryData"} {
		values, _ := found.Object[field].(map[string]any)
		if _, has := values[ref.key]; has {
			return ""
		}
	}
	return fmt.Sprintf("wants %s of %s, which has no such key", ref.key, ref.id)
}

// provided is a Secret or ConfigMap as it will be after the run, nil for none;
// known is false where nobody may look.
func (e *Engine) provided(ctx context.Context, r *Run, p *Planned, id object.ID) (found *unstructured.Unstructured, known bool) {
	for _, q := range r.Kustomizations {
		if q.site() != p.site() {
			continue
		}
		for _, o := range q.objects {
			if o.ID() == id {
				return o.Unstructured, true
			}
		}
		for _, c := range q.Changes { // of an earlier run's rendering
			if c.ID == id {
				return &unstructured.Unstructured{}, true
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
	return live, err == nil
}
