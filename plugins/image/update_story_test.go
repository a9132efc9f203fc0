package image

import (
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/source/gitserver"
)

// report runs an update and reads its answer.
func (f *forge) report(args ...string) (r Report, stderr string, code int) {
	f.t.Helper()
	out, errs, code := f.update(append(args, "-o", "json")...)
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		f.t.Fatalf("%d %v\n%s%s", code, err, out, errs)
	}
	return r, errs, code
}

const template = `      messageTemplate: |
        Update by {{ .AutomationObject }} for {{ .Values.team | upper }}
        {{ range .Updated.Images }}
        - {{ . }} {{ .Registry }} {{ .Repository }} {{ .Identifier }} {{ .Policy }}
        {{- end }}
        {{ range $file, $_ := .Changed.FileChanges }}
        file {{ $file }}
        {{- end }}
        {{ range $o, $changes := .Changed.Objects }}
        {{ $o.Kind }}/{{ $o.Name }} in {{ $o.Namespace }} {{ range $changes }}{{ .Setter }} {{ .OldValue }} to {{ .NewValue }}{{ end }}
        {{- end }}
        {{ len .Changed.Changes }} {{ len .Updated.Files }}
      messageTemplateValues: {team: shop}
`

func TestMessageTemplates(t *testing.T) {
	f, host, _ := fleet(t, map[string]string{"clusters/vps/auto.yaml": automationYAML("flux-system", template)})
	out, errs, code := f.update()
	if code != 0 {
		t.Fatalf("%d\n%s%s", code, out, errs)
	}
	check(t, "message", f.served("log", "-1", "--format=%B", "main"), "Update by flux-system/flux-system for SHOP\n\n- "+host+"/team/api:1.2.0 "+host+" team/api 1.2.0 flux-system/api\n",
		"file apps/api/deployment.yaml\n", "Deployment/api in shop flux-system:api "+host+"/team/api:1.0.0 to "+host+"/team/api:1.2.0\n", "1 1\n")
}

// What is wrong with one leaves the others' updates standing, in one commit, and exit 1.
func TestUpdateGoesOn(t *testing.T) {
	marked := func(name, value, marker string) string {
		return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata:\n  " + name + ": " + value + " # {\"$imagepolicy\": \"" + marker + "\"}\n"
	}
	f, _, _ := fleet(t, map[string]string{
		"bad/regex.yaml":   policy("regex", "v1", "  imageRepositoryRef: {name: api}\n  filterTags: {pattern: '('}\n  policy: {numerical: {}}\n"),
		"bad/without.yaml": policy("without", "v1", "  policy: {numerical: {}}\n"),
		"bad/two.yaml":     policy("two", "v1", "  imageRepositoryRef: {name: api}\n  policy: {semver: {range: 1.x}, numerical: {}}\n"),
		"m/regex.yaml":     marked("tag", "1.0.0", "flux-system:regex:tag"),
		"m/without.yaml":   marked("tag", "1.0.0", "flux-system:without:tag"),
		"m/two.yaml":       marked("tag", "1.0.0", "flux-system:two:tag"),
		"m/nonsense.yaml":  marked("image", "HOST/team/api:1.0.0", "flux-system:api:tag"),
		"m/newtag.yaml":    marked("newTag", "1.0.0", "flux-system:api"),
		"m/sealed.yaml":    marked("tag", "1.0.0", "flux-system:api:tag") + "sops: {mac: 'ENC[x]'}\n",
		"m/template.yaml":  marked("tag", "1.0.0", "flux-system:api:tag") + "{{- if .x }}\n",
		"m/unknown.yaml":   marked("tag", "1.0.0", "flux-system:nobody:tag"),
		"m/foreign.yaml":   marked("tag", "1.0.0", "shop:web:tag"),
		"bad/foreign.yaml": strings.Replace(policy("web", "v1", semver), "flux-system", "shop", 1),
	})
	before := f.served("rev-parse", "main")
	r, errs, code := f.report()
	if code != 1 || r.Commit == nil || !r.Commit.Pushed {
		t.Fatalf("%d %+v\n%s", code, r.Commit, errs)
	}
	if got := f.served("diff", "--name-only", before, "main"); got != "apps/api/deployment.yaml\nm/two.yaml" {
		t.Errorf("changed %s", got)
	}
	check(t, "stderr", errs,
		`error: bad/regex.yaml:7: imagepolicy.image.toolkit.fluxcd.io/regex in flux-system: spec.filterTags.pattern "("`,
		"error: bad/without.yaml:5: imagepolicy.image.toolkit.fluxcd.io/without in flux-system: spec.imageRepositoryRef.name is missing",
		"warning: bad/two.yaml:7: imagepolicy.image.toolkit.fluxcd.io/two in flux-system: spec.policy has semver and numerical",
		"error: m/nonsense.yaml:5: imagepolicy/api in flux-system: would write the bare tag 1.2.0 over the whole reference", "update --repair",
		"error: m/newtag.yaml:5: imagepolicy/api in flux-system: would write the whole reference",
		"error: m/sealed.yaml:5: imagepolicy/api in flux-system: the file is sealed with SOPS",
		"warning: m/template.yaml:6: not valid YAML: its markers are not written",
		"warning: m/unknown.yaml:5: imagepolicy/nobody in flux-system: there is no such ImagePolicy",
		"warning: m/foreign.yaml:5: imagepolicy/web in shop: an automation takes policies of its own namespace only")
	if r.Automations[0].Status != "updated" || len(r.Automations[0].Problems) != 3 {
		t.Errorf("%+v", r.Automations[0])
	}
}

// An automation that cannot be followed is told with its line; nothing of it is written.
func TestBadAutomations(t *testing.T) {
	auto := func(name, old, new string) string {
		text := automationYAML(name, "")
		if !strings.Contains(text, old) {
			t.Fatal(old)
		}
		return strings.Replace(text, old, new, 1)
	}
	const author = "{name: fluxcdbot, email: bot@example.com}"
	f, _, _ := fleet(t, map[string]string{
		"clusters/vps/auto.yaml": auto("none", "  interval: 30m\n", "  interval: 30m\n  suspend: true\n"),
		"a/identity.yaml":        auto("identity", author, "{name: nobody}"),
		"a/parse.yaml":           automationYAML("parse", "      messageTemplate: |\n        one\n        {{ range }}\n"),
		"a/field.yaml":           automationYAML("field", "      messageTemplate: |\n        one\n        {{ .Update.Images }}\n"),
		"a/path.yaml":            auto("path", "path: ./,", "path: ./nowhere,"),
		"a/strategy.yaml":        auto("strategy", "strategy: Setters", "strategy: Guess"),
		"a/branch.yaml":          auto("branch", "branch: main", "branch: gone"),
		"a/key.yaml":             automationYAML("key", "      signingKey: {secretRef: {name: gone}}\n"),
		"a/kind.yaml":            auto("kind", "kind: GitRepository", "kind: OCIRepository"),
		"a/selector.yaml":        auto("selector", "  interval", "  policySelector: {matchLabels: {team: x}}\n  interval"),
	})
	before := f.served("for-each-ref")
	r, errs, code := f.report()
	if code != 1 || r.Commit != nil || f.served("for-each-ref") != before {
		t.Fatalf("%d %+v\n%s", code, r.Commit, errs)
	}
	check(t, "stderr", errs,
		"warning: clusters/vps/auto.yaml:2: imageupdateautomation.image.toolkit.fluxcd.io/none in flux-system: is suspended",
		"error: a/identity.yaml:11: imageupdateautomation.image.toolkit.fluxcd.io/identity in flux-system: spec.git.commit.author.email is missing",
		"error: a/parse.yaml:14: imageupdateautomation.image.toolkit.fluxcd.io/parse in flux-system: spec.git.commit.messageTemplate: missing value for range",
		"error: a/field.yaml:14: imageupdateautomation.image.toolkit.fluxcd.io/field in flux-system: spec.git.commit.messageTemplate: <.Update.Images>: can't evaluate field Update",
		"error: a/path.yaml:2: imageupdateautomation.image.toolkit.fluxcd.io/path in flux-system: spec.update.path nowhere is not in main@sha1:",
		`spec.update.strategy: there is no "Guess"`, `no branch, tag or commit "gone"`, "spec.git.commit.signingKey: there is no Secret flux-system/gone", "OCIRepository cannot be written to")
	for _, a := range r.Automations {
		want := map[string]string{"none": "suspended", "selector": "unchanged"}[a.Name]
		if want == "" {
			want = "failed"
		}
		if a.Status != want {
			t.Errorf("%s: %s, want %s", a.Name, a.Status, want)
		}
	}

	for _, test := range []struct{ args, want string }{
		{"nobody", "no ImageUpdateAutomation flux-system/nobody in main@sha1:"},
		{"--policy api", "want [NAMESPACE/]NAME=IMAGE"},
		{"--policy api=1.2.0", "is not NAME:TAG"},
		{"--policy nobody=x/y:1", "--policy flux-system/nobody: there is no such ImagePolicy"},
		{"--push-branch a..b", "no branch can have this name"},
		{"--dry-run --no-push", "want one of the two"},
		{"--from-cluster", "--from-cluster"},
		{"--ref nowhere", `no branch, tag or commit "nowhere"`},
	} {
		_, errs, code := f.update(strings.Fields(test.args)...)
		if code != 2 || !strings.Contains(errs, test.want) {
			t.Errorf("%s: %d %s", test.args, code, errs)
		}
	}
	_, errs, code = runEnv(t, f.env, "update", "--source", t.TempDir())
	if code != 2 || !strings.Contains(errs, "is in no Git repository") {
		t.Errorf("%d %s", code, errs)
	}
}

func TestOverridesAndBranches(t *testing.T) {
	f, host, _ := fleet(t, map[string]string{
		"clusters/vps/auto.yaml": automationYAML("one", "    push: {branch: bump, options: {a: b}}\n") + strings.Replace(automationYAML("two", "    push: {branch: bump}\n"), "path: ./,", "path: apps/web,", 1),
		"apps/web/web.yaml":      "image: web:1 # {\"$imagepolicy\": \"flux-system:web\"}\n",
		"apps/web/p.yaml":        policy("web", "v1", semver),
	})
	f.served("config", "receive.advertisePushOptions", "true")
	hook := filepath.Join(f.bare, "hooks", "post-receive")
	if err := os.WriteFile(hook, []byte("#!/bin/sh\necho 'To create a merge request for bump, visit:'; echo '  https://example.com/t/f/-/merge_requests/new?x=bump'\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	before := f.served("rev-parse", "main")
	out, errs, code := f.update("--policy", "web="+host+"/team/web:9", "one", "two")
	if code != 0 {
		t.Fatalf("%d\n%s%s", code, out, errs)
	}
	check(t, "stdout", out, "to bump of "+f.url, "open a pull request: https://example.com/t/f/-/merge_requests/new?x=bump")
	if got := f.served("log", "--format=%s", "main..bump"); f.served("rev-parse", "main") != before || len(strings.Fields(got)) != 5 {
		t.Errorf("%s", got)
	}
	check(t, "web", f.served("show", "bump:apps/web/web.yaml"), "image: "+host+"/team/web:9 #")
	out, _, code = f.update("--policy", "web="+host+"/team/web:9")
	if code != 0 || !strings.HasPrefix(out, "branch bump has it already") {
		t.Errorf("%d %s", code, out)
	}

	out, errs, code = f.update("--no-push", "--policy", "web="+host+"/team/web:10")
	if code != 0 {
		t.Fatalf("%d\n%s%s", code, out, errs)
	}
	check(t, "stdout", out, "to branch gitops/image-update of "+f.work+"; not pushed: git push origin gitops/image-update:bump")
	check(t, "left", f.in(f.work, "show", "gitops/image-update:apps/web/web.yaml"), "team/web:10")
	r, _, _ := f.report("--no-push", "--policy", "web="+host+"/team/web:11", "two")
	if len(r.Edits) != 1 || r.Edits[0].Branch != leftBranch || r.Edits[0].Automation != "flux-system/two" || r.Commit.Branch != leftBranch || r.Commit.Automation != "flux-system/two" {
		t.Errorf("what is left in the clone: %+v %+v", r.Edits, r.Commit)
	}
	out, _, code = f.update("--push-branch", "other", "--policy", "web="+host+"/team/web:10", "two")
	if code != 0 || !strings.Contains(out, "to other of") {
		t.Errorf("%d %s", code, out)
	}
	if _, errs, code = runWith(t, "", f.env, "update", "--source", f.work, "--interactive", "--push-branch", "asked"); code != 2 || !strings.Contains(errs, "--interactive asks on a terminal") {
		t.Errorf("%d %s", code, errs)
	}
}

func TestRepairOfARepository(t *testing.T) {
	broken := strings.Replace(strings.Replace(deployment, `"HOST/team/api:1.0.0"`, "sha-42ea07da", 1), "flux-system:api", "flux-system:api:tag", 1)
	f, host, _ := fleet(t, map[string]string{"apps/api/deployment.yaml": broken})
	_, errs, code := f.update()
	if code != 1 {
		t.Error(code)
	}
	check(t, "stderr", errs, "error: apps/api/deployment.yaml:10: imagepolicy/api in flux-system: image is the bare tag sha-42ea07da, not a reference", "kubectl gitops image update --repair")
	// The tag is told, too, where there is nothing to choose from.
	f.commit("gone", map[string]string{"apps/api/image.yaml": repository("api", "v1", "127.0.0.1:1/team/api", "") + policy("api", "v1", semver)})
	_, errs, _ = f.update("--dry-run")
	check(t, "stderr", errs, "warning: apps/api/deployment.yaml:10: imagepolicy/api in flux-system: image is the bare tag sha-42ea07da, not a reference", "hint: kubectl gitops image update --repair")
	f.commit("back", map[string]string{"apps/api/image.yaml": repository("api", "v1", host+"/team/api", "") + policy("api", "v1", semver)})
	out, errs, code := f.update("--repair")
	if code != 0 {
		t.Fatalf("%d\n%s%s", code, out, errs)
	}
	check(t, "stdout", out, "apps/api/deployment.yaml:10: sha-42ea07da → "+host+"/team/api:sha-42ea07da (marker flux-system:api)")
	want := strings.Replace(deployment, `"HOST/team/api:1.0.0"`, host+"/team/api:sha-42ea07da", 1)
	if got := f.served("show", "main:apps/api/deployment.yaml") + "\n"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	check(t, "message", f.served("log", "-1", "--format=%s", "main"), "Mend image references at policy markers")
	out, errs, code = f.update()
	if code != 0 || !strings.Contains(out, host+"/team/api:sha-42ea07da → "+host+"/team/api:1.2.0") {
		t.Errorf("%d\n%s%s", code, out, errs)
	}
}

func TestAMarkerThatAKustomizationOverrides(t *testing.T) {
	f, _, _ := fleet(t, map[string]string{
		"apps/kustomization.yaml":     "resources: [api]\nimages:\n- name: HOST/team/api\n  newTag: 0.9.0\n",
		"apps/api/kustomization.yaml": "resources:\n- deployment.yaml\n",
	})
	_, errs, code := f.update()
	if code != 0 {
		t.Error(code)
	}
	check(t, "stderr", errs, "warning: apps/api/deployment.yaml:10: imagepolicy/api in flux-system: apps/kustomization.yaml:4 sets the tag of this image: what is written here never gets into a cluster")
}

// The key is in a Secret beside the automation; git itself verifies what it signs.
func TestSignedCommits(t *testing.T) {
	key := gitserver.NewKey(t)
	f, _, _ := fleet(t, map[string]string{
		"clusters/vps/auto.yaml": automationYAML("flux-system", "      signingKey: {type: ssh, secretRef: {name: signing}}\n"),
		"clusters/vps/key.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: signing, namespace: flux-system}\nstringData:\n  password: of the key\n  identity: |\n    " +
			strings.ReplaceAll(strings.TrimSpace(string(key.PEM(t, "of the key"))), "\n", "\n    ") + "\n",
	})
	verify := func() {
		t.Helper()
		allowed := filepath.Join(t.TempDir(), "allowed")
		if err := os.WriteFile(allowed, append([]byte("bot@example.com "), ssh.MarshalAuthorizedKey(key.Signer.PublicKey())...), 0o600); err != nil {
			t.Fatal(err)
		}
		f.served("-c", "gpg.ssh.allowedSignersFile="+allowed, "verify-commit", "main")
	}
	was := f.served("rev-parse", "main")
	if out, errs, code := f.update(); code != 0 {
		t.Fatalf("%d\n%s%s", code, out, errs)
	}
	verify()
	f.served("update-ref", "refs/heads/main", was)
	name := filepath.Join(t.TempDir(), "key")
	block, err := ssh.MarshalPrivateKey(key.Private, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, errs, code := f.update("--signing-key", name); code != 0 {
		t.Fatalf("%d\n%s%s", code, out, errs)
	}
	verify()
}
