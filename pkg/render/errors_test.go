package render

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
)

// refusals are bad sources and what is said of each: every error on a line of
// its own, "→ " and its hint below.
var refusals = []struct {
	name, spec, files, want string
	change                  func(*Request)
}{
	{name: "path_missing", spec: "path: ./apps/wbe", files: `
-- apps/web/a.yaml --
` + configMap + `-- apps/db/a.yaml --
` + configMap, want: `clusters/prod/apps.yaml:1: kustomization/apps in flux-system: spec.path: the source has no directory apps/wbe
→ did you mean apps/web?
`},
	{name: "path_missing_nothing_near", spec: "path: ./production", files: `
-- apps/web/a.yaml --
` + configMap + `-- infra/a.yaml --
` + configMap, want: `clusters/prod/apps.yaml:1: kustomization/apps in flux-system: spec.path: the source has no directory production
→ directories in the root: apps, infra
`},
	{name: "path_is_a_file", spec: "path: apps/a.yaml", files: `
-- apps/a.yaml --
` + configMap, want: `clusters/prod/apps.yaml:1: kustomization/apps in flux-system: spec.path: apps/a.yaml is a file, not a directory
→ set spec.path to ./apps
`},
	{name: "path_is_a_link", spec: "path: apps", files: `
-- real/a.yaml --
` + configMap, change: func(r *Request) { r.Links = map[string]string{"apps": "real"} }, want: `clusters/prod/apps.yaml:1: kustomization/apps in flux-system: spec.path: apps is a symbolic link (to real), which Flux leaves out of its artifacts
→ set spec.path to the directory that it links to
`},
	{name: "resource_is_a_link", spec: "path: apps", files: `
-- apps/kustomization.yaml --
resources:
- x.yaml
`, change: func(r *Request) { r.Links = map[string]string{"apps/x.yaml": "../y.yaml"} }, want: `apps/kustomization.yaml:2: apps/x.yaml is a symbolic link (to ../y.yaml), which Flux leaves out of its artifacts
→ commit the file itself
`},
	{name: "all_missing_resources_are_named", spec: "path: apps", files: `
-- apps/kustomization.yaml --
resources:
- deploymnet.yaml
- ../base
- nothing-like-it.yaml
-- apps/deployment.yaml --
` + deployment + `-- base/a.yaml --
` + configMap, want: `apps/kustomization.yaml:2: deploymnet.yaml does not exist (apps/deploymnet.yaml)
→ did you mean deployment.yaml?
apps/kustomization.yaml:3: ../base is a directory without a kustomization.yaml
→ add one to base, or name the files in it
apps/kustomization.yaml:4: nothing-like-it.yaml does not exist (apps/nothing-like-it.yaml)
→ add the file, or take the line out of apps/kustomization.yaml
`},
	{name: "what_is_included_already_was_not_meant", spec: "path: apps", files: `
-- apps/kustomization.yaml --
resources:
- hpa.yaml
- svc.yaml
-- apps/hpa.yaml --
` + configMap + `-- apps/service.yaml --
` + deployment, want: `apps/kustomization.yaml:3: svc.yaml does not exist (apps/svc.yaml)
→ add the file, or take the line out of apps/kustomization.yaml
`},
	{name: "missing_in_a_base", spec: "path: apps", files: `
-- apps/kustomization.yaml --
resources: [../base]
-- base/kustomization.yaml --
configMapGenerator:
- name: a
  files:
  - k=conf/none.txt
secretGenerator:
- name: b
  envs: [none.env]
patches:
- path: none.yaml
`, want: `base/kustomization.yaml:4: conf/none.txt does not exist (base/conf/none.txt)
→ add the file, or take the line out of base/kustomization.yaml
base/kustomization.yaml:7: none.env does not exist (base/none.env)
→ add the file, or take the line out of base/kustomization.yaml
base/kustomization.yaml:9: none.yaml does not exist (base/none.yaml)
→ add the file, or take the line out of base/kustomization.yaml
`},
	{name: "outside", spec: "path: apps", files: `
-- apps/kustomization.yaml --
resources:
- ../../other/a.yaml
configMapGenerator:
- name: a
  files: [/etc/passwd]
`, want: `apps/kustomization.yaml:2: ../../other/a.yaml is outside of the source
→ copy it into the source and give the path from apps/kustomization.yaml
apps/kustomization.yaml:5: /etc/passwd is outside of the source
→ copy it into the source and give the path from apps/kustomization.yaml
`},
	{name: "remote_is_off", spec: "path: apps", files: `
-- apps/kustomization.yaml --
resources:
- https://github.com/org/repo//deploy?ref=v1
- github.com/org/repo/deploy
- git@github.com:org/repo.git
patches:
- path: http://example.invalid/p.yaml
`, want: `apps/kustomization.yaml:2: https://github.com/org/repo//deploy?ref=v1 is remote, and remote bases are turned off
→ copy it into the source
apps/kustomization.yaml:3: github.com/org/repo/deploy is remote, and remote bases are turned off
→ copy it into the source
apps/kustomization.yaml:4: git@github.com:org/repo.git is remote, and remote bases are turned off
→ copy it into the source
apps/kustomization.yaml:6: http://example.invalid/p.yaml is remote, and remote bases are turned off
→ copy it into the source
`},
	{name: "remote_is_off_in_any_spelling", spec: "path: apps", files: `
-- apps/kustomization.yaml --
RESOURCES: [../base]
-- base/kustomization.yaml --
Components: &c
- HTTPS://example.invalid/a/b
resources: *c
`, want: `base/kustomization.yaml:3: HTTPS://example.invalid/a/b is remote, and remote bases are turned off
→ copy it into the source
base/kustomization.yaml:2: HTTPS://example.invalid/a/b is remote, and remote bases are turned off
→ copy it into the source
`},
	{name: "circle", spec: "path: a", files: `
-- a/kustomization.yaml --
resources: [../b]
-- b/kustomization.yaml --
resources:
- ../c
-- c/kustomization.yaml --
resources:
- ../a
`, want: `c/kustomization.yaml:2: the kustomizations go round in a circle: a → b → c → a
→ take one of these out of the resources of another
`},
	{name: "includes_its_parent", spec: "path: a/b", files: `
-- a/kustomization.yaml --
resources: [b]
-- a/b/kustomization.yaml --
resources: [..]
`, want: `a/b/kustomization.yaml:1: .. contains a/b, which includes it
→ take one of these out of the resources of another
`},
	{name: "component_as_resource_and_back", spec: "path: a", files: `
-- a/kustomization.yaml --
resources: [../c]
components: [../k]
-- c/kustomization.yaml --
apiVersion: kustomize.config.k8s.io/v1alpha1
kind: Component
-- k/kustomization.yaml --
namePrefix: a-
`, want: `a/kustomization.yaml:1: c/kustomization.yaml is a Component, but a resource names it
→ list it in components
a/kustomization.yaml:2: k/kustomization.yaml is not a Component, but a component names it
→ list it in resources, or set kind: Component there
`},
	{name: "syntax", spec: "path: apps", files: `
-- apps/kustomization.yaml --
resources: [a.yaml, b.yaml]
-- apps/a.yaml --
apiVersion: v1
kind: ConfigMap
metadata:
  name: a
 bad: indent
-- apps/b.yaml --
a: [1, 2
`, want: `apps/a.yaml:4: not valid YAML: did not find expected key
→ correct the YAML there
apps/b.yaml:1: not valid YAML: did not find expected ',' or ']'
→ correct the YAML there
`},
	{name: "syntax_in_a_generated_list", spec: "path: apps", files: `
-- apps/a.yaml --
a: b: c
-- apps/chart/values.yaml --
replicas: 1
-- apps/web.yaml --
` + deployment, want: `apps/a.yaml:1: not valid YAML: mapping values are not allowed in this context
→ correct the YAML there; if it is no manifest, list the manifests in apps/kustomization.yaml, or move this file out of apps
apps/chart/values.yaml:1: not a Kubernetes object: it has no kind; without a kustomization.yaml, every YAML file in apps is one
→ list the manifests in apps/kustomization.yaml, or move this file out of apps
`},
	{name: "syntax_of_the_kustomization", spec: "path: apps", files: `
-- apps/kustomization.yaml --
resources:
- a.yaml
  - b.yaml
 c: d
`, want: `apps/kustomization.yaml:4: not valid YAML: mapping values are not allowed in this context
→ correct the YAML there
`},
	{name: "wrong_type_in_the_kustomization", spec: "path: apps", files: `
-- apps/kustomization.yaml --
namePrefix: a-
resources: a.yaml
`, want: `apps/kustomization.yaml:2: resources is a string, want a list of strings
→ see https://kubectl.docs.kubernetes.io/references/kustomize/kustomization/
`},
	{name: "wrong_type_in_a_base", spec: "path: apps", files: `
-- apps/kustomization.yaml --
resources: [../base]
-- base/kustomization.yaml --
namePrefix: a-
patches: {a: b}
`, want: `base/kustomization.yaml:2: patches is a mapping, want a list of mappings
→ see https://kubectl.docs.kubernetes.io/references/kustomize/kustomization/
`},
	{name: "unknown_field_in_a_base", spec: "path: apps", files: `
-- apps/kustomization.yaml --
resources: [../base]
-- base/kustomization.yaml --
resources: [a.yaml]
patchs: []
-- base/a.yaml --
` + configMap, want: `base/kustomization.yaml:2: patchs is not a field of a kustomization
→ did you mean patches?
`},
	{name: "namespaces_below_a_namespace", spec: "path: apps", files: `
-- apps/kustomization.yaml --
namespace: shop
resources: [ns.yaml]
-- apps/ns.yaml --
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Namespace
metadata: {name: monitoring}
`, want: `apps/kustomization.yaml:1: namespace: renames Namespaces, too, and two would be called shop
→ declare Namespaces in a directory of their own, which a Kustomization of its own applies, and whose kustomization.yaml sets no namespace; or set it in each manifest instead
`},
	{name: "two_of_one_name_below_a_namespace", spec: "path: apps", files: `
-- apps/kustomization.yaml --
resources: [../base]
-- base/kustomization.yaml --
resources: [a.yaml]
namespace: shop
-- base/a.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: one}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: two}
`, want: `base/kustomization.yaml:2: namespace: brings two of one name into one namespace: ConfigMap settings
→ rename one of the two
`},
	{name: "a_key_twice", spec: "path: apps", files: `
-- apps/a.yaml --
` + configMap + `  a: "2"
`, want: `apps/a.yaml:7: configmap/settings: the key a is there twice: in line 6, too
→ correct the YAML there
`},
	{name: "a_key_twice_below_what_renames", spec: "path: apps", files: `
-- apps/kustomization.yaml --
resources: [a.yaml]
namePrefix: x-
-- apps/a.yaml --
` + configMap + `  a: "2"
`, want: `apps/a.yaml:7: configmap/x-settings: the key a is there twice: in line 6, too
→ correct the YAML there
`},
	{name: "a_template", spec: "path: apps", files: `
-- apps/a.yaml --
` + configMap + `  b: {{ .Values.b }}
`, want: `apps/a.yaml:7: configmap/settings: a key is a mapping; {{ … }} is a template, which nobody fills in here
→ correct the YAML there
`},
	{name: "twice", spec: "path: apps", files: `
-- apps/kustomization.yaml --
resources: [a.yaml, b.yaml]
-- apps/a.yaml --
` + deployment + `-- apps/b.yaml --
` + configMap + `---
` + deployment, want: `apps/b.yaml:8: deployment.apps/web in shop: is declared twice: apps/a.yaml:1 and apps/b.yaml:8
→ take one of the two out, or rename it
`},
	{name: "twice_in_two_bases_under_a_namespace", spec: "path: apps\ntargetNamespace: shop", files: `
-- apps/kustomization.yaml --
namespace: shop
resources: [../one, ../two]
-- one/kustomization.yaml --
resources: [a.yaml]
-- one/a.yaml --
` + configMap + `-- two/kustomization.yaml --
resources: [a.yaml]
-- two/a.yaml --
` + configMap, want: `two/a.yaml:1: configmap/settings: is declared twice: one/a.yaml:1 and two/a.yaml:1
→ take one of the two out, or rename it
`},
	{name: "one_base_twice", spec: "path: apps", files: `
-- apps/kustomization.yaml --
resources:
- ../one
- ../two
-- one/kustomization.yaml --
resources: [../base]
-- two/kustomization.yaml --
resources: [../base]
-- base/kustomization.yaml --
resources: [a.yaml]
-- base/a.yaml --
` + configMap, want: `base/a.yaml:1: configmap/settings: is declared once and included twice: by one/kustomization.yaml:1 and by two/kustomization.yaml:1
→ take one of the two out
`},
	{name: "no_name", spec: "path: apps", files: `
-- apps/kustomization.yaml --
resources: [a.yaml]
-- apps/a.yaml --
` + configMap + `---
apiVersion: batch/v1
kind: Job
metadata:
  generateName: job-
`, want: `apps/a.yaml:8: has metadata.generateName and no name: what is applied again must have a name
→ give it metadata.name
`},
	{name: "no_kind", spec: "path: apps", files: `
-- apps/kustomization.yaml --
resources: [a.yaml]
-- apps/a.yaml --
apiVersion: v1
metadata: {name: a}
`, want: `apps/a.yaml:1: not a Kubernetes object: it has no kind
→ add it, or take the file out of the resources
`},
	{name: "no_api_version", spec: "path: apps", files: `
-- apps/a.yaml --
# a comment
kind: ConfigMap
metadata: {name: a}
`, want: `apps/a.yaml:2: configmap/a: has no apiVersion
→ set it
`},
	{name: "patch_without_target", spec: "path: apps", files: `
-- apps/kustomization.yaml --
resources: [a.yaml]
patches:
- patch: |
    apiVersion: apps/v1
    kind: Deployment
    metadata: {name: wbe, namespace: shop}
    spec: {replicas: 3}
-- apps/a.yaml --
` + deployment, want: `apps/kustomization.yaml:3: deployment.apps/wbe in shop: is patched, but is not among the resources
→ correct its kind, name or namespace, or add the object to the resources
`},
	{name: "patch_of_spec_without_target", spec: `
path: apps
patches:
- patch: |
    apiVersion: apps/v1
    kind: Deployment
    metadata: {name: wbe}
    spec: {replicas: 3}
`, files: `
-- apps/a.yaml --
` + deployment, want: `clusters/prod/apps.yaml:1: deployment.apps/wbe: is patched, but is not among the resources
→ correct its kind, name or namespace, or add the object to the resources
`},
	{name: "patch_that_is_none", spec: "path: apps", files: `
-- apps/kustomization.yaml --
resources: [a.yaml]
patches:
- path: p.yaml
-- apps/a.yaml --
` + deployment + `-- apps/p.yaml --
spec: {replicas: 3}
`, want: `apps/p.yaml:1: p.yaml (named in apps/kustomization.yaml:3) is not a patch: neither a list of JSON patch operations nor an object with apiVersion, kind and metadata.name
→ correct the patch
`},
	{name: "every_variable_that_is_not_set", spec: "path: apps\npostBuild: {substitute: {a: b}}", files: `
-- apps/a.yaml --
apiVersion: v1
kind: ConfigMap
metadata:
  name: one
data:
  escaped: $${host}
  x: ${host}
  y: ${a} ${#port} ${host} ${zone:=z}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: two
data:
  x: ${port}
  y: ${list[@]}
`, want: `apps/a.yaml:7: configmap/one: ${host}: the variable host is not set
→ set it in spec.postBuild.substitute, give it a default (${host:=default}), keep it as it is ($${host}), or label the object kustomize.toolkit.fluxcd.io/substitute: disabled
apps/a.yaml:8: configmap/one: ${port}: the variable port is not set
→ set it in spec.postBuild.substitute, give it a default (${port:=default}), keep it as it is ($${port}), or label the object kustomize.toolkit.fluxcd.io/substitute: disabled
apps/a.yaml:16: configmap/two: ${list[@]}: variable substitution: missing closing brace
→ write $$ for a $ that is not a variable's, or label the object kustomize.toolkit.fluxcd.io/substitute: disabled
`},
	{name: "variable_in_a_generated_object", spec: "path: apps\npostBuild: {substitute: {a: b}}", files: `
-- apps/kustomization.yaml --
configMapGenerator:
- name: script
  files: [run.sh]
-- apps/run.sh --
#!/bin/sh
echo ${HOME}
`, want: `apps/run.sh:2: configmap/script-b79khb6dtb: ${HOME}: the variable HOME is not set
→ set it in spec.postBuild.substitute, give it a default (${HOME:=default}), keep it as it is ($${HOME}), or label the object kustomize.toolkit.fluxcd.io/substitute: disabled
`},
	{name: "bad_variable_names", spec: "path: apps", files: `
-- apps/a.yaml --
` + configMap, change: func(r *Request) { r.Variables = map[string]string{"b-c": "", "1": "", "ok": ""} }, want: `clusters/prod/apps.yaml:1: kustomization/apps in flux-system: spec.postBuild: "1" cannot be the name of a variable
→ use letters, digits and _, in postBuild.substitute or as the key in what substituteFrom names
clusters/prod/apps.yaml:1: kustomization/apps in flux-system: spec.postBuild: "b-c" cannot be the name of a variable
→ use letters, digits and _, in postBuild.substitute or as the key in what substituteFrom names
`},
	{name: "name_empty_after_substitution", spec: "path: apps", files: `
-- apps/a.yaml --
apiVersion: v1
kind: ConfigMap
metadata:
  name: ${name}
`, change: func(r *Request) { r.Variables = map[string]string{"name": ""} }, want: `apps/a.yaml:1: configmap/${name}: has no kind, apiVersion or metadata.name after substitution
→ set the variable, or give it a default: ${NAME:=default}
`},
	{name: "variable_breaks_yaml_without_its_value", spec: "path: apps", files: `
-- apps/a.yaml --
apiVersion: v1
kind: ConfigMap
metadata:
  name: a
data:
  x: ${password}
`, change: func(r *Request) { r.Variables = map[string]string{"password": "*hunter2"} }, want: `apps/a.yaml:1: configmap/a: is not valid YAML after substitution: yaml: unknown anchor … referenced
→ quote the value in the manifest: "${NAME}"
`},
}

func TestRefusals(t *testing.T) {
	for _, c := range refusals {
		t.Run(c.name, func(t *testing.T) {
			result, err := build1(t, source(c.files), c.spec, func(r *Request) {
				if post := r.Kustomization.Spec.PostBuild; post != nil {
					r.Variables = post.Substitute
				}
				if c.change != nil {
					c.change(r)
				}
			})
			if err == nil {
				t.Fatalf("no error, %d objects", len(result.Objects))
			}
			if got := told(err); got != c.want {
				t.Errorf("got\n%swant\n%s", got, c.want)
			}
		})
	}
}

// told is each error and its hint.
func told(err error) string {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		s := ""
		for _, e := range joined.Unwrap() {
			s += told(e)
		}
		return s
	}
	s := err.Error() + "\n"
	if e := (*Error)(nil); errors.As(err, &e) && e.Hint() != "" {
		s += "→ " + e.Hint() + "\n"
	}
	return s
}

// refusing is a source that refuses to read one file.
type refusing struct {
	fs.FS
	name string
	err  error
}

func (r refusing) Open(name string) (fs.File, error) {
	if name == r.name {
		return nil, &fs.PathError{Op: "open", Path: name, Err: r.err}
	}
	return r.FS.Open(name)
}

func TestRefusalOfTheSourceIsKept(t *testing.T) {
	cause := errors.New("no key for age1xyz")
	for name, files := range map[string]string{
		"a.yaml": "-- apps/kustomization.yaml --\nresources: [a.yaml]\n-- apps/a.yaml --\n" + configMap,
		"b.yaml": "-- apps/b.yaml --\n" + configMap,
	} {
		src := refusing{source(files), "apps/" + name, cause}
		_, err := build1(t, statOnly{src}, "path: apps")
		if !errors.Is(err, cause) || !strings.HasPrefix(err.Error(), "apps/"+name+": ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// statOnly lets the refused file be seen.
type statOnly struct{ refusing }

func (s statOnly) Stat(name string) (fs.FileInfo, error) { return fs.Stat(s.FS, name) }
