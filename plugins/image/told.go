package image

import (
	"fmt"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/source"
)

// tell reports what an attempt has written.
func (u *update) tell(g *group, done *outcome) {
	for _, f := range done.tell {
		f()
	}
	for _, a := range g.automations {
		u.report.Automations[a.at].Branch = g.base.Branch
		a.revision = g.base.CheckedOut
	}
	if done.base.Redundant() {
		fmt.Fprintf(&u.text, "branch %s has it already, at %s\n", g.base.Branch, short(g.base.Tip))
		return
	}
	branch := g.base.Branch
	if u.o.noPush {
		branch = leftBranch
	}
	for _, e := range done.edits {
		u.report.Edits = append(u.report.Edits, EditReport{File: e.File, Line: e.Line, Column: e.Column, Policy: e.Policy.String(), Old: e.Old, New: e.New,
			Automation: e.by.Ref.String(), Branch: branch})
		if !u.o.dryRun {
			what := u.tree.short(e.Policy)
			if e.Marker != "" {
				what = "marker " + e.Marker
			}
			fmt.Fprintf(&u.text, "%s:%d: %s → %s (%s)\n", printable(e.File), e.Line, printable(e.Old), e.New, printable(what))
		}
	}
	for _, a := range done.by {
		if r := &u.report.Automations[a.at]; r.Status != "failed" {
			r.Status = "updated"
		}
	}
	u.report.Commits = append(u.report.Commits, done.commits...)
}

// sent tells of commits that are where they were to go.
func (u *update) sent(g *group, done *outcome, pushed *source.PushResult) {
	last := u.report.Commits[len(u.report.Commits)-len(done.commits):]
	for i := range last {
		if pushed == nil {
			last[i].Branch = leftBranch
			continue
		}
		last[i].Pushed, last[i].PullRequest = true, pushed.PullRequest
	}
	for _, c := range last {
		switch {
		case pushed == nil && g.up.Name == "":
			fmt.Fprintf(&u.text, "committed %s to branch %s of %s\n", short(c.SHA), leftBranch, g.up.Checkout.Dir)
		case pushed == nil:
			fmt.Fprintf(&u.text, "committed %s to branch %s of %s; not pushed: git push %s %s:%s\n",
				short(c.SHA), leftBranch, g.up.Checkout.Dir, g.up.Name, leftBranch, g.base.Branch)
		default:
			fmt.Fprintf(&u.text, "pushed %s to %s of %s\n", short(c.SHA), g.base.Branch, g.up.URL)
		}
	}
	if pushed == nil {
		return
	}
	for i, a := range done.by {
		a.pushed = done.commits[i].SHA
	}
	for _, a := range g.automations {
		if g.branch == "" { // the checkout branch itself
			a.revision = done.base.Revision
		}
	}
	if g.base.Replaces {
		fmt.Fprintf(&u.text, "in place of %s, which was an update too\n", short(g.base.Tip))
	}
	if pushed.PullRequest != "" {
		fmt.Fprintf(&u.text, "open a pull request: %s\n", pushed.PullRequest)
	}
}

// unsent tells of commits that did not get where they were to go.
func (u *update) unsent(g *group, done *outcome, err error) {
	u.failed = true
	u.ui.Error(err)
	u.failAll(done.by, err)
}

// summary ends the answer.
func (u *update) summary() {
	if n := len(u.report.Commits); n == 0 && u.text.Len() == 0 && !u.failed {
		fmt.Fprintf(&u.text, "nothing to update: %s\n", u.where)
	} else if n > 0 {
		u.report.Commit = &u.report.Commits[0]
		if n == 1 {
			u.report.Commits = nil
		}
	}
}

func short(sha string) string { return sha[:min(7, len(sha))] }

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
