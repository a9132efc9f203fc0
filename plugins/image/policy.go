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
	// What is wrong with a policy by itself costs no request.
	wrong := make([][]*image.Problem, len(policies))
	index := make([]int, len(policies)) // into repositories
	var repositories []image.Repository
	byPlace := map[image.Declared]int{}
	for i, p := range policies {
		wrong[i] = faults(p.Check())
		r, err := t.repositoryOf(p)
		wrong[i] = append(wrong[i], faults(err)...)
		if len(wrong[i]) > 0 {
			continue
		}
		n, ok := byPlace[r.Declared]
		if !ok {
			n = len(repositories)
			byPlace[r.Declared] = n
			repositories = append(repositories, r)
		}
		index[i] = n
	}
	answers, err := s.scan(ctx, &o.readOptions, t, repositories)
	if err != nil {
		return err
	}
	s.report.Policies = []PolicyReport{}
	rows := [][]string{{"POLICY", "IMAGE", "TAG", "WHY"}}
	told := map[int]bool{} // repositories whose problems have been told
	for i, p := range policies {
		if o.explain {
			fmt.Fprintf(&s.text, "%s (%s)\n", printable(t.short(p.Ref)), printable(at(p.Declared)))
		}
		if len(wrong[i]) > 0 {
			rows = append(rows, []string{t.short(p.Ref), "-", "-", "failed"})
			s.refuse(p, "", wrong[i])
			s.fail(wrong[i])
			continue
		}
		r, a := repositories[index[i]], answers[index[i]]
		if len(a.problems) > 0 {
			rows = append(rows, []string{t.short(p.Ref), r.Spec.Image, "-", "failed"})
			s.refuse(p, r.Ref.String(), a.problems)
			if !told[index[i]] {
				told[index[i]] = true
				s.fail(a.problems)
			}
			continue
		}
		if reflect := p.Spec.DigestReflectionPolicy; reflect != "" && reflect != "Never" {
			s.warn(image.Problem{Code: "image-digest", File: p.File, Line: p.Line, Object: p.String(),
				Message: "spec.digestReflectionPolicy " + string(reflect) + ": the digest is not looked up yet, only the tag is"})
		}
		choice, ok := s.choose(p, r, a.tags, o.explain)
		row := []string{t.short(p.Ref), r.Spec.Image, choice.Tag, choice.Reason}
		if !ok {
			row[2], row[3] = "-", "failed"
		}
		rows = append(rows, row)
		if o.explain {
			fmt.Fprintln(&s.text)
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

// refuse reports a policy that did not come to choose.
func (s *session) refuse(p image.Policy, repository string, problems []*image.Problem) {
	r := PolicyReport{Namespace: p.Namespace, Name: p.Name, File: p.File, Line: p.Line, Repository: repository}
	r.Problems, r.Message = problemReports(problems)
	s.report.Policies = append(s.report.Policies, r)
}
