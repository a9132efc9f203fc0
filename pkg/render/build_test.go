package render

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// remoteBase is a Git repository on disk, as the URL of one of its directories.
func remoteBase(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, source("-- deploy/kustomization.yaml --\nnamePrefix: r-\nresources: [web.yaml]\n-- deploy/web.yaml --\n"+deployment)); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"init", "-q", "-b", "main"}, {"add", "."},
		{"-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "-q", "-m", "base"},
	} {
		cmd := exec.Command("git", args...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	return "file://" + filepath.ToSlash(dir)
}

func TestRemoteBase(t *testing.T) {
	repo := remoteBase(t)
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	files := source("-- apps/kustomization.yaml --\nresources:\n- " + repo + "//deploy?ref=main\n- a.yaml\n-- apps/a.yaml --\n" + configMap)
	r := Request{FS: files, Kustomization: fluxKustomization(t, "path: apps"), RemoteBases: true}
	got, err := Build(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(tmp); len(left) > 0 {
		t.Errorf("%s was left behind", left[0].Name())
	}
	want, err := asFlux(t, files, r)
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(want); got.Digest != "sha256:"+hex.EncodeToString(sum[:]) {
		t.Errorf("not what flux builds:\n%s", want)
	}
	if o := got.Objects[0]; o.GetName() != "r-web" || !strings.HasPrefix(o.File, "file://") || !strings.HasSuffix(o.File, "//deploy/web.yaml?ref=main") || o.Line != 0 {
		t.Errorf("%s from %s", o.ID(), o.Where())
	}

	r.RemoteBases = false
	_, err = Build(context.Background(), r)
	if err == nil || !strings.HasPrefix(err.Error(), "apps/kustomization.yaml:2: file://") {
		t.Errorf("remote bases are off: %v", err)
	}
}

// TestCloneOfSomebodyElse: a directory named like a clone that was there
// before, or a link out of a clone, is not the source's to read.
func TestCloneOfSomebodyElse(t *testing.T) {
	tmp, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", tmp)
	write := func(dir string) string {
		file := filepath.Join(tmp, dir, "a.yaml")
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(configMap), 0o644); err != nil {
			t.Fatal(err)
		}
		return file
	}
	before := write("kustomize-before")
	s := newSourceFS(context.Background(), Request{FS: source("")})
	after, other := write("kustomize-after"), write("elsewhere")
	link := filepath.Join(filepath.Dir(after), "link.yaml")
	if err := os.Symlink(other, link); err != nil {
		t.Fatal(err)
	}
	for file, allowed := range map[string]bool{
		before: false, after: true, other: false, link: false,
		filepath.Join(tmp, "kustomize-after", "..", "elsewhere", "a.yaml"): false,
	} {
		if _, err := s.ReadFile(file); (err == nil) != allowed {
			t.Errorf("%s: %v", file, err)
		}
		if s.Exists(file) != allowed {
			t.Errorf("%s exists: %v", file, !allowed)
		}
	}
	for _, dir := range []string{tmp, filepath.Dir(before), filepath.Dir(other), after, root, "/"} {
		if err := s.RemoveAll(dir); err == nil {
			t.Errorf("%s was removed", dir)
		}
	}
	if err := s.RemoveAll(filepath.Dir(after)); err != nil {
		t.Error(err)
	}
}

func TestSourceIsReadOnly(t *testing.T) {
	s := newSourceFS(context.Background(), Request{FS: source("-- a.yaml --\nx\n")})
	p := filepath.Join(root, "a.yaml")
	_, createErr := s.Create(p)
	for i, err := range []error{createErr, s.WriteFile(p, nil), s.Mkdir(p), s.MkdirAll(p), s.RemoveAll(p)} {
		if err == nil || !strings.Contains(err.Error(), " a.yaml: the source is read-only") {
			t.Errorf("%d: %v", i, err)
		}
	}
}

func TestContext(t *testing.T) {
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(cause)
	r := Request{FS: source("-- a.yaml --\n" + configMap), Kustomization: fluxKustomization(t, "path: .")}
	if _, err := Build(ctx, r); !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}

	// One that waits for another's build lets go.
	if err := schemaUsers.Acquire(context.Background(), allUsers); err != nil {
		t.Fatal(err)
	}
	defer schemaUsers.Release(allUsers)
	ctx, cancel = context.WithCancelCause(context.Background())
	done := make(chan error)
	go func() {
		_, err := Build(ctx, r)
		done <- err
	}()
	cancel(cause)
	if err := <-done; !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
}

// TestParallel is for the race detector, and for what one build could leave in
// kustomize's process-wide schema for another.
func TestParallel(t *testing.T) {
	want := map[string]string{}
	sources := []string{openAPI, withoutOpenAPI, places, odd}
	for i, s := range sources {
		r, err := build1(t, source(s), "path: apps")
		if err != nil {
			t.Fatal(err)
		}
		want[sources[i]] = r.Digest
	}
	if want[openAPI] == want[withoutOpenAPI] {
		t.Fatal("the schema makes no difference")
	}
	var wg sync.WaitGroup
	for i := range 16 {
		k := fluxKustomization(t, "path: apps")
		wg.Go(func() {
			s := sources[i%len(sources)]
			r, err := Build(context.Background(), Request{FS: source(s), Kustomization: k})
			if err != nil || r.Digest != want[s] {
				t.Errorf("build %d: %v", i, err)
			}
		})
	}
	wg.Wait()
}

// FuzzBuild holds that whatever is in a kustomization, a patch or a manifest,
// Build returns, and an error of it has a message.
func FuzzBuild(f *testing.F) {
	f.Add("resources: [a.yaml]\n", deployment, "- {op: add, path: /metadata/labels, value: {}}\n", "x")
	f.Add("resources: [a.yaml, ../b]\ncomponents: [c]\nnamespace: x\n", configMap, "kind: ConfigMap\n", "${x")
	f.Add("patches: [{path: p.yaml, target: {kind: '*'}}]\nresources: [a.yaml]\n", "kind: List\nitems: [~]\n", "[]", "${a:1:-9}")
	f.Add("replacements: [{source: {}, targets: [{}]}]\nresources: [a.yaml]\n", "{}", "a", "${a//b/${c}}")
	f.Add("vars: [{name: A, objref: {kind: ConfigMap, name: settings, apiVersion: v1}}]\nresources: [a.yaml]\n", configMap, "", "$(A)")
	f.Add("generators: [p.yaml]\ntransformers: [p.yaml]\nvalidators: [a.yaml]\nopenapi: {path: p.yaml}\ncrds: [p.yaml]\n", "&a [*a]", "apiVersion: builtin\nkind: PatchTransformer\nmetadata: {name: a}\n", "")
	f.Fuzz(func(t *testing.T, kustomization, manifest, patch, value string) {
		files := source("-- apps/kustomization.yaml --\n-- apps/a.yaml --\n-- apps/p.yaml --\n-- apps/c/kustomization.yaml --\nkind: Component\napiVersion: kustomize.config.k8s.io/v1alpha1\n")
		files["apps/kustomization.yaml"].Data = []byte(kustomization)
		files["apps/a.yaml"].Data = []byte(manifest)
		files["apps/p.yaml"].Data = []byte(patch)
		for _, path := range []string{"path: apps", "path: apps/c"} {
			r, err := Build(context.Background(), Request{
				FS: files, Kustomization: fluxKustomization(t, path), Variables: map[string]string{"a": value}, Strict: true,
			})
			if err != nil {
				if err.Error() == "" || strings.Contains(err.Error(), root) {
					t.Fatalf("error %q", err)
				}
				continue
			}
			for _, o := range r.Objects {
				if o.GetName() == "" || o.GetKind() == "" || o.GetAPIVersion() == "" {
					t.Fatal(fmt.Sprint("nameless object ", o.Object))
				}
			}
		}
	})
}
