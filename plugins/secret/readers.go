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

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/secret"
)

// readersOptions are the flags of updatekeys and rotate.
type readersOptions struct {
	cli.Output
	recipientOptions
	paths      []string
	rotate     bool
	dryRun     bool
	ageKeyFile string
}

// ReadersReport is what updatekeys and rotate print for -o json.
type ReadersReport struct {
	Report
	// Configs are the .sops.yaml files that were changed with the files.
	Configs []string      `json:"configs"`
	Files   []ReadersFile `json:"files"`
}

// ReadersFile is one sealed file and who can read it.
type ReadersFile struct {
	Path string `json:"path"`
	// Action is updated, rotated, unchanged or failed.
	Action string `json:"action"`
	Access
	Message string `json:"message,omitempty"`
	Hint    string `json:"hint,omitempty"`
}

// Access is who could open something, and who can now: recipients. No list is nil.
type Access struct {
	Before  []string `json:"before"`
	After   []string `json:"after"`
	Added   []string `json:"added"`
	Removed []string `json:"removed"`
}

func accessOf(before, after []string) Access {
	r := secret.Resealed{Before: before, After: after}
	return Access{before, after, r.Added(), r.Removed()}
}

// text is how many there are, of what, and who came and went.
func (a Access) text(what string) string {
	line := count(len(a.After), what)
	for _, r := range a.Added {
		line += "  +" + short(r)
	}
	for _, r := range a.Removed {
		line += "  -" + short(r)
	}
	return line
}

func newUpdateKeys(env *cli.Env) *cobra.Command { return newReadersCommand(env, false, readers) }

func newRotate(env *cli.Env) *cobra.Command { return newReadersCommand(env, true, readers) }

func newReadersCommand(env *cli.Env, rotate bool, runF func(context.Context, *cobra.Command, *cli.Env, *readersOptions) error) *cobra.Command {
	o := &readersOptions{rotate: rotate}
	c := &cobra.Command{
		Use:   "updatekeys PATH…",
		Short: "Let those read sealed files that the rules name",
		Long: `Seal the data key of each file to the recipients that the rules of .sops.yaml name
today. What is sealed stays as it is. Of a directory every sealed file in it is
taken; symbolic links are not followed.

With --add-recipient and --remove-recipient the rules are changed with the files: in
.sops.yaml everything else stays byte by byte.

All files are written, or none. Who could read a file and cannot any more still
has what it held before: change those values too.

Exit codes: 0 done · 1 a file failed, and nothing was written; or, with --dry-run,
something would change · 2 could not or would not start.`,
		Example: examples(env, `  # what would change
  %[1]s updatekeys --dry-run .

  # a colleague who is to read everything from now on
  %[1]s updatekeys --add-recipient age1… .`),
		RunE: func(c *cobra.Command, args []string) error {
			o.paths = args
			if len(args) == 0 {
				return cli.Usage(c, "which files? want PATH…, as in: %s .", c.CommandPath())
			}
			if err := o.complete(c); err != nil {
				return err
			}
			return runF(c.Context(), c, env, o)
		},
	}
	if rotate {
		c.Use = "rotate PATH…"
		c.Short = "Seal files anew, with new data keys"
		c.Long = strings.Replace(c.Long, `Seal the data key of each file to the recipients that the rules of .sops.yaml name
today. What is sealed stays as it is. Of`, `Seal every value of each file anew, with a new data key, to the recipients that the
rules of .sops.yaml name today. What is in clear stays as it is. Of`, 1)
		c.Example = examples(env, `  # somebody leaves the team
  %[1]s rotate --remove-recipient age1… .`)
	}
	f := c.Flags()
	o.Output.AddFlags(f)
	f.BoolVar(&o.dryRun, "dry-run", false, "Say what would change, and write nothing.")
	f.StringArrayVar(&o.add, "add-recipient", nil, "Let this age recipient read the files too, and say so in their rules.")
	f.StringArrayVar(&o.remove, "remove-recipient", nil, "Let this age recipient read the files no more, and say so in their rules.")
	f.StringVar(&o.ageKeyFile, "age-key-file", "", "Age identities to open with, besides those that sops finds.")
	return c
}

func readers(ctx context.Context, c *cobra.Command, env *cli.Env, o *readersOptions) error {
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
	files, err := sealedFiles(o.paths)
	if err != nil {
		return err
	}
	rules := secret.Rules{Dir: dir, Config: env.Getenv("SOPS_CONFIG")}.Cached()
	var configs []secret.Change
	if o.some() {
		var again []string
		for _, a := range o.add {
			again = append(again, "--add-recipient "+a)
		}
		for _, d := range o.remove {
			again = append(again, "--remove-recipient "+d)
		}
		if configs, err = o.configs(rules, files, c.CommandPath()+" "+strings.Join(again, " ")); err != nil {
			return err
		}
	}
	results := make([]ReadersFile, len(files))
	changes := make([]*secret.Change, len(files))
	failures := make([]error, len(files))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, file := range files {
		g.Go(func() error {
			if gctx.Err() != nil {
				return gctx.Err()
			}
			results[i], changes[i], failures[i] = o.reseal(keys, rules, file)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i := len(files) - 1; i >= 0; i-- {
		if results[i].Path == "" { // found in a directory, and not sealed
			results, changes, failures = slices.Delete(results, i, i+1), slices.Delete(changes, i, i+1), slices.Delete(failures, i, i+1)
		}
	}
	switch {
	case len(results) > 0:
	case o.some(): // which rules are meant, their files tell
		return &hinted{fmt.Errorf("no sealed file is in %s, so that no rule of .sops.yaml was changed", strings.Join(o.paths, ", ")),
			"edit age: of the rule in .sops.yaml; what is sealed from then on, those can read whom it names"}
	default:
		r.warn("nothing-sealed", "", "no sealed file is in "+strings.Join(o.paths, ", ")+": nothing was changed", "")
	}
	return o.finish(r, env, results, changes, failures, configs)
}

// finish writes what changed, if nothing failed, and reports.
func (o *readersOptions) finish(r *run, env *cli.Env, results []ReadersFile, changes []*secret.Change, failures []error, configs []secret.Change) error {
	var write []secret.Change
	removed := false
	for i := range results {
		if failures[i] != nil {
			r.failed = append(r.failed, failures[i])
			continue
		}
		removed = removed || len(results[i].Removed) > 0
		if changes[i] != nil {
			write = append(write, *changes[i])
		}
	}
	write = append(write, configs...)
	if len(r.failed) == 0 && !o.dryRun {
		if err := secret.Write(write); err != nil {
			return err
		}
	}
	if removed && len(r.failed) == 0 {
		hint := ""
		if !o.rotate {
			hint = "and give the files new data keys: " + examples(env, "%[1]s rotate ") + strings.Join(o.paths, " ")
		}
		r.warn("removed-readers", "", "who was removed still has what the files held before, in Git and wherever they were copied: change those values too", hint)
	}
	report := ReadersReport{Configs: []string{}, Files: results}
	for _, conf := range configs {
		if len(r.failed) == 0 {
			report.Configs = append(report.Configs, conf.Path)
			if r.text {
				fmt.Fprintf(env.Out, "%s updated\n", fromHere(conf.Path))
			}
		}
	}
	for i := range results {
		f := &results[i]
		if len(r.failed) > 0 && f.Action != "failed" && changes[i] != nil {
			f.Action, f.Message = "failed", "not written, since another file failed"
		}
		if r.text && len(r.failed) == 0 {
			fmt.Fprintf(env.Out, "%s %s: %s\n", f.Path, f.Action, f.text("recipient"))
		}
	}
	if len(r.failed) > 0 {
		r.u.Error(errors.Join(r.failed...))
	} else if o.dryRun && len(write) > 0 {
		fmt.Fprintln(env.ErrOut, "dry run: nothing was written")
	}
	if !r.text {
		report.Report = *r.report
		if err := r.u.Object(report); err != nil {
			return err
		}
	}
	if len(r.failed) > 0 || o.dryRun && len(write) > 0 {
		return cli.Exit{Code: cli.ExitNo}
	}
	return nil
}

// reseal computes what one file becomes.
func (o *readersOptions) reseal(keys *secret.Keyring, rules secret.Rules, file sealedFile) (ReadersFile, *secret.Change, error) {
	out := ReadersFile{Path: file.name, Access: accessOf([]string{}, []string{})}
	fail := func(err error) (ReadersFile, *secret.Change, error) {
		h := explained(err)
		out.Action, out.Message, out.Hint = "failed", h.Error(), h.Hint()
		return out, nil, h
	}
	data, err := os.ReadFile(file.real)
	if err != nil {
		return fail(err)
	}
	if file.found && !secret.MayBeSealed(data) {
		return ReadersFile{}, nil, nil
	}
	rule, err := rules.For(file.real)
	if err != nil && file.found && !secret.IsSealed(file.name, data) {
		return ReadersFile{}, nil, nil
	}
	if errors.Is(err, secret.ErrNoRule) {
		return fail(&hinted{fmt.Errorf("%s: %w", file.name, err), "add a rule to .sops.yaml, or name the files that have one"})
	}
	if err != nil {
		return fail(err)
	}
	if o.some() {
		if rule, err = rule.With(o.add, o.remove); err != nil {
			return fail(err)
		}
	}
	do := keys.UpdateKeys
	if o.rotate {
		do = keys.Rotate
	}
	res, err := do(file.name, data, rule)
	if file.found && errors.Is(err, secret.ErrNotSealed) {
		return ReadersFile{}, nil, nil
	}
	if err != nil {
		return fail(err)
	}
	out.Access = accessOf(res.Before, res.After)
	if !res.Changed {
		out.Action = "unchanged"
		return out, nil, nil
	}
	out.Action = "updated"
	if o.rotate {
		out.Action = "rotated"
	}
	return out, &secret.Change{Path: file.real, Data: res.Data}, nil
}

// sealedFile is a sealed file, as the user would type it and where it is.
type sealedFile struct {
	name, real string
	found      bool // in a directory, where not every file is sealed
}

// sealedFiles finds the files under paths that may be sealed, in order, each once. A
// file that is named itself must be.
func sealedFiles(paths []string) ([]sealedFile, error) {
	var out []sealedFile
	seen := make(map[string]bool)
	add := func(name, real string, found bool) {
		if !seen[real] {
			seen[real] = true
			out = append(out, sealedFile{name, real, found})
		}
	}
	for _, root := range paths {
		info, err := os.Stat(root)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%s: no such file or directory", root)
		}
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			real, data, err := readFile(root)
			if err != nil {
				return nil, err
			}
			if !secret.IsSealed(root, data) {
				return nil, fmt.Errorf("%s: is not sealed by SOPS", root)
			}
			add(root, real, false)
			continue
		}
		err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && d.Name() == ".git":
				return fs.SkipDir
			case !d.Type().IsRegular():
				return nil
			}
			add(path, path, true)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// short is a recipient that fits on a line.
func short(recipient string) string {
	if len(recipient) > 80 {
		return recipient[:30] + "…" + recipient[len(recipient)-10:]
	}
	return recipient
}
