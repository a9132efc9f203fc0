package plugins

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// benchRepo is a Git repository of files.
func benchRepo(b *testing.B, files map[string]string) string {
	dir := b.TempDir()
	if out, err := exec.Command("git", "init", "-q", dir).CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	benchCommit(b, dir, files)
	return dir
}

func benchCommit(b *testing.B, dir string, files map[string]string) {
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	for _, args := range [][]string{{"add", "-A"}, {"-c", "user.name=Ada", "-c", "user.email=ada@example.com", "commit", "-qm", "x"}} {
		if out, err := exec.Command("git", append([]string{"-C", dir}, args...)...).CombinedOutput(); err != nil {
			b.Fatalf("%v\n%s", err, out)
		}
	}
}

func benchNamespace(b *testing.B, ns string) {
	if out, err := exec.Command("kubectl", "create", "namespace", ns).CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
}

// benchDrift changes some ConfigMaps behind our back.
func benchDrift(b *testing.B, ns string, n int, value string) {
	for i := range n {
		if out, err := exec.Command("kubectl", "patch", "configmap", fmt.Sprintf("o%05d", 10*i), "-n", ns, "--field-manager=somebody", "--type=merge",
			"-p", fmt.Sprintf(`{"data":{"v":%q}}`, value)).CombinedOutput(); err != nil {
			b.Fatalf("%v\n%s", err, out)
		}
	}
}

var benchPlurals = map[string]string{"ConfigMap": "configmaps", "Secret": "secrets", "Service": "services", "ServiceAccount": "serviceaccounts", "Role": "roles",
	"RoleBinding": "rolebindings", "Deployment": "deployments", "NetworkPolicy": "networkpolicies", "PodDisruptionBudget": "poddisruptionbudgets", "CronJob": "cronjobs"}

// benchObjects is n objects of ten kinds, numbered from first. No pod comes of
// them: it is the objects that are measured.
func benchObjects(ns string, first, n int) string {
	var out strings.Builder
	for i := first; i < first+n; i++ {
		name := fmt.Sprintf("o%05d", i)
		meta := fmt.Sprintf("metadata: {name: %s, namespace: %s, labels: {app: %s}}\n", name, ns, name)
		pod := "spec: {restartPolicy: Never, containers: [{name: app, image: 'registry.example.com/app:1'}]}"
		out.WriteString([]string{
			"apiVersion: v1\nkind: ConfigMap\n" + meta + "data: {v: '1', config.yaml: 'a: b'}\n",
			"apiVersion: v1\nkind: Secret\n" + meta + "stringData: {v: '1'}\n",
			"apiVersion: v1\nkind: Service\n" + meta + "spec: {clusterIP: None, selector: {app: " + name + "}, ports: [{port: 80}]}\n",
			"apiVersion: v1\nkind: ServiceAccount\n" + meta,
			"apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\n" + meta + "rules: [{apiGroups: [''], resources: [pods], verbs: [get]}]\n",
			"apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\n" + meta + "roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: " + name + "}\nsubjects: [{kind: ServiceAccount, name: " + name + ", namespace: " + ns + "}]\n",
			"apiVersion: apps/v1\nkind: Deployment\n" + meta + "spec: {replicas: 0, selector: {matchLabels: {app: " + name + "}}, template: {metadata: {labels: {app: " + name + "}}, spec: {containers: [{name: app, image: 'registry.example.com/app:1', ports: [{containerPort: 80}], env: [{name: A, value: b}], resources: {requests: {cpu: 100m, memory: 64Mi}}}]}}}\n",
			"apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n" + meta + "spec: {podSelector: {matchLabels: {app: " + name + "}}, policyTypes: [Ingress]}\n",
			"apiVersion: policy/v1\nkind: PodDisruptionBudget\n" + meta + "spec: {minAvailable: 1, selector: {matchLabels: {app: " + name + "}}}\n",
			"apiVersion: batch/v1\nkind: CronJob\n" + meta + "spec: {schedule: '0 0 31 2 *', suspend: true, jobTemplate: {spec: {template: {" + pod + "}}}}\n",
		}[i%10])
		out.WriteString("---\n")
	}
	return out.String()
}
