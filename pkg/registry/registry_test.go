package registry

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
)

// nobody has no credentials: the keychain of tests, whose machine may have some.
var nobody = authn.NewMultiKeychain()

func client() (*Client, *waits) {
	w := &waits{}
	return &Client{Keychain: nobody, UserAgent: "test", wait: w.wait}, w
}

// waits notes what would be waited for, and does not wait.
type waits struct {
	mu  sync.Mutex
	all []time.Duration
}

func (w *waits) wait(ctx context.Context, d time.Duration) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all = append(w.all, d)
	return ctx.Err()
}

func tags(ctx context.Context, c *Client, r Request) ([]string, error) {
	repo, err := c.Open(r)
	if err != nil {
		return nil, err
	}
	return repo.Tags(ctx)
}

func some(config []byte) [][]byte {
	if config == nil {
		return nil
	}
	return [][]byte{dockerConfig("elsewhere.example.com", "bob", "hunter4"), config}
}

func dockerConfig(host, user, password string) []byte {
	auth := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
	return fmt.Appendf(nil, `{"auths":{%q:{"auth":%q}}}`, host, auth)
}

func TestTags(t *testing.T) {
	s := newServer(t)
	s.push(t, "team/api", "1.0.0", "1.1.0", "latest")
	c, _ := client()
	got, err := tags(t.Context(), c, Request{Image: s.host() + "/team/api"})
	if want := []string{"1.0.0", "1.1.0", "latest"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v %v, want %v", got, err, want)
	}
}

func TestFiftyThousandTags(t *testing.T) {
	s := newServer(t)
	var want []string
	for i := range 50_000 {
		want = append(want, fmt.Sprintf("main-%05d", i))
	}
	s.push(t, "team/api", want...)
	c, _ := client()
	got, err := tags(t.Context(), c, Request{Image: s.host() + "/team/api"})
	if err != nil || !slices.Equal(got, want) {
		t.Fatalf("%d tags, %v", len(got), err)
	}
	pages := 0
	for _, r := range s.requests {
		if strings.Contains(r, "/tags/list") {
			pages++
		}
	}
	if pages != 50 {
		t.Errorf("%d pages, want 50", pages)
	}
}

func TestManyRepositories(t *testing.T) {
	s := newServer(t)
	var requests []Request
	for i := range 40 {
		name := fmt.Sprintf("team/app%d", i)
		if i != 7 {
			s.push(t, name, fmt.Sprintf("1.0.%d", i))
		}
		requests = append(requests, Request{Image: s.host() + "/" + name})
	}
	c, _ := client()
	defer func() {
		if want := 1 + len(requests); len(s.requests) != want { // how to log in is asked once
			t.Errorf("%d requests, want %d", len(s.requests), want)
		}
	}()
	for i, a := range c.All(t.Context(), requests) {
		switch {
		case i == 7 && a.Err == nil:
			t.Error("the one that is not there: no error")
		case i != 7 && (a.Err != nil || !slices.Equal(a.Tags, []string{fmt.Sprintf("1.0.%d", i)})):
			t.Errorf("%d: %v %v", i, a.Tags, a.Err)
		}
	}
}

func TestEmptyRepository(t *testing.T) {
	s := newServer(t)
	s.mood = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/tags/list") {
			return false
		}
		fmt.Fprint(w, `{"name":"team/api","tags":null}`)
		return true
	}
	c, _ := client()
	if got, err := tags(t.Context(), c, Request{Image: s.host() + "/team/api"}); err != nil || got == nil || len(got) != 0 {
		t.Errorf("%v %v", got, err)
	}
}

func TestCredentials(t *testing.T) {
	for _, basic := range []bool{false, true} {
		s := newServer(t)
		s.user, s.password, s.basic = "ada", "secret: with a colon", basic
		s.push(t, "team/api", "1.0.0")
		right := dockerConfig(s.host(), s.user, s.password)
		other := dockerConfig("ghcr.io", s.user, s.password)
		own := func(config []byte) authn.Keychain {
			all, err := parseDockerConfig(config)
			if err != nil {
				t.Fatal(err)
			}
			return &keychain{given: all, own: nobody}
		}
		for _, test := range []struct {
			name   string
			own    authn.Keychain
			config []byte
			want   string // of the error, "" for none
		}{
			{"none", nobody, nil, "the registry asks for credentials; used: none: 401 Unauthorized, UNAUTHORIZED: "},
			{"those given", nobody, right, ""},
			{"the user's own", own(right), nil, ""},
			{"those given come first", own(other), right, ""},
			{"those given are for another host", own(right), other, ""},
			{"wrong ones", own(right), dockerConfig(s.host(), "ada", "hunter3"), "used: those of its pull secrets: 401"},
			{"the predecessor's form", nobody, fmt.Appendf(nil, `{%q:{"username":"ada","password":"secret: with a colon"}}`, "http://"+s.host()+"/v1/"), ""},
			{"not JSON", nobody, []byte("hunter2"), "its credentials cannot be used: the dockerconfigjson is not JSON"},
			{"not base64", nobody, fmt.Appendf(nil, `{"auths":{%q:{"auth":"hunter2"}}}`, s.host()), "not the base64 of USER:PASSWORD"},
		} {
			t.Run(fmt.Sprintf("%s, basic=%v", test.name, basic), func(t *testing.T) {
				c, _ := client()
				c.Keychain = test.own
				got, err := tags(t.Context(), c, Request{Image: s.host() + "/team/api", DockerConfigs: some(test.config)})
				if test.want == "" {
					if err != nil || len(got) != 1 {
						t.Errorf("%v %v", got, err)
					}
					return
				}
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Fatalf("%v, want %s", err, test.want)
				}
				for _, secret := range []string{"colon", "hunter"} {
					if strings.Contains(err.Error(), secret) {
						t.Errorf("the error tells a secret: %v", err)
					}
				}
			})
		}
	}
}

// The user's own: Docker's configuration, and a credential helper that it names.
func TestDockersOwnConfiguration(t *testing.T) {
	s := newServer(t)
	s.user, s.password = "ada", "from a helper"
	s.push(t, "team/api", "1.0.0")
	home := t.TempDir()
	bin := filepath.Join(home, "bin")
	for name, text := range map[string]string{
		filepath.Join(home, ".docker", "config.json"):       fmt.Sprintf(`{"credHelpers":{%q:"of-the-test"}}`, s.host()),
		filepath.Join(bin, "docker-credential-of-the-test"): "#!/bin/sh\ncat >/dev/null\necho '{\"Username\":\"ada\",\"Secret\":\"from a helper\"}'\n",
	} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("HOME", home)
	t.Setenv("DOCKER_CONFIG", filepath.Join(home, ".docker"))
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	c, _ := client()
	c.Keychain = nil
	if got, err := tags(t.Context(), c, Request{Image: s.host() + "/team/api"}); err != nil || len(got) != 1 {
		t.Errorf("%v %v", got, err)
	}
}

func TestCredentialsFit(t *testing.T) {
	config := []byte(`{"auths":{
		"https://index.docker.io/v1/":{"username":"hub"},
		"ghcr.io":{"username":"host"},
		"ghcr.io/team":{"username":"team"},
		"ghcr.io/team/api":{"username":"api"},
		"*.azurecr.io":{"username":"any"},
		"one.azurecr.io":{"username":"one"}}}`)
	all, err := parseDockerConfigs([][]byte{config})
	if err != nil {
		t.Fatal(err)
	}
	for image, want := range map[string]string{
		"index.docker.io/library/nginx": "hub", "ghcr.io/other/x": "host", "ghcr.io/team/web": "team", "ghcr.io/team/api": "api",
		"ghcr.io/teamwork/x": "host", "one.azurecr.io/x": "one", "two.azurecr.io/x": "any", "a.b.azurecr.io/x": "", "quay.io/x": "",
	} {
		host, repository, _ := strings.Cut(image, "/")
		i := slices.IndexFunc(all, func(c credential) bool { return c.fits(host, repository) })
		got := ""
		if i >= 0 {
			got = all[i].auth.Username
		}
		if got != want {
			t.Errorf("%s: %q, want %q", image, got, want)
		}
	}
}

// moody answers the first times tags are asked for with a status.
func moody(times, status int, header map[string]string) func(http.ResponseWriter, *http.Request) bool {
	var mu sync.Mutex
	return func(w http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		if !strings.HasSuffix(r.URL.Path, "/tags/list") || times == 0 {
			return false
		}
		times--
		for k, v := range header {
			w.Header().Set(k, v)
		}
		refuse(w, status, "TOOMANYREQUESTS", "slow down")
		return true
	}
}

func TestRetries(t *testing.T) {
	for _, test := range []struct {
		name          string
		times, status int
		after         string
		waits         int
		atLeast       time.Duration // of the first wait
		want          string        // of the error, "" for none
		requests      int           // for tags
	}{
		{"once too many, with a number of seconds", 1, 429, "7", 1, 6 * time.Second, "", 2},
		{"once too many, without", 1, 429, "", 1, time.Second / 2, "", 2},
		{"out of order, with a date", 1, 503, time.Now().Add(30 * time.Second).UTC().Format(http.TimeFormat), 1, 20 * time.Second, "", 2},
		{"that asks for no time at all", 1, 429, "0", 1, time.Second / 2, "", 2},
		{"thrice", 3, 502, "", 3, time.Second / 2, "", 4},
		{"always", -1, 500, "", 3, time.Second / 2, "the registry failed 4 times: 500 Internal Server Error, TOOMANYREQUESTS: slow down", 4},
		{"always too many", -1, 429, "1", 3, time.Second / 2, "the registry's rate limit is reached: 429 Too Many Requests, TOOMANYREQUESTS: slow down", 4},
		{"for longer than anybody waits", -1, 429, "86400", 0, 0, "the registry's rate limit is reached", 1},
		{"forbidden is not busy", -1, 403, "", 0, 0, "the registry forbids it; credentials used: none: 403 Forbidden", 1},
		{"nor is what is not there", -1, 404, "", 0, 0, "there is no such repository, or it has no tags yet: 404 Not Found", 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newServer(t)
			s.push(t, "team/api", "1.0.0")
			s.mood = moody(test.times, test.status, map[string]string{"Retry-After": test.after})
			c, w := client()
			_, err := tags(t.Context(), c, Request{Image: s.host() + "/team/api"})
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Fatalf("%v, want %q", err, test.want)
			}
			if e := (*Error)(nil); err != nil && (!errors.As(err, &e) || e.Status != test.status) {
				t.Errorf("%#v", err)
			}
			n := 0
			for _, r := range s.requests {
				if strings.Contains(r, "/tags/list") {
					n++
				}
			}
			if n != test.requests {
				t.Errorf("asked %d times, want %d", n, test.requests)
			}
			if len(w.all) != test.waits || test.waits > 0 && w.all[0] < test.atLeast*9/10 { // some of it has passed
				t.Errorf("waited %v, want %d, the first at least %s", w.all, test.waits, test.atLeast)
			}
		})
	}
}

// A registry that asks to be left alone is left alone by all.
func TestARateLimitHoldsForAll(t *testing.T) {
	s := newServer(t)
	s.push(t, "team/api", "1")
	s.push(t, "team/web", "1")
	s.mood = moody(1, 429, map[string]string{"Retry-After": "40"})
	c, w := client()
	for _, name := range []string{"team/api", "team/web"} {
		if _, err := tags(t.Context(), c, Request{Image: s.host() + "/" + name}); err != nil {
			t.Fatal(err)
		}
	}
	// The second time of api, then the tags of web.
	if len(w.all) < 2 {
		t.Errorf("waited %v", w.all)
	}
}

func TestOutOfReach(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	down := l.Addr().String()
	l.Close()
	s := newServer(t)
	elsewhere := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, s.host())
	}}
	s.push(t, "team/api", "1.0.0")
	for _, test := range []struct {
		name      string
		transport http.RoundTripper
		request   Request
		want      string
	}{
		{"down", nil, Request{Image: down + "/team/api"}, "the registry is out of reach: "},
		{"http where https is meant", elsewhere, Request{Image: "registry.example.com/team/api"}, "the registry speaks http, not https"},
		{"http that was allowed", elsewhere, Request{Image: "registry.example.com/team/api", Insecure: true}, ""},
		{"no name", nil, Request{Image: "Team/API"}, "is not the name of a repository"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, _ := client()
			c.Transport = test.transport
			got, err := tags(t.Context(), c, test.request)
			if test.want == "" {
				if err != nil || len(got) != 1 {
					t.Errorf("%v %v", got, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %s", err, test.want)
			}
			if hint := (*Error)(nil); errors.As(err, &hint) && hint.Hint() == "" {
				t.Errorf("%v: nobody says what to do", err)
			}
		})
	}
}

func TestAListThatNeverEnds(t *testing.T) {
	s := newServer(t)
	s.mood = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/tags/list") {
			return false
		}
		w.Header().Set("Link", `</v2/team/api/tags/list?last=1>; rel="next"`)
		fmt.Fprint(w, `{"tags":["1"]}`)
		return true
	}
	c, _ := client()
	if _, err := tags(t.Context(), c, Request{Image: s.host() + "/team/api"}); err == nil || !strings.Contains(err.Error(), "never ends") {
		t.Error(err)
	}
}

func TestAPageElsewhere(t *testing.T) {
	s := newServer(t)
	s.mood = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/tags/list") {
			return false
		}
		w.Header().Set("Link", `<http://169.254.169.254/latest>; rel="next"`)
		fmt.Fprint(w, `{"tags":["1"]}`)
		return true
	}
	c, _ := client()
	if _, err := tags(t.Context(), c, Request{Image: s.host() + "/team/api"}); err == nil || !strings.Contains(err.Error(), "does not match") {
		t.Error(err)
	}
}

func TestInterrupted(t *testing.T) {
	s := newServer(t)
	ctx, cancel := context.WithCancel(t.Context())
	s.mood = func(w http.ResponseWriter, r *http.Request) bool {
		cancel()
		<-r.Context().Done()
		return true
	}
	c, _ := client()
	if _, err := tags(ctx, c, Request{Image: s.host() + "/team/api"}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	s.mood = func(w http.ResponseWriter, r *http.Request) bool {
		<-r.Context().Done()
		return true
	}
	_, err := tags(t.Context(), c, Request{Image: s.host() + "/team/api", Timeout: 50 * time.Millisecond})
	if err == nil || !strings.Contains(err.Error(), "no answer within 50ms") {
		t.Error(err)
	}
}

// A registry on loopback is tried over https first, which it may not speak. Once is enough.
func TestHowToLogInIsAskedOnce(t *testing.T) {
	s := newServer(t)
	var connections atomic.Int32
	plain := httptest.NewUnstartedServer(s.registry)
	plain.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	plain.Config.ErrorLog = quiet
	plain.Start()
	t.Cleanup(plain.Close)
	var requests []Request
	for i := range 60 {
		name := fmt.Sprintf("team/app%d", i)
		s.push(t, name, "1.0.0")
		requests = append(requests, Request{Image: strings.TrimPrefix(plain.URL, "http://") + "/" + name})
	}
	c, _ := client()
	c.Concurrency = 4
	for _, a := range c.All(t.Context(), requests) {
		if a.Err != nil {
			t.Fatal(a.Err)
		}
	}
	// One each for https and http to ask, and some that serve all the rest.
	if n := connections.Load(); n > 20 {
		t.Errorf("%d connections for %d questions", n, len(requests))
	}
}
