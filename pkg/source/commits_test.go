package source

import (
	"strings"
	"testing"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/source/gitserver"
)

// The order is git's own, over every kind of remote, with and without filters.
func TestCommitsAreInTheOrderOfGit(t *testing.T) {
	t.Parallel()
	s, k := newServed(t), gitserver.NewKey(t)
	srv := gitserver.NewSSH(t, s.root, k.Only)
	c := &checkout{t: t, dir: real(t, t.TempDir()), env: s.env}
	runGit(t, s.root, s.env, "clone", "-q", "file://"+s.root+"/fleet.git", c.dir)
	base := c.head()
	for i, date := range []string{"2030-01-01T00:00:00Z", "2001-01-01T00:00:00Z", "2026-06-01T00:00:00Z"} { // clocks may be wrong
		c.env = append(s.env, "GIT_COMMITTER_DATE="+date)
		c.write("a.yaml", strings.Repeat("x", i)+"\n")
		c.commit("on main")
	}
	c.git("switch", "-q", "-c", "side", base)
	for range 3 {
		c.env = append(s.env, "GIT_COMMITTER_DATE=2027-01-01T00:00:00Z")
		c.git("commit", "-q", "--allow-empty", "-m", "on the side")
	}
	c.git("switch", "-q", "main")
	c.git("merge", "-q", "-m", "merge", "side")
	c.git("push", "-q", "origin", "main", "side")
	for _, filter := range []string{"false", "true"} {
		s.config(t, "uploadpack.allowFilter", filter)
		for _, url := range []string{serve(t, gitserver.Backend(t, s.root)) + "/fleet.git", srv.URL(s.root + "/fleet.git"), "file://" + s.root + "/fleet.git"} {
			for _, branch := range []string{"main", "side"} {
				o := Options{Source: url, Ref: branch, Auth: Auth{SSHKey: k.PEM(t, ""), KnownHosts: srv.KnownHosts(), Env: s.env}}
				on, commits, err := Commits(t.Context(), o)
				must(t, err)
				is(t, url+": the branch", on, branch)
				is(t, url+" "+branch, strings.Join(commits, "\n"), c.git("log", "--date-order", "--format=%H", branch))
			}
		}
	}

	for source, want := range map[string]string{
		"fleet": "is not a URL", "file:///nowhere": "is not a Git repository", "http://127.0.0.1:1/x.git": "cannot be reached",
	} {
		if _, _, err := Commits(t.Context(), Options{Source: source, Auth: Auth{Env: s.env}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", source, err, want)
		}
	}
	_, _, err := Commits(t.Context(), Options{Source: "file://" + s.root + "/fleet.git", Ref: "nowhere", Auth: Auth{Env: s.env}})
	if err == nil || !strings.Contains(err.Error(), "nowhere") {
		t.Error(err)
	}

	shallow := real(t, t.TempDir())
	runGit(t, s.root, s.env, "clone", "-q", "--depth=2", "file://"+s.root+"/fleet.git", shallow)
	_, commits, err := Commits(t.Context(), Options{Source: "file://" + shallow, Auth: Auth{Env: s.env}})
	if err != nil || len(commits) < 2 || len(commits) > 4 {
		t.Errorf("a shallow clone: %v %v", commits, err)
	}
}

func TestSameHost(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		a, b string
		want bool
	}{
		{"https://github.com/a/b", "https://github.com/c/d.git", true},
		{"git@github.com:a/b", "ssh://git@github.com/c/d", true},
		{"https://github.com/a/b", "https://github.com.evil.example/a/b", false},
		{"https://github.com/a/b", "http://github.com/a/b", false},
		{"https://github.com/a/b", "https://github.com:8443/a/b", false},
		{"file:///a", "file:///a", false},
		{"", "https://github.com/a/b", false},
	} {
		if got := SameHost(test.a, test.b); got != test.want {
			t.Errorf("%s and %s: %v", test.a, test.b, got)
		}
	}
}
