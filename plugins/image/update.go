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
	"github.com/kubectl-gitops/kubectl-gitops/pkg/secret"
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
Outside of a Git repository the automations of the cluster are followed.

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
	f.Lookup("from-cluster").Usage = "Do what the automations of the cluster say, with the credentials that their GitRepositories name. The default outside of a Git repository."
	f.Lookup("path").Usage = "Directory to read automations, policies and repositories from. Default: all of the source."
	f.Lookup("ref").Usage = "Branch, tag or commit of the remote to read automations, policies and repositories from. Default: the branch that is checked out, else the remote's default branch."
	f.BoolVar(&o.dryRun, "dry-run", false, "Print what would change as a unified diff, and write nothing.")
	f.BoolVar(&o.noPush, "no-push", false, "Leave the commits on branch "+leftBranch+" of the clone, and push nothing.")
	f.BoolVar(&o.repair, "repair", false, "Mend what updates at markers that do not fit their field have destroyed, and the markers. No registry is asked, no version changes.")
	f.StringVar(&o.signingKey, "signing-key", "", "Private key, OpenPGP (armored) or SSH, to sign commits with instead of spec.git.commit.signingKey; passphrase in "+passphraseVar+".")
	f.BoolVar(&o.sync, "sync", false, "Go on with a sync of the cluster to what is there then.")
	f.StringVar(&o.syncPath, "sync-path", "", "With --sync: entry directory, as sync --path.")
	f.StringVar(&o.engine, "engine", "auto", "Where a cluster is asked: auto (never beside a live Flux controller), local.")
	cli.Choices(f, "engine", "auto", "local")
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
	if strings.HasPrefix(o.Source.Source, ociPrefix) {
		return cli.Usage(c, "--source %s: an update is a commit, and an artifact takes none: want the Git repository that it is made of", o.Source.Source)
	}
	for _, pair := range [][2]string{{"dry-run", "no-push"}, {"dry-run", "interactive"}} {
		if c.Flags().Changed(pair[0]) && c.Flags().Changed(pair[1]) {
			return cli.Usage(c, "--%s --%s: want one of the two", pair[0], pair[1])
		}
	}
	if err := cli.OneOf(c, "engine", o.engine); err != nil {
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
	keys, err := secret.Find(secret.FindOptions{KeyFile: o.AgeKeyFile, Getenv: env.Getenv})
	if err != nil {
		return err
	}
	u := &update{session: s, o: o, keys: keys}
	began := time.Now()
	if err := u.read(ctx); err != nil {
		return err
	}
	if u.tree.live != nil || clusterAsked(c, o) {
		if err := u.knowCluster(ctx); err != nil {
			return err
		}
	}
	if err := u.plan(ctx); err != nil {
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
	var declined error
	for _, g := range u.groups {
		if ctx.Err() != nil {
			break
		}
		err := u.write(ctx, g)
		switch refused := (*gitops.Refused)(nil); {
		case err == nil:
			u.finished[g] = true
		case ctx.Err() != nil:
		case errors.As(err, &refused): // the user said no, or cannot
			declined = err
			u.failGroup(g, err)
		default:
			u.failGroup(g, err)
		}
	}
	switch interrupted := len(u.finished) < len(u.groups) || o.sync; {
	case ctx.Err() != nil && interrupted:
		return u.interrupted(ctx, began)
	case declined != nil && len(u.report.Commits) == 0:
		return declined
	}
	u.summary()
	u.record(ctx, began)
	if !o.sync {
		return s.end()
	}
	return u.goOn(ctx)
}

// interrupted ends a run of which a part was pushed.
func (u *update) interrupted(ctx context.Context, began time.Time) error {
	if len(u.report.Commits) == 0 {
		return ctx.Err()
	}
	for _, g := range u.groups {
		for _, a := range g.automations {
			if r := &u.report.Automations[a.at]; !u.finished[g] && r.Status != "failed" {
				r.Status, r.Message = "failed", "interrupted before its commit was pushed"
			}
		}
	}
	u.ui.Error(errors.New("interrupted: what is told as pushed is pushed, and the rest is not"))
	u.summary()
	u.record(ctx, began)
	if err := u.end(); err != nil && !errors.As(err, new(cli.Exit)) {
		return err
	}
	return cli.Exit{Code: cli.ExitInterrupted}
}

// read reads what is declared: by a repository, as its remote has it now, or by
// the cluster.
func (u *update) read(ctx context.Context) (err error) {
	if u.auth, err = u.o.Source.Auth(ctx, u.env); err != nil {
		return err
	}
	if !u.o.fromCluster {
		u.up, err = source.OpenUpstream(ctx, source.Options{Source: u.o.Source.Source, Auth: u.auth})
		if none := errors.Is(err, source.ErrNoRepository) && u.o.Ref == "" && u.o.Path == ""; err != nil && !none {
			return err
		}
	}
	if u.up == nil {
		u.tree, err = u.readCluster(ctx, image.RepositoryKind, image.PolicyKind, image.AutomationKind)
		return err
	}
	snap, err := u.up.Read(ctx, u.o.Ref)
	if err != nil {
		return err
	}
	u.report.Revision, u.where, u.branch = snap.Revision, snap.Revision, snap.Branch
	root, err := u.o.root(snap, u.up)
	if err != nil {
		return err
	}
	u.local(u.up, snap)
	u.tree, err = u.declared(ctx, snap, root)
	return err
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
