package image

import (
	"io"

	gogit "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"

	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"filippo.io/age"
	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/secret"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/source/gitserver"
)

// guarded serves the repositories below dir to one user over https, and notes
// whom it was shown.
type guarded struct {
	*httptest.Server
	mu   sync.Mutex
	seen []string // USER:PASSWORD, in order, each once
}

func newGuarded(t *testing.T, dir, user, password string) *guarded {
	t.Helper()
	s := &guarded{}
	git := gitserver.Backend(t, dir)
	s.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u, p, ok := r.BasicAuth()
		s.mu.Lock()
		if shown := u + ":" + p; ok && !slices.Contains(s.seen, shown) {
			s.seen = append(s.seen, shown)
		}
		s.mu.Unlock()
		if u != user || p != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		git.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// sealed seals a file with SOPS, and gives the variables that open it.
func sealed(t *testing.T, text string) (string, []string) {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	rule, err := secret.Rules{Age: []string{id.Recipient().String()}}.For(filepath.Join(t.TempDir(), "secret.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	f, err := secret.Encrypt("secret.yaml", []byte(text), rule, secret.SealOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return string(f.Data), []string{"SOPS_AGE_KEY=" + id.String()}
}

// pgpKey is a key, armored; the private half is locked.
func pgpKey(t *testing.T, passphrase string) (private, public string) {
	t.Helper()
	e, err := openpgp.NewEntity("bot", "", "bot@example.com", nil)
	if err != nil {
		t.Fatal(err)
	}
	armored := func(kind string, serialize func(io.Writer) error) string {
		var out bytes.Buffer
		w, err := armor.Encode(&out, kind, nil)
		if err == nil {
			err = serialize(w)
		}
		if err == nil {
			err = w.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	public = armored(openpgp.PublicKeyType, e.Serialize)
	if err := e.EncryptPrivateKeys([]byte(passphrase), nil); err != nil {
		t.Fatal(err)
	}
	return armored(openpgp.PrivateKeyType, func(w io.Writer) error { return e.SerializePrivateWithoutSigning(w, nil) }), public
}

// An automation that writes to another repository than the one that declares it: with the
// credentials, the certificate and the signing key of sealed Secrets beside it. What the user has
// given for his own repository is not shown to the other server.
func TestAnotherRepositoryWithItsOwnSecrets(t *testing.T) {
	key, public := pgpKey(t, "of the key")
	other := newForge(t, map[string]string{"web.yaml": "image: web:1 # {\"$imagepolicy\": \"flux-system:web\"}\n"})
	srv := newGuarded(t, filepath.Dir(other.bare), "bot", "of the robot")
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}))
	secrets, vars := sealed(t, secretYAML("git", map[string]string{"username": "bot", "password": "of the robot", "ca.crt": ca})+
		secretYAML("signing", map[string]string{"git.asc": key, "passphrase": "of the key"}))
	auto := strings.Replace(automationYAML("web", "      signingKey: {type: gpg, secretRef: {name: signing}}\n"), "name: flux-system}\n  git", "name: other}\n  git", 1)
	source := "apiVersion: source.toolkit.fluxcd.io/v1\nkind: GitRepository\nmetadata: {name: other, namespace: flux-system}\nspec:\n  interval: 1m\n  url: " +
		srv.URL + "/fleet.git\n  ref: {branch: main}\n  secretRef: {name: git}\n"
	f, host, push := fleet(t, map[string]string{
		"clusters/vps/auto.yaml": auto, "clusters/vps/git.yaml": secrets, "clusters/vps/source.yaml": source,
		"clusters/vps/web.yaml": repository("web", "v1", "HOST/team/web", "") + policy("web", "v1", strings.Replace(semver, "name: api", "name: web", 1)),
	})
	push("team/web", "1.0.0", "2.0.0")

	// Without the key of the Secret there are no credentials, and nothing is pushed.
	r, errs, code := f.report()
	if code != 1 || r.Automations[0].Status != "failed" {
		t.Fatalf("%d %+v\n%s", code, r, errs)
	}
	check(t, "stderr", errs, "error: clusters/vps/source.yaml:1: gitrepository/other in flux-system: spec.secretRef: clusters/vps/git.yaml:2: the Secret is sealed, and could not be opened")

	f.env = append(f.env, append(vars, "GITOPS_GIT_TOKEN=of the user", "GITOPS_GIT_USERNAME=ada")...)
	out, errs, code := f.update()
	if code != 0 {
		t.Fatalf("%d\n%s%s", code, out, errs)
	}
	check(t, "stdout", out, "web.yaml:1: web:1 → "+host+"/team/web:2.0.0 (web)\n", "to main of "+srv.URL+"/fleet.git")
	if !slices.Equal(srv.seen, []string{"bot:of the robot"}) {
		t.Errorf("the server was shown %q", srv.seen)
	}
	for _, secret := range []string{"of the robot", "of the key", "PRIVATE KEY"} {
		if strings.Contains(out+errs, secret) {
			t.Errorf("%q is told:\n%s%s", secret, out, errs)
		}
	}
	// A Secret that is nowhere leaves what ssh and Git have for that server, and that is not the user's token for his own.
	f.commit("nowhere", map[string]string{"clusters/vps/source.yaml": strings.Replace(source, "{name: git}", "{name: nowhere}", 1)})
	_, errs, code = f.update("--policy", "web="+host+"/team/web:3.0.0")
	if code != 1 || !slices.Equal(srv.seen, []string{"bot:of the robot"}) {
		t.Errorf("%d; the server was shown %q", code, srv.seen)
	}
	check(t, "stderr", errs, "warning: clusters/vps/source.yaml:1: gitrepository/other in flux-system: spec.secretRef: there is no Secret flux-system/nowhere in the source",
		"what ssh and Git's credential helpers have for that server is used", "error: "+srv.URL+"/fleet.git: ")

	repo, err := gogit.PlainOpen(other.bare)
	if err != nil {
		t.Fatal(err)
	}
	commit, err := repo.CommitObject(plumbing.NewHash(other.served("rev-parse", "main")))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := commit.Verify(public); err != nil {
		t.Error(err)
	}
}

// A copy without a remote is what a GitRepository means then: it can be looked at, and mended.
func TestACopyWithoutARemote(t *testing.T) {
	f, host, _ := fleet(t, map[string]string{
		"apps/api/deployment.yaml": strings.Replace(strings.Replace(deployment, `"HOST/team/api:1.0.0"`, "sha-42ea07da", 1), "flux-system:api", "flux-system:api:tag", 1),
		"clusters/vps/gotk-sync.yaml": "apiVersion: source.toolkit.fluxcd.io/v1\nkind: GitRepository\nmetadata: {name: flux-system, namespace: flux-system}\n" +
			"spec: {interval: 1m, url: 'ssh://git@git.invalid/team/fleet', ref: {branch: main}, secretRef: {name: flux-system}}\n",
	})
	f.in(f.work, "remote", "remove", "origin")
	out, errs, code := f.update("--repair", "--dry-run")
	if code != 1 {
		t.Errorf("%d\n%s%s", code, out, errs)
	}
	check(t, "stdout", out, "+        image: "+host+`/team/api:sha-42ea07da # {"$imagepolicy": "flux-system:api"}`)
	check(t, "stderr", errs, "warning: clusters/vps/gotk-sync.yaml:1: gitrepository/flux-system in flux-system: this checkout has no remote: it is taken to be ssh://git@git.invalid/team/fleet")
	out, errs, code = f.update("--repair", "--no-push")
	if code != 0 || !strings.HasSuffix(out, " to branch gitops/image-update of "+f.work+"\n") {
		t.Errorf("%d\n%s%s", code, out, errs)
	}
	if _, errs, code := f.update("--repair"); code != 1 || !strings.Contains(errs, "has no remote to push to") {
		t.Errorf("%d\n%s", code, errs)
	}
}

// artifact pushes what flux push artifact would make of files.
func artifact(t *testing.T, ref string, files map[string]string) {
	t.Helper()
	var archive bytes.Buffer
	z := gzip.NewWriter(&archive)
	w := tar.NewWriter(z)
	if err := w.AddFS(os.DirFS(write(t, files))); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(empty.Image, static.NewLayer(archive.Bytes(), "application/vnd.cncf.flux.content.v1.tar+gzip"))
	if err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag(ref)
	if err == nil {
		err = remote.Write(tag, img)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Repositories and policies are read from an artifact, too; it takes no commit.
func TestFromAnArtifact(t *testing.T) {
	host, push := serve(t, "", "")
	push("team/api", "1.0.0", "1.2.0")
	artifact(t, host+"/team/fleet:v1", map[string]string{"apps/api.yaml": repository("api", "v1", host+"/team/api", "") + policy("api", "v1", semver)})
	for _, args := range [][]string{{"--source", "oci://" + host + "/team/fleet:v1"}, {"--source", "oci://" + host + "/team/fleet", "--ref", "v1", "--path", "apps"}} {
		out, errs, code := run(t, "", append([]string{"policy", "-o", "json"}, args...)...)
		if code != 0 {
			t.Fatalf("%d\n%s%s", code, out, errs)
		}
		check(t, "stdout", out, `"revision": "v1@sha256:`, `"tag": "1.2.0"`, `"file": "apps/api.yaml"`)
	}
	_, errs, code := run(t, "", "update", "--source", "oci://"+host+"/team/fleet:v1")
	if code != 2 {
		t.Error(code)
	}
	check(t, "stderr", errs, "an update is a commit, and an artifact takes none: want the Git repository that it is made of")
}

// Ctrl-C between two branches: what has been pushed is told, the rest is not pushed, and the exit
// code says that it was interrupted.
func TestInterruptedBetweenTwoBranches(t *testing.T) {
	f, host, _ := fleet(t, map[string]string{
		"clusters/vps/auto.yaml": automationYAML("one", "    push: {branch: one}\n") + automationYAML("two", "    push: {branch: two}\n"),
	})
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	git := gitserver.Backend(t, filepath.Dir(f.bare))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		git.ServeHTTP(w, r)
		if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "git-receive-pack") {
			interrupt() // the branch is pushed, and the client has not read it yet
		}
	}))
	t.Cleanup(srv.Close)
	f.in(f.work, "remote", "set-url", "origin", srv.URL+"/fleet.git")
	var r Report
	out, errs, code := runIn(ctx, t, f.env, "update", "--source", f.work, "-o", "json")
	decode(t, out, &r)
	if code != 130 {
		t.Errorf("exit code %d\n%s", code, errs)
	}
	check(t, "stderr", errs, "error: interrupted: what is told as pushed is pushed, and the rest is not")
	if r.Commit == nil || !r.Commit.Pushed || r.Commit.Branch != "one" || r.Commit.SHA != f.served("rev-parse", "one") || len(r.Commits) != 0 {
		t.Errorf("%s", out)
	}
	if got := f.served("for-each-ref", "--format=%(refname:short)", "refs/heads"); got != "main\none" {
		t.Errorf("branches are %s", got)
	}
	if one, two := r.Automations[0], r.Automations[1]; one.Status != "updated" || two.Status != "failed" || two.Message != "interrupted before its commit was pushed" {
		t.Errorf("%s", out)
	}
	check(t, "edits", out, host+"/team/api:1.2.0")
}

// A GitRepository that is reached by a proxy, whose address and password are in a Secret: fetched
// and pushed is through it.
func TestThroughTheProxyOfAGitRepository(t *testing.T) {
	other := newForge(t, map[string]string{"web.yaml": "image: web:1 # {\"$imagepolicy\": \"flux-system:api\"}\n"})
	git := gitserver.Backend(t, filepath.Dir(other.bare))
	var mu sync.Mutex
	var asked []string
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked = append(asked, r.Method+" "+r.URL.Host+r.URL.Path+" "+r.Header.Get("Proxy-Authorization"))
		mu.Unlock()
		git.ServeHTTP(w, r)
	}))
	t.Cleanup(proxy.Close)
	f, host, _ := fleet(t, map[string]string{
		"clusters/vps/auto.yaml": strings.Replace(automationYAML("web", ""), "name: flux-system}\n  git", "name: other}\n  git", 1),
		"clusters/vps/source.yaml": "apiVersion: source.toolkit.fluxcd.io/v1\nkind: GitRepository\nmetadata: {name: other, namespace: flux-system}\n" +
			"spec: {interval: 1m, url: 'http://git.invalid/fleet.git', ref: {branch: main}, proxySecretRef: {name: proxy}}\n" +
			secretYAML("proxy", map[string]string{"address": proxy.URL, "username": "ada", "password": "hunter2"}),
	})
	out, errs, code := f.update()
	if code != 0 || strings.Contains(out+errs, "hunter2") {
		t.Fatalf("%d\n%s%s", code, out, errs)
	}
	check(t, "stdout", out, "web.yaml:1: web:1 → "+host+"/team/api:1.2.0 (api)\n", "to main of http://git.invalid/fleet.git")
	check(t, "pushed", other.served("show", "main:web.yaml"), "/team/api:1.2.0")
	want := "POST git.invalid/fleet.git/git-receive-pack Basic " + base64.StdEncoding.EncodeToString([]byte("ada:hunter2"))
	if !slices.Contains(asked, want) {
		t.Errorf("the proxy was asked %q", asked)
	}
}
