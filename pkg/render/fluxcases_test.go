package render

// fluxCases are sources and specs on which Flux and this package must agree.
var fluxCases = []struct {
	name, spec, files string
	objects           int // how many come out; -1: any
	lax, fails        bool
}{
	{name: "generated_list_walks_and_stops_at_kustomizations", spec: "path: ./apps", objects: 5, files: `
-- apps/b.yaml --
` + configMap + `-- apps/a.yml --
` + deployment + `---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
-- apps/.hidden/x.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: hidden}
-- apps/sub/kustomization.yaml --
resources: [in.yaml]
-- apps/sub/in.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: sub}
-- apps/sub/unlisted.yaml --
not: a manifest
-- apps/README.md --
hello
-- elsewhere.yaml --
not: a manifest
`},
	{name: "generated_list_at_the_root", spec: "path: ./", objects: 2, files: `
-- a.yaml --
` + configMap + `-- deep/er/b.yaml --
` + deployment},
	{name: "generated_list_refuses_values_files", spec: "path: apps", fails: true, files: `
-- apps/values.yaml --
replicas: 2
-- apps/web.yaml --
` + deployment},
	{name: "nothing_there", spec: "path: apps", files: `
-- apps/README.md --
none
`},
	{name: "nothing_there_but_components", spec: "path: apps\ncomponents: [../parts]", objects: 1, files: `
-- apps/README.md --
none
-- parts/kustomization.yaml --
apiVersion: kustomize.config.k8s.io/v1alpha1
kind: Component
resources: [a.yaml]
-- parts/a.yaml --
` + configMap},
	{name: "Kustomization_file_name", spec: "path: apps", objects: 1, files: `
-- apps/Kustomization --
resources: [a.yaml]
-- apps/a.yaml --
` + configMap},
	{name: "two_kustomization_files", spec: "path: apps", fails: true, files: `
-- apps/kustomization.yaml --
resources: [a.yaml]
-- apps/kustomization.yml --
resources: [a.yaml]
-- apps/a.yaml --
` + configMap},
	{name: "unknown_fields_of_the_entry_are_dropped", spec: "path: apps", objects: 1, files: `
-- apps/kustomization.yaml --
resources: [a.yaml]
resouces: [b.yaml]
-- apps/a.yaml --
` + configMap},
	{name: "unknown_fields_of_a_base_are_not", spec: "path: apps", fails: true, files: `
-- apps/kustomization.yaml --
resources: [../base]
-- base/kustomization.yaml --
resources: [a.yaml]
resouces: [b.yaml]
-- base/a.yaml --
` + configMap},
	{name: "case_of_fields_does_not_matter", spec: "path: apps", objects: 2, files: `
-- apps/kustomization.yaml --
Resources: [../base]
-- base/kustomization.yaml --
RESOURCES: &r [a.yaml]
configmapgenerator: [{Name: b, FILES: [a.yaml]}]
-- base/a.yaml --
` + configMap},
	{name: "no_resources_keeps_origin_annotations", spec: "path: apps", objects: 1, files: `
-- apps/kustomization.yaml --
configMapGenerator:
- name: made
  literals: [a=b]
`},
	{name: "target_namespace_prefix_suffix", objects: 4, spec: `
path: apps
targetNamespace: prod
namePrefix: a-
nameSuffix: -z
`, files: `
-- apps/kustomization.yaml --
namePrefix: lost-
namespace: lost
resources: [a.yaml, ns.yaml, crd.yaml]
configMapGenerator:
- name: env
  literals: [a=b]
-- apps/a.yaml --
` + deployment + `-- apps/ns.yaml --
apiVersion: v1
kind: Namespace
metadata: {name: shop}
-- apps/crd.yaml --
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.example.com}
`},
	{name: "images_merge_per_field", objects: 1, spec: `
path: apps
images:
- {name: one, newTag: "2"}
- {name: two, digest: "sha256:24a0c4b4a4c0eb97a1aabb8e29f18e917d05abfe1b7a7c07857230879ce7d3d3"}
- {name: three, newName: other/three}
- {name: four, newTag: "4"}
`, files: `
-- apps/kustomization.yaml --
resources: [a.yaml]
images:
- {name: one, newName: here/one, digest: "sha256:aaaa"}
- {name: two, newTag: "1"}
- {name: three, newTag: "3"}
-- apps/a.yaml --
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  containers:
  - {name: a, image: one}
  - {name: b, image: two}
  - {name: c, image: three}
  - {name: d, image: "four:1"}
`},
	{name: "patches_are_appended", objects: 2, spec: `
path: apps
patches:
- patch: |
    - op: add
      path: /metadata/annotations/x
      value: y
  target: {kind: ConfigMap}
- patch: |
    apiVersion: apps/v1
    kind: Deployment
    metadata: {name: web, namespace: shop}
    spec: {replicas: 7}
`, files: `
-- apps/kustomization.yaml --
resources: [a.yaml, b.yaml]
patches:
- patch: '[{"op": "replace", "path": "/spec/replicas", "value": 5}]'
  target: {kind: Deployment}
-- apps/a.yaml --
` + deployment + `-- apps/b.yaml --
` + configMap},
	{name: "patches_of_all_annotations", objects: 2, spec: `
path: apps
patches:
- patch: |
    - op: copy
      from: /metadata/annotations
      path: /data/all
  target: {kind: ConfigMap, name: settings}
`, files: `
-- apps/kustomization.yaml --
resources: [a.yaml, b.yaml]
replacements:
- source: {kind: ConfigMap, name: other, fieldPath: metadata.annotations}
  targets:
  - select: {kind: ConfigMap, name: settings}
    fieldPaths: [data.b]
    options: {create: true}
-- apps/a.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: other, annotations: {c: d}}
-- apps/b.yaml --
` + configMap},
	{name: "replacement_of_missing_annotations", fails: true, spec: `path: apps`, files: `
-- apps/kustomization.yaml --
resources: [a.yaml, b.yaml]
replacements:
- source: {kind: ConfigMap, name: other, fieldPath: metadata.annotations}
  targets:
  - select: {kind: ConfigMap, name: settings}
    fieldPaths: [data.b]
    options: {create: true}
-- apps/a.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: other}
-- apps/b.yaml --
` + configMap},
	{name: "legacy_patches", objects: 1, spec: `
path: apps
patchesStrategicMerge:
- apiVersion: apps/v1
  kind: Deployment
  metadata: {name: web, namespace: shop}
  spec: {replicas: 3}
patchesJson6902:
- target: {version: v1, group: apps, kind: Deployment, name: web}
  patch:
  - {op: add, path: /metadata/labels, value: {a: b}}
`, files: `
-- apps/kustomization.yaml --
resources: [a.yaml]
-- apps/a.yaml --
` + deployment},
	{name: "components_of_file_and_spec", objects: 2, spec: `
path: apps
components: [../parts/one, ../parts/none]
ignoreMissingComponents: true
`, files: `
-- apps/kustomization.yaml --
resources: [a.yaml]
components: [../parts/two]
-- apps/a.yaml --
` + deployment + `-- parts/one/kustomization.yaml --
apiVersion: kustomize.config.k8s.io/v1alpha1
kind: Component
configMapGenerator:
- name: one
  literals: [a=b]
-- parts/two/kustomization.yaml --
apiVersion: kustomize.config.k8s.io/v1alpha1
kind: Component
labels:
- pairs: {two: "2"}
`},
	{name: "component_missing", fails: true, spec: "path: apps\ncomponents: [../none]", files: `
-- apps/a.yaml --
` + configMap},
	{name: "component_remote", fails: true, spec: "path: apps\ncomponents: ['https://github.com/a/b']", files: `
-- apps/a.yaml --
` + configMap},
	{name: "build_metadata_of_spec", objects: 1, spec: "path: apps\nbuildMetadata: [originAnnotations, transformerAnnotations]", files: `
-- apps/kustomization.yaml --
namePrefix: p-
resources: [a.yaml]
-- apps/a.yaml --
` + configMap},
	{name: "build_metadata_of_file", objects: 1, spec: "path: apps", files: `
-- apps/kustomization.yaml --
namePrefix: p-
resources: [a.yaml]
buildMetadata: [managedByLabel, transformerAnnotations]
-- apps/a.yaml --
` + configMap},
	{name: "annotations_empty_and_foreign_origin", objects: 3, spec: "path: apps", files: `
-- apps/a.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: a, annotations: {}}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: b
  annotations: {config.kubernetes.io/origin: "path: somewhere"}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: c
  annotations: {z: "1", a: "2"}
`},
	{name: "overlays_of_one_base", objects: 4, spec: "path: all", files: `
-- all/kustomization.yaml --
resources: [../one, ../two]
-- one/kustomization.yaml --
namePrefix: one-
namespace: one
resources: [../base]
-- two/kustomization.yaml --
nameSuffix: -two
namespace: two
resources: [../base]
-- base/kustomization.yaml --
resources: [a.yaml]
configMapGenerator:
- name: conf
  files: [conf.txt]
-- base/conf.txt --
x
-- base/a.yaml --
` + deployment},
	{name: "generators_secrets_and_hashes", objects: 3, spec: "path: apps", files: `
-- apps/kustomization.yaml --
generatorOptions: {labels: {g: o}}
resources: [a.yaml]
configMapGenerator:
- name: settings
  envs: [a.env]
  files: [key=a.env]
secretGenerator:
- name: keys
  type: Opaque
  literals: [a=b]
  options: {disableNameSuffixHash: true}
-- apps/a.env --
A=1
B=
-- apps/a.yaml --
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  containers:
  - name: c
    envFrom:
    - configMapRef: {name: settings}
    - secretRef: {name: keys}
`},
	{name: "common_labels_vars_replicas", objects: 2, spec: "path: apps", files: `
-- apps/kustomization.yaml --
commonLabels: {team: a}
commonAnnotations: {note: b}
resources: [a.yaml, b.yaml]
replicas: [{name: web, count: 9}]
-- apps/a.yaml --
` + deployment + `-- apps/b.yaml --
` + configMap},
	{name: "lists_are_taken_apart", objects: 4, spec: "path: apps", files: `
-- apps/a.yaml --
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: ConfigMap
  metadata: {name: one}
- apiVersion: v1
  kind: ConfigMap
  metadata: {name: two}
---
apiVersion: v1
kind: ConfigMapList
items:
- apiVersion: v1
  kind: ConfigMap
  metadata: {name: three}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: four}
`},
	{name: "kustomizations_of_kustomize_and_local_config_are_dropped", objects: 1, spec: "path: apps", files: `
-- apps/a.yaml --
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
metadata: {name: a}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: b, annotations: {config.kubernetes.io/local-config: "true"}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: c}
`},
	{name: "numbers_and_strings_that_look_like_them", objects: 1, spec: "path: apps", files: odd},
	{name: "numbers_and_strings_through_substitution", objects: 1, spec: "path: apps\npostBuild: {substitute: {a: '7'}}", files: odd},
	{name: "numbers_that_json_lacks", fails: true, spec: "path: apps", files: `
-- apps/a.yaml --
apiVersion: example.com/v1
kind: Thing
metadata: {name: t}
spec: {a: .inf}
`},
	{name: "openapi_of_one_build_does_not_leak", objects: 1, spec: "path: apps", files: openAPI},
	{name: "openapi_is_forgotten", objects: 1, spec: "path: apps", files: withoutOpenAPI},
	{name: "sort_options", objects: 2, spec: "path: apps", files: `
-- apps/kustomization.yaml --
sortOptions: {order: legacy}
resources: [a.yaml]
-- apps/a.yaml --
` + deployment + `---
apiVersion: v1
kind: Namespace
metadata: {name: shop}
`},
	{name: "transformers_and_generators_from_files", objects: 2, spec: "path: apps", files: `
-- apps/kustomization.yaml --
resources: [a.yaml]
transformers: [t.yaml]
generators: [g.yaml]
-- apps/t.yaml --
apiVersion: builtin
kind: PrefixTransformer
metadata: {name: p}
prefix: pre-
fieldSpecs: [{path: metadata/name}]
-- apps/g.yaml --
apiVersion: builtin
kind: ConfigMapGenerator
metadata: {name: gen}
literals: [a=b]
-- apps/a.yaml --
` + deployment},
	{name: "exec_and_helm_are_off", fails: true, spec: "path: apps", files: `
-- apps/kustomization.yaml --
helmCharts:
- name: a
  repo: https://example.invalid
`},
	{name: "above_the_source", fails: true, spec: "path: apps", files: `
-- apps/kustomization.yaml --
resources: [../../up.yaml]
`},
	{name: "absolute", fails: true, spec: "path: apps", files: `
-- apps/kustomization.yaml --
configMapGenerator:
- name: a
  files: [/etc/hostname]
`},
	{name: "substitution_operators", objects: 2, spec: `
path: apps
postBuild:
  substitute:
    name: Web
    lines: "a\nb"
    number: "3"
    quoted: '"3"'
    empty: ""
    bool: "true"
`, files: `
-- apps/a.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: "x-${name,,}"}
data:
  a: ${name} ${name^^} ${#name} ${name:0:2} ${name/W/w}
  b: ${lines}
  c: $name $${name} $$ ${empty:=default} ${unset:-other}
  d: ${quoted}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: d}
spec:
  replicas: ${number}
  paused: ${bool}
`},
	{name: "substitution_disabled", objects: 3, spec: "path: apps\npostBuild: {substitute: {a: b}}", files: `
-- apps/a.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: a, labels: {kustomize.toolkit.fluxcd.io/substitute: disabled}}
data: {x: "${a} ${unset}"}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: b, annotations: {kustomize.toolkit.fluxcd.io/substitute: disabled}}
data: {x: "${a} ${arr[@]}"}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: c, annotations: {kustomize.toolkit.fluxcd.io/substitute: Disabled}}
data: {x: "${a}"}
`},
	{name: "substitution_without_variables_does_nothing", objects: 1, spec: "path: apps\npostBuild: {substitute: {}}", files: dollars},
	{name: "substitution_always", objects: 1, spec: "path: apps\npostBuild: {substituteStrategy: Always}", lax: true, files: dollars},
	{name: "substitution_strict", fails: true, spec: "path: apps\npostBuild: {substituteStrategy: Always}", files: dollars},
	{name: "substitution_malformed", fails: true, spec: "path: apps\npostBuild: {substitute: {a: b}}", files: `
-- apps/a.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: a}
data: {x: "${arr[@]}"}
`},
	{name: "substitution_bad_name", fails: true, spec: "path: apps\npostBuild: {substitute: {a-b: c}}", files: dollars},
	{name: "substitution_breaks_yaml", fails: true, spec: "path: apps\npostBuild: {substitute: {a: '{x: ['}}", files: `
-- apps/a.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: a}
data:
  x: ${a}
`},
	{name: "substitution_same_name_twice", fails: true, spec: "path: apps\npostBuild: {substitute: {a: x}}", files: `
-- apps/a.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: "${a}"}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: x}
`},
	{name: "substitution_into_a_kind_without_scope", objects: 1, spec: "path: apps\npostBuild: {substitute: {host: a.example.com}}", files: `
-- apps/a.yaml --
apiVersion: example.com/v1
kind: Thing
metadata: {name: t}
spec: {host: "${host}", list: [1, 2.5, "${host}", null, {a: []}], empty: {}}
`},
}

const (
	dollars = `
-- apps/a.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: a}
data: {x: "${a} $$ ${b:=c}"}
`
	odd = `
-- apps/a.yaml --
apiVersion: example.com/v1
kind: Thing
metadata: {name: t}
spec:
  ints: [0, -1, 9007199254740991, 0x1F, 0o17, 017, 1_000]
  floats: [1.0, 1.5, 1e3, 1e21, -0.0, 0.1, 3.141592653589793]
  strings: ["1", "1.0", "true", "yes", "null", "~", "0x1F", "1e3", "2024-01-01", "012", "=", "", " a ", "a: b", "#x", "- y"]
  plain: [yes, no, on, off, y, n, ~, null, true, 2024-01-01, 12:30:45]
  text: |
    two
      lines # no comment
  folded: >-
    a
    b
  anchors: &a {x: 1}
  alias: *a
  unicode: "\u00e9\u2028 é 🙂"
`
	schema = `
-- apps/schema.json --
{"definitions": {"com.example.v1.Thing": {
  "properties": {"spec": {"properties": {"items": {
    "type": "array", "items": {"type": "object"},
    "x-kubernetes-patch-merge-key": "name", "x-kubernetes-patch-strategy": "merge"}}}},
  "x-kubernetes-group-version-kind": [{"group": "example.com", "version": "v1", "kind": "Thing"}]}}}
-- apps/a.yaml --
apiVersion: example.com/v1
kind: Thing
metadata: {name: t}
spec:
  items: [{name: a, v: 1}, {name: b, v: 2}]
-- apps/p.yaml --
apiVersion: example.com/v1
kind: Thing
metadata: {name: t}
spec:
  items: [{name: b, v: 3}]
`
	openAPI = `
-- apps/kustomization.yaml --
resources: [a.yaml]
patches: [{path: p.yaml}]
openapi: {path: schema.json}
` + schema
	withoutOpenAPI = `
-- apps/kustomization.yaml --
resources: [a.yaml]
patches: [{path: p.yaml}]
` + schema
)
