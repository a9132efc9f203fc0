package registry

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/sync/errgroup"

	demo "github.com/kubectl-gitops/kubectl-gitops/pkg/registry/server"
)

// reference starts distribution, the reference registry (testdata/distribution), and gives its
// address.
func reference(t *testing.T, user, password string) string {
	t.Helper()
	program, err := exec.LookPath("reference-registry")
	if err != nil {
		if program, err = filepath.Abs("../../bin/reference-registry"); err == nil {
			_, err = os.Stat(program)
		}
	}
	if err != nil {
		t.Skip("the reference registry is not here: make reference-registry")
	}
	at := filepath.Join(t.TempDir(), "at")
	cmd := exec.Command(program, "-user", user, "-at", at)
	cmd.Env = []string{"REGISTRY_PASSWORD=" + password, "OTEL_TRACES_EXPORTER=none"}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for until := time.Now().Add(time.Minute); time.Now().Before(until); time.Sleep(10 * time.Millisecond) {
		if host, err := os.ReadFile(at); err == nil {
			return strings.TrimSpace(string(host))
		}
	}
	t.Fatal("the reference registry does not come")
	return ""
}

// The registries of the tests say what the reference says: to logins, pages, tags that are gone and
// repositories that are not there.
func TestTheReferenceRegistry(t *testing.T) {
	const user, password = "ada", "hunter2"
	for _, test := range []struct {
		name  string
		start func(t *testing.T) (host, to string) // to ask, and to push to
	}{
		{"distribution", func(t *testing.T) (string, string) { h := reference(t, user, password); return h, h }},
		{"the demo's", func(t *testing.T) (string, string) {
			s := httptest.NewServer(demo.New(user, password))
			t.Cleanup(s.Close)
			h := strings.TrimPrefix(s.URL, "http://")
			return h, h
		}},
		{"that of these tests", func(t *testing.T) (string, string) {
			s := newServer(t)
			s.user, s.password = user, password
			direct := httptest.NewServer(s.registry)
			t.Cleanup(direct.Close)
			return s.host(), strings.TrimPrefix(direct.URL, "http://")
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			host, to := test.start(t)
			pusher, err := remote.NewPusher(remote.WithAuth(&authn.Basic{Username: user, Password: password}))
			if err != nil {
				t.Fatal(err)
			}
			ref := func(repository, tag string) name.Tag {
				out, err := name.NewTag(to + "/" + repository + ":" + tag)
				if err != nil {
					t.Fatal(err)
				}
				return out
			}
			image := built(t, monday, time.Time{})
			if err := pusher.Push(t.Context(), ref("team/api", "v0000"), image); err != nil {
				t.Fatal(err)
			}
			want := []string{"v0000"}
			var all errgroup.Group
			all.SetLimit(8)
			for i := 1; i < 1005; i++ { // more than a page
				tag := fmt.Sprintf("v%04d", i)
				want = append(want, tag)
				all.Go(func() error { return pusher.Push(t.Context(), ref("team/api", tag), image) })
			}
			if err := errors.Join(all.Wait(), pusher.Push(t.Context(), ref("team/gone", "v1"), image)); err != nil {
				t.Fatal(err)
			}
			c, _ := client()
			right := some(dockerConfig(host, user, password))
			api := open(t, c, Request{Image: host + "/team/api", DockerConfigs: right})
			tags, err := api.Tags(t.Context())
			slices.Sort(tags)
			if err != nil || !slices.Equal(tags, want) {
				t.Errorf("%d tags, want %d: %v", len(tags), len(want), err)
			}
			digest, err := image.Digest()
			if err != nil {
				t.Fatal(err)
			}
			if got, err := api.Digest(t.Context(), "v0007"); err != nil || got != digest.String() {
				t.Errorf("%s %v, want %s", got, err, digest)
			}
			if _, at, err := api.Created(t.Context(), "v0007", nil); err != nil || !at.Equal(monday) {
				t.Errorf("%s %v", at, err)
			}
			refused := func(what string, r Request, status int, say string) {
				t.Helper()
				_, err := open(t, c, r).Tags(t.Context())
				if e := (*Error)(nil); !errors.As(err, &e) || e.Status != status || !strings.Contains(err.Error(), say) || strings.Contains(err.Error(), password) {
					t.Errorf("%s: %v, want %d %s", what, err, status, say)
				}
			}
			refused("no credentials", Request{Image: host + "/team/api"}, 401, "the registry asks for credentials; used: none: 401")
			refused("wrong ones", Request{Image: host + "/team/api", DockerConfigs: some(dockerConfig(host, user, "hunter3"))}, 401, "used: those of its pull secrets: 401")
			refused("no such repository", Request{Image: host + "/team/nowhere", DockerConfigs: right}, 404, "there is no such repository, or it has no tags yet: 404")

			// A tag that vanishes between the list and the question, and what is left then.
			gone := open(t, c, Request{Image: host + "/team/gone", DockerConfigs: right})
			if tags, err := gone.Tags(t.Context()); err != nil || len(tags) != 1 {
				t.Fatal(tags, err)
			}
			if err := pusher.Delete(t.Context(), ref("team/gone", "v1")); err != nil {
				t.Fatal(err)
			}
			if _, err := gone.Digest(t.Context(), "v1"); err == nil || !strings.Contains(err.Error(), "there is no such tag any more: 404") {
				t.Error(err)
			}
			tags, err = open(t, c, Request{Image: host + "/team/gone", DockerConfigs: right}).Tags(t.Context())
			if e := (*Error)(nil); len(tags) > 0 || err != nil && !(errors.As(err, &e) && e.Status == 404) {
				t.Errorf("%v %v", tags, err)
			}
		})
	}
}
