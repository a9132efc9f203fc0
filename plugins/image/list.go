package image

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/image"
)

// listOptions are the flags of image list.
type listOptions struct {
	readOptions
	tags bool
}

func newList(env *cli.Env, runF func(context.Context, *cobra.Command, *cli.Env, *listOptions) error) *cobra.Command {
	o := &listOptions{}
	c := &cobra.Command{
		Use:   "list [REPOSITORY…]",
		Short: "List the image repositories of a source, and what their registries have",
		Long: `List the ImageRepositories that the files of the source declare, also those that no
kustomization lists, and ask their registries for their tags. Credentials are those of
spec.secretRef where the source has that Secret, else Docker's own.

Exit codes: 0 all were listed · 1 some could not be · 2 could not start.`,
		Example: examples(env, `  # all repositories of the source
  %[1]s list

  # the tags of one, to try a policy with
  %[1]s list api --tags | %[1]s eval -f policy.yaml --tags -`),
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if err := o.complete(c, env, args); err != nil {
				return err
			}
			return runF(c.Context(), c, env, o)
		},
	}
	o.addFlags(env, c.Flags())
	c.Flags().BoolVar(&o.tags, "tags", false, "Print the tags, one a line, without those excluded.")
	return c
}

func runList(ctx context.Context, c *cobra.Command, env *cli.Env, o *listOptions) error {
	s, err := newSession(c, env, &o.Output)
	if err != nil {
		return err
	}
	defer s.ui.Close()
	t, err := s.read(ctx, &o.readOptions)
	if err != nil {
		return err
	}
	s.tell(t, &o.readOptions, "image-repository")
	repositories, err := named(s, t, t.Repositories, "ImageRepository", o.names, func(r image.Repository) image.Declared { return r.Declared })
	if err != nil {
		return err
	}
	answers, err := s.scan(ctx, &o.readOptions, t, repositories)
	if err != nil {
		return err
	}
	s.report.Repositories = []RepositoryReport{}
	rows := [][]string{{"REPOSITORY", "IMAGE", "TAGS", "LATEST BY ALPHABET"}}
	for i, r := range repositories {
		report := repositoryReport(r, answers[i])
		row := []string{t.short(r.Ref), r.Spec.Image, strconv.Itoa(report.TagCount), strings.Join(report.Latest[:min(3, len(report.Latest))], " ")}
		switch {
		case answers[i].suspended:
			row[2], row[3] = "-", "suspended"
		case len(answers[i].problems) > 0:
			s.fail(answers[i].problems)
			row[2], row[3] = "-", "failed"
		}
		if o.tags {
			for _, tag := range report.Tags {
				fmt.Fprintln(&s.text, tag)
			}
		} else {
			report.Tags = nil
		}
		rows = append(rows, row)
		s.report.Repositories = append(s.report.Repositories, report)
	}
	if !o.tags {
		if len(rows) == 1 {
			s.none(t, image.RepositoryKind)
		} else {
			s.table(rows)
		}
	}
	return s.end()
}

// repositoryReport counts as Flux does: what is excluded does not exist.
func repositoryReport(r image.Repository, a answer) RepositoryReport {
	out := RepositoryReport{Namespace: r.Namespace, Name: r.Name, File: r.File, Line: r.Line, Image: r.Spec.Image, Latest: []string{}, Suspended: a.suspended}
	out.Problems, out.Message = problemReports(a.problems)
	if len(a.problems) > 0 || a.suspended {
		return out
	}
	out.Tags = r.Included(a.tags)
	slices.Sort(out.Tags)
	out.Tags = slices.Compact(out.Tags)
	out.TagCount, out.Excluded = len(out.Tags), len(a.tags)-len(out.Tags)
	for i := len(out.Tags) - 1; i >= 0 && len(out.Latest) < 10; i-- {
		out.Latest = append(out.Latest, out.Tags[i])
	}
	return out
}
