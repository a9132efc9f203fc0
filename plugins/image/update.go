package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/gitops"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/image"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/source"
)

// leftBranch is the branch that --no-push leaves its commits on.
const leftBranch = "gitops/image-update"

// updateOptions are the flags of image update.
type updateOptions struct {
	readOptions
	dryRun      bool
	noPush      bool
	interactive bool
	pushBranch  string
	overrides   []string
	repair      bool
	signingKey  string
	sync        bool
	syncPath    string
	engine      string

	newSync func(*cli.Env) *cobra.Command

	chosen map[image.Ref]image.Image // of --policy
}

func newUpdate(env *cli.Env, newSync func(*cli.Env) *cobra.Command, runF func(context.Context, *cobra.Command, *cli.Env, *updateOptions) error) *cobra.Command {
	o := &updateOptions{newSync: newSync}
	c := &cobra.Command{
		Use:   "update [AUTOMATION…]",
		Short: "Write what the policies choose into Git, commit and push",
		Long: `Write what ImagePolicies choose at their markers, as the ImageUpdateAutomations of the
source say: commit on their branch as it is at the remote now, and push. Only the bytes
of the values change. Your work tree, index and branches are never touched.

Everything is read from the remote: the branch that is checked out, as it is there now.

Exit codes: 0 pushed, or nothing to update · 1 something failed, or with --dry-run would
change · 2 could not start · 130 interrupted.`,
		Example: examples(env, `  # what would change?
  %[1]s update --dry-run

  # write it, commit, push
  %[1]s update

  # look at the commit first; it is on branch gitops/image-update of your clone
  %[1]s update --no-push

  # and roll it out
  %[1]s update --sync --sync-path clusters/vps

  # another image than the policy would choose
  %[1]s update --policy flux-system/api=ghcr.io/team/api:1.2.0`),
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if err := o.complete(c, env, args); err != nil {
				return err
			}
			return runF(c.Context(), c, env, o)
		},
	}
	f := c.Flags()
	o.addFlags(env, f)
	_ = f.MarkHidden("from-cluster") // complete refuses it
	f.Lookup("path").Usage = "Directory to read automations, policies and repositories from. Default: all of the source."
	f.Lookup("ref").Usage = "Branch, tag or commit of the remote to read automations, policies and repositories from. Default: the branch that is checked out, else the remote's default branch."
	f.BoolVar(&o.dryRun, "dry-run", false, "Print what would change as a unified diff, and write nothing.")
	f.BoolVar(&o.noPush, "no-push", false, "Leave the commits on branch "+leftBranch+" of the clone, and push nothing.")
	f.BoolVar(&o.repair, "repair", false, "Mend what updates at markers that do not fit their field have destroyed, and the markers. No registry is asked, no version changes.")
	f.StringVar(&o.signingKey, "signing-key", "", "Private key, OpenPGP (armored) or SSH, to sign commits with instead of spec.git.commit.signingKey; passphrase in "+passphraseVar+".")
	f.BoolVar(&o.sync, "sync", false, "Go on with a sync of the cluster to what is there then.")
	f.StringVar(&o.syncPath, "sync-path", "", "With --sync: entry directory, as sync --path.")
	f.StringVar(&o.engine, "engine", "auto", "Where a cluster is asked: auto (never beside a live Flux controller), local.")
	f.Lookup("include-suspended").Usage = "Take suspended automations, policies and repositories too."
	f.BoolVar(&o.interactive, "interactive", false, "Show the diff and ask, on a terminal.")
	f.StringVar(&o.pushBranch, "push-branch", "", "Branch to push to instead of spec.git.push.branch.")
	f.StringArrayVar(&o.overrides, "policy", nil, "[NAMESPACE/]NAME=IMAGE: write NAME:TAG[@DIGEST] for this policy, whatever it chooses.")
	return c
}

func (o *updateOptions) complete(c *cobra.Command, env *cli.Env, args []string) error {
	if err := o.readOptions.complete(c, env, args); err != nil {
		return err
	}
	if o.fromCluster {
		return cli.Usage(c, "--from-cluster: an update is made of what a repository declares")
	}
	for _, pair := range [][2]string{{"dry-run", "no-push"}, {"dry-run", "interactive"}} {
		if c.Flags().Changed(pair[0]) && c.Flags().Changed(pair[1]) {
			return cli.Usage(c, "--%s --%s: want one of the two", pair[0], pair[1])
		}
	}
	if err := cli.OneOf(c, "engine", o.engine, "auto", "local"); err != nil {
		return err
	}
	for _, flag := range []string{"dry-run", "no-push", "push-branch"} {
		if o.sync && c.Flags().Changed(flag) {
			return cli.Usage(c, "--sync --%s: what is not on the branch that the cluster follows cannot be synced", flag)
		}
	}
	if o.syncPath != "" && !o.sync {
		return cli.Usage(c, "--sync-path goes with --sync")
	}
	if o.repair && len(o.overrides) > 0 {
		return cli.Usage(c, "--repair --policy: a repair changes no version; want one of the two")
	}
	if c.Flags().Changed("push-branch") {
		if err := source.CheckBranch(o.pushBranch); err != nil {
			return cli.Usage(c, "--push-branch %q: %s", o.pushBranch, err)
		}
	}
	o.chosen = map[image.Ref]image.Image{}
	for _, s := range o.overrides {
		name, text, ok := strings.Cut(s, "=")
		if !ok {
			return cli.Usage(c, "--policy %s: want [NAMESPACE/]NAME=IMAGE", s)
		}
		ref, err := cli.Ref(c, env, name)
		if err != nil {
			return err
		}
		i, err := image.ParseImage(text)
		if err != nil {
			return cli.Usage(c, "--policy %s: %s", s, err)
		}
		o.chosen[image.Ref(ref)] = i
	}
	return nil
}

func runUpdate(ctx context.Context, c *cobra.Command, env *cli.Env, o *updateOptions) error {
	s, err := newSession(c, env, &o.Output)
	if err != nil {
		return err
	}
	defer s.ui.Close()
	auth, err := o.Source.Auth(ctx, env)
	if err != nil {
		return err
	}
	up, err := source.OpenUpstream(ctx, source.Options{Source: o.Source.Source, Auth: auth})
	if err != nil {
		return err
	}
	snap, err := up.Read(ctx, o.Ref)
	if err != nil {
		return err
	}
	s.report.Revision, s.where = snap.Revision, snap.Revision
	root, err := o.root(snap, up)
	if err != nil {
		return err
	}
	s.local(up, snap)
	t, err := s.declared(ctx, snap, root)
	if err != nil {
		return err
	}
	u := &update{session: s, o: o, tree: t, auth: auth}
	began := time.Now()
	if clusterAsked(c, o) {
		if err := u.connect(ctx); err != nil {
			return err
		}
	}
	if err := u.plan(up); err != nil {
		return err
	}
	if err := u.fetch(ctx); err != nil {
		return err
	}
	if err := u.signers(ctx); err != nil {
		return err
	}
	if err := u.decide(ctx); err != nil {
		return err
	}
	if !o.repair {
		u.checkMarkers()
	}
	for _, g := range u.groups {
		err := u.write(ctx, g)
		switch refused := (*gitops.Refused)(nil); {
		case err == nil:
		case errors.As(err, &refused): // the user said no
			return err
		case ctx.Err() != nil:
			return u.interrupted(err)
		default:
			u.failGroup(g, err)
		}
	}
	u.summary()
	u.record(ctx, began)
	if !o.sync || ctx.Err() != nil {
		return s.end()
	}
	if !s.asObject { // people read first what was pushed
		err := s.end()
		code := u.syncAfter(ctx, snap.URL, snap.Branch)
		if exit := (cli.Exit{}); errors.As(err, &exit) && code == cli.ExitOK {
			return err
		}
		return cli.Exit{Code: code}
	}
	code := u.syncAfter(ctx, snap.URL, snap.Branch)
	if err := s.end(); code == cli.ExitOK || err != nil && !errors.As(err, new(cli.Exit)) {
		return err
	}
	return cli.Exit{Code: code}
}

// interrupted ends a run in which something may have been pushed.
func (u *update) interrupted(err error) error {
	if len(u.report.Commits) == 0 {
		return err
	}
	u.ui.Error(errors.New("interrupted: what is told as pushed is pushed, and the rest is not"))
	u.summary()
	if err := u.end(); err != nil && !errors.As(err, new(cli.Exit)) {
		return err
	}
	return cli.Exit{Code: cli.ExitInterrupted}
}

// root is the directory to read from: --path, else the directory of the checkout
// that was named.
func (o *updateOptions) root(snap *source.Snapshot, up *source.Upstream) (string, error) {
	if o.Path != "" {
		return o.EntryPath(snap, "")
	}
	if up.Checkout != nil && up.Checkout.Prefix != "" {
		if _, err := fs.Stat(snap.FS, up.Checkout.Prefix); err != nil {
			return "", fmt.Errorf("%s is not in %s of %s", up.Checkout.Prefix, snap.Revision, snap.URL)
		}
		return up.Checkout.Prefix, nil
	}
	return ".", nil
}

// local tells what of the checkout is not looked at.
func (s *session) local(up *source.Upstream, snap *source.Snapshot) {
	here := up.Checkout
	if here == nil {
		return
	}
	var unseen []string
	if n := len(here.Dirty); n > 0 {
		unseen = append(unseen, "changes of "+count(n, "file")+" that are not committed")
	}
	if here.Branch != "" && here.Branch != snap.Branch && snap.URL != "" {
		unseen = append(unseen, "branch "+here.Branch+", which the remote has not")
	}
	if len(unseen) > 0 {
		s.warn(image.Problem{Code: "image-local", Message: "the work tree has " + strings.Join(unseen, " and ") + ": an update is made of " + snap.Revision + " and leaves it alone",
			Hint: "commit and push what it needs"})
	}
}

// write makes the commits of one branch, and pushes them. Where somebody else was
// faster it begins again with what they pushed.
func (u *update) write(ctx context.Context, g *group) error {
	const attempts = 5
	for attempt := 1; ; attempt++ {
		done, err := u.commit(ctx, g)
		if err != nil {
			return err
		}
		if len(done.base.Commits()) == 0 || done.base.Redundant() {
			u.tell(g, done)
			return nil
		}
		text, err := done.diff(g.base)
		if err != nil {
			return err
		}
		if u.o.dryRun {
			u.tell(g, done)
			u.text.WriteString(text)
			u.failed = true // the answer is no: there is something to update
			return nil
		}
		if u.o.interactive {
			if err := u.confirm(text); err != nil {
				return err
			}
		}
		pushed, err := u.send(ctx, g, done)
		if errors.Is(err, source.ErrMoved) && attempt < attempts {
			if g.base, err = g.fetch(ctx); err != nil {
				return err
			}
			continue
		}
		u.tell(g, done)
		if err != nil {
			u.unsent(g, done, err)
			return nil
		}
		u.sent(g, done, pushed)
		return nil
	}
}

// send pushes the commits, or leaves them in the clone.
func (u *update) send(ctx context.Context, g *group, done *outcome) (*source.PushResult, error) {
	if u.o.noPush {
		return nil, done.base.Leave(ctx, leftBranch, g.mine)
	}
	return done.base.Push(ctx, g.push)
}

// diff is what changed, file by file.
func (d *outcome) diff(from *source.Base) (string, error) {
	var out strings.Builder
	for _, name := range d.files() {
		before, err := fs.ReadFile(from.FS, name)
		if err != nil {
			return "", err
		}
		after, err := fs.ReadFile(d.base.FS, name)
		if err != nil {
			return "", err
		}
		text := string(diff.Diff("a/"+name, before, "b/"+name, after))
		_, text, _ = strings.Cut(text, "\n") // it repeats the names
		out.WriteString(text)
	}
	return out.String(), nil
}

func (u *update) confirm(text string) error {
	return cli.Confirm(u.env, func() error {
		_, err := fmt.Fprint(u.env.ErrOut, text)
		return err
	}, "commit and push this?")
}
