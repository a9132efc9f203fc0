package secret_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/secret"
)

func TestAddRuleKeepsWhatIsThere(t *testing.T) {
	const added = "- path_regex: \\.ya?ml$\n  encrypted_regex: ^(data|stringData)$\n  age: age1new\n"
	in := func(indent string) string {
		return indent + strings.ReplaceAll(strings.TrimSuffix(added, "\n"), "\n", "\n"+indent) + "\n"
	}
	for title, c := range map[string]struct{ conf, want string }{
		"nothing":     {"", "creation_rules:\n" + in("  ")},
		"no rules":    {"# c\nstores:\n  yaml: {indent: 2}", "# c\nstores:\n  yaml: {indent: 2}\ncreation_rules:\n" + in("  ")},
		"no item":     {"creation_rules: # none\nstores: {}\n", "creation_rules: # none\n" + in("  ") + "stores: {}\n"},
		"at the left": {"creation_rules:\n- path_regex: other/ # x\n  age: >-\n    age1a,\n    age1b\n\n# tail\nstores: {}\n", "creation_rules:\n- path_regex: other/ # x\n  age: >-\n    age1a,\n    age1b\n" + in("") + "\n# tail\nstores: {}\n"},
		"indented":    {"creation_rules:\n    - path_regex: 'other/'\n      key_groups:\n      - age: [age1a,\n         age1b]", "creation_rules:\n    - path_regex: 'other/'\n      key_groups:\n      - age: [age1a,\n         age1b]\n" + in("    ")},
		"CRLF":        {"creation_rules:\r\n  - path_regex: other/\r\n    age: x\r\n", strings.ReplaceAll("creation_rules:\n  - path_regex: other/\n    age: x\n"+in("  "), "\n", "\r\n")},
	} {
		t.Run(title, func(t *testing.T) {
			got, others, err := secret.AddRule([]byte(c.conf), secret.ManifestRule("age1new"))
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != c.want {
				t.Errorf("got\n%q\nwant\n%q", got, c.want)
			}
			if want := strings.Count(c.conf, "path_regex"); others != want {
				t.Errorf("behind %d others, want %d", others, want)
			}
		})
	}
	for title, c := range map[string]struct {
		conf string
		line int // of the shadow, 0 for another reason
	}{
		"one for everything":  {"creation_rules:\n- path_regex: other/\n  age: x\n- age: x\n", 4},
		"the same":            {"creation_rules:\n- path_regex: \\.ya?ml$\n  age: x\n", 2},
		"as good as the same": {"creation_rules:\n- path_regex: .*\\.yaml\n  age: x\n", 2},
		"in braces":           {"{creation_rules: []}", 0},
		"a list in braces":    {"creation_rules: [{age: x}]\n", 0},
		"not YAML":            {"creation_rules: [\n", 0},
	} {
		t.Run(title, func(t *testing.T) {
			_, _, err := secret.AddRule([]byte(c.conf), secret.ManifestRule("age1new"))
			s := new(secret.Shadowed)
			if err == nil || errors.As(err, &s) != (c.line > 0) || s.Line != c.line {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestIgnoreKeepsWhatIsThere(t *testing.T) {
	for _, c := range []struct{ before, path, want string }{
		{"", "keys.txt", "/keys.txt\n"},
		{"*.o", "a/keys.txt", "*.o\n/a/keys.txt\n"},
		{"a\r\n", "my key[1].txt", "a\r\n/my\\ key\\[1].txt\r\n"},
		{"/keys.txt\nb\n", "keys.txt", "/keys.txt\nb\n"},
	} {
		if got, err := secret.Ignore([]byte(c.before), c.path); err != nil || string(got) != c.want {
			t.Errorf("got %q, %v, want %q", got, err, c.want)
		}
	}
	// Git would read two lines, and the key would be committed.
	for _, path := range []string{"my\nkeys.txt", "my\rkeys.txt"} {
		if got, err := secret.Ignore([]byte("*.o\n"), path); err == nil || got != nil {
			t.Errorf("%q: got %q, %v, want an error", path, got, err)
		}
	}
}

func TestNewKey(t *testing.T) {
	for _, postQuantum := range []bool{false, true} {
		file, recipient, err := secret.NewKey(postQuantum)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "sub", "keys.txt")
		if err := secret.WriteKey(path, file); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode() != 0o600 {
			t.Errorf("got %v, %v", info.Mode(), err)
		}
		k, err := secret.Find(secret.FindOptions{KeyFile: path, Getenv: func(string) string { return "" }, Home: t.TempDir()})
		if err != nil || len(k.Recipients()) != 1 || k.Recipients()[0] != recipient {
			t.Errorf("got %v, %v", k.Recipients(), err)
		}
		if strings.HasPrefix(recipient, "age1pq1") != postQuantum {
			t.Errorf("got %s", recipient)
		}
		if err := secret.WriteKey(path, file); err == nil || !strings.Contains(err.Error(), "never overwritten") {
			t.Errorf("got %v", err)
		}
	}
}
