// Package image is kubectl gitops image: which tags policies choose, why, and how
// they get into Git.
package image

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/gitops"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/image"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/registry"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/ui"
)

// New is the command. newSync makes that of kubectl gitops sync, for update --sync:
// plugins do not know each other.
func New(env *cli.Env, newSync func(*cli.Env) *cobra.Command) *cobra.Command {
	c := &cobra.Command{
		Use:   "image",
		Short: "Tell which image tags policies choose, and why; write them into Git",
		Long: `Read Flux's ImageRepositories, ImagePolicies and ImageUpdateAutomations from a
repository, list the tags of registries, choose and commit as Flux's controllers do. No
cluster and no controller is needed.`,
		Args: cli.Subcommand,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newList(env, runList), newPolicy(env, runPolicy), newEval(env, runEval), newUpdate(env, newSync, runUpdate))
	return c
}

// examples puts the command as the user types it into the examples: the
// umbrella's name has still to get the verb.
func examples(env *cli.Env, text string) string {
	name := env.Name
	if !strings.HasSuffix(name, "image") {
		name += " image"
	}
	return strings.ReplaceAll(text, "%[1]s", name)
}

// fault is a Problem as an error that the terminal knows how to show.
type fault struct{ *image.Problem }

func (f fault) Hint() string { return f.Problem.Hint }
func (f fault) File() string { return f.Problem.File }
func (f fault) Line() int    { return f.Problem.Line }

// faults takes an error of package image apart into its problems.
func faults(err error) []*image.Problem {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var out []*image.Problem
		for _, e := range joined.Unwrap() {
			out = append(out, faults(e)...)
		}
		return out
	}
	if p := (*image.Problem)(nil); errors.As(err, &p) {
		return []*image.Problem{p}
	}
	return []*image.Problem{{Code: "image", Message: err.Error()}}
}

// asError joins problems into one error, a line each.
func asError(problems []*image.Problem) error {
	var all []error
	for _, p := range problems {
		all = append(all, fault{p})
	}
	return errors.Join(all...)
}

// session is a command under way: what it says, and what it has found.
type session struct {
	ui       *ui.UI
	env      *cli.Env
	report   Report
	text     bytes.Buffer // the answer for people
	failed   bool
	asObject bool
	where    string // the revision of the source, or the cluster

	registries registry.Client
}

func newSession(c *cobra.Command, env *cli.Env, o *cli.Output) (*session, error) {
	u, err := o.UI(c, env, false)
	if err != nil {
		return nil, err
	}
	return &session{ui: u, env: env, report: newReport(), asObject: o.Format != "text", registries: registry.Client{UserAgent: cli.UserAgent()}}, nil
}

// warn tells a warning once, on stderr and in the report.
func (s *session) warn(warnings ...image.Problem) {
	for _, p := range warnings {
		w := gitops.Warning{Code: p.Code, File: p.File, Line: p.Line, Object: p.Object, Message: p.Message, Hint: p.Hint}
		s.report.Warnings = append(s.report.Warnings, w)
		s.ui.Sink()(gitops.Event{Type: gitops.WarningFound, Warning: w})
	}
}

// fail tells what is wrong on stderr; the exit code will be 1.
func (s *session) fail(problems []*image.Problem) {
	s.failed = true
	s.ui.Error(asError(problems))
}

// end writes the answer to stdout and gives the exit code.
func (s *session) end() error {
	defer s.ui.Close()
	if s.asObject {
		if err := s.ui.Object(s.report); err != nil {
			return err
		}
	} else if _, err := s.env.Out.Write(s.text.Bytes()); err != nil && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, io.ErrClosedPipe) {
		return fmt.Errorf("stdout: %w", err)
	}
	if s.failed {
		return cli.Exit{Code: cli.ExitNo}
	}
	return nil
}

// table writes rows in columns.
func (s *session) table(rows [][]string) {
	w := tabwriter.NewWriter(&s.text, 0, 0, 3, ' ', 0)
	for _, row := range rows {
		for i, cell := range row {
			row[i] = printable(cell)
		}
		fmt.Fprintln(w, strings.TrimRight(strings.Join(row, "\t"), "\t"))
	}
	_ = w.Flush() // into memory
}

// printable keeps what came from files and registries from moving the cursor.
func printable(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0 {
		return s
	}
	quoted := strconv.QuoteToGraphic(s)
	return quoted[1 : len(quoted)-1]
}

// explain is every tag with what became of it.
func (s *session) explain(c image.Choice) {
	rows := [][]string{{"RANK", "TAG", "WHY"}}
	for _, v := range c.Verdicts {
		rank := "-"
		if v.Rank > 0 {
			rank = strconv.Itoa(v.Rank)
		}
		rows = append(rows, []string{rank, v.Tag, v.Reason()})
	}
	s.table(rows)
}
