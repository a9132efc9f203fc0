package gitops

import (
	"maps"
	"slices"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
)

// shortSecret is the length in bytes below which a value is looked for in the
// objects of its own file alone: in others it would be found by chance.
const shortSecret = 4

// secrets are the values that are not to be shown of o, an object of p: what the
// sealed files of p held, and what its variables have from Secrets and sealed
// ConfigMaps.
func (p *Planned) secrets(o object.Object) []string {
	out := slices.Clone(p.hidden)
	if p.files == nil {
		return out
	}
	for _, s := range p.files.Opened() {
		for _, v := range object.Secrets(s.Values()...) {
			if len(v) >= shortSecret || s.Path == o.File {
				out = append(out, v)
			}
		}
	}
	return out
}

// hide keeps variables of p from being shown: all, those of a Secret, and what an
// object of another kind has from a sealed file.
func (e *Engine) hide(r *Run, p *Planned, id object.ID, data map[string]string, all bool) {
	all = all || id.Kind == "Secret"
	var secrets []string
	for _, q := range r.Kustomizations {
		for _, o := range q.objects {
			if !all && o.ID() == id {
				secrets = append(secrets, q.secrets(o)...)
			}
		}
	}
	for _, k := range slices.Sorted(maps.Keys(data)) {
		if !all && !slices.Contains(secrets, data[k]) {
			continue
		}
		for _, form := range object.Secrets(data[k]) {
			if len(form) >= shortSecret {
				p.hidden = append(p.hidden, form)
			}
		}
	}
}

// unseen is a message about p without what is not to be shown.
func (p *Planned) unseen(msg string) string {
	return object.Mask(msg, slices.DeleteFunc(p.secrets(object.Object{}), func(v string) bool { return len(v) < object.Within }))
}
