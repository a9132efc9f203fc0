package secret

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/secret"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/source"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/ui"
)

// checkOptions are the flags of check.
type checkOptions struct {
	cli.Output
	paths      []string
	skip       []string
	history    bool
	fix        bool
	ageKeyFile string
}

// CheckReport is what check -o json prints.
type CheckReport struct {
	Report
	Files    int              `json:"files"` // that were looked at
	History  *HistoryReport   `json:"history,omitempty"`
	Fixed    []Fixed          `json:"fixed"`
	Findings []secret.Finding `json:"findings"`
}

// HistoryReport is what of the Git history was looked at.
type HistoryReport struct {
	Commits  int `json:"commits"`
	Contents int `json:"contents"`
}

// Fixed is a file that --fix wrote, and what it did.
type Fixed struct {
	File string   `json:"file"`
	Done []string `json:"done"`
}

func newCheck(env *cli.Env) *cobra.Command { return newCheckCommand(env, check) }

func newCheckCommand(env *cli.Env, runF func(context.Context, *cobra.Command, *cli.Env, *checkOptions) error) *cobra.Command {
	o := &checkOptions{}
	c := &cobra.Command{
		Use:   "check [PATH…]",
		Short: "Find secrets in clear, and sealed files that are not as they should be",
		Long: `Look through files and directories, by default the current one, for Secrets,
passwords, tokens and private keys in clear; for sealed files that are damaged,
edited, sealed too widely, sealed to others than the rules of .sops.yaml name, or
applied by no Kustomization that decrypts; and for rules that are for no file. What
it finds is named by file and line, and never printed. Files that Git ignores are
left out.

With a private key at hand it also checks that each file opens and was not edited
after it was sealed, and that no sealed value stands in clear elsewhere.

Exit codes: 0 nothing found · 1 findings · 2 could not or would not start.`,
		Example: examples(env, `  # in CI
  %[1]s check --history .

  # seal again what is sealed too widely
  %[1]s check --fix .`),
		RunE: func(c *cobra.Command, args []string) error {
			if o.paths = args; len(args) == 0 {
				o.paths = []string{"."}
			}
			for _, rule := range o.skip {
				if err := cli.OneOf(c, "skip", rule); err != nil {
					return err
				}
			}
			return runF(c.Context(), c, env, o)
		},
	}
	f := c.Flags()
	o.Output.AddFlags(f)
	f.StringSliceVar(&o.skip, "skip", nil, "Rules to leave out, as findings name them.")
	cli.Choices(f, "skip", secret.CheckRules...)
	f.BoolVar(&o.history, "history", false, "Look for secrets in clear in the Git history too: every commit that a branch, a tag or HEAD reaches.")
	f.BoolVar(&o.fix, "fix", false, "Seal again what is sealed too widely, and take out what a server made; all files or none.")
	f.StringVar(&o.ageKeyFile, "age-key-file", "", "Age identities to open with, besides those that sops finds.")
	return c
}

func check(ctx context.Context, c *cobra.Command, env *cli.Env, o *checkOptions) error {
	r, err := begin(c, env, &o.Output)
	if err != nil {
		return err
	}
	defer r.u.Close()
	defer seldomCollect()()
	keys, err := secret.Find(secret.FindOptions{KeyFile: o.ageKeyFile, Getenv: env.Getenv})
	if err != nil {
		return err
	}
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	trees, err := treesOf(ctx, env, dir, o.paths)
	if err != nil {
		return err
	}
	report := CheckReport{Fixed: []Fixed{}, Findings: []secret.Finding{}}
	for _, t := range trees {
		k := &checker{o: o, keys: keys, rules: secret.Rules{Dir: dir, Config: env.Getenv("SOPS_CONFIG")}, tree: t}
		if o.fix {
			if err := k.fix(ctx, r, &report); err != nil {
				return err
			}
		}
		if err := k.run(ctx, r, env, &report); err != nil {
			return err
		}
	}
	report.Findings = slices.DeleteFunc(report.Findings, func(f secret.Finding) bool { return slices.Contains(o.skip, f.Rule) })
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

// checkTree is a repository, or a directory outside of any, and what of it is
// checked. All of it is looked at, since what is used where can be told by all of it
// only.
type checkTree struct {
	root string // absolute
	// files are all of it, below root; chosen those that the command line names.
	files  []string
	chosen map[string]bool
	cwd    string
}

// name is how a file is called: as seen from the current directory, if it lies
// below.
func (t *checkTree) name(file string) string {
	real := filepath.Join(t.root, filepath.FromSlash(file))
	if rel, err := filepath.Rel(t.cwd, real); err == nil && filepath.IsLocal(rel) {
		return filepath.ToSlash(rel)
	}
	return real
}

// treesOf sorts the paths of a command line by repository.
func treesOf(ctx context.Context, env *cli.Env, cwd string, paths []string) ([]*checkTree, error) {
	if real, err := filepath.EvalSymlinks(cwd); err == nil {
		cwd = real
	}
	var out []*checkTree
	for _, path := range paths {
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%s: no such file or directory", path)
		}
		if err != nil {
			return nil, err
		}
		named := path
		if !info.IsDir() {
			if named, err = secret.Real(path); err != nil {
				return nil, err
			}
		}
		real, err := filepath.EvalSymlinks(named)
		if err == nil {
			real, err = filepath.Abs(real)
		}
		if err != nil {
			return nil, err
		}
		dir := real
		if !info.IsDir() {
			dir = filepath.Dir(real)
		}
		root := cmp.Or(secret.Repository(dir), dir)
		at := slices.IndexFunc(out, func(t *checkTree) bool { return t.root == root })
		if at < 0 {
			files, err := source.Files(ctx, root, env.Environ)
			if err != nil {
				return nil, err
			}
			at = len(out)
			out = append(out, &checkTree{root: root, files: files, chosen: make(map[string]bool), cwd: cwd})
		}
		if err := out[at].choose(real, info.IsDir()); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// choose takes a file, whatever Git says of it, or what Git has of a directory; of
// one that is ignored as a whole everything that was named by its name is none.
func (t *checkTree) choose(real string, isDir bool) error {
	rel, err := filepath.Rel(t.root, real)
	if err != nil {
		return err
	}
	rel = filepath.ToSlash(rel)
	if !isDir {
		if t.chosen[rel] = true; !slices.Contains(t.files, rel) {
			t.files = append(t.files, rel)
		}
		return nil
	}
	for _, file := range t.files {
		if rel == "." || strings.HasPrefix(file, rel+"/") {
			t.chosen[file] = true
		}
	}
	return nil
}

// checker is the check of one tree.
type checker struct {
	o     *checkOptions
	keys  *secret.Keyring
	rules secret.Rules
	tree  *checkTree
}

func (k *checker) real(file string) string {
	return filepath.Join(k.tree.root, filepath.FromSlash(file))
}

// each does something with every file, in parallel.
func (k *checker) each(ctx context.Context, do func(i int, file string, data []byte) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, file := range k.tree.files {
		g.Go(func() error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			data, err := os.ReadFile(k.real(file))
			if errors.Is(err, fs.ErrNotExist) {
				return nil // gone since it was listed
			}
			if err != nil {
				return err
			}
			return do(i, file, data)
		})
	}
	return g.Wait()
}

func (k *checker) run(ctx context.Context, r *run, env *cli.Env, report *CheckReport) error {
	c := secret.NewChecker(k.keys, k.rules, k.tree.root)
	found := make([][]secret.Finding, len(k.tree.files))
	err := k.each(ctx, func(i int, file string, data []byte) error {
		found[i] = c.File(k.tree.name(file), k.real(file), data)
		return nil
	})
	if err != nil {
		return err
	}
	names := make(map[string]bool)
	for _, file := range k.tree.files {
		names[k.tree.name(file)] = k.tree.chosen[file]
	}
	whole, err := c.Whole(os.ReadFile)
	if err != nil {
		return err
	}
	all := slices.DeleteFunc(append(slices.Concat(found...), whole...), func(f secret.Finding) bool { return !names[f.File] })
	slices.SortStableFunc(all, func(a, b secret.Finding) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	report.Files += len(k.tree.chosen)
	report.Findings = append(report.Findings, all...)
	if !k.o.history {
		return nil
	}
	return k.past(ctx, r, env, c, report)
}

// past looks through the history. With a path only that part of it is told.
func (k *checker) past(ctx context.Context, r *run, env *cli.Env, c *secret.Checker, report *CheckReport) error {
	var prefixes []string
	for _, path := range k.o.paths {
		abs, err := filepath.Abs(path)
		if err != nil {
			return err
		}
		if real, err := filepath.EvalSymlinks(abs); err == nil {
			abs = real
		}
		if rel, err := filepath.Rel(k.tree.root, abs); err == nil && filepath.IsLocal(rel) {
			prefixes = append(prefixes, filepath.ToSlash(rel))
		}
	}
	did, err := source.History(ctx, k.tree.root, source.HistoryOptions{MaxSize: maxHistoryBlob, Env: env.Environ}, func(b source.Blob) error {
		if slices.ContainsFunc(prefixes, func(p string) bool { return p == "." || b.Path == p || strings.HasPrefix(b.Path, p+"/") }) {
			report.Findings = append(report.Findings, c.Past(k.tree.name(b.Path), b.Commit, b.Data)...)
		}
		return nil
	})
	if errors.Is(err, source.ErrNoRepository) {
		return &hinted{fmt.Errorf("--history: %w", err), "leave --history out, or name a repository"}
	}
	if err != nil {
		return err
	}
	if report.History == nil {
		report.History = &HistoryReport{}
	}
	report.History.Commits += did.Commits
	report.History.Contents += did.Blobs
	if did.Shallow {
		r.warn("shallow-history", "", "this clone is shallow: its older commits were not looked at", "git fetch --unshallow")
	}
	if did.Missing > 0 {
		r.warn("partial-history", "", count(did.Missing, "object")+" of the history is not in this clone, and was not looked at", "git fetch --refetch --no-filter")
	}
	if did.TooLarge > 0 {
		r.warn("large-history", "", fmt.Sprintf("%s of the history, above %d MiB, was not looked at", count(did.TooLarge, "file"), maxHistoryBlob>>20), "")
	}
	return nil
}

// maxHistoryBlob is up to where a content of the history is looked at.
const maxHistoryBlob = 5 << 20

// fix seals again what is sealed too widely, and says of the rest why it is left.
func (k *checker) fix(ctx context.Context, r *run, report *CheckReport) error {
	type result struct {
		fixed  Fixed
		change *secret.Change
		err    error
	}
	results := make([]result, len(k.tree.files))
	err := k.each(ctx, func(i int, file string, data []byte) error {
		name := k.tree.name(file)
		if !k.tree.chosen[file] || !secret.IsSealed(name, data) {
			return nil
		}
		out, done, err := k.keys.Narrow(name, data)
		if len(done) > 0 {
			results[i].change = &secret.Change{Path: k.real(file), Data: out}
		}
		results[i].fixed, results[i].err = Fixed{name, done}, err
		return nil
	})
	if err != nil {
		return err
	}
	var changes []secret.Change
	for _, res := range results {
		if res.err != nil {
			r.warn("not-fixed", res.fixed.File, strings.TrimPrefix(res.err.Error(), res.fixed.File+": "), "")
		}
		if res.change != nil {
			changes = append(changes, *res.change)
			report.Fixed = append(report.Fixed, res.fixed)
		}
	}
	return secret.Write(changes)
}

// seldomCollect lets garbage lie longer until the returned function is called: over a
// tree of small files little is alive at any time, and collecting is a sixth of the
// work. GOGC goes before it.
func seldomCollect() func() {
	if os.Getenv("GOGC") != "" {
		return func() {}
	}
	before := debug.SetGCPercent(400)
	return func() { debug.SetGCPercent(before) }
}

func (o *checkOptions) tell(r *run, report CheckReport) error {
	if !r.text {
		return r.u.Object(report)
	}
	for _, f := range report.Fixed {
		fmt.Fprintf(r.env.ErrOut, "%s fixed: %s\n", f.File, strings.Join(f.Done, "; "))
	}
	for _, f := range report.Findings {
		at := f.File
		if f.Line > 0 {
			at = fmt.Sprintf("%s:%d", at, f.Line)
		}
		if f.Commit != "" {
			at += " in " + f.Commit[:12]
		}
		if _, err := fmt.Fprintf(r.env.Out, "%s: %s: %s\n  fix: %s\n", at, f.Rule, f.Message, ui.Typed(r.env.Name, f.Fix)); err != nil {
			return err
		}
	}
	line := fmt.Sprintf("%s in %s", count(len(report.Findings), "finding"), count(report.Files, "file"))
	if h := report.History; h != nil {
		line += fmt.Sprintf(", and %s of %s", count(h.Contents, "content"), count(h.Commits, "commit"))
	}
	_, err := fmt.Fprintln(r.env.ErrOut, line)
	return err
}
