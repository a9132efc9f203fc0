package secret

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/secret"
)

// The name of a rule, or of a warning, is what people search for, and skip.
func TestRulesAndWarningsAreDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/secret.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range secret.CheckRules {
		if !strings.Contains(string(doc), "| `"+rule+"` |") {
			t.Errorf("docs/secret.md does not explain %s", rule)
		}
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`\.warn\("([a-z-]+)"`).FindAllStringSubmatch(string(source), -1) {
			if n++; !strings.Contains(string(doc), "`"+m[1]+"`") {
				t.Errorf("docs/secret.md does not explain %s, of %s", m[1], file)
			}
		}
	}
	if n < 12 {
		t.Errorf("found %d warnings: the pattern no longer fits the code", n)
	}
}

// treeOf lists files with their sizes and times.
func treeOf(t *testing.T, dir string) (out string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && !d.IsDir() {
			out += fmt.Sprintln(path, info.Size(), info.ModTime())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Whatever the flags: nothing that is found, sealed or a key is printed, and nothing is
// written anywhere, no cache either. Links are not followed out of the tree.
func TestCheckPrintsAndKeepsNoSecret(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	t.Setenv("XDG_CACHE_HOME", filepath.Join(dir, "cache"))
	t.Setenv("TMPDIR", filepath.Join(dir, "tmp"))
	for _, d := range []string{"cache", "tmp", "tree"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := runIn(t, dir, "", "keygen", "--out", "keys.txt", "--rule=false"); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	recipient := strings.TrimSpace(runIn(t, dir, "", "keygen", "--out", "other.txt", "--rule=false").out)
	key, err := os.ReadFile(filepath.Join(dir, "keys.txt"))
	if err != nil {
		t.Fatal(err)
	}
	public := strings.TrimSpace(strings.TrimPrefix(strings.Split(string(key), "\n")[1], "# public key:"))
	private := strings.TrimSpace(strings.Split(string(key), "\n")[2])
	const found, sealed, beyond = "Tr0ub4dor-and-3", "s3aled-Va1ue-9", "0utside-Val-77"
	write(filepath.Join(dir, "tree", ".sops.yaml"), "creation_rules:\n- path_regex: stale\n  age: "+recipient+"\n- age: "+public+"\n")
	secret := "apiVersion: v1\nkind: Secret\nmetadata: {name: x, uid: u}\nstringData: {password: " + sealed + "}\n"
	for _, name := range []string{"s.yaml", "edited.yaml"} {
		write(filepath.Join(dir, "tree", name), secret)
		if got := runIn(t, filepath.Join(dir, "tree"), "", "encrypt", "-i", name); got.code != 0 {
			t.Fatalf("%+v", got)
		}
	}
	edited, err := os.ReadFile(filepath.Join(dir, "tree", "edited.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	write(filepath.Join(dir, "tree", "edited.yaml"), strings.Replace(string(edited), "name: x", "name: y", 1))
	write(filepath.Join(dir, "tree", "values.yaml"), "adminPassword: "+found+"\nagain: "+sealed+"\n# "+private+"\n")
	write(filepath.Join(dir, "tree", "clear.yaml"), strings.ReplaceAll(secret, sealed, found))
	write(filepath.Join(dir, "tree", "broken.yaml"), "a: [ENC[AES256_GCM,data:"+found+"\nsops: {mac: "+found+"\n")
	write(filepath.Join(outside, "a.yaml"), "password: "+beyond+"\n")
	for link, target := range map[string]string{"file.yaml": filepath.Join(outside, "a.yaml"), "dir": outside, "up": ".."} {
		if err := os.Symlink(target, filepath.Join(dir, "tree", link)); err != nil {
			t.Fatal(err)
		}
	}
	before := treeOf(t, dir)
	for _, args := range [][]string{{"check", "tree"}, {"check", "tree", "-v", "-v", "-v", "-v", "-v", "-v", "-v", "-v", "-v"}, {"check", "tree", "-o", "json"}, {"check", "tree", "-o", "yaml", "-v"}} {
		got := runIn(t, dir, "", append(args, "--age-key-file", filepath.Join(dir, "keys.txt"))...)
		if got.code != cli.ExitNo {
			t.Fatalf("got %+v", got)
		}
		for _, rule := range []string{"plaintext-secret", "password", "private-key", "repeated-value", "tampered", "server-metadata"} {
			if !strings.Contains(got.out, rule) {
				t.Errorf("%v: does not find %s:\n%s", args, rule, got.out)
			}
		}
		for _, hidden := range []string{found, sealed, beyond, private, outside} {
			if strings.Contains(got.out+got.errOut, hidden) {
				t.Errorf("%v: prints %s\n%s%s", args, hidden, got.out, got.errOut)
			}
		}
	}
	if after := treeOf(t, dir); after != before {
		t.Errorf("leaves something behind: got\n%s\nwant\n%s", after, before)
	}
	if got := runIn(t, dir, "", "check", "tree/file.yaml"); got.code != cli.ExitUsage || !strings.Contains(got.errOut, "is a link that leads out of") {
		t.Errorf("got %+v", got)
	}
	keyFile := []string{"--age-key-file", filepath.Join(dir, "keys.txt")}
	if got := runIn(t, dir, "", append([]string{"decrypt", "tree/edited.yaml"}, keyFile...)...); got.code != cli.ExitNo || got.out != "" || !strings.Contains(got.errOut, "MAC mismatch") {
		t.Errorf("got %+v", got)
	}
	if got := runIn(t, dir, "", append([]string{"decrypt", "tree/edited.yaml", "--ignore-mac"}, keyFile...)...); got.code != 0 || !strings.Contains(got.out, sealed) || !strings.Contains(got.errOut, "warning: tree/edited.yaml: the MAC does not match") {
		t.Errorf("got %+v", got)
	}
}
