package plugins

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// needCluster is what a test says that was started without a devcluster.
const needCluster = "no devcluster: run this with make test, or as\n\tbin/devcluster up -- go test ./plugins/"

// TestScripts runs every script in testdata/script through a real kubectl on
// the devcluster. A script whose name is X has the namespaces X and X-… to
// itself; one that needs a cluster of its own says so: cluster.
func TestScripts(t *testing.T) {
	if os.Getenv("DEVCLUSTER") == "" {
		t.Fatal(needCluster)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "../testdata/script",
		Setup:               setup,
		RequireUniqueNames:  true,
		RequireExplicitExec: true,
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"cluster":        startCluster,
			"code":           code,
			"state":          state,
			"subst":          subst,
			"seal":           seal,
			"objects":        objects,
			"lease":          lease,
			"holder":         holder,
			"playflux":       playFlux,
			"fluxcrds":       fluxCRDs,
			"established":    established,
			"until":          until,
			"webhook":        webhook,
			"gitserver":      gitServer(t),
			"artifactserver": artifactServer,
			"pushartifact":   pushArtifact,
			"released":       released,
			"notarize":       notarize,
			"signingkey":     signingKey,
			"bucketserver":   bucketServer,
			"putobjects":     putObjects,
			"serveartifact":  serveArtifact,
		},
	})
}

func setup(env *testscript.Env) error {
	home := filepath.Join(env.WorkDir, ".home")
	root, err := filepath.Abs("..")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(home, 0o700); err != nil {
		return err
	}
	for k, v := range map[string]string{
		"HOME": home, "ROOT": root, "ALLPATH": os.Getenv("PATH"), "KUBECONFIG": os.Getenv("KUBECONFIG"), "DEVCLUSTER": os.Getenv("DEVCLUSTER"), "PATH": os.Getenv("PATH"),
		"GIT_CONFIG_NOSYSTEM": "1", "GIT_AUTHOR_NAME": "Ada", "GIT_AUTHOR_EMAIL": "ada@example.com",
		"GIT_COMMITTER_NAME": "Ada", "GIT_COMMITTER_EMAIL": "ada@example.com",
		"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "init.defaultBranch", "GIT_CONFIG_VALUE_0": "main",
		"LC_ALL": "C.UTF-8", "NO_COLOR": "1",
	} {
		env.Setenv(k, v)
	}
	return nil
}

// startCluster gives the script a cluster of its own: cluster [all|apiserver].
func startCluster(ts *testscript.TestScript, neg bool, args []string) {
	components := "apiserver"
	if len(args) > 0 {
		components = args[0]
	}
	dir := ts.MkAbs(".cluster")
	command := exec.Command("devcluster", "up", "--dir", dir, "--components", components)
	if out, err := command.CombinedOutput(); err != nil {
		ts.Fatalf("devcluster up: %v\n%s", err, out)
	}
	ts.Defer(func() {
		if out, err := exec.Command("devcluster", "down", "--dir", dir).CombinedOutput(); err != nil {
			ts.Logf("devcluster down: %v\n%s", err, out)
		}
	})
	ts.Setenv("DEVCLUSTER", dir)
	ts.Setenv("KUBECONFIG", filepath.Join(dir, "kubeconfig"))
}

// code runs a command and wants its exit code: code 2 kubectl gitops sync.
func code(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N COMMAND ARG…")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := 0
	if err != nil {
		m := regexp.MustCompile(`exit status (\d+)`).FindStringSubmatch(err.Error())
		if m == nil {
			ts.Fatalf("%s: %v", args[1], err)
		}
		_, _ = fmt.Sscan(m[1], &got)
	}
	if fmt.Sprint(got) != args[0] {
		ts.Fatalf("exit code %d, want %s", got, args[0])
	}
}

// state writes the resourceVersions of all objects of a namespace, and of its
// own, to a file: state NAMESPACE FILE. Two that are equal prove that nothing
// was written in between. Kinds that controllers write by themselves are left out.
func state(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: state NAMESPACE FILE")
	}
	kinds := "configmaps,secrets,services,deployments.apps,serviceaccounts,roles,ingresses"
	if ts.Exec("kubectl", "get", "kustomizations.kustomize.toolkit.fluxcd.io", "-n", args[0]) == nil {
		kinds += ",kustomizations.kustomize.toolkit.fluxcd.io,gitrepositories.source.toolkit.fluxcd.io"
	}
	// What each namespace gets comes when its controllers get round to it.
	own := "--field-selector=metadata.name!=kube-root-ca.crt,metadata.name!=default"
	format := `-o=jsonpath={range .items[*]}{.kind}/{.metadata.name} {.metadata.generation} {.metadata.managedFields[?(@.manager=="kustomize-controller")].time}{"\n"}{end}`
	ts.Check(ts.Exec("kubectl", "get", kinds, "-n", args[0], own, "--show-managed-fields", format))
	written := ts.ReadFile("stdout")
	// A Deployment's status is its controller's: all else must not move at all.
	ts.Check(ts.Exec("kubectl", "get", strings.ReplaceAll(kinds, "deployments.apps,", ""), "-n", args[0], own,
		`-o=jsonpath={range .items[*]}{.kind}/{.metadata.name} {.metadata.resourceVersion}{"\n"}{end}`))
	written += ts.ReadFile("stdout")
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(written), 0o600))
}

// subst replaces text in files: subst OLD NEW FILE….
func subst(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 3 {
		ts.Fatalf("usage: subst OLD NEW FILE…")
	}
	for _, f := range args[2:] {
		data := ts.ReadFile(f)
		if !strings.Contains(data, args[0]) {
			ts.Fatalf("%s: no %q", f, args[0])
		}
		ts.Check(os.WriteFile(ts.MkAbs(f), []byte(strings.ReplaceAll(data, args[0], args[1])), 0o600))
	}
}

// fluxCRDs writes the CustomResourceDefinitions of the real controllers, in the
// versions whose API go.mod has, to a folder: fluxcrds DIR [CONTROLLER…]; those of
// kustomize-controller and source-controller where none is named.
func fluxCRDs(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) == 0 {
		ts.Fatalf("usage: fluxcrds DIR [CONTROLLER…]")
	}
	files, err := fluxCRDFiles(args[1:]...)
	ts.Check(err)
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o755))
	for _, f := range files {
		data, err := os.ReadFile(f)
		ts.Check(err)
		ts.Check(os.WriteFile(filepath.Join(dir, filepath.Base(f)), data, 0o600))
	}
}

// fluxCRDFiles are the CustomResourceDefinitions of fluxCRDs, in the module cache.
func fluxCRDFiles(controllers ...string) ([]string, error) {
	if len(controllers) == 0 {
		controllers = []string{"kustomize-controller", "source-controller"}
	}
	var files []string
	for _, controller := range controllers {
		list := exec.Command("go", "list", "-m", "-f", "{{.Version}}", "github.com/fluxcd/"+controller+"/api")
		version, err := list.Output()
		if err != nil {
			return nil, fmt.Errorf("%v: %w", list, err)
		}
		download := exec.Command("go", "mod", "download", "-json", "github.com/fluxcd/"+controller+"@"+strings.TrimSpace(string(version)))
		download.Dir = os.TempDir() // outside of this module: its go.mod does not name the controllers
		out, err := download.Output()
		if err != nil {
			return nil, fmt.Errorf("%v: %w\n%s", download, err, out)
		}
		var module struct{ Dir string }
		if err := json.Unmarshal(out, &module); err != nil {
			return nil, err
		}
		found, err := filepath.Glob(filepath.Join(module.Dir, "config/crd/bases/*.yaml"))
		if err != nil || len(found) == 0 {
			return nil, fmt.Errorf("no CRDs in %s: %w", module.Dir, err)
		}
		files = append(files, found...)
	}
	return files, nil
}

// established waits until the server serves CustomResourceDefinitions, all that it
// has where none is named: established [NAME…]. kubectl wait gives up on one that
// was made just now, and has no conditions yet.
func established(ts *testscript.TestScript, neg bool, args []string) {
	var crds struct {
		Items []struct {
			Metadata struct{ Name string }
			Status   struct {
				Conditions []struct{ Type, Status string }
			}
		}
	}
	waits := func() (waits []string) {
		list := exec.Command("kubectl", "--kubeconfig", ts.Getenv("KUBECONFIG"), "get", "customresourcedefinitions", "-o", "json")
		out, err := list.Output()
		ts.Check(err)
		crds.Items = nil
		ts.Check(json.Unmarshal(out, &crds))
		found := map[string]bool{}
		for _, crd := range crds.Items {
			found[crd.Metadata.Name] = slices.Contains(crd.Status.Conditions, struct{ Type, Status string }{"Established", "True"})
		}
		names := args
		if len(names) == 0 {
			names = slices.Sorted(maps.Keys(found))
		}
		return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return found[name] })
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		left := waits()
		if len(left) == 0 {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("not established: %s", strings.Join(left, ", "))
		}
	}
}

// until waits for what others do in their own time: it runs a command until that
// succeeds: until COMMAND ARG….
func until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: until COMMAND ARG…")
	}
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		err := ts.Exec(args[0], args[1:]...)
		if err == nil {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("%s: %v", strings.Join(args, " "), err)
		}
	}
}

// lease is what a live controller keeps doing: lease NAMESPACE NAME.
func lease(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: lease NAMESPACE NAME")
	}
	file := ts.MkAbs(".lease.yaml")
	text := fmt.Sprintf("apiVersion: coordination.k8s.io/v1\nkind: Lease\nmetadata: {namespace: %s, name: %s}\n"+
		"spec: {holderIdentity: controller, leaseDurationSeconds: 600, renewTime: %q}\n", args[0], args[1], time.Now().UTC().Format("2006-01-02T15:04:05.000000Z"))
	ts.Check(os.WriteFile(file, []byte(text), 0o600))
	ts.Check(ts.Exec("kubectl", "apply", "-f", file))
}

// seal encrypts a manifest with the real sops: seal [--all] RECIPIENTFILE IN OUT.
// --all seals apiVersion, kind and metadata too.
func seal(ts *testscript.TestScript, neg bool, args []string) {
	flags := []string{"encrypt", "--encrypted-regex", "^(data|stringData)$"}
	if len(args) > 0 && args[0] == "--all" {
		flags, args = []string{"encrypt"}, args[1:]
	}
	if len(args) != 3 {
		ts.Fatalf("usage: seal [--all] RECIPIENTFILE IN OUT")
	}
	out := ts.MkAbs(args[2])
	ts.Check(os.MkdirAll(filepath.Dir(out), 0o755))
	recipient := strings.TrimSpace(ts.ReadFile(args[0]))
	ts.Check(ts.Exec("sops", append(flags, "--age", recipient, "--output", out, ts.MkAbs(args[1]))...))
}

// objects writes ConfigMaps o1 to oN: objects NAMESPACE N DIR.
func objects(ts *testscript.TestScript, neg bool, args []string) {
	n := 0
	if len(args) == 3 {
		_, _ = fmt.Sscan(args[1], &n)
	}
	if n == 0 {
		ts.Fatalf("usage: objects NAMESPACE N DIR")
	}
	dir := ts.MkAbs(args[2])
	ts.Check(os.MkdirAll(dir, 0o755))
	for i := 1; i <= n; i++ {
		text := fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: o%d, namespace: %s}\ndata: {n: \"%d\"}\n", i, args[0], i)
		ts.Check(os.WriteFile(filepath.Join(dir, fmt.Sprintf("o%d.yaml", i)), []byte(text), 0o600))
	}
}
