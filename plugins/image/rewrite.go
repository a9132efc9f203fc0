package image

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	autov1 "github.com/fluxcd/image-automation-controller/api/v1"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/gitops"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/image"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/secret"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/source"
)

// update is an image update under way.
type update struct {
	*session
	o      *updateOptions
	tree   *tree
	auth   source.Auth
	keys   *secret.Keyring
	up     *source.Upstream // that the objects are read from; nil where they are the cluster's
	branch string           // of it that was read
	groups []*group
	chosen []decision
	seen   []seen // every marker that can be written
	live   *live  // nil where no cluster is asked
	ran    []*automation

	finished  map[*group]bool
	upstreams map[image.Ref]*source.Upstream // by GitRepository
	given     string                         // the URL that the credentials of the command line were used for
	gitSecret string                         // NAMESPACE/NAME of the Secret of the cluster whose credentials were used last
	store     *secrets                       // nil until a Secret is looked for
}

// group are the automations that push to one branch of one repository: their
// commits come one on top of the other, and are pushed together.
type group struct {
	up          *source.Upstream
	ref, branch string // what they start from, and what they push to: "" is ref
	automations []*automation
	push        source.PushOptions
	timeout     time.Duration // of a fetch, 0 is none
	base        *source.Base
}

// automation is one of them, with its place in the report.
type automation struct {
	image.Automation
	at       int // in Report.Automations
	sign     source.Signer
	unsigned *image.Problem // why it cannot sign, and so makes no commit
	revision string         // of what it looked at, with what it pushed
	pushed   string         // its commit
	failed   failure        // why nothing came of it
}

// fetch reads the branch as it is now.
func (g *group) fetch(ctx context.Context) (*source.Base, error) {
	if g.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, g.timeout, fmt.Errorf("no answer within spec.timeout, %s", g.timeout))
		defer cancel()
	}
	return g.up.Fetch(ctx, g.ref, g.branch, g.mine)
}

// mine reports whether commits by that author are the automations' own.
func (g *group) mine(email string) bool {
	return slices.ContainsFunc(g.automations, func(a *automation) bool { return a.Git().Commit.Author.Email == email })
}

// fetch reads the branches of all groups. One that cannot be read leaves the
// others.
func (u *update) fetch(ctx context.Context) error {
	left := u.groups[:0]
	for _, g := range u.groups {
		var err error
		if g.base, err = g.fetch(ctx); err == nil {
			left = append(left, g)
			continue
		}
		if ctx.Err() != nil {
			return err
		}
		u.failGroup(g, err)
	}
	u.groups = left
	return nil
}

// failGroup tells once what went wrong for all automations of a branch.
func (u *update) failGroup(g *group, err error) {
	u.failed = true
	u.ui.Error(err)
	u.failAll(g.automations, err)
}

// failAll reports what Git or its server said to automations.
func (u *update) failAll(all []*automation, err error) {
	for _, a := range all {
		r := &u.report.Automations[a.at]
		r.Status, r.Message = "failed", err.Error()
		a.failed = failure{reason: autov1.GitOperationFailedReason, message: err.Error()}
	}
}

// files are the files of a commit that an automation edits, as Flux chooses
// them: YAML by its name, and with a marker in it.
func files(base *source.Base, a image.Automation) (map[string][]byte, error) {
	out := map[string][]byte{}
	root := a.UpdatePath()
	if _, err := fs.Stat(base.FS, root); err != nil {
		return nil, &image.Problem{Code: "image-automation", File: a.File, Line: a.Line, Object: a.String(), Field: "spec.update.path",
			Message: fmt.Sprintf("spec.update.path %s is not in %s", root, base.Revision)}
	}
	err := fs.WalkDir(base.FS, root, func(name string, d fs.DirEntry, err error) error {
		if err != nil { // a submodule: not of this repository
			if d != nil && d.IsDir() && name != root {
				return fs.SkipDir
			}
			return err
		}
		if !d.Type().IsRegular() || !isYAML(name) && path.Base(name) != "Kustomization" {
			return nil
		}
		data, err := fs.ReadFile(base.FS, name)
		if err == nil && image.HasMarkers(data) {
			out[name] = data
		}
		return err
	})
	return out, err
}

// decide lets the policies choose that have a marker in what the automations
// edit.
func (u *update) decide(ctx context.Context) error {
	wanted := map[image.Ref]bool{}
	known := map[string]bool{}
	u.tree.markers = nil // what counts is what stands where it is written
	for _, g := range u.groups {
		for _, a := range g.automations {
			found, err := files(g.base, a.Automation)
			if err != nil {
				continue // commit tells
			}
			for _, name := range slices.Sorted(maps.Keys(found)) {
				data := found[name]
				for _, m := range image.Markers(name, data) {
					u.tree.markers = append(u.tree.markers, m)
					if at := fmt.Sprintf("%s %s:%d:%s", g.up.URL, name, m.Line, m.Key); !known[at] {
						known[at] = true
						u.seen = append(u.seen, seen{m, name, g.base.FS})
					}
					wanted[image.Ref{Namespace: m.Namespace, Name: m.Policy}] = wanted[image.Ref{Namespace: m.Namespace, Name: m.Policy}] || m.Namespace == a.Namespace
				}
			}
		}
	}
	var policies []image.Policy
	for _, p := range u.tree.Policies {
		taken := slices.ContainsFunc(u.groups, func(g *group) bool {
			return slices.ContainsFunc(g.automations, func(a *automation) bool { return a.Takes(p) })
		})
		if i, ok := u.o.chosen[p.Ref]; ok {
			u.chosen = append(u.chosen, decision{policy: p, image: i})
		} else if taken && wanted[p.Ref] {
			policies = append(policies, p)
		}
	}
	for ref := range u.o.chosen {
		if !slices.ContainsFunc(u.chosen, func(d decision) bool { return d.policy.Ref == ref }) {
			return fmt.Errorf("--policy %s: there is no such ImagePolicy in %s", ref, u.where)
		}
	}
	if u.o.repair {
		return nil
	}
	policies, err := named(u.session, u.tree, policies, image.PolicyKind, nil, func(p image.Policy) image.Declared { return p.Declared })
	if err != nil {
		return err
	}
	decisions, err := u.session.decide(ctx, &u.o.readOptions, u.tree, policies, false)
	u.chosen = append(u.chosen, decisions...)
	return err
}

// outcome is what the commits of a group are.
type outcome struct {
	base    *source.Base
	edits   []edit
	commits []CommitReport
	by      []*automation // whose each commit is
	tell    []func()      // what went wrong, to be told once the attempt counts
}

// edit is one of an automation.
type edit struct {
	image.Edited
	by *automation
}

// files are those that were edited, in order.
func (d *outcome) files() []string {
	var out []string
	for _, e := range d.edits {
		out = append(out, e.File)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// commit makes the commits of a group, in memory. What is wrong with one
// automation leaves the others'.
func (u *update) commit(ctx context.Context, g *group) (*outcome, error) {
	done := &outcome{base: g.base}
	for _, a := range g.automations {
		if err := u.commitOne(ctx, a, done); err != nil {
			if ctx.Err() != nil {
				return nil, err
			}
			problems := faults(err)
			done.tell = append(done.tell, func() { u.failAutomation(a, problems) })
		}
	}
	return done, nil
}

func (u *update) commitOne(ctx context.Context, a *automation, done *outcome) error {
	if a.unsigned != nil {
		return a.unsigned
	}
	found, err := files(done.base, a.Automation)
	if err != nil {
		return err
	}
	choices := u.choices(a)
	changed := map[string][]byte{}
	var edits []image.Edited
	for _, name := range slices.Sorted(maps.Keys(found)) {
		data, e, problems := image.Edit(name, found[name], choices)
		if u.o.repair {
			data, e, problems = image.Repair(name, found[name], u.names(a))
		}
		if len(e) > 0 {
			changed[name] = data
			edits = append(edits, e...)
		}
		done.tell = append(done.tell, func() { u.markers(a, problems) })
	}
	if len(edits) == 0 {
		return nil
	}
	message, err := a.Message(edits, choices)
	if err != nil {
		return err
	}
	if u.o.repair && a.Git().Commit.MessageTemplate == "" {
		message = "Mend image references at policy markers"
	}
	who := a.Git().Commit.Author
	next, err := done.base.Commit(ctx, changed, source.CommitOptions{Name: who.Name, Email: who.Email, Message: message, When: time.Now(), Sign: a.sign})
	if err != nil {
		return err
	}
	made := next.Commits()
	done.base = next
	for _, e := range edits {
		done.edits = append(done.edits, edit{e, a})
	}
	done.commits = append(done.commits, CommitReport{SHA: made[len(made)-1], Branch: next.Branch, Automation: a.Ref.String(), Message: message})
	done.by = append(done.by, a)
	return nil
}

// choices are what an automation writes: what the policies that it takes have
// chosen. Of several with one name, the nearest counts.
func (u *update) choices(a *automation) map[image.Ref]image.Image {
	out, nearest := map[image.Ref]image.Image{}, map[image.Ref]int{}
	for _, d := range u.chosen {
		near := 1 + common(d.policy.File, a.File)
		if d.image.Tag != "" && a.Takes(d.policy) && near > nearest[d.policy.Ref] {
			out[d.policy.Ref], nearest[d.policy.Ref] = d.image, near
		}
	}
	return out
}

// names are the images of the repositories of the policies that an automation
// takes.
func (u *update) names(a *automation) map[image.Ref]string {
	out := map[image.Ref]string{}
	for _, p := range u.tree.Policies {
		if r, err := u.tree.repositoryOf(p); err == nil && r.Check() == nil && a.Takes(p) {
			out[p.Ref] = r.Spec.Image
		}
	}
	return out
}

// markers tells what Edit could not write.
func (u *update) markers(a *automation, problems []image.Problem) {
	for _, p := range problems {
		switch p.Code {
		case "image-marker-unresolved":
			if u.o.repair { // else checkMarkers tells, or why its policy chose nothing
				u.fail([]*image.Problem{&p})
			}
		case "image-marker-file", "image-marker-unread":
			u.warn(p)
		default:
			if strings.Contains(p.Message, "bare ") || strings.Contains(p.Message, "whole reference") && !u.o.repair {
				p.Hint += "; or let it be mended: " + u.env.Command("image") + " update --repair"
			}
			u.fail([]*image.Problem{&p})
			r := &u.report.Automations[a.at]
			r.Problems = append(r.Problems, gitops.Problem{Code: p.Code, File: p.File, Line: p.Line, Object: p.Object, Message: p.Message, Hint: p.Hint})
		}
	}
}
