package cli

import (
	"regexp"
	"slices"
	"strings"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/source"
)

// Flags that say of a command what they say of rbac. Those of who asks, and
// where, are not among them: rbac is for somebody who may see all.
var (
	rightsFlags = []string{"source", "ref", "name", "namespace", "age-key-file", "git-username", "git-token-file", "git-ssh-key", "git-known-hosts", "git-secret",
		"allow", "ignore-mac", "include-suspended", "flux-components"}
	writersFlags = []string{"allow-delete", "force"}
)

// rightsCommand is the command that prints what whoever runs this one must be
// allowed to do, with the flags of this one that count there; "" where rbac is not
// about it. path is the entry path, "" where it is not known yet.
func (s *Source) rightsCommand(path string) string {
	if !s.tellRights {
		return ""
	}
	words := []string{"kubectl gitops rbac"}
	flags := slices.Clone(rightsFlags)
	if s.readOnly {
		words = append(words, "--read-only")
	} else {
		flags = append(flags, writersFlags...)
	}
	if path == "" {
		path = s.Path
	}
	if path != "" {
		words = append(words, "--path", shellWord(path))
	}
	for _, name := range flags {
		f := s.flags.Lookup(name)
		if f == nil || !f.Changed {
			continue
		}
		value := f.Value.String()
		switch f.Value.Type() {
		case "bool":
			words = append(words, "--"+name+"="+value)
			continue
		case "stringSlice":
			value = strings.Trim(value, "[]")
		}
		if name == "source" && strings.Contains(value, "://") {
			value = source.ShownURL(value)
		}
		words = append(words, "--"+name, shellWord(value))
	}
	return strings.Join(words, " ")
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./~-]+$`)

// shellWord is a word as one types it to a shell.
func shellWord(s string) string {
	if plainWord.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
