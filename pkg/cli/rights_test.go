package cli

import (
	"testing"

	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericclioptions"
)

// What prints the rights for a command is told with the flags that it was typed
// with, as far as they count there: not who asked, and no password of a URL.
func TestRightsCommand(t *testing.T) {
	command := func(readOnly bool, path string, args ...string) string {
		t.Helper()
		p := &Plan{}
		f := pflag.NewFlagSet("sync", pflag.ContinueOnError)
		p.AddFlags(f, &Env{Kube: genericclioptions.NewConfigFlags(true)})
		if err := f.Parse(args); err != nil {
			t.Fatal(err)
		}
		p.tellRights, p.readOnly = true, readOnly
		return p.rightsCommand(path)
	}
	for _, c := range []struct{ got, want string }{
		{command(false, ""), "kubectl gitops rbac"},
		{command(false, "clusters/vps"), "kubectl gitops rbac --path clusters/vps"},
		{command(true, "it's", "--force"), `kubectl gitops rbac --read-only --path 'it'\''s'`},
		{command(false, "", "--path", "clusters/vps", "-n", "ops", "--as", "ada", "--context", "vps", "-v", "--force", "--allow", "dirty-name,two-owners", "--ref", ">=1.0",
			"--source", "https://bot:hunter2@git.example.com/gitops.git"),
			"kubectl gitops rbac --path clusters/vps --source https://git.example.com/gitops.git --ref '>=1.0' --namespace ops --allow dirty-name,two-owners --force=true"},
	} {
		if c.got != c.want {
			t.Errorf("got  %s\nwant %s", c.got, c.want)
		}
	}
	if got := (&Source{}).rightsCommand("x"); got != "" {
		t.Errorf("a command that rbac is not about: %s", got)
	}
}
