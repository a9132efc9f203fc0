package gitops

import (
	"context"
	"fmt"
	"strings"

	"github.com/Masterminds/semver/v3"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/source"
)

// checkForward refuses to go back: a late job, or a checkout that nobody has
// pulled, must not roll a cluster back. p's revision must be the recorded one,
// or come after it on the same branch.
func (e *Engine) checkForward(ctx context.Context, r *Run, p *Planned) error {
	if !p.atHand || p.record == nil || p.Suspended || r.otherSource {
		return nil
	}
	was := p.record.Status.LastAppliedRevision
	if was == "" || was == e.Source.Revision || r.forward[was] {
		return nil
	}
	if e.Source.Commit == "" {
		if strings.Contains(was, "sha1:") {
			what := "a plain directory"
			if e.Source.Unborn() {
				what = "a repository without a commit"
			}
			r.warn(e, Warning{Code: "no-history", Object: r.Root.Ref.String(),
				Message: fmt.Sprintf("the cluster is at %s, and %s has no history: it may be older", ShortRevision(was), what)})
		}
		return nil
	}
	if !strings.Contains(was, "sha1:") {
		return nil // a plain directory, which has no history
	}
	rel, err := e.Source.Relation(ctx, was)
	if r.forward == nil {
		r.forward = map[string]bool{}
	}
	what, fix := e.backward(was, rel)
	switch {
	case err == nil && what == "":
	case e.Options.AllowRollback:
		if err == nil {
			r.warn(e, Warning{Code: "rollback", Object: p.Ref.String(), Message: what})
		}
	case err != nil:
		return fmt.Errorf("is %s newer than %s, which cluster %s is at? %w", ShortRevision(e.Source.Revision), ShortRevision(was), e.Cluster.Context, err)
	default:
		return &Refused{Code: "rollback", Msg: what, Fix: fix}
	}
	r.forward[was] = true // said once
	return nil
}

// backward says why the step from was to the revision at hand is none forward,
// and what to do about it; "" if it is.
func (e *Engine) backward(was string, rel source.Relation) (what, fix string) {
	at := fmt.Sprintf("cluster %s is at %s, ", e.Cluster.Context, ShortRevision(was))
	own := "your HEAD " + ShortRevision(e.Source.Revision)
	if e.Source.URL != "" {
		own = ShortRevision(e.Source.Revision) + " of " + e.Source.URL
	}
	switch rel.Order {
	case source.Same:
		return "", ""
	case source.Ancestor:
		return at + fmt.Sprintf("%s is %s behind", own, count(rel.Behind, "commit")), "git pull; or, to roll the cluster back: --allow-rollback"
	case source.Diverged:
		return at + fmt.Sprintf("%s lacks %s of it and has %s of its own", own, count(rel.Behind, "commit"), count(rel.Ahead, "commit")),
			"git pull --rebase; or, if that history was rewritten on purpose: --allow-rollback"
	case source.Unknown:
		return at + fmt.Sprintf("and whether %s comes after that cannot be told: %s", own, rel.Why),
			"git fetch, and see whether the branch was rewritten; if this is the revision to have: --allow-rollback"
	}
	branch, _, _ := strings.Cut(was, "@")
	if now := e.Source.Branch; now != "" && branch != now && strings.Contains(was, "@") && !isVersion(branch) {
		return at + fmt.Sprintf("%s is on branch %s", own, now), fmt.Sprintf("merge it into %s first; or, if it is to be applied as it is: --allow-rollback", branch)
	}
	return "", ""
}

// isVersion tells a tag from a branch, as far as a revision does.
func isVersion(name string) bool {
	_, err := semver.NewVersion(name)
	return err == nil
}
