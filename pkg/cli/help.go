package cli

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/ui"
)

// AddKubeFlags adds kubectl's own flags.
func (e *Env) AddKubeFlags(f *pflag.FlagSet) {
	e.Kube.AddFlags(f)
	f.Lookup("namespace").Usage = "Namespace of what is named without one; default " + DefaultNamespace + ", whatever the context says."
}

// addHelp makes root and all below it speak of themselves as the user typed them,
// in lines that fit the terminal, with kubectl's flags apart from their own.
func addHelp(root *cobra.Command, env *Env) {
	width := ui.Columns(env.Out, env.Getenv)
	plain := root.UsageFunc()
	root.SetUsageFunc(func(c *cobra.Command) error {
		out := c.OutOrStdout()
		var buffer bytes.Buffer
		c.SetOut(&buffer)
		err := plain(c)
		c.SetOut(out)
		text := buffer.String()
		for _, sub := range c.Commands() {
			line := fmt.Sprintf("  %-*s %s\n", sub.NamePadding(), sub.Name(), sub.Short)
			text = strings.Replace(text, line, ui.Fold(line, sub.NamePadding()+3, width), 1)
		}
		flags := strings.TrimRight(c.LocalFlags().FlagUsages(), " \n")
		fmt.Fprint(out, strings.Replace(text, "Flags:\n"+flags, flagGroups(c.LocalFlags(), width), 1))
		return err
	})
	if root.HasSubCommands() {
		helpCommand(root)
	}
	typed(root, env, width)
}

// helpCommand makes "help COMMAND" refuse what is no command.
func helpCommand(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	for _, h := range root.Commands() {
		if h.Name() == "help" {
			h.Run, h.RunE = nil, func(_ *cobra.Command, args []string) error {
				c, rest, err := root.Find(args)
				if err != nil || len(rest) > 0 {
					return Subcommand(c, rest)
				}
				c.InitDefaultHelpFlag()
				c.InitDefaultVersionFlag()
				return c.Help()
			}
		}
	}
}

func typed(c *cobra.Command, env *Env, width int) {
	c.Short, c.Long = ui.Typed(env.Name, c.Short), ui.Reflow(ui.Typed(env.Name, c.Long), width)
	for _, sub := range c.Commands() {
		typed(sub, env, width)
	}
}

// flagGroups are the usages of flags, those that kubectl has too apart.
func flagGroups(all *pflag.FlagSet, width int) string {
	kube, own, kubes := new(pflag.FlagSet), new(pflag.FlagSet), new(pflag.FlagSet)
	genericclioptions.NewConfigFlags(true).AddFlags(kube)
	all.VisitAll(func(f *pflag.Flag) {
		if of := kube.Lookup(f.Name); of != nil && of.Usage == f.Usage {
			kubes.AddFlag(f)
		} else {
			own.AddFlag(f)
		}
	})
	text := "Flags:\n" + own.FlagUsagesWrapped(width)
	if kubes.HasAvailableFlags() {
		text += "\nFlags of kubectl:\n" + kubes.FlagUsagesWrapped(width)
	}
	return strings.TrimRight(text, " \n")
}
