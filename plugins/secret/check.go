package secret

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing/format/gitignore"
	"github.com/go-git/go-git/v5/plumbing/format/index"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/secret"
)

// checkOptions are the flags of check.
type checkOptions struct {
	cli.Output
	paths      []string
	skip       []string
	ageKeyFile string
}

// CheckReport is what check -o json prints.
type CheckReport struct {
	Report
	Files    int              `json:"files"` // that were looked at
	Findings []secret.Finding `json:"findings"`
}

func newCheck(env *cli.Env) *cobra.Command { return newCheckCommand(env, check) }

func newCheckCommand(env *cli.Env, runF func(context.Context, *cobra.Command, *cli.Env, *checkOptions) error) *cobra.Command {
	o := &checkOptions{}
	c := &cobra.Command{
		Use:   "check [PATH…]",
		Short: "Find secrets in clear, and sealed files that are not as they should be",
		Long: `Look through files and directories, by default the current one, for Secrets and
private keys in clear, and for sealed files that are damaged, edited, sealed too
widely, or sealed to others than the rules of .sops.yaml name. What it finds is
named by file and line, and never printed. Files that Git ignores are left out.

With a private key at hand it also checks that each file opens and was not edited
after it was sealed.

Exit codes: 0 nothing found · 1 findings · 2 could not or would not start.`,
		Example: examples(env, `  # in CI
  %[1]s check .`),
		RunE: func(c *cobra.Command, args []string) error {
			if o.paths = args; len(args) == 0 {
				o.paths = []string{"."}
			}
			for _, rule := range o.skip {
				if !slices.Contains(secret.CheckRules, rule) {
					return cli.Usage(c, "--skip %s: want of %s", rule, strings.Join(secret.CheckRules, ", "))
				}
			}
			return runF(c.Context(), c, env, o)
		},
	}
	f := c.Flags()
	o.Output.AddFlags(f)
	f.StringSliceVar(&o.skip, "skip", nil, "Rules to leave out, as findings name them.")
	f.StringVar(&o.ageKeyFile, "age-key-file", "", "Age identities to open with, besides those that sops finds.")
	return c
}

func check(ctx context.Context, c *cobra.Command, env *cli.Env, o *checkOptions) error {
	r, err := begin(c, env, &o.Output)
	if err != nil {
		return err
	}
	defer r.u.Close()
	keys, err := secret.Find(secret.FindOptions{KeyFile: o.ageKeyFile, Getenv: env.Getenv})
	if err != nil {
		return err
	}
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	files, err := filesOfGit(o.paths)
	if err != nil {
		return err
	}
	rules := secret.Rules{Dir: dir, Config: env.Getenv("SOPS_CONFIG")}
	found := make([][]secret.Finding, len(files))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, path := range files {
		g.Go(func() error {
			if gctx.Err() != nil {
				return gctx.Err()
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			found[i] = keys.Check(path, path, data, rules)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	report := CheckReport{Files: len(files), Findings: []secret.Finding{}}
	for _, f := range slices.Concat(found...) {
		if !slices.Contains(o.skip, f.Rule) {
			report.Findings = append(report.Findings, f)
		}
	}
	if !keys.Holds() {
		r.warn("no-key-at-hand", "", "no private key is at hand: whether sealed files open, and were edited, was not checked", "--age-key-file FILE")
	}
	report.Report = *r.report
	if err := o.tell(r, report); err != nil {
		return err
	}
	if len(report.Findings) > 0 {
		return cli.Exit{Code: cli.ExitNo}
	}
	return nil
}

func (o *checkOptions) tell(r *run, report CheckReport) error {
	if !r.text {
		return r.u.Object(report)
	}
	for _, f := range report.Findings {
		at := f.File
		if f.Line > 0 {
			at = fmt.Sprintf("%s:%d", at, f.Line)
		}
		if _, err := fmt.Fprintf(r.env.Out, "%s: %s: %s\n  fix: %s\n", at, f.Rule, f.Message, f.Fix); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(r.env.ErrOut, "%s in %s\n", count(len(report.Findings), "finding"), count(report.Files, "file"))
	return err
}

// filesOfGit lists the regular files under paths, in order, without those that
// Git ignores and does not have. A file that is named itself is always taken.
func filesOfGit(paths []string) ([]string, error) {
	var out []string
	for _, root := range paths {
		info, err := os.Stat(root)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%s: no such file or directory", root)
		}
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			if _, err := secret.Real(root); err != nil {
				return nil, err
			}
			out = append(out, root)
			continue
		}
		ignored, err := ignoredBy(root)
		if err != nil {
			return nil, err
		}
		err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.Name() == ".git":
				if d.IsDir() {
					return fs.SkipDir
				}
				return nil
			case d.Type().IsRegular() && !ignored(path):
				out = append(out, path)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// ignoredBy tells of files under a directory whether its repository ignores them.
// What is tracked is not ignored, whatever .gitignore says.
func ignoredBy(dir string) (func(path string) bool, error) {
	repository := secret.Repository(dir)
	if repository == "" {
		return func(string) bool { return false }, nil
	}
	patterns, err := gitignore.ReadPatterns(osfs.New(repository), nil)
	if err != nil {
		return nil, fmt.Errorf("%s: its .gitignore cannot be read: %w", repository, err)
	}
	matcher := gitignore.NewMatcher(patterns)
	tracked, err := trackedIn(repository)
	if err != nil {
		return nil, err
	}
	return func(path string) bool {
		abs, err := filepath.Abs(path)
		if err != nil {
			return false
		}
		rel, err := filepath.Rel(repository, abs)
		if err != nil || tracked[filepath.ToSlash(rel)] {
			return false
		}
		return matcher.Match(strings.Split(filepath.ToSlash(rel), "/"), false)
	}, nil
}

// trackedIn lists what the index of a repository, or of a linked worktree, has.
func trackedIn(repository string) (map[string]bool, error) {
	dir := filepath.Join(repository, ".git")
	if link, err := os.ReadFile(dir); err == nil {
		dir = strings.TrimSpace(strings.TrimPrefix(string(link), "gitdir:"))
		if !filepath.IsAbs(dir) {
			dir = filepath.Join(repository, dir)
		}
	}
	out := make(map[string]bool)
	f, err := os.Open(filepath.Join(dir, "index"))
	if errors.Is(err, fs.ErrNotExist) {
		return out, nil // nothing was added yet
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var idx index.Index
	if err := index.NewDecoder(f).Decode(&idx); err != nil {
		return nil, fmt.Errorf("%s: its index cannot be read: %w", repository, err)
	}
	for _, e := range idx.Entries {
		out[e.Name] = true
	}
	return out, nil
}
