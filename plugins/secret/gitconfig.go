package secret

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/secret"
)

// gitOptions are the flags of git-config.
type gitOptions struct {
	cli.Output
	patterns  []string
	uninstall bool
}

// GitReport is what git-config -o json prints.
type GitReport struct {
	Report
	// Attributes is the .gitattributes, Patterns what it names for us.
	Attributes string   `json:"attributes"`
	Patterns   []string `json:"patterns"`
	// Action is configured, unchanged or removed.
	Action string `json:"action"`
}

// driver is the name of our drivers in .gitattributes and in Git's configuration.
const driver = "gitops-secret"

const attributes = " diff=" + driver + " merge=" + driver

func newGitConfig(env *cli.Env) *cobra.Command { return newGitConfigCommand(env, gitConfig) }

func newGitConfigCommand(env *cli.Env, runF func(context.Context, *cobra.Command, *cli.Env, *gitOptions) error) *cobra.Command {
	o := &gitOptions{}
	c := &cobra.Command{
		Use:   "git-config [PATTERN…]",
		Short: "Let git diff and git merge look into sealed files",
		Long: `Let Git show and merge what sealed files hold, for those who hold a key. Writes
.gitattributes for the names of the sealed files that are there, or for the patterns
that are given, and this clone's configuration. Without a key, and in clones that
were not configured, Git does what it always did.

What git diff shows goes through a pipe, and is never cached. git merge merges what
the files hold and seals the result; on a conflict the file is left as ours, sealed.

Exit codes: 0 done · 2 could not or would not start.`,
		Example: examples(env, `  %[1]s git-config
  %[1]s git-config '*.sops.yaml'
  %[1]s git-config --uninstall`),
		RunE: func(c *cobra.Command, args []string) error {
			o.patterns = args
			for _, p := range args {
				if strings.ContainsAny(p, "\r\n") || strings.HasPrefix(p, "!") || strings.TrimSpace(p) == "" {
					return cli.Usage(c, "%q is no pattern for .gitattributes", p)
				}
			}
			if o.uninstall && len(args) > 0 {
				return cli.Usage(c, "--uninstall takes no PATTERN")
			}
			return runF(c.Context(), c, env, o)
		},
	}
	f := c.Flags()
	o.Output.AddFlags(f)
	f.BoolVar(&o.uninstall, "uninstall", false, "Take it out of .gitattributes and of this clone's configuration.")
	return c
}

func gitConfig(ctx context.Context, c *cobra.Command, env *cli.Env, o *gitOptions) error {
	r, err := begin(c, env, &o.Output)
	if err != nil {
		return err
	}
	defer r.u.Close()
	top, err := git(ctx, "rev-parse", "--show-toplevel")
	if err != nil {
		return fmt.Errorf("no Git work tree is here: %w", err)
	}
	path, err := secret.Real(filepath.Join(top, ".gitattributes"))
	if err != nil {
		return err
	}
	before, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	report := GitReport{Report: *r.report, Attributes: path, Patterns: []string{}, Action: "unchanged"}
	var after []byte
	if o.uninstall {
		after = withoutDriver(before)
	} else {
		if len(o.patterns) == 0 {
			if o.patterns, err = sealedNames(top); err != nil {
				return err
			}
		}
		if len(o.patterns) == 0 {
			return &hinted{errors.New("no sealed file is here whose name could go into .gitattributes"), c.CommandPath() + " '*.sops.yaml'"}
		}
		after, report.Patterns = withDriver(before, o.patterns)
	}
	if !bytes.Equal(before, after) {
		report.Action = "configured"
		if len(after) == 0 {
			err = os.Remove(path)
		} else {
			err = secret.Write([]secret.Change{{Path: path, Data: after, Mode: 0o644}})
		}
		if err != nil {
			return err
		}
	}
	changed, err := o.configure(ctx, c)
	if err != nil {
		return err
	}
	if changed {
		report.Action = "configured"
	}
	if o.uninstall && report.Action == "configured" {
		report.Action = "removed"
	}
	if !r.text {
		return r.u.Object(report)
	}
	fmt.Fprintf(env.Out, "%s %s", fromHere(path), report.Action)
	if !o.uninstall {
		fmt.Fprintf(env.Out, ": %s", strings.Join(report.Patterns, " "))
	}
	_, err = fmt.Fprintln(env.Out)
	return err
}

// configure writes, or removes, the drivers in the configuration of the clone.
func (o *gitOptions) configure(ctx context.Context, c *cobra.Command) (changed bool, err error) {
	if o.uninstall {
		for _, section := range []string{"diff." + driver, "merge." + driver} {
			if _, err := git(ctx, "config", "--local", "--get-regexp", "^"+regexp.QuoteMeta(section)+`\.`); err != nil {
				continue // it has none
			}
			if _, err := git(ctx, "config", "--local", "--remove-section", section); err != nil {
				return changed, err
			}
			changed = true
		}
		return changed, nil
	}
	textconv, err := shellCommand(c, "textconv")
	if err != nil {
		return false, err
	}
	merge, err := shellCommand(c, "merge-driver")
	if err != nil {
		return false, err
	}
	for _, entry := range [][2]string{
		{"diff." + driver + ".textconv", textconv},
		{"diff." + driver + ".cachetextconv", "false"}, // what is in clear must not get into notes
		{"merge." + driver + ".name", "merge what sealed files hold"},
		{"merge." + driver + ".driver", merge + " %O %A %B %L %P"},
	} {
		if now, err := git(ctx, "config", "--local", "--get", entry[0]); err == nil && now == entry[1] {
			continue
		}
		if _, err := git(ctx, "config", "--local", "--replace-all", entry[0], entry[1]); err != nil {
			return changed, err
		}
		changed = true
	}
	return changed, nil
}

// shellCommand is a sibling of c as Git's shell is to find it: by its name, where
// PATH has this very program under it, since the place may change with the next
// version; else by its place.
func shellCommand(c *cobra.Command, name string) (string, error) {
	words, err := ownCommand(c, name)
	if err != nil {
		return "", err
	}
	own, err := os.Stat(words[0])
	if err != nil {
		return "", err
	}
	if found, err := exec.LookPath(filepath.Base(os.Args[0])); err == nil {
		if info, err := os.Stat(found); err == nil && os.SameFile(info, own) {
			words[0] = filepath.Base(os.Args[0])
		}
	}
	for i, w := range words {
		if !plainWord.MatchString(w) {
			words[i] = "'" + strings.ReplaceAll(filepath.ToSlash(w), "'", `'\''`) + "'"
		}
	}
	return strings.Join(words, " "), nil
}

var plainWord = regexp.MustCompile(`^[\w./+:-]+$`)

// withDriver is a .gitattributes with the patterns, those that it has left alone.
func withDriver(before []byte, patterns []string) (after []byte, all []string) {
	after = before
	nl := "\n"
	if bytes.Contains(before, []byte("\r\n")) {
		nl = "\r\n"
	}
	have := map[string]bool{}
	for _, line := range strings.Split(string(before), "\n") {
		if pattern, ours := strings.CutSuffix(strings.TrimRight(line, "\r \t"), attributes); ours {
			have[pattern] = true
			all = append(all, pattern)
		}
	}
	for _, p := range patterns {
		if strings.ContainsAny(p, " \t\"\\#") {
			p = strconv.Quote(p)
		}
		if have[p] {
			continue
		}
		have[p] = true
		if len(after) > 0 && after[len(after)-1] != '\n' {
			after = append(slices.Clone(after), nl...)
		}
		after = append(slices.Clone(after), p+attributes+nl...)
		all = append(all, p)
	}
	return after, all
}

// withoutDriver is a .gitattributes without our lines.
func withoutDriver(before []byte) []byte {
	var out []byte
	for _, line := range bytes.SplitAfter(before, []byte("\n")) {
		if !bytes.HasSuffix(bytes.TrimRight(line, "\r\n \t"), []byte(attributes)) {
			out = append(out, line...)
		}
	}
	return out
}

var sealedExtension = regexp.MustCompile(`^.+(\.(?:sops|enc)\.[^.]+)$`)

// sealedNames are the names of the sealed files in a work tree: one for all that
// end in the same .sops.EXT or .enc.EXT.
func sealedNames(top string) ([]string, error) {
	files, err := sealedFiles([]string{top})
	if err != nil {
		return nil, err
	}
	var out []string
	for _, f := range files {
		sealed, err := f.sealed()
		if err != nil {
			return nil, err
		}
		if !sealed {
			continue
		}
		name := filepath.Base(f.real)
		if m := sealedExtension.FindStringSubmatch(name); m != nil {
			name = "*" + m[1]
		}
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out, nil
}

// git runs Git, and returns what it prints.
func git(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "git", args...).Output()
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		return "", fmt.Errorf("git %s: %s", args[0], strings.TrimSpace(string(exit.Stderr)))
	}
	if err != nil {
		return "", fmt.Errorf("git: %w", unquoted(err))
	}
	return strings.TrimSuffix(string(out), "\n"), nil
}
