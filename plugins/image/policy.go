package image

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/image"
)

// policyOptions are the flags of image policy.
type policyOptions struct {
	readOptions
	explain bool
}

func newPolicy(env *cli.Env, runF func(context.Context, *cobra.Command, *cli.Env, *policyOptions) error) *cobra.Command {
	o := &policyOptions{}
	c := &cobra.Command{
		Use:   "policy [POLICY…]",
		Short: "Show what the image policies of a source choose, and why",
		Long: `Choose a tag for each ImagePolicy that the files of the source declare, also those
that no kustomization lists, from what their registries have now. The choice is that of
Flux's image-reflector-controller; where Flux would choose at random, it is always the
same one, with a warning.

Exit codes: 0 each policy has a tag · 1 some have none · 2 could not start.`,
		Example: examples(env, `  # what all policies choose
  %[1]s policy

  # why this one chooses what it does: every tag, and what became of it
  %[1]s policy api --explain`),
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if err := o.complete(c, env, args); err != nil {
				return err
			}
			return runF(c.Context(), c, env, o)
		},
	}
	o.addFlags(env, c.Flags())
	c.Flags().BoolVar(&o.explain, "explain", false, "Tell of every tag what became of it, and why.")
	return c
}

func runPolicy(ctx context.Context, c *cobra.Command, env *cli.Env, o *policyOptions) error {
	s, err := newSession(c, env, &o.Output)
	if err != nil {
		return err
	}
	defer s.ui.Close()
	t, err := s.read(ctx, &o.readOptions)
	if err != nil {
		return err
	}
	s.tell(t, &o.readOptions, "")
	policies, err := named(s, t, t.Policies, "ImagePolicy", o.names, func(p image.Policy) image.Declared { return p.Declared })
	if err != nil {
		return err
	}
	decisions, err := s.decide(ctx, &o.readOptions, t, policies, o.explain)
	if err != nil {
		return err
	}
	rows := [][]string{{"POLICY", "IMAGE", "TAG", "WHY"}}
	for i, d := range decisions {
		row := []string{t.short(d.policy.Ref), d.repository.Spec.Image, d.choice.Tag, d.choice.Reason}
		if d.image.Digest != "" {
			row[2] += "@" + d.image.Digest[:min(len(d.image.Digest), len("sha256:")+12)]
		}
		switch {
		case d.suspended != "":
			row[2], row[3] = "-", d.suspended
		case len(d.problems) > 0:
			row[2], row[3] = "-", "failed"
		}
		if row[1] == "" {
			row[1] = "-"
		}
		rows = append(rows, row)
		if o.explain {
			if i > 0 {
				fmt.Fprintln(&s.text)
			}
			fmt.Fprintf(&s.text, "%s (%s)\n", printable(t.short(d.policy.Ref)), printable(at(d.policy.Declared)))
			switch {
			case len(d.choice.Verdicts) > 0:
				s.explain(d.choice)
			case d.suspended != "":
				fmt.Fprintln(&s.text, d.suspended)
			case len(d.problems) > 0:
				fmt.Fprintln(&s.text, "failed: "+printable(d.problems[0].Message))
			}
		}
	}
	switch {
	case len(policies) == 0:
		s.none(t, image.PolicyKind)
	case !o.explain:
		s.table(rows)
	}
	return s.end()
}
