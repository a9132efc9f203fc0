package source

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/source/gitserver"
)

// bot makes the commits.
func bot(message string) CommitOptions {
	return CommitOptions{Name: "bot", Email: "bot@example.com", Message: message, When: time.Unix(1767225600, 0).UTC()}
}

func isBot(email string) bool { return email == "bot@example.com" }

// pushable is a bare repository that may be pushed to, and a clone of it.
type pushable struct {
	*checkout
	bare string
}

func newPushable(t *testing.T, files ...string) *pushable {
	t.Helper()
	c := withFiles(t, files...)
	p := &pushable{c, filepath.Join(real(t, t.TempDir()), "fleet.git")}
	c.git("clone", "-q", "--bare", c.dir, p.bare)
	c.git("remote", "add", "origin", p.bare)
	p.served("config", "http.receivepack", "true")
	p.served("config", "receive.advertisePushOptions", "true")
	return p
}

func (p *pushable) served(args ...string) string {
	p.t.Helper()
	return runGit(p.t, p.bare, p.env, args...)
}

// hook installs a hook of the server.
func (p *pushable) hook(name, script string) {
	p.t.Helper()
	must(p.t, os.MkdirAll(filepath.Join(p.bare, "hooks"), 0o755))
	must(p.t, os.WriteFile(filepath.Join(p.bare, "hooks", name), []byte("#!/bin/sh\n"+script), 0o755))
}

// upstream is the repository by its URL.
func (p *pushable) upstream(o Options) *Upstream {
	p.t.Helper()
	if o.Auth.Env == nil {
		o.Auth.Env = p.env
	}
	u, err := OpenUpstream(p.t.Context(), o)
	must(p.t, err)
	return u
}

func (p *pushable) http() *Upstream {
	p.t.Helper()
	return p.upstream(Options{Source: serve(p.t, gitserver.Backend(p.t, filepath.Dir(p.bare))) + "/fleet.git"})
}

// change fetches branch, and makes a commit of one file for the branch push.
func change(t *testing.T, u *Upstream, branch, push, content string) *Base {
	t.Helper()
	b, err := u.Fetch(t.Context(), branch, push, isBot)
	must(t, err)
	b, err = b.Commit(t.Context(), map[string][]byte{"a.yaml": []byte(content)}, bot("to "+strings.TrimSpace(content)))
	must(t, err)
	return b
}

func push(t *testing.T, b *Base, o PushOptions) *PushResult {
	t.Helper()
	r, err := b.Push(t.Context(), o)
	if err != nil {
		t.Fatalf("%v (hint: %s)", err, hint(err))
	}
	return r
}

func (p *pushable) notPushed(b *Base, o PushOptions, parts ...string) error {
	p.t.Helper()
	before := p.served("for-each-ref")
	_, err := b.Push(p.t.Context(), o)
	if err == nil {
		p.t.Fatal("it was pushed")
	}
	text := err.Error() + "\nhint: " + hint(err)
	for _, part := range parts {
		if !strings.Contains(text, part) {
			p.t.Errorf("the error does not say %q:\n%s", part, text)
		}
	}
	is(p.t, "the server's references", p.served("for-each-ref"), before)
	return err
}

func TestPushOverAllTransports(t *testing.T) {
	t.Parallel()
	p := newPushable(t, "a.yaml", "1\n", "b/c.yaml", "c\n")
	root := filepath.Dir(p.bare)
	key := gitserver.NewKey(t)
	ssh := gitserver.NewSSH(t, root, key.Only)
	git := gitserver.Backend(t, root)
	https := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "bot" || password != "token-of-the-bot" {
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		git.ServeHTTP(w, r)
	}))
	for i, o := range []Options{
		{Source: https + "/fleet.git", Auth: Auth{Username: "bot", Password: "token-of-the-bot", Env: p.env}},
		{Source: ssh.URL(p.bare), Auth: Auth{SSHKey: key.PEM(t, ""), KnownHosts: ssh.KnownHosts(), Env: p.env}},
		{Source: "file://" + p.bare},
		{Source: p.dir},
	} {
		before := p.served("rev-parse", "main")
		content := strings.Repeat("x", i+2) + "\n"
		b := change(t, p.upstream(o), "", "", content)
		push(t, b, PushOptions{})
		is(t, o.Source+" file", p.served("show", "main:a.yaml")+"\n", content)
		is(t, o.Source+" commit", p.served("log", "-1", "--format=%H %P %an <%ae> %cn %at %s", "main"),
			b.Commits()[0]+" "+before+" bot <bot@example.com> bot 1767225600 to "+strings.TrimSpace(content))
		is(t, o.Source+" others", p.served("diff", "--name-only", before, "main"), "a.yaml")
	}
	p.served("fsck", "--strict")
	u := p.upstream(Options{Source: https + "/fleet.git", Auth: Auth{Username: "bot", Password: "wrong", Env: p.env}})
	if _, err := u.Fetch(t.Context(), "", "", nil); err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("a wrong password: %v", err)
	}
}

// Modes, links, submodules, line ends and attributes are what they were, and so is the checkout.
func TestACommitChangesNothingElse(t *testing.T) {
	t.Parallel()
	p := newPushable(t, "a.yaml", "1\r\n# \xff\r\n", "run.sh", "#!/bin/sh\n", ".gitattributes", "*.yaml text eol=lf\n", "d/a.yaml", "x\n", "d.yaml", "y\n")
	must(t, os.Chmod(filepath.Join(p.dir, "run.sh"), 0o755))
	must(t, os.Symlink("run.sh", filepath.Join(p.dir, "link")))
	p.git("update-index", "--add", "--cacheinfo", "160000,"+p.head()+",sub")
	p.git("add", "run.sh", "link")
	p.git("commit", "-qm", "odd")
	p.git("push", "-q", "origin", "main")
	u := p.upstream(Options{Source: p.dir})
	before := p.git("status", "--porcelain") + p.git("for-each-ref")
	b, err := u.Fetch(t.Context(), "", "", isBot)
	must(t, err)
	b, err = b.Commit(t.Context(), map[string][]byte{"d/a.yaml": []byte("X\r\n"), "run.sh": []byte("#!/bin/bash\n")}, bot("two"))
	must(t, err)
	push(t, b, PushOptions{})
	is(t, "the tree", p.served("diff", "--raw", "--no-abbrev", "main~1", "main", "--", ".", ":!d/a.yaml", ":!run.sh"), "")
	is(t, "run.sh", strings.Fields(p.served("ls-tree", "main", "run.sh"))[0], "100755")
	is(t, "d/a.yaml", runRaw(t, p, "cat-file", "blob", "main:d/a.yaml"), "X\r\n")
	is(t, "the checkout", p.git("status", "--porcelain")+p.git("for-each-ref"), before)
	p.served("fsck", "--strict")

	for _, name := range []string{"link", "sub", "nowhere.yaml", "d", "a.yaml/b"} {
		if _, err := b.Commit(t.Context(), map[string][]byte{name: nil}, bot("no")); err == nil {
			t.Errorf("%s was replaced", name)
		}
	}
}

func runRaw(t *testing.T, p *pushable, args ...string) string {
	t.Helper()
	out := runGit(t, p.bare, p.env, args...)
	return out + "\n"
}

// Whoever was faster is not overwritten: the push fails, and the next attempt is made on what they did.
func TestPushesThatRace(t *testing.T) {
	t.Parallel()
	p := newPushable(t, "a.yaml", "1\n", "b.yaml", "1\n")
	u := p.http()
	theirs := func() { // somebody else pushes
		t.Helper()
		p.git("fetch", "-q", "origin")
		p.git("reset", "-q", "--hard", "origin/main")
		p.write("b.yaml", p.head()+"\n")
		p.commit("theirs")
		p.git("push", "-q", "origin", "HEAD:main")
	}
	t.Run("before it is sent", func(t *testing.T) {
		b := change(t, u, "", "", "2\n")
		theirs()
		if err := p.notPushed(b, PushOptions{}, "branch main has moved", "it was at "); !errors.Is(err, ErrMoved) {
			t.Error(err)
		}
		push(t, change(t, u, "", "", "2\n"), PushOptions{})
		is(t, "the commits", p.served("log", "-3", "--format=%s", "main"), "to 2\ntheirs\nfirst")
	})
	t.Run("while it is sent", func(t *testing.T) {
		b := change(t, u, "", "", "3\n")
		// The hook runs after the references were compared by the client.
		p.hook("update", "git update-ref refs/heads/main main~1\n")
		_, err := b.Push(t.Context(), PushOptions{})
		must(t, os.Remove(filepath.Join(p.bare, "hooks", "update")))
		if !errors.Is(err, ErrMoved) {
			t.Fatal(err)
		}
		push(t, change(t, u, "", "", "3\n"), PushOptions{})
		is(t, "the commits", p.served("log", "-2", "--format=%s", "main"), "to 3\ntheirs")
	})
	t.Run("deleted", func(t *testing.T) {
		push(t, change(t, u, "main", "bump", "4\n"), PushOptions{})
		b := change(t, u, "main", "bump", "5\n")
		p.served("branch", "-q", "-D", "bump")
		if err := p.notPushed(b, PushOptions{}, "it is not there any more"); !errors.Is(err, ErrMoved) {
			t.Error(err)
		}
		push(t, change(t, u, "main", "bump", "5\n"), PushOptions{})
		is(t, "the commits", p.served("log", "--format=%s", "main..bump"), "to 5")
	})
	t.Run("the answer is lost", func(t *testing.T) {
		git := gitserver.Backend(t, filepath.Dir(p.bare))
		flaky := p.upstream(Options{Source: serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "git-receive-pack") {
				git.ServeHTTP(&dropped{ResponseWriter: w}, r)
				panic(http.ErrAbortHandler)
			}
			git.ServeHTTP(w, r)
		})) + "/fleet.git"})
		push(t, change(t, flaky, "main", "", "6\n"), PushOptions{})
		is(t, "the commit", p.served("log", "-1", "--format=%s", "main"), "to 6")
	})
}

// dropped takes an answer and sends nothing.
type dropped struct{ http.ResponseWriter }

func (dropped) Write(p []byte) (int, error) { return len(p), nil }
func (dropped) WriteHeader(int)             {}

func TestPushesThatAServerRefuses(t *testing.T) {
	t.Parallel()
	p := newPushable(t, "a.yaml", "1\n")
	u := p.http()
	p.hook("pre-receive", "echo 'main is protected: open a pull request' >&2; exit 1\n")
	p.notPushed(change(t, u, "", "", "2\n"), PushOptions{}, "the server refused the push to main: pre-receive hook declined; main is protected: open a pull request", "hint: for a protected branch: --push-branch NAME")
	must(t, os.Remove(filepath.Join(p.bare, "hooks", "pre-receive")))
	p.served("config", "receive.advertisePushOptions", "false")
	p.notPushed(change(t, u, "", "", "2\n"), PushOptions{Options: map[string]string{"ci.skip": ""}}, "the server takes no push options")
	p.served("config", "http.receivepack", "false")
	p.notPushed(change(t, u, "", "", "2\n"), PushOptions{}, "the server forbids it (403)", "hint: the token must be allowed to write")

	bare := newCheckout(t)
	bare.write("a.yaml", "1\n")
	bare.commit("alone")
	alone, err := OpenUpstream(t.Context(), bare.options())
	must(t, err)
	if _, err := change(t, alone, "", "", "2\n").Push(t.Context(), PushOptions{}); err == nil || !strings.Contains(err.Error(), "has no remote to push to") {
		t.Error(err)
	}
}

// A push branch is one commit ahead of the checkout branch, as long as only the bot commits to it.
func TestPushBranches(t *testing.T) {
	t.Parallel()
	p := newPushable(t, "a.yaml", "1\n", "b.yaml", "1\n")
	u := p.http()
	log := func() string { t.Helper(); return p.served("log", "--format=%s", "main..bump") }
	onMain := func(content string) {
		t.Helper()
		p.git("fetch", "-q", "origin")
		p.git("switch", "-qC", "main", "origin/main")
		p.write("b.yaml", content)
		p.commit("main moves")
		p.git("push", "-q", "origin", "main")
	}
	b := change(t, u, "main", "bump", "2\n")
	is(t, "checked out", b.CheckedOut, "main@sha1:"+p.served("rev-parse", "main"))
	push(t, b, PushOptions{})
	is(t, "made", log(), "to 2")

	b = change(t, u, "main", "bump", "2\n")
	if !b.Redundant() {
		t.Error("the branch has it already, and that is not known")
	}
	if b = change(t, u, "main", "bump", "3\n"); b.Redundant() || !b.Replaces {
		t.Error("another version is to take its place")
	}
	push(t, b, PushOptions{})
	is(t, "replaced", log(), "to 3")

	onMain("2\n")
	push(t, change(t, u, "main", "bump", "3\n"), PushOptions{})
	is(t, "made anew on main", log(), "to 3")
	is(t, "on main", p.served("merge-base", "main", "bump"), p.served("rev-parse", "main"))

	p.git("fetch", "-q", "origin")
	p.git("switch", "-qC", "bump", "origin/bump")
	p.write("b.yaml", "mended\n")
	p.commit("by hand")
	p.git("push", "-q", "origin", "bump")
	if b = change(t, u, "main", "bump", "4\n"); b.Replaces || !b.Others {
		t.Error("what was done by hand would be lost")
	}
	push(t, b, PushOptions{})
	is(t, "on top of what was done by hand", log(), "to 4\nby hand\nto 3")
	onMain("3\n")
	push(t, change(t, u, "main", "bump", "5\n"), PushOptions{})
	is(t, "still there", log(), "to 5\nto 4\nby hand\nto 3")

	p.git("fetch", "-q", "origin")
	p.git("switch", "-qC", "main", "origin/main")
	p.git("merge", "-q", "-X", "theirs", "-m", "merged", "origin/bump")
	p.git("push", "-q", "origin", "main")
	for range history + 5 { // further back than what is fetched at first
		p.git("commit", "-q", "--allow-empty", "-m", "later")
	}
	p.git("push", "-q", "origin", "main")
	push(t, change(t, u, "main", "bump", "6\n"), PushOptions{})
	is(t, "merged, so begun anew", log(), "to 6")
}

func TestRefspecsAndOptions(t *testing.T) {
	t.Parallel()
	p := newPushable(t, "a.yaml", "1\n")
	u := p.http()
	p.hook("pre-receive", "echo $GIT_PUSH_OPTION_COUNT $GIT_PUSH_OPTION_0 $GIT_PUSH_OPTION_1 > options\n")
	p.hook("post-receive", "echo; echo \"Create a pull request for 'bump' on GitHub by visiting:\"; printf '  https://example.com/team/fleet/pull/new/bump\\033[K\\n'\n")
	r := push(t, change(t, u, "main", "bump", "2\n"), PushOptions{
		Refspecs: []string{"refs/heads/bump:refs/heads/mirror", "HEAD:refs/for/main"},
		Options:  map[string]string{"merge_request.create": "", "ci.variable": "A=b"},
	})
	is(t, "pull request", r.PullRequest, "https://example.com/team/fleet/pull/new/bump")
	is(t, "options", strings.TrimSpace(read(t, filepath.Join(p.bare, "options"))), "2 ci.variable=A=b merge_request.create=")
	for _, ref := range []string{"refs/heads/mirror", "refs/for/main"} {
		is(t, ref, p.served("rev-parse", ref), p.served("rev-parse", "bump"))
	}
	for spec, why := range map[string]string{
		"+refs/heads/bump:refs/heads/x": "must not force", ":refs/heads/x": "must not delete", "bump": "is not SOURCE:DESTINATION",
		"refs/heads/main:refs/heads/x": "sends something else", "HEAD:refs/heads/mirror": "would drop commits of refs/heads/mirror",
	} {
		p.git("fetch", "-q", "origin")
		if strings.Contains(spec, "mirror") {
			p.git("switch", "-qC", "m", "origin/mirror")
			p.git("commit", "-q", "--allow-empty", "-m", "own")
			p.git("push", "-q", "origin", "m:mirror")
		}
		p.notPushed(change(t, u, "main", "bump", "3\n"), PushOptions{Refspecs: []string{spec}}, why)
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	must(t, err)
	return string(data)
}

func TestLeaveInTheClone(t *testing.T) {
	t.Parallel()
	p := newPushable(t, "a.yaml", "1\n")
	for _, kind := range []string{"file", "http", "shallow"} {
		t.Run(kind, func(t *testing.T) {
			dir := filepath.Join(real(t, t.TempDir()), "clone")
			url := serve(t, gitserver.Backend(t, filepath.Dir(p.bare))) + "/fleet.git"
			switch kind {
			case "file":
				p.git("clone", "-q", p.bare, dir)
			case "http":
				p.git("clone", "-q", url, dir)
			case "shallow":
				p.git("clone", "-q", "--depth=1", url, dir)
			}
			p.git("commit", "-q", "--allow-empty", "-m", "the clone lacks this")
			p.write("a.yaml", kind+"\n")
			p.commit("and this")
			p.git("push", "-q", "origin", "HEAD:main")
			u := p.upstream(Options{Source: dir})
			in := func(args ...string) string { t.Helper(); return runGit(t, dir, p.env, args...) }
			before := in("status", "--porcelain=v2", "--branch")
			must(t, change(t, u, "", "", "2\n").Leave(t.Context(), "gitops/x", isBot))
			is(t, "commits", in("log", "-3", "--format=%s", "gitops/x"), "to 2\nand this\nthe clone lacks this")
			is(t, "work tree", in("status", "--porcelain=v2", "--branch"), before)
			in("fsck", "--connectivity-only")
			must(t, change(t, u, "", "", "3\n").Leave(t.Context(), "gitops/x", isBot))
			is(t, "again", in("log", "-2", "--format=%s", "gitops/x"), "to 3\nand this")

			in("switch", "-q", "gitops/x")
			if err := change(t, u, "", "", "4\n").Leave(t.Context(), "gitops/x", isBot); err == nil || !strings.Contains(err.Error(), "is checked out") {
				t.Error(err)
			}
			in("commit", "-q", "--allow-empty", "-m", "by hand")
			in("switch", "-q", "main")
			if err := change(t, u, "", "", "4\n").Leave(t.Context(), "gitops/x", isBot); err == nil || !strings.Contains(err.Error(), "has commits of others") {
				t.Error(err)
			}
		})
	}
	if err := change(t, p.http(), "", "", "5\n").Leave(t.Context(), "x", isBot); err == nil || !strings.Contains(err.Error(), "no checkout to leave a commit in") {
		t.Error(err)
	}
}

func TestWhatCannotBePushedTo(t *testing.T) {
	t.Parallel()
	p := newPushable(t, "a.yaml", "1\n")
	p.git("tag", "v1.0.0")
	p.git("push", "-q", "origin", "v1.0.0")
	u := p.http()
	if _, err := u.Fetch(t.Context(), "v1.0.0", "", nil); err == nil || !strings.Contains(err.Error(), "is no branch: there is nothing to push to") {
		t.Error(err)
	}
	push(t, change(t, u, "v1.0.0", "from-tag", "2\n"), PushOptions{})
	is(t, "from a tag", p.served("rev-parse", "from-tag~1"), p.served("rev-parse", "main"))
	if _, err := u.Fetch(t.Context(), "gone", "", nil); err == nil || !strings.Contains(err.Error(), `no branch, tag or commit "gone"`) {
		t.Error(err)
	}
	if _, err := OpenUpstream(t.Context(), Options{Source: t.TempDir()}); err == nil || !strings.Contains(err.Error(), "is in no Git repository") {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	b := change(t, u, "", "", "9\n")
	cancel()
	if _, err := b.Push(ctx, PushOptions{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if data, err := fs.ReadFile(b.FS, "a.yaml"); err != nil || string(data) != "9\n" {
		t.Errorf("%q %v", data, err)
	}
}
