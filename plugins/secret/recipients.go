package secret

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/secret"
)

// recipientOptions are the flags of who gains and who loses access: they change
// the rules and the files together, so that the two do not disagree.
type recipientOptions struct {
	add, remove []string
}

func (o *recipientOptions) complete(c *cobra.Command) error {
	for _, flag := range []struct {
		name   string
		values []string
	}{{"add-recipient", o.add}, {"remove-recipient", o.remove}} {
		for _, r := range flag.values {
			if !secret.IsRecipient(r) {
				// It may be a private key, and is not said.
				return notSaid(c, flag.name, "the recipient of an age key, age1…, or an SSH public key")
			}
			if slices.Contains(o.add, r) && slices.Contains(o.remove, r) {
				return cli.Usage(c, "%s is to be added and removed", short(r))
			}
		}
	}
	return nil
}

func (o *recipientOptions) some() bool { return len(o.add)+len(o.remove) > 0 }

// configs are the .sops.yaml files of the rules for files, as they are to become.
// A file that shares such a rule and is not among them would be left behind: that
// is refused.
func (o *recipientOptions) configs(rules secret.Rules, files []sealedFile, hint string) ([]secret.Change, error) {
	of := map[string][]string{} // by .sops.yaml: the files of its rules, relative to it
	for _, f := range files {
		sealed, err := f.sealed()
		if err != nil {
			return nil, err
		}
		if !sealed {
			continue
		}
		rule, err := rules.For(f.real)
		if errors.Is(err, secret.ErrNoRule) {
			return nil, &hinted{fmt.Errorf("%s: %w", f.name, err), "add a rule to .sops.yaml, or name the files that have one"}
		}
		if err != nil {
			return nil, err
		}
		rel, err := relativeTo(rule.Config, f.real)
		if err != nil {
			return nil, err
		}
		of[rule.Config] = append(of[rule.Config], rel)
	}
	var changes []secret.Change
	for conf, own := range of {
		real, before, err := readFile(conf)
		if err != nil {
			return nil, err
		}
		edit, err := secret.EditRecipients(before, own, o.add, o.remove)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", fromHere(conf), err)
		}
		all, err := sealedFiles([]string{filepath.Dir(conf)})
		if err != nil {
			return nil, err
		}
		for _, f := range all {
			rule, err := rules.For(f.real)
			if err != nil || rule.Config != conf {
				continue // another's
			}
			sealed, err := f.sealed()
			if err != nil {
				return nil, err
			}
			if !sealed {
				continue
			}
			rel, err := relativeTo(conf, f.real)
			if err != nil {
				return nil, err
			}
			if edit.Touches(rel) && !slices.Contains(own, rel) {
				return nil, &hinted{fmt.Errorf("%s: the rule that would change is this file's too, and it is not among those that are named: rule and file would disagree", fromHere(f.name)), hint + " " + fromHere(filepath.Dir(conf))}
			}
		}
		if string(edit.Data) != string(before) {
			changes = append(changes, secret.Change{Path: real, Data: edit.Data})
		}
	}
	slices.SortFunc(changes, func(a, b secret.Change) int { return strings.Compare(a.Path, b.Path) })
	return changes, nil
}

// sealed looks into a file that was found in a directory.
func (f sealedFile) sealed() (bool, error) {
	if !f.found {
		return true, nil
	}
	data, err := os.ReadFile(f.real)
	return err == nil && secret.IsSealed(f.name, data), err
}

// relativeTo is a file as the rules of a .sops.yaml see it.
func relativeTo(conf, file string) (string, error) {
	abs, err := filepath.Abs(file)
	if err != nil {
		return "", err
	}
	return strings.TrimPrefix(abs, filepath.Dir(conf)+string(os.PathSeparator)), nil
}
