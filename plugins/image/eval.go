package image

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/image"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
)

// evalOptions are the flags of image eval.
type evalOptions struct {
	cli.Output
	file, tags, name string
	explain          bool
}

func newEval(env *cli.Env, runF func(context.Context, *cobra.Command, *cli.Env, *evalOptions) error) *cobra.Command {
	o := &evalOptions{}
	c := &cobra.Command{
		Use:   "eval -f POLICY.yaml --tags FILE|- [POLICY]",
		Short: "Choose from a list of tags, without a registry",
		Long: `Print the tag that an ImagePolicy chooses from a list of tags, one a line. No
registry and no cluster is asked. Where the file has the policy's ImageRepository
too, its exclusionList counts; else Flux's default does.

Exit codes: 0 a tag was chosen · 1 none was · 2 the policy, the tags or the flags
cannot be used.`,
		Example: examples(env, `  # what would this policy choose?
  crane ls ghcr.io/team/api | %[1]s eval -f policy.yaml --tags -

  # and why?
  %[1]s eval -f policy.yaml --tags tags.txt --explain`),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				o.name = args[0]
			}
			switch {
			case len(args) > 1:
				return cli.Usage(c, "want one policy, and these are %d: %s", len(args), strings.Join(args, ", "))
			case o.file == "" || o.tags == "":
				return cli.Usage(c, "want a policy and tags: -f POLICY.yaml --tags FILE, - for stdin")
			case o.file == "-" && o.tags == "-":
				return cli.Usage(c, "-f - --tags -: stdin can be one of the two")
			}
			return runF(c.Context(), c, env, o)
		},
	}
	f := c.Flags()
	f.StringVarP(&o.file, "file", "f", "", "File with the ImagePolicy; - is stdin.")
	f.StringVar(&o.tags, "tags", "", "File with the tags, one a line, with the time of the image behind it where the policy orders by that; - is stdin.")
	f.BoolVar(&o.explain, "explain", false, "Tell of every tag what became of it, and why.")
	o.Output.AddFlags(f)
	return c
}

func runEval(ctx context.Context, c *cobra.Command, env *cli.Env, o *evalOptions) error {
	data, err := readInput(env, "-f", o.file)
	if err != nil {
		return err
	}
	objects, problems := image.Read(o.file, data)
	if len(problems) > 0 {
		return asError(problems)
	}
	p, err := pick(o, objects)
	if err != nil {
		return err
	}
	if err := p.Check(); err != nil {
		return asError(faults(err))
	}
	var repo image.Repository
	for _, r := range objects.Repositories {
		if ref := p.RepositoryRef(); r.Name == ref.Name && r.Namespace == ref.Namespace {
			if err := r.Check(); err != nil {
				return asError(faults(err))
			}
			repo = r
		}
	}
	if data, err = readInput(env, "--tags", o.tags); err != nil {
		return err
	}
	tags, dates, err := readTags(o.tags, data)
	if err != nil {
		return err
	}
	s, err := newSession(c, env, &o.Output)
	if err != nil {
		return err
	}
	d := decision{policy: p, repository: repo, tags: tags}
	if err := s.evalFacts(ctx, &d, dates); err != nil {
		return err
	}
	if d.open() {
		d.choose()
	}
	s.tellDecision(d, image.Written{}, o.explain)
	switch {
	case o.explain:
		s.explain(d.choice)
	case len(d.problems) == 0:
		fmt.Fprintln(&s.text, d.choice.Tag)
	}
	return s.end()
}

// evalFacts has the dates of a list of tags, and fetches commits from where the
// policy says: that is no registry, either.
func (s *session) evalFacts(ctx context.Context, d *decision, dates map[string]time.Time) error {
	own, err := d.policy.Own()
	switch {
	case err != nil:
		return nil // choose will say so
	case own.By == image.ByCreated && len(dates) == 0:
		return fault{&image.Problem{Code: "image-order", File: d.policy.File, Line: d.policy.Line, Object: d.policy.String(),
			Message: "orders by the time at which images were built, and the list of tags has no times", Hint: "write them behind the tags: v1.0.0 2026-03-02T08:00:00Z"}}
	case own.By == image.ByCreated:
		d.facts = given(dates)
		return nil
	}
	all := []decision{*d}
	err = s.facts(ctx, &cli.Source{}, &tree{}, all)
	*d = all[0]
	return err
}

// pick is the policy that is meant.
func pick(o *evalOptions, objects image.Objects) (image.Policy, error) {
	var names []string
	for _, p := range objects.Policies {
		if o.name == p.Name || o.name == p.Ref.String() || o.name == "" && len(objects.Policies) == 1 {
			return p, nil
		}
		names = append(names, p.Name)
	}
	problem := &image.Problem{Code: "image-policy", File: o.file}
	switch {
	case len(names) == 0:
		problem.Message = "there is no ImagePolicy of " + image.Group + " in it"
	case o.name == "":
		problem.Message = fmt.Sprintf("there are %d ImagePolicies in it: %s", len(names), strings.Join(names, ", "))
		problem.Hint = "name one behind the flags: " + names[0]
	default:
		problem.Message = fmt.Sprintf("there is no ImagePolicy %s in it, but %s", o.name, strings.Join(names, ", "))
	}
	return image.Policy{}, fault{problem}
}

func readInput(env *cli.Env, flag, name string) ([]byte, error) {
	if name == "-" {
		data, err := io.ReadAll(env.In)
		if err != nil {
			return nil, fmt.Errorf("%s -: %w", flag, err)
		}
		return data, nil
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	return data, nil
}

// readTags reads one tag a line, and what may stand behind it: the time at which
// its image was built. Blank lines do not count. What no registry can have is
// refused: a list of something else would have a choice, too.
func readTags(file string, data []byte) (tags []string, dates map[string]time.Time, err error) {
	n := 0
	for line := range bytes.Lines(data) {
		n++
		tag, date, _ := strings.Cut(string(bytes.TrimSpace(line)), " ")
		if tag == "" {
			continue
		}
		wrong := func(what, hint string) error {
			return fault{&image.Problem{Code: "image-tag", File: file, Line: n, Message: what, Hint: hint}}
		}
		if !image.ValidTag(tag) {
			return nil, nil, wrong(fmt.Sprintf("%q is not a tag", shorten(string(bytes.TrimSpace(line)))), "want one tag a line, without the image's name, as in: crane ls IMAGE")
		}
		if date = strings.TrimSpace(date); date != "" {
			at, err := time.Parse(time.RFC3339Nano, date)
			if err != nil {
				return nil, nil, wrong(fmt.Sprintf("%q behind the tag is not a time", shorten(date)), "want one tag a line, and behind it nothing or a time: v1.0.0 2026-03-02T08:00:00Z")
			}
			if dates == nil {
				dates = map[string]time.Time{}
			}
			dates[tag] = at.UTC()
		}
		tags = append(tags, tag)
	}
	return tags, dates, nil
}

func shorten(s string) string {
	if len(s) > 60 {
		return s[:60] + "…"
	}
	return s
}

// at is "file:line" of an object.
func at(d image.Declared) string { return object.Where(d.File, d.Line) }
