package image

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
)

// run is the command as a terminal has it.
func run(t *testing.T, stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	return runWith(t, stdin, nil, args...)
}

// runEnv is run with variables of the environment.
func runEnv(t *testing.T, vars []string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	return runWith(t, "", vars, args...)
}

// fakeSync prints how it was called: what a sync does is tried in the scripts.
func fakeSync(env *cli.Env) *cobra.Command {
	return &cobra.Command{Use: "sync", DisableFlagParsing: true, RunE: func(_ *cobra.Command, args []string) error {
		fmt.Fprintln(env.Out, "sync", strings.Join(args, " "))
		return cli.Exit{Code: 1}
	}}
}

func runWith(t *testing.T, stdin string, vars []string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	return runCommand(t.Context(), t, stdin, vars, args...)
}

// runIn is run in a context that may end.
func runIn(ctx context.Context, t *testing.T, vars []string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	return runCommand(ctx, t, "", vars, args...)
}

// decode reads the answer in JSON.
func decode(t *testing.T, stdout string, r *Report) {
	t.Helper()
	if err := json.Unmarshal([]byte(stdout), r); err != nil {
		t.Fatalf("%v\n%s", err, stdout)
	}
}

func runCommand(ctx context.Context, t *testing.T, stdin string, vars []string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	t.Setenv("KUBECACHEDIR", t.TempDir())
	var out, errs bytes.Buffer
	env := &cli.Env{
		IOStreams: genericiooptions.IOStreams{In: strings.NewReader(stdin), Out: &out, ErrOut: &errs},
		Environ:   append(vars, "LC_ALL=C.UTF-8", "HOME="+t.TempDir()), Name: "kubectl gitops image",
	}
	code = cli.Run(ctx, func(env *cli.Env) *cobra.Command { return New(env, fakeSync) }, env, args)
	return out.String(), errs.String(), code
}

// write makes a directory of files.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		name = filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// serve starts a registry; its users, if any, give user and password.
func serve(t *testing.T, user, password string) (host string, push func(repository string, tags ...string)) {
	t.Helper()
	t.Setenv("DOCKER_CONFIG", t.TempDir()) // not the credentials of who runs the tests
	t.Setenv("HOME", t.TempDir())
	inner := ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, p, _ := r.BasicAuth(); user != "" && (u != user || p != password) {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	push = func(repository string, tags ...string) {
		for _, tag := range tags {
			const manifest = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[]}`
			w := httptest.NewRecorder()
			r := httptest.NewRequest(http.MethodPut, "/v2/"+repository+"/manifests/"+tag, strings.NewReader(manifest))
			r.Header.Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
			if inner.ServeHTTP(w, r); w.Code != http.StatusCreated {
				t.Fatalf("push %s: %d", tag, w.Code)
			}
		}
	}
	return strings.TrimPrefix(s.URL, "http://"), push
}

func repository(name, version, image, more string) string {
	return "---\napiVersion: image.toolkit.fluxcd.io/" + version + "\nkind: ImageRepository\nmetadata: {name: " + name + ", namespace: flux-system}\nspec:\n  image: " +
		image + "\n  interval: 1h\n" + more
}

func policy(name, version, spec string) string {
	return "---\napiVersion: image.toolkit.fluxcd.io/" + version + "\nkind: ImagePolicy\nmetadata: {name: " + name + ", namespace: flux-system}\nspec:\n" + spec
}

const semver = "  imageRepositoryRef: {name: api}\n  policy: {semver: {range: '>=1.0.0'}}\n"

// check compares what a command said; lines of want stand anywhere in it.
func check(t *testing.T, what, got string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(got, w) {
			t.Errorf("%s has no %q:\n%s", what, w, got)
		}
	}
}

func TestListAndPolicy(t *testing.T) {
	host, push := serve(t, "", "")
	push("team/api", "1.0.0", "1.2.0", "1.10.0", "latest", "sha256-x.sig")
	push("team/web", "main-aaa-3", "main-bbb-20")
	dir := write(t, map[string]string{
		"apps/api/image.yaml":          repository("api", "v1beta1", host+"/team/api", "") + policy("api", "v1beta2", semver),
		"apps/api/kustomization.yaml":  "resources: []\n", // lists nothing
		"apps/web/repo.yml":            "apiVersion: image.toolkit.fluxcd.io/v1\nkind: ImageRepository\nmetadata: {name: web}\nspec: {image: " + host + "/team/web, interval: 1h}\n",
		"apps/web/policy.yaml":         "apiVersion: image.toolkit.fluxcd.io/v1\nkind: ImagePolicy\nmetadata: {name: web}\nspec:\n  imageRepositoryRef: {name: web}\n  filterTags: {pattern: '^main-[a-f0-9]+-(?P<n>[0-9]+)$', extract: '$n'}\n  policy: {numerical: {order: asc}}\n",
		"apps/web/kustomization.yaml":  "namespace: web\n",
		"charts/x/templates/auto.yaml": "apiVersion: image.toolkit.fluxcd.io/v1\n{{ if .x }}\nkind: [\n",
	})

	out, errs, code := run(t, "", "list", "--source", dir)
	if code != 0 {
		t.Fatalf("%d\n%s%s", code, out, errs)
	}
	check(t, "stdout", out, "api          "+host+"/team/api   4      latest 1.2.0 1.10.0", "web/web      "+host+"/team/web   2      main-bbb-20 main-aaa-3")
	check(t, "stderr", errs, "warning: charts/x/templates/auto.yaml")

	out, errs, code = run(t, "", "policy", "--source", dir)
	if code != 0 {
		t.Fatalf("%d\n%s%s", code, out, errs)
	}
	check(t, "stdout", out, "api       "+host+"/team/api   1.10.0        the highest of 3 versions in \">=1.0.0\"",
		"web/web   "+host+"/team/web   main-bbb-20   the largest of 2 numbers, extracted as \"20\"")

	out, _, code = run(t, "", "policy", "--source", dir, "web/web", "-o", "json", "--explain")
	var report Report
	if err := json.Unmarshal([]byte(out), &report); err != nil || code != 0 {
		t.Fatalf("%d %v\n%s", code, err, out)
	}
	p := report.Policies[0]
	if report.Kind != "ImageReport" || len(report.Policies) != 1 || p.Tag != "main-bbb-20" || p.Image != host+"/team/web:main-bbb-20" || p.Repository != "web/web" ||
		p.File != "apps/web/policy.yaml" || p.Line != 1 || len(p.Tags) != 2 || p.Tags[0].Outcome != "chosen" || p.Tags[1].Extracted != "3" {
		t.Errorf("%s", out)
	}

	out, _, code = run(t, "", "policy", "--source", dir, "api", "--explain")
	if code != 0 {
		t.Error(code)
	}
	check(t, "stdout", out, "api (apps/api/image.yaml:9)\nRANK   TAG            WHY\n1      1.10.0         chosen\n2      1.2.0          ranked 2\n",
		`-      sha256-x.sig   excluded by`, "-      latest         not a version")

	out, _, code = run(t, "", "list", "--source", dir, "api", "--tags")
	if want := "1.0.0\n1.10.0\n1.2.0\nlatest\n"; out != want || code != 0 {
		t.Errorf("%d %q", code, out)
	}

	_, errs, code = run(t, "", "policy", "--source", dir, "nobody")
	if code != 2 {
		t.Error(code)
	}
	check(t, "stderr", errs, "error: no ImagePolicy flux-system/nobody in dir@sha256:", ": there is flux-system/api, web/web")

	out, _, code = run(t, "", "list", "--source", dir, "--path", "apps/web")
	if code != 0 || strings.Contains(out, "team/api") {
		t.Errorf("%d %s", code, out)
	}
}

// What is wrong with one policy leaves the others' answers standing, and exit 1.
func TestOneFailsTheOthersStand(t *testing.T) {
	host, push := serve(t, "", "")
	push("team/api", "1.0.0")
	push("team/odd", "1", "x")
	dir := write(t, map[string]string{
		"a.yaml": repository("api", "v1", host+"/team/api", "") + repository("gone", "v1", host+"/team/gone", "") +
			repository("odd", "v1", host+"/team/odd", "") + repository("tagged", "v1", host+"/team/api:1.0.0", "") + policy("api", "v1", semver),
		"b.yaml": policy("gone", "v1", "  imageRepositoryRef: {name: gone}\n  policy: {alphabetical: {}}\n"),
		"c.yaml": policy("odd", "v1", "  imageRepositoryRef: {name: odd}\n  policy: {numerical: {}}\n"),
		"d.yaml": policy("lost", "v1", "  imageRepositoryRef: {name: nowhere}\n  policy: {numerical: {}}\n"),
		"e.yaml": policy("without", "v1", "  policy: {numerical: {}}\n"),
		"f.yaml": policy("regex", "v1", "  imageRepositoryRef: {name: api}\n  filterTags: {pattern: '('}\n  policy: {numerical: {}}\n"),
		"g.yaml": policy("tagged", "v1", "  imageRepositoryRef: {name: tagged}\n  policy: {numerical: {}}\n"),
		"h.yaml": policy("two", "v1", "  imageRepositoryRef: {name: api}\n  policy: {semver: {range: 1.x}, numerical: {}}\n"),
		"i.yaml": policy("typo", "v1", "  policy: 3\n"),
	})
	out, errs, code := run(t, "", "policy", "--source", dir)
	if code != 1 {
		t.Errorf("exit code %d", code)
	}
	check(t, "stdout", out, "api       "+host+"/team/api         1.0.0   the highest of 1 version", "two       "+host+"/team/api         1.0.0", "odd       "+host+"/team/odd         -       failed")
	check(t, "stderr", errs,
		"error: a.yaml:9: imagerepository.image.toolkit.fluxcd.io/gone in flux-system: "+host+"/team/gone: there is no such repository, or it has no tags yet: 404 Not Found",
		"hint: check spec.image",
		"error: c.yaml:7: imagepolicy.image.toolkit.fluxcd.io/odd in flux-system: numerical needs numbers, and this is none: x",
		"error: d.yaml:2: imagepolicy.image.toolkit.fluxcd.io/lost in flux-system: there is no ImageRepository flux-system/nowhere in the source",
		"error: e.yaml:5: imagepolicy.image.toolkit.fluxcd.io/without in flux-system: spec.imageRepositoryRef.name is missing",
		`error: f.yaml:7: imagepolicy.image.toolkit.fluxcd.io/regex in flux-system: spec.filterTags.pattern "(": missing closing )`,
		"/team/api:1.0.0 has a tag or a digest",
		"warning: h.yaml:7: imagepolicy.image.toolkit.fluxcd.io/two in flux-system: spec.policy has semver and numerical",
		"error: i.yaml:5: imagepolicy.image.toolkit.fluxcd.io/typo in flux-system: spec: policy: is a number, want an object",
	)

	// Whoever asks about one policy has an answer, whatever is wrong elsewhere.
	out, errs, code = run(t, "", "policy", "--source", dir, "api")
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	check(t, "stdout", out, "1.0.0")
	check(t, "stderr", errs, "warning: i.yaml:5: ")
	_, errs, code = run(t, "", "list", "--source", dir)
	if code != 1 {
		t.Errorf("exit code %d", code)
	}
	check(t, "stderr", errs, "warning: i.yaml:5: ", "error: a.yaml:9: ")

	// The same for scripts: each policy is there, with its problems.
	out, _, _ = run(t, "", "policy", "--source", dir, "-o", "json")
	var report Report
	if err := json.Unmarshal([]byte(out), &report); err != nil || len(report.Policies) != 8 {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, p := range report.Policies {
		if chosen := p.Name == "api" || p.Name == "two"; chosen != (p.Tag != "") || chosen == (p.Message != "") || chosen != (len(p.Problems) == 0) || p.File == "" {
			t.Errorf("%+v", p)
		}
	}
}

// The Secret that a repository names is in Git, beside it.
func TestCredentialsFromTheSource(t *testing.T) {
	host, push := serve(t, "ada", "password")
	push("team/api", "1.0.0")
	secret := "apiVersion: v1\nkind: Secret\nmetadata: {name: pull, namespace: flux-system}\ntype: kubernetes.io/dockerconfigjson\nstringData:\n  .dockerconfigjson: '{\"auths\":{\"" +
		host + "\":{\"username\":\"ada\",\"password\":\"password\"}}}'\n"
	files := map[string]string{
		"a.yaml":      repository("api", "v1", host+"/team/api", "  secretRef: {name: pull}\n") + policy("api", "v1", semver),
		"secret.yaml": secret,
	}
	out, errs, code := run(t, "", "policy", "--source", write(t, files))
	if code != 0 {
		t.Fatalf("%d\n%s%s", code, out, errs)
	}
	check(t, "stdout", out, "1.0.0")

	files["secret.yaml"] = strings.Replace(secret, "'{", "'ENC[{", 1)
	out, errs, code = run(t, "", "list", "--source", write(t, files))
	if code != 1 {
		t.Errorf("%d\n%s", code, out)
	}
	check(t, "stderr", errs, "spec.secretRef: secret.yaml:1: the Secret is sealed, and could not be opened", "the registry asks for credentials; used: none: 401 Unauthorized", "hint: docker login "+host)

	delete(files, "secret.yaml")
	_, errs, _ = run(t, "", "list", "--source", write(t, files))
	check(t, "stderr", errs, "spec.secretRef: there is no Secret flux-system/pull in the source, and there is no cluster to ask; Docker's own credentials are used")
}

func TestDeclaredTwice(t *testing.T) {
	host, push := serve(t, "", "")
	push("staging/api", "1.1.0")
	push("prod/api", "1.0.0")
	dir := write(t, map[string]string{
		"clusters/prod/r.yaml":    repository("api", "v1", host+"/prod/api", ""),
		"clusters/prod/p.yaml":    policy("api", "v1", semver),
		"clusters/staging/r.yaml": repository("api", "v1", host+"/staging/api", ""),
		"clusters/staging/p.yaml": policy("api", "v1", semver),
	})
	out, errs, code := run(t, "", "policy", "--source", dir)
	if code != 0 {
		t.Error(code, errs)
	}
	check(t, "stdout", out, host+"/prod/api      1.0.0", host+"/staging/api   1.1.0")
	check(t, "stderr", errs, "is declared in clusters/prod/p.yaml:2 too: both are looked at", "hint: --path DIR")
}

func TestEval(t *testing.T) {
	dir := write(t, map[string]string{
		"policy.yaml": policy("api", "v1beta2", semver),
		"both.yaml":   repository("api", "v1", "ghcr.io/team/api", "  exclusionList: ['^1\\.2']\n") + policy("api", "v1", semver),
		"hash.yaml":   policy("api", "v1", "  imageRepositoryRef: {name: api}\n  filterTags: {pattern: '^sha-[a-f0-9]+$'}\n  policy: {alphabetical: {order: desc}}\n"),
		"two.yaml":    policy("a", "v1", semver) + policy("b", "v1", "  policy: {alphabetical: {}}\n"),
		"broken.yaml": policy("api", "v1", "  policy: {semver: {range: newest}}\n"),
		"other.yaml":  "apiVersion: v1\nkind: ConfigMap\n",
		"tags":        "1.0.0\n\n1.2.0\r\nlatest\n",
		"images":      "1.0.0\nghcr.io/team/api:1.2.0\n",
		"none":        "latest\n",
	})
	for _, test := range []struct {
		args, stdin, out string
		code             int
		errs             string
	}{
		{"-f policy.yaml --tags tags", "", "1.2.0\n", 0, ""},
		{"-f policy.yaml --tags -", "v2.0.0\n1.0.0\n", "v2.0.0\n", 0, ""},
		{"-f - --tags tags", policy("api", "v1", semver), "1.2.0\n", 0, ""},
		{"-f both.yaml --tags tags", "", "1.0.0\n", 0, ""},
		{"-f two.yaml --tags tags b", "", "latest\n", 0, ""},
		{"-f two.yaml --tags tags flux-system/b", "", "latest\n", 0, ""},
		{"-f hash.yaml --tags -", "sha-42ea07d\nsha-0ab1c2d\n", "sha-0ab1c2d\n", 0, "orders commit hashes by alphabet: sha-0ab1c2d is not the newest of 2 tags, but any of them"},
		{"-f policy.yaml --tags none", "", "", 1, `error: policy.yaml:7: imagepolicy.image.toolkit.fluxcd.io/api in flux-system: no tag in ">=1.0.0": 1 candidate not a version`},
		{"-f policy.yaml --tags -", "", "", 1, "no tag to choose from: the repository has none"},
		{"-f policy.yaml --tags images", "", "", 2, `images:2: "ghcr.io/team/api:1.2.0" is not a tag`},
		{"-f policy.yaml", "", "", 2, "want a policy and tags"},
		{"-f - --tags -", "", "", 2, "stdin can be one of the two"},
		{"-f two.yaml --tags tags", "", "", 2, "there are 2 ImagePolicies in it: a, b"},
		{"-f two.yaml --tags tags c", "", "", 2, "there is no ImagePolicy c in it, but a, b"},
		{"-f other.yaml --tags tags", "", "", 2, "there is no ImagePolicy of image.toolkit.fluxcd.io in it"},
		{"-f nowhere.yaml --tags tags", "", "", 2, "nowhere.yaml: no such file"},
		{"-f broken.yaml --tags tags", "", "", 2, `spec.policy.semver.range "newest": `},
		{"-f policy.yaml --tags tags -o wide", "", "", 2, "--output=wide: want one of text, json, yaml"},
	} {
		t.Run(test.args, func(t *testing.T) {
			t.Chdir(dir)
			out, errs, code := run(t, test.stdin, append([]string{"eval"}, strings.Fields(test.args)...)...)
			if out != test.out || code != test.code || !strings.Contains(errs, test.errs) || test.errs == "" && errs != "" {
				t.Errorf("exit code %d, stdout %q, stderr %q; want %d, %q, %q", code, out, errs, test.code, test.out, test.errs)
			}
		})
	}

	t.Chdir(dir)
	out, _, code := run(t, "", "eval", "-f", "both.yaml", "--tags", "tags", "-o", "json", "--explain")
	var report Report
	if err := json.Unmarshal([]byte(out), &report); err != nil || code != 0 || report.Policies[0].Image != "ghcr.io/team/api:1.0.0" || len(report.Policies[0].Tags) != 3 {
		t.Errorf("%d %v\n%s", code, err, out)
	}
	// No tag is an answer too, for scripts.
	out, _, code = run(t, "", "eval", "-f", "policy.yaml", "--tags", "none", "-o", "json")
	if err := json.Unmarshal([]byte(out), &report); err != nil || code != 1 || report.Policies[0].Tag != "" || report.Policies[0].Message == "" || report.Policies[0].Problems[0].Code != "image-no-tag" {
		t.Errorf("%d %v\n%s", code, err, out)
	}
}

func TestCommandLine(t *testing.T) {
	for _, test := range []struct{ args, want string }{
		{"list --name x", "--name: there is no root Kustomization here"},
		{"policy --timeout 0s", "a timeout cannot be negative or zero"},
		{"policy a/b/c", `"a/b/c" is not NAME or NAMESPACE/NAME`},
		{"list --path ../x --source .", "is outside of the source"},
		{"polciy", `unknown command "polciy": did you mean policy?`},
	} {
		if _, errs, code := run(t, "", strings.Fields(test.args)...); code != 2 || !strings.Contains(errs, test.want) {
			t.Errorf("%s: %d %s", test.args, code, errs)
		}
	}
	out, _, code := run(t, "")
	if code != 0 || !strings.Contains(out, "kubectl gitops image [command]") {
		t.Errorf("%d %s", code, out)
	}
	out, _, _ = run(t, "", "eval", "--help")
	check(t, "help", out, "kubectl gitops image eval -f policy.yaml --tags -")
}
