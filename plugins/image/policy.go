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
	for _, d := range decisions {
		row := []string{t.short(d.policy.Ref), d.repository.Spec.Image, d.choice.Tag, d.choice.Reason}
		if len(d.problems) > 0 {
			row[2], row[3] = "-", "failed"
		}
		if row[1] == "" {
			row[1] = "-"
		}
		rows = append(rows, row)
		if o.explain {
			fmt.Fprintf(&s.text, "%s (%s)\n", printable(t.short(d.policy.Ref)), printable(at(d.policy.Declared)))
			if len(d.choice.Verdicts) > 0 {
				s.explain(d.choice)
				fmt.Fprintln(&s.text)
			}
		}
	}
	switch {
	case len(policies) == 0:
		s.warn(image.Problem{Code: "image-none", Message: "no file of the source declares an ImagePolicy of " + image.Group})
	case !o.explain:
		s.table(rows)
	}
	return s.end()
}

// decision is what one policy chose.
type decision struct {
	policy     image.Policy
	repository image.Repository // the one that it means, empty where there is none
	choice     image.Choice     // its Tag is "" where nothing was chosen
	problems   []*image.Problem // why nothing was
}

// decide lets policies choose from what their registries have now, and reports
// each. What is wrong with one is told, and leaves the others' choices standing.
func (s *session) decide(ctx context.Context, o *readOptions, t *tree, policies []image.Policy, explain bool) ([]decision, error) {
	// What is wrong with a policy by itself costs no request.
	out := make([]decision, len(policies))
	index := make([]int, len(policies)) // into repositories
	var repositories []image.Repository
	byPlace := map[image.Declared]int{}
	for i, p := range policies {
		d := &out[i]
		d.policy, d.problems = p, faults(p.Check())
		r, err := t.repositoryOf(p)
		if d.problems = append(d.problems, faults(err)...); len(d.problems) > 0 {
			continue
		}
		d.repository = r
		n, ok := byPlace[r.Declared]
		if !ok {
			n = len(repositories)
			byPlace[r.Declared] = n
			repositories = append(repositories, r)
		}
		index[i] = n
	}
	answers, err := s.scan(ctx, o, t, repositories)
	if err != nil {
		return nil, err
	}
	s.report.Policies = []PolicyReport{}
	told := map[int]bool{} // repositories whose problems have been told
	for i := range out {
		d := &out[i]
		if len(d.problems) > 0 {
			s.refuse(d.policy, "", d.problems)
			s.fail(d.problems)
			continue
		}
		a := answers[index[i]]
		if d.problems = a.problems; len(d.problems) > 0 {
			s.refuse(d.policy, d.repository.Ref.String(), d.problems)
			if !told[index[i]] {
				told[index[i]] = true
				s.fail(d.problems)
			}
			continue
		}
		if reflect := d.policy.Spec.DigestReflectionPolicy; reflect != "" && reflect != "Never" {
			s.warn(image.Problem{Code: "image-digest", File: d.policy.File, Line: d.policy.Line, Object: d.policy.String(),
				Message: "spec.digestReflectionPolicy " + string(reflect) + ": the digest is not looked up yet, only the tag is"})
		}
		d.choice, d.problems = s.choose(d.policy, d.repository, a.tags, explain)
	}
	return out, nil
}

// refuse reports a policy that did not come to choose.
func (s *session) refuse(p image.Policy, repository string, problems []*image.Problem) {
	r := PolicyReport{Namespace: p.Namespace, Name: p.Name, File: p.File, Line: p.Line, Repository: repository}
	r.Problems, r.Message = problemReports(problems)
	s.report.Policies = append(s.report.Policies, r)
}
