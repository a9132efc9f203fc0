package secret_test

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/secret"
)

// checkTree writes files, checks them all, and returns "file:line rule" of each
// finding, and the findings.
func checkTree(t *testing.T, k *secret.Keyring, files map[string]string) ([]string, []secret.Finding) {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := secret.NewChecker(k, secret.Rules{Dir: dir}, dir)
	var found []secret.Finding
	for name, data := range files {
		found = append(found, c.File(name, filepath.Join(dir, filepath.FromSlash(name)), []byte(data))...)
	}
	whole, err := c.Whole(os.ReadFile)
	if err != nil {
		t.Fatal(err)
	}
	found = append(found, whole...)
	var out []string
	for _, f := range found {
		out = append(out, fmt.Sprintf("%s:%d %s", f.File, f.Line, f.Rule))
		quiet(t, f.Message, f.Fix)
		if f.Message == "" || f.Fix == "" {
			t.Errorf("got %+v", f)
		}
	}
	slices.Sort(out)
	return out, found
}

func mustFind(t *testing.T, k *secret.Keyring, files map[string]string, want ...string) []secret.Finding {
	t.Helper()
	got, found := checkTree(t, k, files)
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	return found
}

func fluxKustomization(name, path, more string) string {
	return "---\napiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: " + name + ", namespace: flux-system}\nspec:\n  path: " + path + "\n  prune: true\n" + more
}

const decryption = "  decryption: {provider: sops}\n"

// Which Kustomization applies a sealed file is told from the tree: by the
// kustomization.yaml of directories that have one, and by their files where not.
func TestCheckFollowsKustomizationsToSealedFiles(t *testing.T) {
	key := x25519(t)
	sealed := string(seal(t, "a.yaml", secretYAML, to(key)))
	env := string(seal(t, "a.env", "A="+token+"\n", whole(key)))
	tree := map[string]string{
		".sops.yaml":                  "creation_rules:\n- age: " + key.public + "\n",
		"clusters/a/all.yaml":         fluxKustomization("apps", "./apps", decryption) + fluxKustomization("infra", "infra/", "") + fluxKustomization("other", "./of/another/repository", ""),
		"apps/kustomization.yaml":     "resources: [web, plain.yaml, missing.yaml, https://example.com/x]\n",
		"apps/plain.yaml":             "a: b\n",
		"apps/left-out.yaml":          sealed,
		"apps/web/kustomization.yml":  "resources: [../../base/db]\nsecretGenerator: [{name: x, envs: [a.env], files: [key=deep/b.env]}]\n",
		"apps/web/a.env":              env,
		"apps/web/deep/b.env":         env,
		"apps/web/c.env":              env,
		"base/db/kustomization.yaml":  "components: [../tls]\nresources: [s.yaml]\n",
		"base/db/s.yaml":              sealed,
		"base/tls/kustomization.yaml": "resources: [s.yaml]\n",
		"base/tls/s.yaml":             sealed,
		"infra/deep/er/s.yaml":        sealed,
		"infra/k/kustomization.yaml":  "resources: []\n",
		"infra/k/s.yaml":              sealed,
		"elsewhere.yaml":              sealed,
	}
	found := mustFind(t, ring(t), tree,
		"apps/left-out.yaml:0 unreached",
		"elsewhere.yaml:0 unreached",
		"infra/deep/er/s.yaml:0 no-decryption",
		"infra/k/s.yaml:0 unreached",
	)
	if i := slices.IndexFunc(found, func(f secret.Finding) bool { return f.Rule == secret.NoDecryption }); !strings.Contains(found[i].Message, "kustomization/infra in flux-system (clusters/a/all.yaml:10) applies it") {
		t.Errorf("got %+v", found[i])
	}
	t.Run("a patch gives decryption to all", func(t *testing.T) {
		files := map[string]string{}
		for name, data := range tree {
			files[name] = data
		}
		files["clusters/root.yaml"] = fluxKustomization("root", "./clusters/a", "  patches:\n  - patch: |\n      apiVersion: kustomize.toolkit.fluxcd.io/v1\n      kind: Kustomization\n      metadata: {name: all}\n      spec: {decryption: {provider: sops}}\n    target: {kind: Kustomization}\n")
		mustFind(t, ring(t), files, "apps/left-out.yaml:0 unreached", "elsewhere.yaml:0 unreached", "infra/k/s.yaml:0 unreached")
	})
	t.Run("a tree without Flux says nothing", func(t *testing.T) {
		files := map[string]string{}
		for name, data := range tree {
			if name != "clusters/a/all.yaml" {
				files[name] = data
			}
		}
		mustFind(t, ring(t), files)
	})
}

func TestCheckFindsRulesThatAreForNothing(t *testing.T) {
	key := x25519(t)
	sealed := string(seal(t, "a.yaml", secretYAML, to(key)))
	age := "\n  age: " + key.public + "\n"
	found := mustFind(t, ring(t), map[string]string{
		".sops.yaml": "creation_rules:\n" +
			"- path_regex: ^apps/.*\\.yaml$" + age + // line 2
			"- path_regex: old/.*" + age + // 4: no file
			"- path_regex: ^apps/db/.*$" + age + // 6: behind line 2
			"- {age: " + key.public + "}\n" + // 8: all that is left
			"- path_regex: README" + age, // 9: behind line 8
		"apps/db/a.yaml": sealed,
		"README.md":      "x\n",
	}, ".sops.yaml:4 unused-rule", ".sops.yaml:6 shadowed-rule", ".sops.yaml:9 shadowed-rule")
	for _, f := range found {
		if f.Line == 6 && !strings.Contains(f.Message, "taken before, at line 2") || f.Line == 9 && !strings.Contains(f.Message, "the one at line 8") {
			t.Errorf("got %+v", f)
		}
	}
	t.Run("a rule file below is for what is below", func(t *testing.T) {
		mustFind(t, ring(t), map[string]string{
			"sub/.sops.yaml": "creation_rules:\n- path_regex: ^a" + age + "- path_regex: ^b" + age,
			"sub/a.yaml":     sealed,
			"b.yaml":         "x: y\n",
		}, "sub/.sops.yaml:4 unused-rule")
	})
	t.Run("a rule file that cannot be read", func(t *testing.T) {
		mustFind(t, ring(t), map[string]string{".sops.yaml": "creation_rules:\n- path_regex: (\n", "a.yaml": sealed}, "a.yaml:0 no-rule")
	})
}

func TestCheckKnowsReadersThatNoRuleNames(t *testing.T) {
	key, left, moved := x25519(t), x25519(t), x25519(t)
	two := func(a, b pair) string {
		return string(seal(t, "a.yaml", secretYAML, sealing{groups: [][]string{{a.public, b.public}}, regex: secret.KubernetesRegex}))
	}
	found := mustFind(t, ring(t), map[string]string{
		".sops.yaml":  "# " + left.public + " has left\ncreation_rules:\n- path_regex: ^a/\n  age: >-\n    " + key.public + ",\n    " + moved.public + "\n- age: [" + key.public + "]\n",
		"a/both.yaml": two(key, moved),
		"b/left.yaml": two(key, left),
		"b/more.yaml": two(key, moved),
	}, "b/left.yaml:0 unknown-recipient", "b/more.yaml:0 stale-recipients")
	for _, f := range found {
		if f.Rule == secret.UnknownReader && !strings.Contains(f.Message, "no rule at all names "+left.public) {
			t.Errorf("got %+v", f)
		}
	}
}

// A value that is sealed in one place and in clear in another is not sealed.
func TestCheckFindsSealedValuesInClearElsewhere(t *testing.T) {
	key := x25519(t)
	value, encoded := "pl4in-Tru7h-"+made(6, base62), "c0ded-Tru7h-"+made(6, base62)
	sealed := string(seal(t, "a.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: shop-frontend}\ndata: {a: "+base64.StdEncoding.EncodeToString([]byte(encoded))+"}\n"+
		"stringData: {b: "+value+", c: shop-frontend, d: \"true\", e: db.example.com:5432, f: short1}\n", to(key)))
	files := map[string]string{
		".sops.yaml": "creation_rules:\n- age: " + key.public + "\n",
		"s.yaml":     sealed,
		"a.txt":      "x\nthe one is " + value + ".\n" + value + "\n",
		"b.yaml":     "x: \"" + value + "\"\ny: db.example.com:5432\nz: shop-frontend\nw: short1\n",
		"c.sh":       "run --x=" + encoded + "\n",
		"d.yaml":     "x: " + base64.StdEncoding.EncodeToString([]byte(value)) + "\n",
		"e.yaml":     "x: " + value + "-and-more\n",
	}
	found := mustFind(t, ring(t, key), files, "a.txt:3 repeated-value", "b.yaml:1 repeated-value", "c.sh:1 repeated-value", "d.yaml:1 repeated-value")
	for _, f := range found {
		if strings.Contains(f.Message+f.Fix, value) || !strings.Contains(f.Message, "sealed in s.yaml") {
			t.Errorf("got %+v", f)
		}
	}
	mustFind(t, ring(t), files) // without the key nobody knows
}
