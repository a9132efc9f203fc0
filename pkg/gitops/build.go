package gitops

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/source"
)

// Built is what Git says of one Kustomization.
type Built struct {
	flux.Ref
	Path     string
	Problems []Problem
	// Objects are in the order of an apply.
	Objects []object.Object
}

// Build renders what a sync would apply, as far as Git alone can tell: no
// cluster is asked, and Cluster may be nil. What is wrong with one Kustomization
// is in its Problems; an error is what stops all. Values of Secrets are masked
// unless showSecrets.
func (e *Engine) Build(ctx context.Context, showSecrets bool) ([]Built, error) {
	r := e.newRun()
	root := e.Options.Path
	if e.Options.Given != nil {
		root = e.Options.Given.Path()
	}
	e.Events.emit(Event{Type: RunStarted, Message: fmt.Sprintf("root: %s  revision: %s", root, ShortRevision(e.Source.Revision))})
	e.tellUnborn(r)
	var err error
	if e.Options.Given != nil {
		err = e.given(ctx, r)
	} else {
		err = e.discover(ctx, r)
	}
	if err != nil {
		return nil, err
	}
	if err := e.checkEmpty(r); err != nil {
		return nil, err
	}
	if err := e.limit(r); err != nil {
		return nil, err
	}
	e.checkSources(r)
	e.order(r)
	fields := e.newPasswords(r)
	var out []Built
	for _, p := range r.Kustomizations {
		b := Built{Ref: p.Ref, Path: p.Path(), Problems: p.Problems}
		if len(p.Problems) == 0 {
			b.Objects = slices.Clone(p.objects)
			if !showSecrets {
				for _, o := range b.Objects {
					object.ConcealOne(o.Unstructured, p.secrets(o), fields.of(ctx, p, o.GroupVersionKind()))
				}
			}
			slices.SortStableFunc(b.Objects, func(x, y object.Object) int {
				if s, t := object.StageOf(x.ID().GroupKind()), object.StageOf(y.ID().GroupKind()); s != t {
					return int(s - t)
				}
				return object.Compare(x.ID(), y.ID())
			})
		}
		out = append(out, b)
	}
	return out, ctx.Err() // which fields are passwords may not be known
}

// given makes a Kustomization that is not in the source the whole of the run.
func (e *Engine) given(ctx context.Context, r *Run) error {
	var err error
	if r.atHand, err = e.Source.Artifact(source.Content{Submodules: true}); err != nil {
		return err
	}
	g := e.Options.Given
	p := &Planned{Kustomization: g.Kustomization, cluster: e.Cluster, node: g.node, snapshot: r.atHand, Revision: e.Source.Revision, atHand: true}
	r.Root, r.Kustomizations = p, []*Planned{p}
	e.checkFields(r, p, g.wrong)
	if err := e.load(ctx, r, p); err != nil {
		return err
	}
	if len(p.Problems) == 0 {
		e.render(ctx, r, p)
		p.finish()
	}
	return nil
}

// SetGiven reads the Kustomization of a file that is not in the source: it is
// then all that Build renders. What is wrong with its fields is told there.
func (o *Options) SetGiven(name string, data []byte, namespace string) error {
	docs, err := object.Documents(name, data)
	if err != nil {
		return err
	}
	n := 0
	for _, d := range docs {
		if gv, err := schema.ParseGroupVersion(d.APIVersion); err != nil || !flux.IsKustomization(gv.WithKind(d.Kind).GroupKind()) {
			continue
		}
		n++
		var content any
		if err := d.Node.Decode(&content); err != nil {
			return fmt.Errorf("%s: %w", object.Where(name, d.Line), err)
		}
		text, err := json.Marshal(content)
		if err != nil {
			return fmt.Errorf("%s: %w", object.Where(name, d.Line), err)
		}
		u := &unstructured.Unstructured{}
		if err := utiljson.Unmarshal(text, &u.Object); err != nil {
			return fmt.Errorf("%s: %w", object.Where(name, d.Line), err)
		}
		if u.GetNamespace() == "" {
			u.SetNamespace(namespace)
		}
		given := &Given{node: d.Node}
		given.Kustomization, given.wrong = flux.ParseKustomization(object.Object{Unstructured: u, File: name, Line: d.Line})
		o.Given = given
	}
	if n != 1 {
		return &Refused{Code: "kustomization-file", Msg: fmt.Sprintf("%s has %s of Flux's", name, count(n, "Kustomization")),
			Fix: "name a file with one, of apiVersion kustomize.toolkit.fluxcd.io/v1"}
	}
	return nil
}

// Given is a Kustomization that is not in the source.
type Given struct {
	flux.Kustomization
	node  *yaml.Node
	wrong error
}
