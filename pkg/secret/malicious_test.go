package secret_test

import (
	"errors"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/secret"
)

// What somebody made to hurt ends in an error that says what it is, and costs no more
// than the file is worth, whether it is opened, checked, or given other readers.
func TestMaliciousFiles(t *testing.T) {
	key := x25519(t)
	sealed := string(seal(t, "a.yaml", secretYAML, to(key)))
	env := string(seal(t, "a.env", "A="+token+"\n", whole(key)))
	jsonFile := string(seal(t, "a.json", `{"a": "`+token+`"}`, whole(key)))
	recipient := "        - recipient: " + x25519(t).public + "\n          enc: |\n            -----BEGIN AGE ENCRYPTED FILE-----\n            YWdlLWVuY3J5cHRpb24ub3JnL3YxCi0+\n            -----END AGE ENCRYPTED FILE-----\n"
	laughs := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'n'; c++ {
		p := string(c - 1)
		laughs += string(c) + ": &" + string(c) + " [*" + strings.Join([]string{p, p, p, p, p, p, p, p, p}, ", *") + "]\n"
	}
	for title, c := range map[string]struct{ name, data, says string }{
		"huge":                       {"a.yaml", sealed + strings.Repeat("# x\n", 2<<20), "above the limit"},
		"huge, one line":             {"a.json", strings.Replace(jsonFile, `"a": "`, `"z": "`+strings.Repeat("x", 6<<20)+`", "a": "`, 1), "above the limit"},
		"deep lists":                 {"a.yaml", sealed + "x: " + strings.Repeat("[", 200_000) + "\n", "not valid YAML"},
		"deep mappings":              {"a.yaml", sealed + strings.Repeat("{a: ", 200_000), "not valid YAML"},
		"deep JSON":                  {"a.json", strings.Replace(jsonFile, `"a": "`, `"z": `+strings.Repeat("[", 100_000)+strings.Repeat("]", 100_000)+`, "a": "`, 1), "not valid JSON"},
		"a billion laughs":           {"a.yaml", sealed + laughs, "not valid YAML"},
		"laughs in a document apart": {"a.yaml", sealed + "---\n" + laughs, "not valid YAML"},
		"an alias of itself":         {"a.yaml", sealed + "x: &x {y: *x}\n", "not valid YAML"},
		"10,000 recipients":          {"a.yaml", strings.Replace(sealed, "    age:\n", "    age:\n"+strings.Repeat(recipient, 10_000), 1), "names 10001 recipients, above the limit of 1000"},
		"10,000 others":              {"a.yaml", strings.Replace(sealed, "    age:\n", "    pgp:\n"+strings.Repeat("        - {fp: AAAA, enc: x, created_at: \"2026-01-02T03:04:05Z\"}\n", 10_000)+"    age:\n", 1), "above the limit of 1000"},
		"a forged list index":        {"a.env", strings.Replace(env, "sops_age__list_0__", "sops_age__list_999999999__", 2), ""},
		"a negative list index":      {"a.env", strings.Replace(env, "sops_age__list_0__", "sops_age__list_-1__", 2), ""},
		"a forged threshold":         {"a.yaml", strings.Replace(sealed, "    lastmodified", "    shamir_threshold: 2147483647\n    lastmodified", 1), ""},
		"metadata of another type":   {"a.yaml", strings.Replace(sealed, "    lastmodified:", "    version: [[[]]]\n    lastmodified:", 1), ""},
		"a data key of gigabytes":    {"a.yaml", match(`-----BEGIN AGE ENCRYPTED FILE-----\n`, "-----BEGIN AGE ENCRYPTED FILE-----\n"+strings.Repeat("            YWdlLWVuY3J5cHRpb24ub3JnL3YxCi0+YWdlLWVuY3J5cHRpb24ub3JnL3YxCi0+\n", 50_000))(t, sealed), "is damaged"},
	} {
		t.Run(title, func(t *testing.T) {
			if c.data == sealed || c.data == env || c.data == jsonFile {
				t.Fatal("is not changed")
			}
			k := ring(t, key)
			dir := t.TempDir()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			plain, _, err := k.Decrypt(c.name, []byte(c.data), secret.DecryptOptions{})
			rule := ruleFor(t, dir, c.name, "", key.public)
			_, _, _ = k.Narrow(c.name, []byte(c.data))
			_, reseal := k.Rotate(c.name, []byte(c.data), rule)
			found := secret.NewChecker(k, secret.Rules{Dir: dir}, dir).File(c.name, filepath.Join(dir, c.name), []byte(c.data))
			runtime.ReadMemStats(&after)
			if used := after.TotalAlloc - before.TotalAlloc; used > 2<<30 {
				t.Errorf("took %d MiB of memory in all", used>>20)
			}
			p, _ := errors.AsType[secret.Problem](err)
			if c.says == "" && err == nil {
				return // it is what it was to sops, and opens
			}
			if err == nil || reseal == nil || plain != nil || !strings.Contains(p.Error(), c.says) {
				t.Fatalf("got %.300v, %.300v", err, reseal)
			}
			if len(p.Error()) > 2000 {
				t.Errorf("the error has %d letters", len(p.Error()))
			}
			if len(found) == 0 {
				t.Error("check finds nothing")
			}
			quiet(t, p.Error())
		})
	}
}
