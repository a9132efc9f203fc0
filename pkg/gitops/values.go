package gitops

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cluster"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/secret"
)

// data is the content of a ConfigMap or a Secret, decoded: from Git where a
// Kustomization of the run declares it, else from the cluster. why says why
// there is none; nil where there is.
func (e *Engine) data(ctx context.Context, r *Run, id object.ID) (data map[string]string, why error) {
	if o, ok := e.declared(ctx, r, id); ok {
		if _, sealed := o.Object["sops"]; sealed {
			return nil, &closedError{o}
		}
		return decodeData(o.Unstructured), nil
	}
	if e.Cluster == nil {
		return nil, errNotFound
	}
	live, err := e.lookUp(ctx, id)
	if err == nil && live == nil {
		err = errNotFound
	}
	if err != nil {
		return nil, nameless(err)
	}
	return decodeData(live), nil
}

// lookUp reads what no Kustomization of the run declares; nil for nothing.
func (e *Engine) lookUp(ctx context.Context, id object.ID) (*unstructured.Unstructured, error) {
	e.lookedUp.Store(id, true)
	return e.Cluster.Get(ctx, id, "v1")
}

// errNotFound is why there is no data that anybody has.
var errNotFound = errors.New("not found")

// nameless is the server's no without the object's name, which whoever asked for
// it says.
func nameless(err error) error {
	var no *cluster.Refusal
	if !errors.As(err, &no) {
		return err
	}
	return &Refused{Code: "refused", Msg: strings.Join(no.Reasons, "; "), Fix: no.Fix}
}

// hintOf is what to type about err, as far as it knows.
func hintOf(err error) string {
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) {
		return hinted.Hint()
	}
	return ""
}

// secretFile finds a Secret among the files at hand that no Kustomization
// renders, as a bootstrap leaves those that it made by hand. Sealed ones are
// opened with the keys at hand.
func (e *Engine) secretFile(id object.ID) (data map[string]string, ok bool) {
	if e.Source == nil { // it is being looked for itself
		return nil, false
	}
	files := secret.Overlay(e.Source.FS, e.Keys, secret.OverlayOptions{Configured: true, IgnoreMAC: e.Options.IgnoreMAC})
	_ = fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !slices.Contains([]string{".yaml", ".yml"}, path.Ext(name)) {
			return nil // what cannot be read is no Secret that could be used
		}
		text, err := fs.ReadFile(files, name)
		if err != nil || !bytes.Contains(text, []byte(id.Name)) {
			return nil
		}
		docs, err := object.Documents(name, text)
		if err != nil {
			return nil
		}
		for _, doc := range docs {
			u := &unstructured.Unstructured{}
			if doc.Kind != "Secret" || doc.Name != id.Name || doc.Namespace != "" && doc.Namespace != id.Namespace || doc.Node.Decode(&u.Object) != nil {
				continue
			}
			if _, sealed := u.Object["sops"]; !sealed {
				data, ok = decodeData(u), true
				return fs.SkipAll
			}
		}
		return nil
	})
	return data, ok
}

func decodeData(u *unstructured.Unstructured) map[string]string {
	out := map[string]string{}
	plain := "data"
	if object.IsSecret(u.GroupVersionKind().GroupKind()) {
		plain = "stringData"
		m, _, _ := unstructured.NestedStringMap(u.Object, "data")
		for k, v := range m {
			if b, err := base64.StdEncoding.DecodeString(v); err == nil {
				out[k] = string(b)
			}
		}
	}
	m, _, _ := unstructured.NestedStringMap(u.Object, plain)
	maps.Copy(out, m)
	return out
}

// variables merges spec.postBuild as Flux does: substituteFrom in order, the
// later wins, then substitute over all.
func (e *Engine) variables(ctx context.Context, r *Run, p *Planned) (map[string]string, []Problem) {
	post := p.Spec.PostBuild
	if post == nil {
		return nil, nil
	}
	vars := map[string]string{}
	var problems []Problem
	for _, ref := range post.SubstituteFrom {
		id := object.ID{Kind: ref.Kind, Namespace: p.Namespace, Name: ref.Name}
		data, why := e.data(ctx, r, id)
		closed := (*closedError)(nil)
		if errors.As(why, &closed) {
			data, why = e.sealedVariables(ctx, r, id, closed)
			if why != nil && len(e.Options.Values) > 0 {
				continue
			}
		}
		if why == errNotFound && (ref.Optional || len(e.Options.Values) > 0) {
			continue
		}
		if why == errNotFound && e.Cluster == nil {
			problems = append(problems, Problem{
				Code: "substitute-from", File: p.Object.File, Line: p.Object.Line, Object: p.Ref.String(),
				Message: fmt.Sprintf("postBuild.substituteFrom needs %s, which Git does not have, and no cluster is asked", id),
				Hint:    "--values NAME=VALUE for each of its entries, or set optional: true",
			})
			continue
		}
		if why == errNotFound {
			why = errors.New("not found, in Git and in the cluster")
		}
		if why != nil {
			problems = append(problems, Problem{
				Code: "substitute-from", File: p.Object.File, Line: p.Object.Line, Object: p.Ref.String(),
				Message: fmt.Sprintf("postBuild.substituteFrom needs %s: %s", id, why),
				Hint:    firstOf(hintOf(why), "declare it, create it in the cluster, or set optional: true"),
			})
			continue
		}
		maps.Copy(vars, data)
		e.hide(r, p, id, data, closed != nil)
	}
	maps.Copy(vars, e.Options.Values)
	maps.Copy(vars, post.Substitute)
	return vars, problems
}

// checkEmpty refuses a root that declares nothing and owns nothing: a path that
// was mistyped. One that owned something is the guards' affair.
func (e *Engine) checkEmpty(r *Run) error {
	for _, p := range r.Kustomizations {
		if p.rendered != nil && p.rendered.Ignored != nil { // it may be why there are none
			f := p.rendered.Ignored
			r.warn(e, Warning{Code: unknownField, File: f.File, Line: f.Line, Object: p.Ref.String(), Message: f.Msg + ", and is ignored, as Flux does", Hint: f.Fix})
		}
		if p.rendered == nil || len(p.rendered.Objects) > 0 || len(p.Problems) > 0 || p.record == nil || len(p.record.Inventory) > 0 {
			continue
		}
		if p == r.Root {
			return &Refused{Code: "no-manifests", Msg: fmt.Sprintf("there are no manifests in %s at %s", p.Path(), ShortRevision(p.Revision)), Fix: "--path DIR: where the Kustomizations of this cluster are"}
		}
		r.warn(e, Warning{Code: "no-manifests", File: p.Object.File, Line: p.Object.Line, Object: p.Ref.String(), Message: "its path " + p.Path() + " has no manifests"})
	}
	return nil
}

// tellUnborn warns that the source at hand is nowhere but on this disk.
func (e *Engine) tellUnborn(r *Run) {
	if e.Source.Unborn() {
		r.warn(e, Warning{Code: "no-commits", Message: "nothing is committed yet: the files are taken as they are in the work tree", Hint: "git add . && git commit"})
	}
}

// checkDirty refuses edits that are not committed under what is rendered: a
// sync applies what others can see.
func (e *Engine) checkDirty(r *Run) error {
	var paths []string
	read := map[string]bool{}
	for _, p := range r.Kustomizations {
		if !p.atHand || p.rendered == nil && p.recalled == nil {
			continue
		}
		paths = append(paths, p.Path())
		for _, f := range p.inputFiles() {
			read[f] = true
		}
	}
	under := func(file string) bool {
		return read[file] || slices.ContainsFunc(paths, func(p string) bool { return p == "." || strings.HasPrefix(path.Clean(file), p+"/") })
	}
	var dirty []string
	for _, f := range e.Source.Dirty {
		if under(f) {
			dirty = append(dirty, f)
		}
	}
	for _, f := range e.Source.Untracked {
		if !under(f) || e.Source.Unborn() { // nothing is committed there, which was told
			continue
		}
		message := f + " is not tracked by Git and is not applied"
		if _, err := fs.Stat(e.Source.FS, strings.TrimSuffix(f, "/")); err == nil {
			message = f + " is not tracked by Git: what is committed does not have it"
		}
		r.warn(e, Warning{Code: "untracked-file", File: f, Message: message, Hint: "git add " + f})
	}
	if len(dirty) == 0 || e.Options.AllowDirty {
		return nil
	}
	return &Refused{
		Code: "dirty",
		Msg:  fmt.Sprintf("%s changed and not committed: %s", count(len(dirty), "file"), some(dirty, 5)),
		Fix:  "git commit, or --allow-dirty to apply the work tree as it is",
	}
}

// Refused is a run that a guard did not let start. Nothing was written.
type Refused struct {
	Code string
	Msg  string
	Fix  string
}

func (e *Refused) Error() string { return e.Msg }

// Hint is what to type to go on.
func (e *Refused) Hint() string { return e.Fix }

// count says how many, in words that agree: "1 file", "3 files".
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// some lists at most n names.
func some(names []string, n int) string {
	if len(names) <= n {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:n], ", "), len(names)-n)
}
