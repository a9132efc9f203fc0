package image

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	ggcr "github.com/google/go-containerregistry/pkg/registry"
)

// secretYAML is a Secret, every value in base64.
func secretYAML(name string, data map[string]string) string {
	var out strings.Builder
	fmt.Fprintf(&out, "---\napiVersion: v1\nkind: Secret\nmetadata: {name: %s, namespace: flux-system}\ndata:\n", name)
	for key, value := range data {
		fmt.Fprintf(&out, "  %q: %s\n", key, base64.StdEncoding.EncodeToString([]byte(value)))
	}
	return out.String()
}

func dockerConfig(host, user, password string) map[string]string {
	return map[string]string{".dockerconfigjson": fmt.Sprintf(`{"auths":{%q:{"username":%q,"password":%q}}}`, host, user, password)}
}

// The ServiceAccount that a repository names, and its imagePullSecrets.
func TestServiceAccountFromTheSource(t *testing.T) {
	host, push := serve(t, "ada", "hunter2")
	push("team/api", "1.0.0")
	const account = "---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {name: puller, namespace: flux-system}\n"
	files := map[string]string{
		"a.yaml": repository("api", "v1", host+"/team/api", "  serviceAccountName: puller\n"),
		"b.yaml": account + "imagePullSecrets: [{name: other}, {name: pull}]\n" + secretYAML("pull", dockerConfig(host, "ada", "hunter2")) +
			secretYAML("other", dockerConfig("ghcr.io", "bob", "hunter3")),
	}
	out, errs, code := run(t, "", "list", "--source", write(t, files))
	if code != 0 || errs != "" {
		t.Errorf("%d\n%s%s", code, out, errs)
	}

	for _, test := range []struct{ b, want string }{
		{account, "spec.serviceAccountName: there is no ServiceAccount flux-system/puller in the source"},
		{account + "imagePullSecrets: []\n", "spec.serviceAccountName: b.yaml:2: the ServiceAccount has no imagePullSecrets"},
		{account + "imagePullSecrets: [{name: pull}]\n", "spec.serviceAccountName: there is no Secret flux-system/pull in the source"},
		{account + "imagePullSecrets: [{name: pull}]\n" + secretYAML("pull", map[string]string{"token": "hunter2", "ca.crt": ".dockerconfigjson"}), "b.yaml:7: the Secret has no .dockerconfigjson"},
	} {
		files["b.yaml"] = test.b
		_, errs, code = run(t, "", "list", "--source", write(t, files))
		if code != 1 {
			t.Error(code)
		}
		check(t, "stderr", errs, test.want)
	}
}

// certSecretRef and proxySecretRef, from Git too.
func TestCertificateAndProxyFromTheSource(t *testing.T) {
	serve(t, "", "") // for the environment
	inner := ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)))
	s := httptest.NewUnstartedServer(inner)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	host := strings.TrimPrefix(s.URL, "https://")
	r := httptest.NewRequest(http.MethodPut, "/v2/team/api/manifests/1.0.0", strings.NewReader("{}"))
	inner.ServeHTTP(httptest.NewRecorder(), r)

	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
	dir := write(t, map[string]string{
		"a.yaml": repository("trusts", "v1", host+"/team/api", "  certSecretRef: {name: ca}\n") +
			repository("by-the-old-name", "v1beta2", host+"/team/api", "  certSecretRef: {name: old}\n") +
			repository("missing", "v1", host+"/team/api", "  certSecretRef: {name: nowhere}\n") +
			repository("empty", "v1", host+"/team/api", "  certSecretRef: {name: empty}\n") +
			repository("nonsense", "v1", host+"/team/api", "  certSecretRef: {name: nonsense}\n") +
			secretYAML("ca", map[string]string{"ca.crt": ca}) + secretYAML("old", map[string]string{"caFile": ca}) +
			secretYAML("empty", map[string]string{"CA": "ca.crt"}) + secretYAML("nonsense", map[string]string{"ca.crt": "hunter2"}),
	})
	out, errs, code := run(t, "", "list", "--source", dir)
	if code != 1 || strings.Contains(errs, "hunter2") {
		t.Error(code)
	}
	check(t, "stdout", out, "trusts            "+host+"/team/api   1 ", "by-the-old-name   "+host+"/team/api   1 ")
	check(t, "stderr", errs, "spec.certSecretRef: there is no Secret flux-system/nowhere in the source, and there is no cluster to ask; the certificates that this machine trusts are used",
		"spec.certSecretRef: a.yaml:54: the Secret has none of ca.crt, tls.crt and tls.key", "its certificates cannot be used: ca.crt has no certificate in PEM")

	var proxied atomic.Int32
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodConnect {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		proxied.Add(1)
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(proxy.Close)
	dir = write(t, map[string]string{
		"a.yaml": repository("through", "v1", "registry.internal/team/api", "  insecure: true\n  proxySecretRef: {name: proxy}\n") +
			repository("without-address", "v1", "registry.internal/team/api", "  insecure: true\n  proxySecretRef: {name: empty}\n") +
			secretYAML("proxy", map[string]string{"address": proxy.URL, "username": "ada", "password": "hunter2"}) +
			secretYAML("empty", map[string]string{"address": ""}),
	})
	out, errs, code = run(t, "", "list", "--source", dir)
	if code != 1 || proxied.Load() == 0 {
		t.Error(code, proxied.Load())
	}
	check(t, "stdout", out, "through           registry.internal/team/api   1 ", "without-address   registry.internal/team/api   -      failed")
	check(t, "stderr", errs, "spec.proxySecretRef: a.yaml:28: the Secret has no address")
}

// A login at a cloud that cannot be: told, with what to do, and the others go on.
func TestProvider(t *testing.T) {
	host, push := serve(t, "", "")
	push("team/api", "1.0.0")
	dir := write(t, map[string]string{"a.yaml": repository("cloud", "v1", host+"/team/api", "  provider: aws\n  serviceAccountName: x\n") + repository("api", "v1", host+"/team/api", "")})
	out, errs, code := run(t, "", "list", "--source", dir)
	if code != 1 {
		t.Error(code)
	}
	check(t, "stdout", out, "api          "+host+"/team/api   1 ", "cloud        "+host+"/team/api   -      failed")
	check(t, "stderr", errs, "no login at aws: invalid AWS registry: '"+host+"'", "hint: spec.provider is for registries of that cloud", "spec.serviceAccountName beside spec.provider")
}

// Suspended is suspended, unless it is asked for.
func TestSuspended(t *testing.T) {
	host, push := serve(t, "", "")
	push("team/api", "1.0.0")
	dir := write(t, map[string]string{
		"a.yaml": repository("api", "v1", host+"/team/api", "") + repository("held", "v1", "127.0.0.1:1/team/held", "  suspend: true\n") +
			policy("held-repository", "v1", "  imageRepositoryRef: {name: held}\n  policy: {semver: {range: '*'}}\n") +
			policy("held", "v1", semver+"  suspend: true\n") + policy("api", "v1", semver),
	})
	out, errs, code := run(t, "", "policy", "--source", dir)
	if code != 0 || errs != "" {
		t.Errorf("%d\n%s", code, errs)
	}
	check(t, "stdout", out, "-       the policy is suspended", "-       its repository held is suspended", "1.0.0   the highest")
	out, _, code = run(t, "", "list", "--source", dir)
	check(t, "stdout", out, "-      suspended")
	if code != 0 {
		t.Error(code)
	}
	out, _, code = run(t, "", "policy", "--source", dir, "-o", "json")
	var report Report
	if err := json.Unmarshal([]byte(out), &report); err != nil || code != 0 || len(report.Policies) != 3 {
		t.Fatal(code, err, out)
	}
	for _, p := range report.Policies {
		if p.Suspended != (p.Name != "api") || p.Suspended != (p.Message != "") || len(p.Problems) > 0 {
			t.Errorf("%+v", p)
		}
	}
	out, errs, code = run(t, "", "policy", "--source", dir, "--include-suspended")
	if code != 1 {
		t.Error(code)
	}
	check(t, "stdout", out, "1.0.0   the highest")
	check(t, "stderr", errs, "127.0.0.1:1/team/held: the registry is out of reach")
}

// Digests, by each policy: the interval does not count, and what Git has stays for
// as long as the tag is the same.
func TestDigestReflection(t *testing.T) {
	host, push := serve(t, "", "")
	push("team/api", "1.0.0")
	name := host + "/team/api"
	const old = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
	for _, test := range []struct{ name, policy, written, digest string }{
		{"never", "Never", name + ":1.0.0@" + old, ""},
		{"by default", "", "", ""},
		{"always", "Always", name + ":1.0.0@" + old, "new"},
		{"if not present, and present", "IfNotPresent", name + ":1.0.0@" + old, old},
		{"if not present, and not present", "IfNotPresent", name + ":1.0.0", "new"},
		{"if not present, and of another tag", "IfNotPresent", name + ":0.9.0@" + old, "new"},
		{"if not present, and no marker", "IfNotPresent", "", "new"},
	} {
		t.Run(test.name, func(t *testing.T) {
			files := map[string]string{"a.yaml": repository("api", "v1", name, "")}
			spec := semver
			if test.policy != "" {
				spec += "  digestReflectionPolicy: " + test.policy + "\n"
			}
			files["b.yaml"] = policy("api", "v1", spec)
			if test.written != "" {
				files["c.yaml"] = "image: " + test.written + " # {\"$imagepolicy\": \"flux-system:api\"}\n"
			}
			out, errs, code := run(t, "", "policy", "--source", write(t, files), "-o", "json")
			var report Report
			if err := json.Unmarshal([]byte(out), &report); err != nil || code != 0 {
				t.Fatal(code, err, out, errs)
			}
			p := report.Policies[0]
			want := test.digest
			if want == "new" {
				want = p.Digest
			}
			image := name + ":1.0.0"
			if want != "" {
				image += "@" + want
			}
			if p.Digest != want || p.Image != image || p.Previous != test.written || test.digest == "new" && (!strings.HasPrefix(p.Digest, "sha256:") || p.Digest == old) {
				t.Errorf("%+v", p)
			}
		})
	}
}

// A tag that is gone before its digest is known: the policy fails, with what to do.
func TestTagVanishes(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	inner := ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/tags/list") {
			fmt.Fprint(w, `{"name":"team/api","tags":["1.0.0"]}`)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	host := strings.TrimPrefix(s.URL, "http://")
	dir := write(t, map[string]string{"a.yaml": repository("api", "v1", host+"/team/api", "") + policy("api", "v1", semver+"  digestReflectionPolicy: Always\n")})
	out, errs, code := run(t, "", "policy", "--source", dir)
	if code != 1 {
		t.Error(code)
	}
	check(t, "stdout", out, "-     failed")
	check(t, "stderr", errs, "error: a.yaml:9: imagepolicy.image.toolkit.fluxcd.io/api in flux-system: "+host+"/team/api:1.0.0: there is no such tag any more: 404 Not Found", "hint: it was deleted after the tags were listed: run it again")
}

// A repository of another namespace: Flux wants to be told that this is meant.
func TestRepositoryOfAnotherNamespace(t *testing.T) {
	host, push := serve(t, "", "")
	push("team/api", "1.0.0")
	const other = "  imageRepositoryRef: {name: %s, namespace: flux-system}\n  policy: {semver: {range: '*'}}\n"
	shop := func(text string) string {
		return strings.Replace(text, "namespace: flux-system}", "namespace: shop}", 1)
	}
	dir := write(t, map[string]string{
		"a.yaml": repository("closed", "v1", host+"/team/api", "") + repository("open", "v1", host+"/team/api", "  accessFrom: {namespaceSelectors: [{matchLabels: {team: shop}}]}\n"),
		"b.yaml": shop(policy("closed", "v1", fmt.Sprintf(other, "closed"))) + shop(policy("open", "v1", fmt.Sprintf(other, "open"))),
	})
	out, errs, code := run(t, "", "policy", "--source", dir)
	if code != 0 || strings.Count(errs, "(image-access)") != 1 {
		t.Error(code)
	}
	check(t, "stdout", out, "shop/closed   "+host+"/team/api   1.0.0")
	check(t, "stderr", errs, "warning: b.yaml:2: imagepolicy.image.toolkit.fluxcd.io/closed in shop: chooses from flux-system/closed, which lets no other namespace do that", "kubernetes.io/metadata.name: shop")
}
