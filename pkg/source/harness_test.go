package source

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh/agent"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/source/gitserver"
)

// checkout is a repository made and changed by the real git.
type checkout struct {
	t   *testing.T
	dir string
	env []string
}

// home is an environment of its own: no configuration, key or host of the machine is seen.
func home(t *testing.T) []string {
	t.Helper()
	dir := real(t, t.TempDir())
	return []string{
		"HOME=" + dir, "PATH=" + os.Getenv("PATH"), "XDG_CONFIG_HOME=" + filepath.Join(dir, ".config"),
		"GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=c", "GIT_COMMITTER_EMAIL=c@example.com",
		"GIT_AUTHOR_DATE=2026-01-02T03:04:05Z", "GIT_COMMITTER_DATE=2026-01-02T03:04:05Z", "GIT_ALLOW_PROTOCOL=file:http:https:ssh",
		"GIT_CONFIG_COUNT=2", "GIT_CONFIG_KEY_0=gc.auto", "GIT_CONFIG_VALUE_0=0", "GIT_CONFIG_KEY_1=maintenance.auto", "GIT_CONFIG_VALUE_1=false",
	}
}

func real(t *testing.T, dir string) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(dir)
	must(t, err)
	return dir
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newCheckout(t *testing.T) *checkout {
	t.Helper()
	c := &checkout{t: t, dir: filepath.Join(real(t, t.TempDir()), "fleet"), env: home(t)}
	must(t, os.Mkdir(c.dir, 0o755))
	c.git("init", "-q", "-b", "main")
	return c
}

// withFiles is a checkout with these files committed, "path", "content", ….
func withFiles(t *testing.T, files ...string) *checkout {
	t.Helper()
	c := newCheckout(t)
	c.write(files...)
	c.commit("first")
	return c
}

func (c *checkout) git(args ...string) string {
	c.t.Helper()
	return runGit(c.t, c.dir, c.env, args...)
}

func runGit(t *testing.T, dir string, env []string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir, cmd.Env = dir, env
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("git %s: %v\n%s%s", strings.Join(args, " "), err, out, stderr.String())
	}
	return strings.TrimRight(string(out), "\n")
}

func (c *checkout) write(files ...string) {
	c.t.Helper()
	for i := 0; i < len(files); i += 2 {
		name := filepath.Join(c.dir, files[i])
		must(c.t, os.MkdirAll(filepath.Dir(name), 0o755))
		must(c.t, os.WriteFile(name, []byte(files[i+1]), 0o644))
	}
}

func (c *checkout) commit(message string) string {
	c.t.Helper()
	c.git("add", "-A")
	c.git("commit", "-q", "-m", message)
	return c.head()
}

func (c *checkout) head() string { c.t.Helper(); return c.git("rev-parse", "HEAD") }

func (c *checkout) options() Options { return Options{Source: c.dir, Auth: Auth{Env: c.env}} }

func open(t *testing.T, o Options) *Snapshot {
	t.Helper()
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatalf("open %q: %v (hint: %s)", o.Source, err, hint(err))
	}
	return s
}

func hint(err error) string {
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		return h.Hint()
	}
	return ""
}

// refused opens what must fail, and looks for the parts of the message and of the hint.
func refused(t *testing.T, o Options, parts ...string) error {
	t.Helper()
	s, err := Open(t.Context(), o)
	if err == nil {
		t.Fatalf("opened %q as %s, want an error with %q", o.Source, s.Revision, parts)
	}
	text := err.Error() + "\nhint: " + hint(err)
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("the error does not say %q:\n%s", p, text)
		}
	}
	return err
}

// files is all of a snapshot, "path=content" in order.
func files(t *testing.T, s *Snapshot) []string {
	t.Helper()
	var out []string
	must(t, fs.WalkDir(s.FS, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(s.FS, p)
		out = append(out, p+"="+string(data))
		return err
	}))
	return out
}

func same(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n got %q\nwant %q", what, got, want)
	}
}

func is(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

// newAgent runs an ssh agent with these keys, and returns its socket.
func newAgent(t *testing.T, keys ...gitserver.Key) string {
	t.Helper()
	ring := agent.NewKeyring()
	for _, k := range keys {
		must(t, ring.Add(agent.AddedKey{PrivateKey: k.Private}))
	}
	dir, err := os.MkdirTemp("", "agent") // t.TempDir may be too long for a socket
	must(t, err)
	sock := filepath.Join(dir, "s")
	l, err := net.Listen("unix", sock)
	must(t, err)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _ = agent.ServeAgent(ring, conn); conn.Close() }()
		}
	}()
	t.Cleanup(func() { l.Close(); os.RemoveAll(dir) })
	return sock
}

func canceled(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}
