package registry

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

var (
	monday  = time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)
	tuesday = monday.AddDate(0, 0, 1)
)

// built is an image that says when it was built: in its config, in the
// manifest's annotation, in both or not at all.
func built(t *testing.T, config, annotation time.Time) v1.Image {
	t.Helper()
	image := empty.Image
	if !config.IsZero() {
		var err error
		if image, err = mutate.CreatedAt(image, v1.Time{Time: config}); err != nil {
			t.Fatal(err)
		}
	}
	if !annotation.IsZero() {
		image = mutate.Annotations(image, map[string]string{CreatedAnnotation: annotation.Format(time.RFC3339)}).(v1.Image)
	}
	return image
}

// put pushes an image or an index, past moods and tokens.
func (s *server) put(t *testing.T, repository, tag string, what remote.Taggable) string {
	t.Helper()
	direct := httptest.NewServer(s.registry)
	defer direct.Close()
	ref, err := name.NewTag(strings.TrimPrefix(direct.URL, "http://") + "/" + repository + ":" + tag)
	if err != nil {
		t.Fatal(err)
	}
	switch what := what.(type) {
	case v1.ImageIndex:
		err = remote.WriteIndex(ref, what)
	case v1.Image:
		err = remote.Write(ref, what)
	}
	if err != nil {
		t.Fatal(err)
	}
	d, err := what.(interface{ Digest() (v1.Hash, error) }).Digest()
	if err != nil {
		t.Fatal(err)
	}
	return d.String()
}

func open(t *testing.T, c *Client, r Request) *Repository {
	t.Helper()
	repo, err := c.Open(r)
	if err != nil {
		t.Fatal(err)
	}
	return repo
}

func platforms(t *testing.T, indexDate time.Time, children map[string]v1.Image, order ...string) v1.ImageIndex {
	t.Helper()
	index := v1.ImageIndex(empty.Index)
	for _, p := range order {
		os, arch, _ := strings.Cut(p, "/")
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: children[p], Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: os, Architecture: arch}}})
	}
	if !indexDate.IsZero() {
		index = mutate.Annotations(index, map[string]string{CreatedAnnotation: indexDate.Format(time.RFC3339)}).(v1.ImageIndex)
	}
	return index
}

func TestCreated(t *testing.T) {
	s := newServer(t)
	never := time.Time{}
	children := map[string]v1.Image{
		"unknown/unknown": built(t, tuesday.AddDate(1, 0, 0), never), // what BuildKit attests of the others
		"linux/arm64":     built(t, tuesday, never), "linux/amd64": built(t, monday, never),
	}
	digests := map[string]string{}
	for tag, what := range map[string]remote.Taggable{
		"config":       built(t, monday, never),
		"annotation":   built(t, never, tuesday),
		"both":         built(t, monday, tuesday),
		"neither":      built(t, never, never),
		"reproducible": built(t, time.Unix(0, 0), never),
		"index":        platforms(t, tuesday, children, "linux/amd64"),
		"platforms":    platforms(t, never, children, "unknown/unknown", "linux/arm64", "linux/amd64"),
		"arm":          platforms(t, never, children, "unknown/unknown", "linux/arm64"),
		"empty":        empty.Index,
	} {
		digests[tag] = s.put(t, "team/api", tag, what)
	}
	c, _ := client()
	repo := open(t, c, Request{Image: s.host() + "/team/api"})
	for tag, want := range map[string]time.Time{
		"config": monday, "annotation": tuesday, "both": tuesday, "neither": never, "reproducible": never, "index": tuesday, "platforms": monday, "arm": tuesday, "empty": never,
	} {
		digest, got, err := repo.Created(t.Context(), tag, nil)
		if err != nil || !got.Equal(want) || digest != digests[tag] {
			t.Errorf("%s: %s %s %v, want %s %s", tag, digest, got, err, digests[tag], want)
		}
	}

	// What is known by its digest costs a HEAD and nothing else.
	s.requests = nil
	_, got, err := repo.Created(t.Context(), "config", func(digest string) (time.Time, bool) { return tuesday, digest == digests["config"] })
	if err != nil || !got.Equal(tuesday) || len(s.requests) != 1 || !strings.HasPrefix(s.requests[0], "HEAD ") {
		t.Errorf("%s %v %q", got, err, s.requests)
	}
}

func TestDigest(t *testing.T) {
	s := newServer(t)
	index := s.put(t, "team/api", "1.0.0", platforms(t, tuesday, map[string]v1.Image{"linux/amd64": built(t, monday, monday)}, "linux/amd64"))
	other := s.put(t, "team/api", "1.1.0", built(t, monday, monday))
	isTag := func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/manifests/1.0.0") }
	for _, test := range []struct {
		name string
		mood func(http.ResponseWriter, *http.Request) bool
		want string // the digest, or a part of the error
	}{
		{"of several platforms, that of the index", nil, index},
		{"a registry without HEAD", func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodHead {
				w.WriteHeader(http.StatusMethodNotAllowed)
			}
			return r.Method == http.MethodHead
		}, index},
		{"a HEAD without a digest", func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodHead {
				w.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json")
			}
			return r.Method == http.MethodHead
		}, index},
		{"gone between the list and the HEAD", func(w http.ResponseWriter, r *http.Request) bool {
			if isTag(r) {
				refuse(w, http.StatusNotFound, "MANIFEST_UNKNOWN", "manifest unknown")
			}
			return isTag(r)
		}, "/team/api:1.0.0: there is no such tag any more: 404 Not Found"},
		{"a lie: another manifest under the digest", func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/manifests/sha256:") {
				return false
			}
			r.URL.Path = "/v2/team/api/manifests/" + other
			s.registry.ServeHTTP(w, r)
			return true
		}, "/team/api:1.0.0: the manifest is not the one of its digest: manifest digest: "},
		{"a lie: a digest of nothing", func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodHead {
				return false
			}
			w.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json")
			w.Header().Set("Content-Length", "5")
			w.Header().Set("Docker-Content-Digest", "sha256:"+strings.Repeat("0", 64))
			return true
		}, "the registry says that its digest is sha256:0000000000000000000000000000000000000000000000000000000000000000, and has no such manifest"},
		{"forbidden", func(w http.ResponseWriter, r *http.Request) bool {
			if isTag(r) {
				w.WriteHeader(http.StatusForbidden)
			}
			return isTag(r)
		}, "/team/api:1.0.0: the registry forbids it"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s.mood = test.mood
			c, _ := client()
			got, err := open(t, c, Request{Image: s.host() + "/team/api"}).Digest(t.Context(), "1.0.0")
			if err != nil {
				if e := (*Error)(nil); !errors.As(err, &e) {
					t.Errorf("%#v", err)
				}
				got = err.Error()
			}
			if !strings.Contains(got, test.want) {
				t.Errorf("%s, want %s", got, test.want)
			}
		})
	}
}

// A config that is not what its digest says has no date to be believed.
func TestCreatedOfALie(t *testing.T) {
	s := newServer(t)
	s.put(t, "team/api", "1.0.0", built(t, monday, time.Time{}))
	s.mood = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/blobs/") {
			return false
		}
		answer := httptest.NewRecorder()
		s.registry.ServeHTTP(answer, r)
		_, _ = w.Write(bytes.ReplaceAll(answer.Body.Bytes(), []byte("2026"), []byte("2036")))
		return true
	}
	c, _ := client()
	_, got, err := open(t, c, Request{Image: s.host() + "/team/api"}).Created(t.Context(), "1.0.0", nil)
	if err == nil || !got.IsZero() {
		t.Errorf("%s %v", got, err)
	}
}

// The second question needs no second login.
func TestOneLoginForAllQuestions(t *testing.T) {
	s := newServer(t)
	s.user, s.password = "ada", "hunter2"
	for i := range 20 {
		s.put(t, "team/api", fmt.Sprintf("1.%d.0", i), built(t, monday, time.Time{}))
	}
	c, _ := client()
	repo := open(t, c, Request{Image: s.host() + "/team/api", DockerConfigs: some(dockerConfig(s.host(), "ada", "hunter2"))})
	all, err := repo.Tags(t.Context())
	if err != nil || len(all) != 20 {
		t.Fatal(all, err)
	}
	for _, tag := range all {
		if _, _, err := repo.Created(t.Context(), tag, nil); err != nil {
			t.Fatal(err)
		}
	}
	logins := 0
	for _, r := range s.requests {
		if strings.HasPrefix(r, "GET /token") {
			logins++
		}
	}
	if logins != 1 {
		t.Errorf("%d logins:\n%s", logins, strings.Join(s.requests, "\n"))
	}
}
