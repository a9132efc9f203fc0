package secret

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
)

// ran is what a command line came to.
type ran struct {
	code        int
	out, errOut string
}

// runIn runs a command line in a directory, with that as its home.
func runIn(t *testing.T, dir, stdin string, args ...string) ran {
	t.Helper()
	t.Chdir(dir)
	t.Setenv("HOME", dir)
	var out, errOut bytes.Buffer
	env := &cli.Env{
		IOStreams: genericiooptions.IOStreams{In: strings.NewReader(stdin), Out: &out, ErrOut: &errOut},
		Environ:   []string{"HOME=" + dir, "SOPS_AGE_KEY_FILE=" + filepath.Join(dir, "keys.txt")},
		Name:      "kubectl gitops secret",
		Kube:      genericclioptions.NewConfigFlags(true),
	}
	code := cli.Run(context.Background(), New, env, args)
	return ran{code, out.String(), errOut.String()}
}

func TestFlags(t *testing.T) {
	for line, says := range map[string]string{
		"encrypt":                          "which file?",
		"encrypt -i a.yaml --out b.yaml":   "exclude each other",
		"encrypt -":                        "stdin (-) stands alone and needs --out",
		"encrypt a.yaml b.yaml":            "several files are sealed with --in-place only",
		"encrypt a.yaml -o json":           "stdout has the sealed file",
		"encrypt a.yaml --out b -o wide":   "--output=wide: want one of",
		"encrypt a.yaml --nonsense":        "unknown flag: --nonsense",
		"encrypt missing.yaml":             "missing.yaml: no such file",
		"decrypt":                          "which file?",
		"decrypt a.yaml b.json":            "b.json: only YAML files",
		"decrypt a.yaml -o json":           "the answer is what the files hold",
		"decrypt --age-key-file no a.yaml": "--age-key-file no: no such file",
		"keygen x":                         "takes no argument",
		"updatekeys":                       "which files?",
		"edit":                             "want one FILE",
		"edit a b":                         "want one FILE",
		"create":                           "create what?",
		"create generic":                   "want one NAME",
		"install-key --add --remove age1x": "exclude each other",
		"install-key x":                    "takes no argument",
		"keygen --secret a/b":              "--secret is for --install",
		"git-config --uninstall x":         "--uninstall takes no PATTERN",
		"updatekeys --add-recipient x .":   "want the recipient of an age key",
		"rotate nowhere":                   "nowhere: no such file or directory",
	} {
		t.Run(line, func(t *testing.T) {
			got := runIn(t, t.TempDir(), "", strings.Fields(line)...)
			if got.code != cli.ExitUsage || got.out != "" || !strings.Contains(got.errOut, says) {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestHelpHasEveryCommand(t *testing.T) {
	c := New(&cli.Env{Name: "kubectl gitops", Kube: genericclioptions.NewConfigFlags(true)})
	for _, sub := range c.Commands() {
		if sub.Hidden {
			continue
		}
		if sub.Short == "" || sub.Long == "" || sub.Example == "" || strings.Contains(sub.Example, "%[1]s") {
			t.Errorf("%s: its help is not whole", sub.Name())
		}
	}
	doc, err := os.ReadFile("../../docs/secret.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, sub := range c.Commands() {
		if !sub.Hidden && !strings.Contains(string(doc), "kubectl gitops secret "+strings.Fields(sub.Use)[0]) {
			t.Errorf("docs/secret.md does not mention %s", sub.Name())
		}
	}
}

// The report is a promise: names, and lists that are never null.
func TestReports(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, ".git"), 0o755); err != nil {
		t.Fatal(err)
	}
	object := func(got ran) map[string]any {
		t.Helper()
		var o map[string]any
		if err := json.Unmarshal([]byte(got.out), &o); err != nil {
			t.Fatalf("%v: %+v", err, got)
		}
		if o["apiVersion"] != "kubectl-gitops.dev/v1alpha1" || o["kind"] != "SecretReport" {
			t.Errorf("got %v", o)
		}
		if strings.Contains(got.out, "null") || strings.Contains(got.out, "hunter2") || strings.Contains(got.out+got.errOut, "AGE-SECRET-KEY") {
			t.Errorf("got %s", got.out)
		}
		return o
	}
	key := object(runIn(t, dir, "", "keygen", "--out", "keys.txt", "-o", "json"))
	if r, _ := key["recipient"].(string); !strings.HasPrefix(r, "age1") {
		t.Errorf("got %v", key)
	}
	const manifest = "apiVersion: v1\nkind: Secret\nstringData: {a: hunter2}\n"
	first := func(o map[string]any) map[string]any { return o["files"].([]any)[0].(map[string]any) }
	f := first(object(runIn(t, dir, manifest, "encrypt", "-", "--out", "a.yaml", "-o", "json")))
	if f["path"] != "a.yaml" || f["action"] != "sealed" || f["sealed"] != 1.0 || f["kept"] != 0.0 {
		t.Errorf("got %v", f)
	}
	f = first(object(runIn(t, dir, "", "rotate", ".", "-o", "json")))
	if f["action"] != "rotated" || len(f["before"].([]any)) != 1 || len(f["added"].([]any)) != 0 {
		t.Errorf("got %v", f)
	}
	bad := runIn(t, dir, "a: [hunter2", "encrypt", "-", "--out", "b.yaml", "-o", "json")
	if f = first(object(bad)); f["action"] != "failed" || bad.code != cli.ExitNo {
		t.Errorf("got %v", f)
	}
	if got := runIn(t, dir, "", "decrypt", "a.yaml"); got.out != strings.Replace(manifest, "hunter2", `"hunter2"`, 1) {
		t.Errorf("got %+v", got)
	}
}

// A run is replaceable, so that flags are tested by themselves.
func TestRunIsReplaceable(t *testing.T) {
	var got *encryptOptions
	c := newEncryptCommand(&cli.Env{Environ: []string{"SOPS_AGE_RECIPIENTS=age1a,age1b"}}, func(_ context.Context, _ *cobra.Command, _ *cli.Env, o *encryptOptions) error {
		got = o
		return nil
	})
	c.SetArgs([]string{"-i", "a.yaml"})
	if err := c.Execute(); err != nil || !got.inPlace || len(got.age) != 2 || got.files[0] != "a.yaml" {
		t.Errorf("got %v, %+v", err, got)
	}
}
