package source

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/source/gitserver"
)

// related wants snap to stand so to recorded: "descendant +2 -0".
func related(t *testing.T, snap *Snapshot, recorded, want string) {
	t.Helper()
	rel, err := snap.Relation(t.Context(), recorded)
	must(t, err)
	is(t, "relation to "+recorded, fmt.Sprintf("%s +%d -%d", rel.Order, rel.Ahead, rel.Behind), want)
}

func TestRelationInAFullClone(t *testing.T) {
	t.Parallel()
	c := withFiles(t, "a.yaml", "1\n")
	first := c.head()
	c.write("a.yaml", "2\n")
	second := c.commit("second")
	c.git("switch", "-q", "-c", "feature", first)
	c.write("b.yaml", "1\n")
	side := c.commit("side")
	c.git("merge", "-q", "-m", "merge", "main")
	merge := c.head()
	c.git("switch", "-q", "--orphan", "other")
	c.write("a.yaml", "other\n")
	orphan := c.commit("orphan")
	c.git("tag", "-a", "-m", "x", "v1.0.0", second)
	c.git("switch", "-q", "feature")
	snap := open(t, c.options())
	related(t, snap, "feature@sha1:"+merge, "same +0 -0")
	related(t, snap, "main@sha1:"+second, "descendant +2 -0")
	related(t, snap, "v1.0.0@sha1:"+second, "descendant +2 -0")
	related(t, snap, "main/"+second, "descendant +2 -0") // as Flux wrote it before 2.0
	related(t, snap, first, "descendant +3 -0")
	related(t, snap, "sha1:"+orphan, "diverged +4 -1")
	o := c.options()
	o.Ref = "main"
	behind := open(t, o)
	related(t, behind, "feature@sha1:"+merge, "ancestor +0 -2")
	related(t, behind, side, "diverged +1 -1")

	for recorded, why := range map[string]string{
		strings.Repeat("e", 40):                    "which has no remote to fetch it from",
		"latest@sha256:" + strings.Repeat("e", 64): "is not a commit of Git",
	} {
		rel, err := snap.Relation(t.Context(), recorded)
		if err != nil || rel.Order != Unknown || !strings.Contains(rel.Why, why) {
			t.Errorf("%s: %+v, %v", recorded, rel, err)
		}
	}
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "a"), nil, 0o644))
	plain := open(t, Options{Source: dir})
	related(t, plain, plain.Revision, "same +0 -0")
	related(t, plain, "main@sha1:"+first, "unknown +0 -0")
}

// A clock that goes backwards does not turn an ancestor into a stranger.
func TestRelationWithWrongClocks(t *testing.T) {
	t.Parallel()
	c := withFiles(t, "a.yaml", "0\n")
	first := c.head()
	for i, date := range []string{"2030-01-01T00:00:00Z", "2001-01-01T00:00:00Z", "2026-06-01T00:00:00Z"} {
		c.env = append(c.env, "GIT_COMMITTER_DATE="+date)
		c.write("a.yaml", fmt.Sprint(i+1)+"\n")
		c.commit("later")
	}
	related(t, open(t, c.options()), first, "descendant +3 -0")
	o := c.options()
	o.Ref = first
	related(t, open(t, o), c.head(), "ancestor +0 -3")
}

// The recorded commit is fetched where the clone does not have it, over every kind of remote, and
// the checkout stays as it was.
func TestRelationToACommitThatIsNotAtHand(t *testing.T) {
	t.Parallel()
	s, k := newServed(t), gitserver.NewKey(t)
	srv := gitserver.NewSSH(t, s.root, k.Only)
	remotes := map[string]string{
		"http": serve(t, gitserver.Backend(t, s.root)) + "/fleet.git",
		"ssh":  srv.URL(s.root + "/fleet.git"),
		"file": "file://" + s.root + "/fleet.git",
		"path": s.root + "/fleet.git",
	}
	auth := Auth{SSHKey: k.PEM(t, ""), KnownHosts: srv.KnownHosts(), Env: s.env}
	for _, filter := range []string{"false", "true"} {
		s.config(t, "uploadpack.allowFilter", filter)
		for name, url := range remotes {
			for _, shallow := range []bool{false, true} {
				dir := filepath.Join(real(t, t.TempDir()), "clone")
				args := []string{"clone", "-q", "--branch", "release"}
				if shallow {
					args = append(args, "--depth=1")
				}
				runGit(t, s.root, s.env, append(args, "file://"+s.root+"/fleet.git", dir)...) // at first
				if !shallow {
					for _, ref := range []string{"refs/remotes/origin/main", "refs/tags/v1.1.0", "refs/tags/v1.0.0"} {
						runGit(t, dir, s.env, "update-ref", "-d", ref)
					}
					runGit(t, dir, s.env, "-c", "gc.reflogExpire=now", "-c", "gc.pruneExpire=now", "gc", "-q", "--prune=now")
				}
				runGit(t, dir, s.env, "remote", "set-url", "origin", url)
				before := runGit(t, dir, s.env, "count-objects", "-v") + runGit(t, dir, s.env, "for-each-ref")
				t.Run(fmt.Sprintf("%s, shallow=%v, filter=%s", name, shallow, filter), func(t *testing.T) {
					snap := open(t, Options{Source: dir, Auth: auth})
					related(t, snap, "main@sha1:"+s.third, "ancestor +0 -3")
					related(t, snap, "main@sha1:"+s.old, "ancestor +0 -1")
					rel, err := snap.Relation(t.Context(), "main@sha1:"+strings.Repeat("e", 40))
					if err != nil || rel.Order != Unknown || !strings.Contains(rel.Why, strings.Repeat("e", 40)) {
						t.Errorf("a commit of nowhere: %+v, %v", rel, err)
					}
				})
				is(t, name+": the clone", runGit(t, dir, s.env, "count-objects", "-v")+runGit(t, dir, s.env, "for-each-ref"), before)
			}
			if name == "path" {
				continue // the source is the directory itself then
			}
			snap := open(t, Options{Source: url, Auth: auth})
			related(t, snap, "main@sha1:"+s.first, "descendant +3 -0")
			related(t, open(t, Options{Source: url, Ref: "v1.1.0", Auth: auth}), "main@sha1:"+s.third, "ancestor +0 -2")
		}
	}
}

// In a shallow clone, as CI makes it, the past is fetched.
func TestRelationInAShallowClone(t *testing.T) {
	t.Parallel()
	s := newServed(t)
	url := serve(t, gitserver.Backend(t, s.root)) + "/fleet.git"
	dir := filepath.Join(real(t, t.TempDir()), "clone")
	runGit(t, s.root, s.env, "clone", "-q", "--depth=1", url, dir)
	must(t, os.WriteFile(filepath.Join(dir, "local.yaml"), []byte("x\n"), 0o644))
	runGit(t, dir, s.env, "add", "-A")
	runGit(t, dir, s.env, "commit", "-q", "-m", "not pushed")
	snap := open(t, Options{Source: dir, Auth: Auth{Env: s.env}})
	related(t, snap, "main@sha1:"+s.third, "descendant +1 -0")
	related(t, snap, "main@sha1:"+s.first, "descendant +4 -0")

	gone := filepath.Join(real(t, t.TempDir()), "clone")
	runGit(t, s.root, s.env, "clone", "-q", "--depth=1", url, gone)
	runGit(t, gone, s.env, "remote", "set-url", "origin", serve(t, http.NotFoundHandler())+"/fleet.git")
	_, err := open(t, Options{Source: gone, Auth: Auth{Env: s.env}}).Relation(t.Context(), s.first)
	if err == nil || !strings.Contains(err.Error(), "no such repository (404)") {
		t.Errorf("the remote is gone: %v", err)
	}
}

func TestPushed(t *testing.T) {
	t.Parallel()
	s := newServed(t)
	url := serve(t, gitserver.Backend(t, s.root)) + "/fleet.git"
	c := &checkout{t: t, dir: filepath.Join(real(t, t.TempDir()), "clone"), env: s.env}
	runGit(t, s.root, s.env, "clone", "-q", url, c.dir)
	pushed := func(remote, branch, want string) Pushed {
		t.Helper()
		p, err := open(t, c.options()).Pushed(t.Context(), remote, branch)
		must(t, err)
		is(t, "pushed to "+branch, fmt.Sprintf("%s %v %s +%d -%d", p.Branch, p.Has(), p.Order, p.Ahead, p.Behind), want)
		is(t, "remote", p.Remote, url)
		return p
	}
	is(t, "commit", pushed("", "", "main true same +0 -0").Commit, s.third)
	pushed("", "release", "release false descendant +3 -0")
	pushed(strings.TrimSuffix(url, ".git"), "main", "main true same +0 -0")
	if p := pushed("", "nowhere", "nowhere false unknown +0 -0"); p.Commit != "" || p.Why != "the remote has no branch nowhere" {
		t.Errorf("%+v", p)
	}
	c.write("a.yaml", "5\n")
	c.commit("not pushed")
	c.write("a.yaml", "6\n")
	c.commit("nor this")
	pushed("", "main", "main false descendant +2 -0")

	// Somebody else pushes: what the remote has is not at hand.
	other := &checkout{t: t, dir: filepath.Join(real(t, t.TempDir()), "other"), env: s.env}
	runGit(t, s.root, s.env, "clone", "-q", s.root+"/fleet.git", other.dir)
	other.write("c.yaml", "theirs\n")
	theirs := other.commit("theirs")
	other.git("push", "-q", "origin", "main")
	is(t, "commit", pushed("", "", "main false diverged +2 -1").Commit, theirs)
	c.git("reset", "-q", "--hard", s.third)
	pushed("", "", "main true ancestor +0 -1")

	c.git("checkout", "-q", "--detach", s.second)
	if _, err := open(t, c.options()).Pushed(t.Context(), "", ""); err == nil || !strings.Contains(err.Error(), "HEAD is on no branch") {
		t.Error(err)
	}
	if _, err := open(t, withFiles(t, "a", "").options()).Pushed(t.Context(), "", ""); err == nil || !strings.Contains(err.Error(), "has no remote") {
		t.Error(err)
	}
}

func TestRootIdentity(t *testing.T) {
	t.Parallel()
	identity := func(s *Snapshot) string {
		t.Helper()
		id, err := s.RootIdentity(t.Context())
		must(t, err)
		return id
	}
	c := withFiles(t, "a.yaml", "1\n")
	first := c.head()
	c.write("a.yaml", "2\n")
	c.commit("second")
	is(t, "no remote", identity(open(t, c.options())), "root@sha1:"+first)
	for _, url := range []string{"git@forge.example:Acme/fleet.git", "https://bot:secret@forge.example/acme/fleet", "ssh://git@forge.example/acme/fleet.git/"} {
		c.git("config", "remote.origin.url", url)
		is(t, url, identity(open(t, c.options())), "forge.example/acme/fleet")
	}
	c.git("config", "remote.origin.url", "acme:fleet")
	c.git("config", "url.https://forge.example/acme/.insteadOf", "acme:")
	is(t, "insteadOf", identity(open(t, c.options())), "forge.example/acme/fleet")
	is(t, "directory", identity(open(t, Options{Source: t.TempDir()})), "")
}
