package plugins

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/spf13/cobra"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/gitops"
	"github.com/kubectl-gitops/kubectl-gitops/plugins/rbac"
	"github.com/kubectl-gitops/kubectl-gitops/plugins/sync"
)

// leastRepository has a state of a repository for each step that an account is
// to be allowed: the first sync, a change with a prune, a failure to explain, and
// the end of all that may be pruned.
const leastRepository = `
-- first/app.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: app, namespace: rbac-least}
data: {state: first}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: old, namespace: rbac-least}
---
apiVersion: v1
kind: Secret
metadata: {name: app, namespace: rbac-least}
stringData: {a: b}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: rbac-least}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: app, image: example.com/web:1}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader, namespace: rbac-least}
rules: [{apiGroups: [""], resources: [services], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: master, namespace: rbac-least}
rules: [{apiGroups: [apps], resources: ["*"], verbs: ["*"]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader, namespace: rbac-least}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: ServiceAccount, name: tenant, namespace: rbac-least}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: rbac-least}
rules: [{nonResourceURLs: [/logs/rbac-least], verbs: [get]}]
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: tenant, namespace: rbac-least}
spec:
  interval: 10m
  path: ./tenant
  prune: true
  serviceAccountName: tenant
  sourceRef: {kind: GitRepository, name: root}
  postBuild: {substituteFrom: [{kind: ConfigMap, name: vars}]}
-- last/app.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: app, namespace: rbac-least}
data: {state: last}
-- tenant/mine.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: mine, namespace: rbac-least}
data: {var: "${var}"}
`

// leastAccess is one namespace of the devcluster, an account in it that may do
// what kubectl gitops rbac printed, and the states of a repository.
type leastAccess struct {
	t        *testing.T
	admin    *kubernetes.Clientset
	config   string // kubeconfig of the account
	dir      string
	roles    []*rbacv1.Role
	clusters []*rbacv1.ClusterRole
}

const leastNamespace = "rbac-least"

// What kubectl gitops rbac prints is enough for the first sync, for a change, for a prune and for the explanation of a
// failure; and it is the least: without any one of its rules a step of these goes wrong. RBAC_VERBS=1 takes away the
// verbs of each rule one by one.
func TestRBACIsTheLeast(t *testing.T) {
	if os.Getenv("DEVCLUSTER") == "" {
		t.Fatal(needCluster)
	}
	a := newLeastAccess(t)
	want := a.scenario()
	for i, step := range want {
		if strings.Contains(step, "orbidden") || strings.Contains(step, "may not") && !strings.Contains(step, "not-listed") || strings.Contains(step, "cannot be") {
			t.Errorf("step %d is not allowed all that it needs:\n%s", i+1, step)
		}
	}
	if !strings.HasPrefix(want[0], "0 ") || !strings.Contains(want[2], "event: FailedScheduling") || !strings.Contains(want[2], "it has left no logs") || !strings.HasPrefix(want[3], "0 ") {
		t.Fatalf("the scenario itself goes otherwise:\n%s", strings.Join(want, "\n\n"))
	}
	without := func(rule *rbacv1.PolicyRule, namespace string, left []string) {
		kept := rule.DeepCopy()
		if rule.Verbs = left; len(left) == 0 {
			*rule = rbacv1.PolicyRule{APIGroups: []string{"none"}, Resources: []string{"none"}, Verbs: []string{"get"}}
		}
		a.update()
		a.await(namespace, *kept, left, false)
		goes := a.scenario(want...)
		*rule = *kept
		a.update()
		a.await(namespace, *kept, nil, true)
		if len(goes) == len(want) {
			t.Errorf("with %v left of it, nothing misses %v in %q", left, kept, namespace)
		}
	}
	each := func(namespace string, rules []rbacv1.PolicyRule) {
		for i := range rules {
			rule := &rules[i]
			verbs := [][]string{{}}
			if os.Getenv("RBAC_VERBS") != "" {
				for j, verb := range rule.Verbs {
					if verb == "list" && len(rule.ResourceNames) > 0 {
						continue // a server that cannot stream the list at the start of a watch is asked for it
					}
					verbs = append(verbs, slices.Delete(slices.Clone(rule.Verbs), j, j+1))
				}
			}
			for _, left := range verbs {
				without(rule, namespace, left)
			}
		}
	}
	for _, role := range a.clusters {
		each("", role.Rules)
	}
	for _, role := range a.roles {
		each(role.Namespace, role.Rules)
	}
}

func newLeastAccess(t *testing.T) *leastAccess {
	ctx := t.Context()
	a := &leastAccess{t: t, dir: t.TempDir()}
	files := map[string]string{}
	for _, f := range txtar.Parse([]byte(leastRepository)).Files {
		files[f.Name] = string(f.Data)
	}
	// A change, the end of a Kustomization and of an object; then a crash.
	docs := strings.Split(files["first/app.yaml"], "---\n")
	docs[0] = strings.Replace(docs[0], "first", "changed", 1)
	changed := strings.Join(slices.Delete(docs[:len(docs)-1], 1, 2), "---\n")
	files["changed/app.yaml"] = changed
	files["crash/app.yaml"] = strings.Replace(changed, "      containers", "      nodeSelector: {no: such-node}\n      containers", 1)
	for _, state := range []string{"first", "changed", "crash", "last"} {
		write(t, filepath.Join(a.dir, state), map[string]string{"root/app.yaml": files[state+"/app.yaml"], "tenant/mine.yaml": files["tenant/mine.yaml"]})
	}
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	must(t, err)
	config.QPS = -1
	a.admin, err = kubernetes.NewForConfig(config)
	must(t, err)
	_, err = a.admin.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: leastNamespace}}, metav1.CreateOptions{})
	must(t, err)
	accounts := a.admin.CoreV1().ServiceAccounts(leastNamespace)
	for _, name := range []string{"tenant", "robot"} {
		_, err = accounts.Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		must(t, err)
	}
	_, err = a.admin.RbacV1().RoleBindings(leastNamespace).Create(ctx, &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "tenant"},
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "edit"},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: leastNamespace, Name: "tenant"}}}, metav1.CreateOptions{})
	must(t, err)
	a.clean()

	code, out, stderr := inProcess(t, rbac.New, "--kubeconfig", os.Getenv("KUBECONFIG"), "--source", filepath.Join(a.dir, "first"), "--path", "root", "-n", leastNamespace, "--name", "root",
		"--service-account", leastNamespace+"/robot", "-o", "json")
	if code != 0 {
		t.Fatalf("rbac: exit code %d\n%s", code, stderr)
	}
	var list struct{ Items []json.RawMessage }
	must(t, json.Unmarshal([]byte(out), &list))
	rbacClient := a.admin.RbacV1()
	for _, item := range list.Items {
		var is metav1.TypeMeta
		must(t, json.Unmarshal(item, &is))
		switch is.Kind {
		case "ServiceAccount": // made above
		case "ClusterRole":
			role := &rbacv1.ClusterRole{}
			must(t, json.Unmarshal(item, role))
			role, err = rbacClient.ClusterRoles().Create(ctx, role, metav1.CreateOptions{})
			a.clusters = append(a.clusters, role)
		case "ClusterRoleBinding":
			binding := &rbacv1.ClusterRoleBinding{}
			must(t, json.Unmarshal(item, binding))
			_, err = rbacClient.ClusterRoleBindings().Create(ctx, binding, metav1.CreateOptions{})
		case "Role":
			role := &rbacv1.Role{}
			must(t, json.Unmarshal(item, role))
			role, err = rbacClient.Roles(role.Namespace).Create(ctx, role, metav1.CreateOptions{})
			a.roles = append(a.roles, role)
		case "RoleBinding":
			binding := &rbacv1.RoleBinding{}
			must(t, json.Unmarshal(item, binding))
			_, err = rbacClient.RoleBindings(binding.Namespace).Create(ctx, binding, metav1.CreateOptions{})
		default:
			t.Fatalf("rbac prints a %s", is.Kind)
		}
		must(t, err)
	}
	seconds := int64(7200)
	token, err := accounts.CreateToken(ctx, "robot", &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}, metav1.CreateOptions{})
	must(t, err)
	raw, err := clientcmd.LoadFromFile(os.Getenv("KUBECONFIG"))
	must(t, err)
	for _, user := range raw.AuthInfos {
		user.ClientCertificate, user.ClientCertificateData, user.ClientKey, user.ClientKeyData, user.TokenFile = "", nil, "", nil, ""
		user.Token = token.Status.Token
	}
	a.config = filepath.Join(a.dir, "kubeconfig")
	must(t, clientcmd.WriteToFile(*raw, a.config))
	for _, role := range a.roles {
		a.await(role.Namespace, role.Rules[len(role.Rules)-1], nil, true)
	}
	return a
}

// scenario goes through all steps from nothing, and tells what became of each;
// up to the first that does not go as it is wanted to.
func (a *leastAccess) scenario(want ...string) (went []string) {
	a.clean()
	for i, step := range []func() string{
		func() string { return a.sync("first") },
		func() string { return a.sync("changed") },
		a.crash,
		func() string { return a.sync("last", "--allow-prune", "99") },
	} {
		got := step()
		if len(want) > 0 && got != want[i] {
			return went
		}
		went = append(went, got)
	}
	return went
}

// crash has a Deployment that does not become healthy.
func (a *leastAccess) crash() string {
	begun := a.sync("crash", "--wait=false")
	pods := a.admin.CoreV1().Pods(leastNamespace)
	var name string
	err := wait.PollUntilContextTimeout(a.t.Context(), 50*time.Millisecond, 20*time.Second, true, func(ctx context.Context) (bool, error) {
		list, err := pods.List(ctx, metav1.ListOptions{LabelSelector: "app=web"})
		if err != nil {
			return false, err
		}
		for _, p := range list.Items {
			if p.Spec.NodeSelector["no"] != "" && len(p.Status.Conditions) > 0 {
				name = p.Name
			}
		}
		events, err := a.admin.CoreV1().Events(leastNamespace).List(ctx, metav1.ListOptions{FieldSelector: "reason=FailedScheduling,involvedObject.name=" + name})
		return name != "" && err == nil && len(events.Items) > 0, err
	})
	if err != nil {
		return begun // as far as it came
	}
	_, err = pods.Patch(a.t.Context(), name, types.MergePatchType, []byte(`{"status":{"containerStatuses":[{"name":"app","image":"example.com/web:1","imageID":"","ready":false,`+
		`"restartCount":4,"state":{"waiting":{"reason":"CrashLoopBackOff","message":"back-off"}}}]}}`), metav1.PatchOptions{}, "status")
	must(a.t, err)
	return begun + a.sync("crash", "--timeout", "2s")
}

// sync is one run as the account: its exit code, what it warned of, and what was
// wrong, without what differs from run to run.
func (a *leastAccess) sync(state string, flags ...string) string {
	code, out, stderr := inProcess(a.t, sync.New, append([]string{"--kubeconfig", a.config, "--source", filepath.Join(a.dir, state), "--path", "root", "-n", leastNamespace, "--name", "root",
		"-o", "json", "--progress", "none", "--change-root", "--lock-timeout", "1s"}, flags...)...)
	var report gitops.SyncReport
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		return fmt.Sprintf("%d %s", code, stderr)
	}
	lines := []string{fmt.Sprintf("%d %s", code, report.Result)}
	for _, w := range report.Warnings {
		lines = append(lines, w.Code+": "+w.Message)
	}
	for _, k := range report.Kustomizations {
		lines = append(lines, fmt.Sprintf("%s %s %+v", k.Name, k.Status, k.Written))
		for _, p := range k.Problems {
			lines = append(lines, p.Object+": "+p.Message, p.Detail)
		}
	}
	text := regexp.MustCompile(`web-[a-z0-9]+(-[a-z0-9]+)?|\(\d+ times\)`).ReplaceAllString(strings.Join(lines, "\n"), "web-…")
	return text
}

// clean removes what a scenario has made.
func (a *leastAccess) clean() {
	ctx, core := a.t.Context(), a.admin.CoreV1()
	now := int64(0)
	del, all := metav1.DeleteOptions{GracePeriodSeconds: &now}, metav1.ListOptions{}
	owned := metav1.ListOptions{LabelSelector: "kustomize.toolkit.fluxcd.io/name"}
	for _, err := range []error{
		a.admin.AppsV1().Deployments(leastNamespace).DeleteCollection(ctx, del, all),
		a.admin.AppsV1().ReplicaSets(leastNamespace).DeleteCollection(ctx, del, all),
		core.Pods(leastNamespace).DeleteCollection(ctx, del, all),
		core.ConfigMaps(leastNamespace).DeleteCollection(ctx, del, all),
		core.Secrets(leastNamespace).DeleteCollection(ctx, del, all),
		core.Events(leastNamespace).DeleteCollection(ctx, del, all),
		a.admin.CoordinationV1().Leases(leastNamespace).DeleteCollection(ctx, del, all),
		a.admin.RbacV1().Roles(leastNamespace).DeleteCollection(ctx, del, owned),
		a.admin.RbacV1().RoleBindings(leastNamespace).DeleteCollection(ctx, del, owned),
		a.admin.RbacV1().ClusterRoles().Delete(ctx, "rbac-least", del),
	} {
		if !apierrors.IsNotFound(err) {
			must(a.t, err)
		}
	}
	_, err := core.ConfigMaps(leastNamespace).Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "vars"}, Data: map[string]string{"var": "x"}}, metav1.CreateOptions{})
	must(a.t, err)
}

// update writes the Roles as they are here now.
func (a *leastAccess) update() {
	for _, role := range a.roles {
		role.ResourceVersion = ""
		_, err := a.admin.RbacV1().Roles(role.Namespace).Update(a.t.Context(), role, metav1.UpdateOptions{})
		must(a.t, err)
	}
	for _, role := range a.clusters {
		role.ResourceVersion = ""
		_, err := a.admin.RbacV1().ClusterRoles().Update(a.t.Context(), role, metav1.UpdateOptions{})
		must(a.t, err)
	}
}

// await waits until the authorizer has seen that rule is allowed; or that it no
// longer is, but for the verbs that are left.
func (a *leastAccess) await(namespace string, rule rbacv1.PolicyRule, left []string, allowed bool) {
	verb := rule.Verbs[slices.IndexFunc(rule.Verbs, func(v string) bool { return !slices.Contains(left, v) })]
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: "system:serviceaccount:" + leastNamespace + ":robot"}}
	if len(rule.NonResourceURLs) > 0 {
		review.Spec.NonResourceAttributes = &authorizationv1.NonResourceAttributes{Path: rule.NonResourceURLs[0], Verb: verb}
	} else {
		resource, sub, _ := strings.Cut(rule.Resources[0], "/")
		review.Spec.ResourceAttributes = &authorizationv1.ResourceAttributes{Namespace: namespace, Verb: verb, Group: rule.APIGroups[0], Resource: resource, Subresource: sub}
		if len(rule.ResourceNames) > 0 {
			review.Spec.ResourceAttributes.Name = rule.ResourceNames[0]
		}
	}
	err := wait.PollUntilContextTimeout(a.t.Context(), 20*time.Millisecond, 20*time.Second, true, func(ctx context.Context) (bool, error) {
		got, err := a.admin.AuthorizationV1().SubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
		return err == nil && got.Status.Allowed == allowed, err
	})
	if err != nil {
		a.t.Fatalf("%s %v in %q: allowed is not %v: another rule has it too? %v", verb, rule.Resources, namespace, allowed, err)
	}
}

// inProcess runs a plugin as its binary would.
func inProcess(t *testing.T, command func(*cli.Env) *cobra.Command, args ...string) (code int, out, stderr string) {
	t.Helper()
	var o, e bytes.Buffer
	env := &cli.Env{IOStreams: genericiooptions.IOStreams{In: strings.NewReader(""), Out: &o, ErrOut: &e}, Environ: os.Environ(), Name: "kubectl gitops"}
	code = cli.Run(t.Context(), command, env, args)
	return code, o.String(), e.String()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
