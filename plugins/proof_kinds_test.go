package plugins

import "k8s.io/apimachinery/pkg/runtime/schema"

// proofKind is a kind of which TestProofHoldsOnTheServer makes objects. Values
// are JSON; those that servers store in another form than they are written in
// are there on purpose: quantities, empty strings, lists and maps, nulls,
// defaults inside of atomic lists, keys of lists that have defaults.
type proofKind struct {
	kind     string
	resource schema.GroupVersionResource
	base     string
	genes    []genes
}

type genes struct {
	path   string
	values []any
}

func resourceOf(group, version, resource string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: group, Version: version, Resource: resource}
}

var anyMetadata = []genes{
	{"metadata.labels.app", []any{`"a"`, `"b"`, `""`}},
	{"metadata.labels", []any{`{}`, `{"x":"y"}`, `null`}},
	{"metadata.annotations", []any{`{}`, `{"x":"y"}`, `{"x":"y","z":""}`, `null`}},
	{"metadata.annotations.note", []any{`"a"`, `"b"`, `"1"`}},
	{"metadata.finalizers", []any{`[]`}},
}

var podTemplate = []genes{
	{"spec.template.metadata.labels", []any{`{"app":"x"}`, `{"app":"x","tier":"y"}`, `{"app":"x","tier":""}`}},
	{"spec.template.spec.containers", []any{
		`[{"name":"a","image":"i:1"}]`,
		`[{"name":"a","image":"i:2"}]`,
		`[{"name":"a","image":"i:1"},{"name":"b","image":"j:1"}]`,
		`[{"name":"b","image":"j:1"},{"name":"a","image":"i:1"}]`,
		`[{"name":"c","image":"k:1"},{"name":"a","image":"i:1"},{"name":"b","image":"j:1"}]`,
		`[{"name":"a","image":"i:1","ports":[{"containerPort":80}]}]`,
		`[{"name":"a","image":"i:1","ports":[{"containerPort":80,"protocol":"TCP"},{"containerPort":80,"protocol":"UDP"}]}]`,
		`[{"name":"a","image":"i:1","ports":[{"containerPort":80,"name":"http"},{"containerPort":81}]}]`,
		`[{"name":"a","image":"i:1","resources":{"limits":{"cpu":"1000m","memory":"1Gi"}}}]`,
		`[{"name":"a","image":"i:1","resources":{"limits":{"cpu":"1","memory":"1024Mi"},"requests":{"cpu":"0.1"}}}]`,
		`[{"name":"a","image":"i:1","resources":{"limits":{"cpu":1}}}]`,
		`[{"name":"a","image":"i:1","resources":{}}]`,
		`[{"name":"a","image":"i:1","env":[]}]`,
		`[{"name":"a","image":"i:1","env":null}]`,
		`[{"name":"a","image":"i:1","env":[{"name":"X","value":""},{"name":"Y"}]}]`,
		`[{"name":"a","image":"i:1","env":[{"name":"X","value":"1"},{"name":"Y","value":"2"}]}]`,
		`[{"name":"a","image":"i:1","env":[{"name":"Y","value":"2"},{"name":"X","value":"1"}]}]`,
		`[{"name":"a","image":"i:1","env":[{"name":"X","valueFrom":{"fieldRef":{"fieldPath":"metadata.name"}}}]}]`,
		`[{"name":"a","image":"i:1","envFrom":[{"configMapRef":{"name":"c"}},{"secretRef":{"name":"s"}}]}]`,
		`[{"name":"a","image":"i:1","command":["sh","-c"],"args":[]}]`,
		`[{"name":"a","image":"i:1","volumeMounts":[{"name":"v","mountPath":"/v"},{"name":"v","mountPath":"/w","readOnly":false}]}]`,
		`[{"name":"a","image":"i:1","livenessProbe":{"httpGet":{"path":"/","port":"http"}}}]`,
		`[{"name":"a","image":"i:1","livenessProbe":{"httpGet":{"port":80},"periodSeconds":10}}]`,
		`[{"name":"a","image":"i:1","securityContext":{}}]`,
		`[{"name":"a","image":"i:1","securityContext":{"capabilities":{"drop":["ALL"],"add":[]}}}]`,
	}},
	{"spec.template.spec.volumes", []any{
		`[{"name":"v","emptyDir":{}}]`,
		`[{"name":"v","emptyDir":{"sizeLimit":"1024Mi"}}]`,
		`[{"name":"v","configMap":{"name":"c"}},{"name":"w","emptyDir":{}}]`,
		`[{"name":"w","emptyDir":{}},{"name":"v","configMap":{"name":"c","defaultMode":420}}]`,
		`[{"name":"v","projected":{"sources":[{"configMap":{"name":"c"}}]}}]`,
		`[]`,
	}},
	{"spec.template.spec.tolerations", []any{`[{"key":"a","operator":"Exists"}]`, `[{"key":"a","value":""}]`, `[]`}},
	{"spec.template.spec.nodeSelector", []any{`{}`, `{"a":"b"}`}},
	{"spec.template.spec.securityContext", []any{`{}`, `{"runAsUser":0}`, `{"fsGroup":1000}`}},
	{"spec.template.spec.terminationGracePeriodSeconds", []any{`0`, `30`, `31`}},
	{"spec.template.spec.serviceAccountName", []any{`"x"`, `""`}},
	{"spec.template.spec.imagePullSecrets", []any{`[{"name":"a"}]`, `[{"name":"b"},{"name":"a"}]`, `[]`}},
	{"spec.template.spec.topologySpreadConstraints", []any{`[{"maxSkew":1,"topologyKey":"z","whenUnsatisfiable":"DoNotSchedule","labelSelector":{"matchLabels":{"app":"x"}}}]`}},
	{"spec.template.spec.affinity", []any{`{}`, `{"nodeAffinity":{}}`}},
}

var proofKinds = []proofKind{
	{"ConfigMap", resourceOf("", "v1", "configmaps"), `{"data":{"a":"1"}}`, append([]genes{
		{"data", []any{`{}`, `null`, `{"a":"1","b":"2"}`, `{"b":"2","a":"1"}`, `{"a":""}`}},
		{"data.b", []any{`"1"`, `"2"`, `""`, `"1000m"`}},
		{"binaryData", []any{`{}`, `{"x":"YQ=="}`, `{"x":""}`}},
		{"immutable", []any{`false`, `null`}},
	}, anyMetadata...)},
	{"Secret", resourceOf("", "v1", "secrets"), `{"data":{"a":"MQ=="}}`, append([]genes{
		{"stringData", []any{`{}`, `{"a":"1"}`, `{"b":"2"}`, `{"a":"other"}`, `{"c":""}`}},
		{"data", []any{`{}`, `{"a":"MQ=="}`, `{"a":"MQ==","b":"Mg=="}`, `{"a":""}`, `null`}},
		{"type", []any{`"Opaque"`, `""`}},
	}, anyMetadata...)},
	{"Service", resourceOf("", "v1", "services"), `{"spec":{"clusterIP":"None","selector":{"app":"x"},"ports":[{"port":80}]}}`, append([]genes{
		{"spec.ports", []any{
			`[{"port":80,"protocol":"TCP"}]`, `[{"port":80,"targetPort":80}]`, `[{"port":80,"targetPort":"http"}]`,
			`[{"name":"a","port":80},{"name":"b","port":81}]`, `[{"name":"b","port":81},{"name":"a","port":80}]`,
			`[{"name":"a","port":80},{"name":"u","port":80,"protocol":"UDP"}]`, `[{"port":80,"name":""}]`,
		}},
		{"spec.selector", []any{`{}`, `{"app":"x","b":"c"}`, `null`}},
		{"spec.type", []any{`"ClusterIP"`, `""`}},
		{"spec.sessionAffinity", []any{`"None"`, `"ClientIP"`}},
		{"spec.externalIPs", []any{`[]`, `["192.0.2.1"]`, `["192.0.2.2","192.0.2.1"]`}},
		{"spec.internalTrafficPolicy", []any{`"Cluster"`, `"Local"`}},
	}, anyMetadata...)},
	{"ServiceAccount", resourceOf("", "v1", "serviceaccounts"), `{}`, append([]genes{
		{"automountServiceAccountToken", []any{`true`, `false`, `null`}},
		{"imagePullSecrets", []any{`[]`, `[{"name":"a"}]`, `[{"name":"b"},{"name":"a"}]`, `[{"name":"a"},{"name":"b"}]`}},
		{"secrets", []any{`[]`, `[{"name":"a"}]`}},
	}, anyMetadata...)},
	{"Deployment", resourceOf("apps", "v1", "deployments"), `{"spec":{"replicas":0,"selector":{"matchLabels":{"app":"x"}},"template":{"metadata":{"labels":{"app":"x"}},"spec":{"containers":[{"name":"a","image":"i:1"}]}}}}`, append(append([]genes{
		{"spec.replicas", []any{`0`, `null`}},
		{"spec.strategy", []any{`{}`, `{"type":"Recreate"}`, `{"rollingUpdate":{"maxSurge":"25%"}}`, `{"rollingUpdate":{"maxSurge":1,"maxUnavailable":0},"type":"RollingUpdate"}`}},
		{"spec.paused", []any{`true`, `false`}},
		{"spec.minReadySeconds", []any{`0`, `1`}},
		{"spec.revisionHistoryLimit", []any{`10`, `0`}},
	}, podTemplate...), anyMetadata...)},
	{"StatefulSet", resourceOf("apps", "v1", "statefulsets"), `{"spec":{"replicas":0,"serviceName":"s","selector":{"matchLabels":{"app":"x"}},"template":{"metadata":{"labels":{"app":"x"}},"spec":{"containers":[{"name":"a","image":"i:1"}]}}}}`, append(append([]genes{
		{"spec.updateStrategy", []any{`{}`, `{"type":"OnDelete"}`}},
		{"spec.volumeClaimTemplates", []any{`[]`, `[{"metadata":{"name":"d"},"spec":{"accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"1Gi"}}}}]`}},
		{"spec.persistentVolumeClaimRetentionPolicy", []any{`{}`, `{"whenDeleted":"Delete"}`}},
	}, podTemplate...), anyMetadata...)},
	{"CronJob", resourceOf("batch", "v1", "cronjobs"), `{"spec":{"schedule":"0 0 31 2 *","jobTemplate":{"spec":{"template":{"spec":{"restartPolicy":"Never","containers":[{"name":"a","image":"i:1"}]}}}}}}`, append([]genes{
		{"spec.suspend", []any{`true`, `false`}},
		{"spec.successfulJobsHistoryLimit", []any{`3`, `0`}},
		{"spec.concurrencyPolicy", []any{`"Allow"`, `"Forbid"`}},
		{"spec.jobTemplate.metadata", []any{`{}`, `{"labels":{"a":"b"}}`}},
		{"spec.jobTemplate.spec.template.spec.containers", []any{`[{"name":"a","image":"i:1","env":[{"name":"X","value":"1"}]}]`, `[{"name":"a","image":"i:2"}]`}},
	}, anyMetadata...)},
	{"Role", resourceOf("rbac.authorization.k8s.io", "v1", "roles"), `{"rules":[{"apiGroups":[""],"resources":["pods"],"verbs":["get"]}]}`, append([]genes{
		{"rules", []any{`[]`, `null`, `[{"apiGroups":[""],"resources":["pods"],"verbs":["get","list"]}]`, `[{"apiGroups":[""],"resources":["pods"],"verbs":["list","get"]}]`,
			`[{"apiGroups":["apps"],"resources":["deployments"],"verbs":["*"],"resourceNames":[]}]`}},
	}, anyMetadata...)},
	{"RoleBinding", resourceOf("rbac.authorization.k8s.io", "v1", "rolebindings"), `{"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"Role","name":"r"},"subjects":[{"kind":"ServiceAccount","name":"x","namespace":"default"}]}`, append([]genes{
		{"subjects", []any{`[]`, `[{"kind":"User","name":"u"}]`, `[{"kind":"User","name":"u","apiGroup":"rbac.authorization.k8s.io"}]`,
			`[{"kind":"ServiceAccount","name":"x","namespace":"default","apiGroup":""}]`, `[{"kind":"ServiceAccount","name":"y","namespace":"default"},{"kind":"User","name":"u"}]`}},
	}, anyMetadata...)},
	{"NetworkPolicy", resourceOf("networking.k8s.io", "v1", "networkpolicies"), `{"spec":{"podSelector":{}}}`, append([]genes{
		{"spec.podSelector", []any{`{}`, `{"matchLabels":{"a":"b"}}`, `{"matchExpressions":[{"key":"a","operator":"Exists"}]}`}},
		{"spec.policyTypes", []any{`["Ingress"]`, `["Ingress","Egress"]`, `[]`}},
		{"spec.ingress", []any{`[]`, `[{}]`, `[{"ports":[{"port":80}]}]`, `[{"from":[{"podSelector":{}}],"ports":[{"port":"http","protocol":"TCP"}]}]`}},
	}, anyMetadata...)},
	{"Ingress", resourceOf("networking.k8s.io", "v1", "ingresses"), `{"spec":{"rules":[{"host":"a.example.com","http":{"paths":[{"path":"/","pathType":"Prefix","backend":{"service":{"name":"s","port":{"number":80}}}}]}}]}}`, append([]genes{
		{"spec.ingressClassName", []any{`"x"`, `"y"`, `null`}},
		{"spec.tls", []any{`[]`, `[{"hosts":["a.example.com"],"secretName":"t"}]`, `[{"hosts":["b","a"]}]`}},
		{"spec.rules", []any{`[]`, `[{"host":"b.example.com","http":{"paths":[{"path":"/","pathType":"Exact","backend":{"service":{"name":"s","port":{"name":"http"}}}}]}}]`}},
		{"spec.defaultBackend", []any{`{"service":{"name":"s","port":{"number":80}}}`}},
	}, anyMetadata...)},
	{"HorizontalPodAutoscaler", resourceOf("autoscaling", "v2", "horizontalpodautoscalers"), `{"spec":{"maxReplicas":3,"scaleTargetRef":{"apiVersion":"apps/v1","kind":"Deployment","name":"x"}}}`, append([]genes{
		{"spec.minReplicas", []any{`1`, `2`, `null`}},
		{"spec.metrics", []any{`[]`, `[{"type":"Resource","resource":{"name":"cpu","target":{"type":"Utilization","averageUtilization":80}}}]`,
			`[{"type":"Resource","resource":{"name":"memory","target":{"type":"AverageValue","averageValue":"1024Mi"}}}]`}},
		{"spec.behavior", []any{`{}`, `{"scaleDown":{"stabilizationWindowSeconds":60}}`}},
	}, anyMetadata...)},
	{"PodDisruptionBudget", resourceOf("policy", "v1", "poddisruptionbudgets"), `{"spec":{"selector":{"matchLabels":{"a":"b"}}}}`, append([]genes{
		{"spec.minAvailable", []any{`1`, `"50%"`, `"1"`}},
		{"spec.selector", []any{`{}`, `{"matchLabels":{"a":"c"}}`, `{"matchLabels":{}}`}},
	}, anyMetadata...)},
	{"ResourceQuota", resourceOf("", "v1", "resourcequotas"), `{"spec":{"hard":{"count/widgets.example.com":"1000k"}}}`, append([]genes{
		{"spec.hard", []any{`{"count/widgets.example.com":"1M"}`, `{"count/widgets.example.com":1000000}`, `{"count/gadgets.example.com":"10"}`, `{}`}},
	}, anyMetadata...)},
	{"Proof", resourceOf("test.kubectl-gitops.dev", "v1", "proofs"), `{"spec":{"name":"a"}}`, append([]genes{
		{"spec.name", []any{`"a"`, `"b"`, `""`, `null`}},
		{"spec.count", []any{`1`, `2`, `0`}},
		{"spec.ratio", []any{`1`, `1.0`, `1.5`, `1e3`, `1000`}},
		{"spec.either", []any{`1`, `"1"`, `"50%"`}},
		{"spec.maybe", []any{`null`, `"x"`, `""`}},
		{"spec.set", []any{`[]`, `["a"]`, `["a","b"]`, `["b","a"]`, `["c","a","b"]`}},
		{"spec.numbers", []any{`[]`, `[1]`, `[1,2]`, `[2,1]`, `[1,2.5]`}},
		{"spec.list", []any{`[]`, `["a"]`, `["a","b"]`, `["b","a"]`, `null`}},
		{"spec.keyed", []any{`[]`, `[{"name":"a"}]`, `[{"name":"a","value":"1"}]`, `[{"name":"a","value":"1"},{"name":"b"}]`, `[{"name":"b"},{"name":"a","value":"1"}]`,
			`[{"name":"b","value":""},{"name":"c"},{"name":"a"}]`, `[{"name":"a","tags":{"x":"y"}}]`, `[{"name":"a","tags":{}}]`}},
		{"spec.ports", []any{`[{"port":1}]`, `[{"port":1,"protocol":"TCP"}]`, `[{"port":1},{"port":1,"protocol":"UDP"}]`, `[{"protocol":"UDP","port":1},{"port":1}]`, `[{"port":2,"protocol":"TCP","note":"x"}]`}},
		{"spec.whole", []any{`{}`, `{"a":"1"}`, `{"a":"1","b":"2"}`, `null`}},
		{"spec.parts", []any{`{}`, `{"a":"1"}`, `{"a":"1","b":"2"}`, `null`}},
		{"spec.free", []any{`{}`, `{"a":1}`, `{"a":{"b":[1,"x",{"c":null}]}}`, `{"a":[]}`, `"text"`, `[1]`, `[]`}},
		{"spec.nested", []any{`{}`, `{"size":"s"}`, `{"deep":{}}`, `{"deep":{"on":false}}`, `{"deep":{"on":true}}`}},
		{"spec.embedded", []any{`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"}}`, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x","labels":{"a":"b"}},"data":{"a":"b"}}`}},
	}, anyMetadata...)},
}

// proofCRD has one of each: sets, keyed lists, defaulted keys, atomic maps and
// lists, defaults, nullable and free fields.
const proofCRD = `{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"proofs.test.kubectl-gitops.dev"},
"spec":{"group":"test.kubectl-gitops.dev","scope":"Namespaced","names":{"plural":"proofs","singular":"proof","kind":"Proof","listKind":"ProofList"},
"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object","properties":{"spec":{"type":"object","properties":{
"name":{"type":"string"},
"count":{"type":"integer","default":1},
"ratio":{"type":"number"},
"either":{"x-kubernetes-int-or-string":true},
"maybe":{"type":"string","nullable":true,"default":"d"},
"set":{"type":"array","x-kubernetes-list-type":"set","items":{"type":"string"}},
"numbers":{"type":"array","x-kubernetes-list-type":"set","items":{"type":"number"}},
"list":{"type":"array","items":{"type":"string"}},
"keyed":{"type":"array","x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["name"],"items":{"type":"object","required":["name"],"properties":{"name":{"type":"string"},"value":{"type":"string","default":"v"},"tags":{"type":"object","additionalProperties":{"type":"string"}}}}},
"ports":{"type":"array","x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["port","protocol"],"items":{"type":"object","required":["port"],"properties":{"port":{"type":"integer"},"protocol":{"type":"string","default":"TCP"},"note":{"type":"string"}}}},
"whole":{"type":"object","x-kubernetes-map-type":"atomic","additionalProperties":{"type":"string"}},
"parts":{"type":"object","additionalProperties":{"type":"string"}},
"free":{"x-kubernetes-preserve-unknown-fields":true},
"embedded":{"type":"object","x-kubernetes-embedded-resource":true,"x-kubernetes-preserve-unknown-fields":true},
"nested":{"type":"object","default":{},"properties":{"size":{"type":"string","default":"m"},"deep":{"type":"object","properties":{"on":{"type":"boolean","default":true}}}}}
}}}}}}]}}`
