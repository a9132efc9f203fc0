package render

import (
	"context"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
)

// overlay decrypts: what it opens is the clear text, ReadSealed what was
// committed.
type overlay struct {
	fstest.MapFS
	sealed fstest.MapFS
}

func (o overlay) ReadSealed(name string) ([]byte, error) { return o.sealed.ReadFile(name) }

// sealing makes an overlay: of each file in clear, sealed has what Git has.
func sealing(clear, sealed string) overlay {
	o := overlay{source(clear), source(clear)}
	for name, f := range source(sealed) {
		o.sealed[name] = f
	}
	return o
}

const sealedDeployment = `apiVersion: v1
kind: Secret
metadata:
  name: keys
stringData:
  password: ENC[AES256_GCM,data:xx]
sops:
  mac: ENC[AES256_GCM,data:yy]
`

func TestSealedFiles(t *testing.T) {
	src := sealing(`
-- apps/kustomization.yaml --
resources: [secret.yaml, other.yaml]
configMapGenerator:
- name: conf
  files: [conf.yaml, renamed=deep/b.txt]
  envs: [conf.env]
- name: old
  env: old.env
secretGenerator:
- name: keys
  files: [key.txt]
  envs: [keys.env]
generatorOptions: {disableNameSuffixHash: true}
patches:
- path: patch.yaml
-- apps/secret.yaml --
apiVersion: v1
kind: Secret
metadata: {name: resource}
stringData: {a: clear}
-- apps/other.yaml --
`+configMap+`-- apps/patch.yaml --
apiVersion: v1
kind: Secret
metadata: {name: resource}
stringData: {b: clear}
-- apps/key.txt --
clear
-- apps/keys.env --
K=clear
-- apps/conf.yaml --
clear
-- apps/deep/b.txt --
clear
-- apps/conf.env --
C=clear
-- apps/old.env --
O=clear
`, `
-- apps/secret.yaml --
ENC
-- apps/patch.yaml --
ENC
-- apps/key.txt --
ENC
-- apps/keys.env --
K=ENC
-- apps/conf.yaml --
ENC
-- apps/deep/b.txt --
ENC
-- apps/conf.env --
C=ENC
-- apps/old.env --
O=ENC
`)
	r, err := build1(t, src, "path: apps")
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range r.Objects {
		data, _ := o.MarshalJSON()
		text := string(data)
		if o.GetKind() == "ConfigMap" && strings.Contains(text, "clear") {
			t.Errorf("a sealed file came out in the clear: %s", text)
		}
		if o.GetKind() == "Secret" && strings.Contains(text, "ENC") {
			t.Errorf("%s is still sealed: %s", o.ID(), text)
		}
	}
	if len(r.Objects) != 5 {
		t.Errorf("%d objects", len(r.Objects))
	}
}

func TestSealedFileWantedBothWays(t *testing.T) {
	src := sealing(`
-- apps/kustomization.yaml --
configMapGenerator:
- name: conf
  files: [a.env]
secretGenerator:
- name: keys
  envs: [a.env]
-- apps/a.env --
K=clear
`, `
-- apps/a.env --
K=ENC
`)
	_, err := build1(t, src, "path: apps")
	want := "apps/kustomization.yaml:3: apps/a.env is sealed, and is read both as it is (here) and decrypted; it would end in the clear where Flux leaves it sealed\n→ keep two files, one of them not sealed\n"
	if err == nil || told(err) != want {
		t.Errorf("got %v", err)
	}
}

func TestStillSealedObjectsPass(t *testing.T) {
	r, err := build1(t, source("-- apps/a.yaml --\n"+sealedDeployment), "path: apps\npostBuild: {substitute: {a: b}}", func(r *Request) {
		r.Variables = map[string]string{"a": "b"}
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := r.Objects[0].Object["sops"].(map[string]any)["mac"]; !ok {
		t.Errorf("%v", r.Objects[0].Object)
	}
}

// TestNoSecretInAnError breaks sources around one password in every way that
// kustomize or a parser would quote.
func TestNoSecretInAnError(t *testing.T) {
	const password = "correct-horse-battery"
	const secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: keys}\nstringData:\n  password: " + password + "\n"
	numbers := strings.Trim(fmt.Sprint([]byte(password)), "[]")
	sealed := func(name, clear, rest string) fs.FS {
		return sealing("-- "+name+" --\n"+clear+rest, "-- "+name+" --\nENC[xx]\n")
	}
	for _, c := range []struct {
		name string
		fs   fs.FS
		vars map[string]string
	}{
		{"no_json", source("-- apps/a.yaml --\n" + secret + "  x: .inf\n"), nil},
		{"patch_that_fails", source("-- apps/kustomization.yaml --\nresources: [a.yaml]\npatches:\n- target: {kind: Secret}\n  patch: '[{op: test, path: /stringData/password, value: x}]'\n-- apps/a.yaml --\n" + secret), nil},
		{"name_reference_that_fails", source("-- apps/kustomization.yaml --\nresources: [a.yaml]\nnamePrefix: a-\nreplacements:\n- source: {kind: Secret, fieldPath: stringData.password, options: {delimiter: \"-\", index: 9}}\n  targets: [{select: {kind: Secret}, fieldPaths: [stringData.none.x]}]\n-- apps/a.yaml --\n" + secret), nil},
		{"bad_base64", source("-- apps/a.yaml --\n" + secret + "? {a: " + password + "}\n: b\n"), nil},
		{"no_name", source("-- apps/a.yaml --\n" + strings.Replace(secret, "name: keys", "generateName: x", 1)), nil},
		{"syntax", source("-- apps/a.yaml --\n" + secret + " bad: x\n"), nil},
		{"unknown_alias", source("-- apps/a.yaml --\n" + secret + "  x: *" + password + "\n"), nil},
		{"sealed_patch_that_is_none", sealed("apps/p.yaml", "stringData: {password: "+password+"}\n", "-- apps/kustomization.yaml --\nresources: [a.yaml]\npatches: [{path: p.yaml}]\n-- apps/a.yaml --\n"+configMap), nil},
		{"sealed_env_that_is_none", sealed("apps/a.env", "A="+password+"\xff\n", "-- apps/kustomization.yaml --\nsecretGenerator: [{name: a, envs: [a.env]}]\n"), nil},
		{"literals", source("-- apps/kustomization.yaml --\nsecretGenerator: [{name: a, literals: [" + password + "]}]\n"), nil},
		{"substitution_in_a_secret", source("-- apps/a.yaml --\n" + strings.Replace(secret, password, `"${`+password+`}"`, 1)), map[string]string{"a": "b"}},
		{"substitution_breaks_a_secret", source("-- apps/a.yaml --\n" + strings.Replace(secret, password, "${p}", 1)), map[string]string{"p": "*" + password}},
		{"substitution_breaks_a_configmap", source("-- apps/a.yaml --\n" + strings.Replace(configMap, `"1"`, "${p}", 1)), map[string]string{"p": "*" + password}},
		{"duplicate", source("-- apps/a.yaml --\n" + secret + "---\n" + secret), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Build(context.Background(), Request{
				FS: c.fs, Kustomization: fluxKustomization(t, "path: apps"), Variables: c.vars, Strict: true,
			})
			if err == nil {
				t.Fatal("no error")
			}
			if s := told(err); strings.Contains(s, password) || strings.Contains(s, numbers) {
				t.Errorf("the password is in %s", s)
			} else {
				t.Log(s)
			}
		})
	}
}
