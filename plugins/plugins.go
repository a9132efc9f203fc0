// Package plugins is the one list of plugins. A test holds cmd/ and the README
// to it.
package plugins

import (
	"github.com/spf13/cobra"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
	"github.com/kubectl-gitops/kubectl-gitops/plugins/build"
	"github.com/kubectl-gitops/kubectl-gitops/plugins/diff"
	"github.com/kubectl-gitops/kubectl-gitops/plugins/image"
	"github.com/kubectl-gitops/kubectl-gitops/plugins/rbac"
	"github.com/kubectl-gitops/kubectl-gitops/plugins/secret"
	"github.com/kubectl-gitops/kubectl-gitops/plugins/status"
	"github.com/kubectl-gitops/kubectl-gitops/plugins/suspend"
	"github.com/kubectl-gitops/kubectl-gitops/plugins/sync"
)

// Plugin is a command that is a binary of its own and a subcommand of the
// umbrella.
type Plugin struct {
	Verb string
	New  func(*cli.Env) *cobra.Command
}

// All are the plugins, in the order of the umbrella's help.
var All = []Plugin{
	{"sync", sync.New},
	{"diff", diff.New},
	{"build", build.New},
	{"status", status.New},
	{"suspend", suspend.New},
	{"resume", suspend.NewResume},
	{"secret", secret.New},
	{"image", func(env *cli.Env) *cobra.Command { return image.New(env, sync.New) }},
	{"rbac", rbac.New},
}

// Umbrella is kubectl-gitops: every plugin as a subcommand.
func Umbrella(env *cli.Env) *cobra.Command {
	c := &cobra.Command{
		Use:   "kubectl-gitops",
		Short: "Make a Kubernetes cluster and a Git repository agree, now",
		Long: `Make a Kubernetes cluster and a Git repository agree, now, without installing
anything in the cluster. Reads the repositories that Flux reads, and leaves the
cluster as Flux would.`,
		Version: cli.Version,
		Args:    cli.Subcommand,
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	for _, p := range All {
		plugin := p.New(env)
		plugin.Version = cli.Version // as the binary of its own has it
		c.AddCommand(plugin)
	}
	c.AddCommand(versionCommand(env), pluginsCommand(env))
	completionCommand(c, env)
	return c
}
