package secret_test

import (
	"strings"
	"testing"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/secret"
)

// Recipients come and go in each of the ways in which people write them, and
// everything else stays byte by byte.
func TestEditRecipients(t *testing.T) {
	a, b, c := x25519(t).public, x25519(t).public, x25519(t).public
	for title, test := range map[string]struct{ before, after string }{
		"one line":     {"creation_rules:\n  - path_regex: apps/ # ours\n    age: A,B # both\n    pgp: X\n", "creation_rules:\n  - path_regex: apps/ # ours\n    age: A,C # both\n    pgp: X\n"},
		"first":        {"creation_rules:\n- age: 'B, A'\n", "creation_rules:\n- age: 'A,C'\n"},
		"folded":       {"creation_rules:\n- age: >-\n    A,\n    B\n  pgp: X\n", "creation_rules:\n- age: >-\n    A,\n    C\n  pgp: X\n"},
		"quoted lines": {"creation_rules:\n- age: \"B,\n    A\"\n", "creation_rules:\n- age: \"A,\n    C\"\n"},
		"list":         {"creation_rules:\n- path_regex: apps/\n  age:\n    - A # ada\n    - B # bob\n  # kept\n", "creation_rules:\n- path_regex: apps/\n  age:\n    - A # ada\n    - C\n  # kept\n"},
		"brackets":     {"creation_rules:\n- age: [B, \"A\"] # x\n", "creation_rules:\n- age: [\"A\", \"C\"] # x\n"},
		"key group":    {"creation_rules:\n- key_groups:\n  - age:\n    - A\n    - B\n", "creation_rules:\n- key_groups:\n  - age:\n    - A\n    - C\n"},
		"anchor":       {"team: &team A,B\ncreation_rules:\n- path_regex: other/\n  age: *team\n- age: *team\n", "team: &team A,C\ncreation_rules:\n- path_regex: other/\n  age: *team\n- age: *team\n"},
		"only its own": {"creation_rules:\n- path_regex: other/\n  age: A,B\n- age: A,B\n", "creation_rules:\n- path_regex: other/\n  age: A,B\n- age: A,C\n"},
		"windows":      {"creation_rules:\r\n- age:\r\n  - A\r\n  - B\r\n", "creation_rules:\r\n- age:\r\n  - A\r\n  - C\r\n"},
	} {
		t.Run(title, func(t *testing.T) {
			put := strings.NewReplacer("A", a, "B", b, "C", c)
			got, err := secret.EditRecipients([]byte(put.Replace(test.before)), []string{"apps/x.yaml"}, []string{c}, []string{b})
			if want := put.Replace(test.after); err != nil || string(got.Data) != want {
				t.Errorf("got %v\n%s\nwant\n%s", err, got.Data, want)
			}
			if !got.Touches("apps/y.yaml") || title == "only its own" && got.Touches("other/y.yaml") || title == "anchor" && !got.Touches("other/y.yaml") {
				t.Error("it says something else of whom it touches")
			}
			same, err := secret.EditRecipients(got.Data, []string{"apps/x.yaml"}, []string{c}, nil)
			if err != nil || string(same.Data) != string(got.Data) {
				t.Errorf("added twice: %v", err)
			}
		})
	}
	for title, text := range map[string]string{
		"several groups":     "creation_rules:\n- key_groups:\n  - age: [A, B]\n  - age: [C]\n",
		"none of age":        "creation_rules:\n- pgp: X\n",
		"the last one":       "creation_rules:\n- age: B\n",
		"not among them":     "creation_rules:\n- age: A\n",
		"no rules":           "a: b\n",
		"written twice":      "creation_rules:\n- age: B,A,B\n",
		"a name of a name":   "x: &b B\ncreation_rules:\n- age: [A, *b]\n",
		"what is not parsed": "creation_rules: [\n",
	} {
		t.Run(title, func(t *testing.T) {
			put := strings.NewReplacer("A", a, "B", b, "C", c)
			if got, err := secret.EditRecipients([]byte(put.Replace(text)), []string{"apps/x.yaml"}, nil, []string{b}); err == nil && title != "a name of a name" {
				t.Errorf("got %s", got.Data)
			}
		})
	}
}
