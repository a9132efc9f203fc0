package gitops

import (
	"errors"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cluster"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/plan"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/render"
)

func TestRevisionsAreCutForPeople(t *testing.T) {
	for in, want := range map[string]string{
		"main@sha1:9d22ce7aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa":       "main@sha1:9d22ce7",
		"main@sha1:9d22ce7aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-dirty": "main@sha1:9d22ce7-dirty",
		"dir@sha256:27e06e48499aa0a0fa3a4a74a7115476112a05c9f4935": "dir@sha256:27e06e4",
		"sha1:9d22ce7aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa":            "sha1:9d22ce7",
	} {
		if got := ShortRevision(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

// planned is a Kustomization that owns n objects and would delete those of kinds.
func planned(name string, declared, kept int, deleted ...string) *Planned {
	p := &Planned{Kustomization: flux.Kustomization{Ref: flux.Ref{Namespace: "n", Name: name}}, record: &cluster.Record{}, rendered: &render.Result{}}
	for range declared {
		p.Changes = append(p.Changes, plan.Change{Action: plan.Unchanged})
	}
	for range kept {
		p.record.Inventory = append(p.record.Inventory, plan.Entry{})
	}
	for _, kind := range deleted {
		p.record.Inventory = append(p.record.Inventory, plan.Entry{})
		p.Prunes = append(p.Prunes, plan.Change{ID: object.ID{Kind: kind, Name: "x", Namespace: "n"}, Action: plan.Delete, Live: &unstructured.Unstructured{}})
	}
	return p
}

func many(n int, kind string) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = kind
	}
	return out
}

func TestGuardsOnDeletes(t *testing.T) {
	gone := planned("gone", 0, 0, many(12, "ConfigMap")...)
	gone.rendered = nil // removed: nothing of it was rendered
	withRemoved := planned("root", 90, 90, "Kustomization")
	withRemoved.Removed = []*Planned{gone}
	refusedAlready := planned("broken", 0, 0, many(12, "ConfigMap")...)
	refusedAlready.Problems = []Problem{{}}
	for name, c := range map[string]struct {
		p       *Planned
		options Options
		want    string
	}{
		"nothing":                     {planned("a", 3, 3), Options{AllowPrune: -1}, ""},
		"ten of ten, others stay":     {planned("a", 1, 0, many(10, "ConfigMap")...), Options{AllowPrune: -1}, ""},
		"eleven of twelve":            {planned("a", 1, 1, many(11, "ConfigMap")...), Options{AllowPrune: -1}, "refusing to prune 11 of 12 objects"},
		"eleven of thirty":            {planned("a", 19, 19, many(11, "ConfigMap")...), Options{AllowPrune: -1}, ""},
		"eleven, allowed":             {planned("a", 1, 1, many(11, "ConfigMap")...), Options{AllowPrune: 11}, ""},
		"eleven, ten allowed":         {planned("a", 1, 1, many(11, "ConfigMap")...), Options{AllowPrune: 10}, "--allow-prune 11"},
		"an empty render":             {planned("a", 0, 0, "ConfigMap"), Options{AllowPrune: -1}, "refusing to prune 1 of 1 object"},
		"a Kustomization with all":    {withRemoved, Options{AllowPrune: -1}, "kustomization/gone in n: refusing to prune 12 of 12 objects: it is no longer declared"},
		"a namespace":                 {planned("a", 3, 3, "Namespace"), Options{AllowPrune: 99}, "--allow-delete Namespace"},
		"a namespace, allowed":        {planned("a", 3, 3, "Namespace"), Options{AllowPrune: -1, AllowDelete: []string{"namespace"}}, ""},
		"what failed deletes nothing": {refusedAlready, Options{AllowPrune: -1}, ""},
	} {
		e := &Engine{Options: c.options}
		err := e.Guard(&Run{Kustomizations: []*Planned{c.p}})
		var refused *Refused
		switch {
		case err == nil && c.want == "":
		case err == nil || !errors.As(err, &refused):
			t.Errorf("%s: %v, want %q", name, err, c.want)
		case c.want == "" || !strings.Contains(refused.Msg+"\n"+refused.Fix, c.want):
			t.Errorf("%s: %s (%s), want %q", name, refused.Msg, refused.Fix, c.want)
		}
	}
}

func TestChangesAreInTheOrderOfAnApply(t *testing.T) {
	var changes []ChangeReport
	for _, c := range []struct{ kind, name, action string }{
		{"Secret", "z", "deleted"}, {"Deployment", "web", "created"}, {"ConfigMap", "a", "deleted"},
		{"Namespace", "n", "created"}, {"Service", "s", "unchanged"},
	} {
		cr := ChangeReport{Kind: c.kind, Name: c.name, Action: c.action}
		if c.kind == "Deployment" {
			cr.Group = "apps"
		}
		changes = append(changes, cr)
	}
	sortChanges(changes)
	var got []string
	for _, c := range changes {
		got = append(got, c.Kind)
	}
	if want := "Namespace Service Deployment Secret ConfigMap"; strings.Join(got, " ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
}

// What is waited for is told in the words of whoever sets a status, which may quote a
// Secret: a controller that cannot log in does.
func TestWaitingShowsNoSecret(t *testing.T) {
	var told string
	e := &Engine{Events: func(ev Event) { told = ev.Message }}
	w := &task{e: e, Planned: &Planned{hidden: []string{"swordfish"}}}
	w.waiting("database/db in shop: no login with password swordfish")
	if want := "waiting for database/db in shop: no login with password ***"; told != want {
		t.Errorf("%q, want %q", told, want)
	}
}
