package source

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestIgnoredIsWhatGitIgnores compares with git ls-files, for patterns of all kinds.
func TestIgnoredIsWhatGitIgnores(t *testing.T) {
	t.Parallel()
	paths := []string{
		"a", "b", "ab", "abc", "A", "a.txt", "b.txt", "#a", "!a", "a b", "sp ", "x/a", "x/b", "x/y/a", "x/y/z/a.txt", "x/abc", "ü", "-", "]", "^",
		"foo/bar", "foo/bar.txt", "foo/x/bar", "foo/x/y/bar", "x/foo/bar", "a*b", "a[b", `a\b`, "build/out", "x/build/out", "build.d/x",
	}
	lists := []string{
		"", "a", "/a", "a/", "*", "*.txt", "x/", "x/*", "x/**", "**/a", "**/foo/bar", "foo/**/bar", "foo/**", "/foo/*", "!a\n*", "*\n!a", "*\n!*/\n!a.txt",
		"x/**\n!x/a", "x/*\n!x/y/", "x/\n!x/a", "# a\n\\#a", "\\!a", "a b", "sp\\ ", "sp ", "a?", "a??", "[ab]", "[!a]", "[^a]", "[a-c]", "[]]", "[a", "[]-a]", "[[:alpha:]]",
		"a\\*b", "a[[]b", "a\\\\b", "a*", "*a", "**", "a**b", "**a", "foo**bar", "/**/bar", "/*", "/*/", "build/", "/build", "*/a", "x/*/a", "x/**/a", "ü", "?", "[ü]",
		"foo/", "foo/bar", "/foo/bar/", "foo/bar/", "*.txt\n!a.txt\n/a.txt", "\ta", " a", "a\r", "!", "/", "//a", "x//a", "\\", "a\\", "**/", "/**", "x/**/", "[a/b]", "x[/]a", "x?a",
	}
	random := rand.New(rand.NewPCG(1, 2))
	parts := []string{"a", "b", "x", "foo", "bar", "*", "**", "?", "/", "/", "[ab]", "[!x]", ".txt", "y", "z", "!"}
	for range 60 {
		var b strings.Builder
		for range 1 + random.IntN(3) {
			for range 1 + random.IntN(5) {
				b.WriteString(parts[random.IntN(len(parts))])
			}
			b.WriteByte('\n')
		}
		lists = append(lists, b.String())
	}
	c := newCheckout(t)
	for _, p := range paths {
		c.write(p, "")
	}
	c.write("x/.gitignore", "/b\n!z\n", ".git/info/exclude", "A\n")
	must(t, os.MkdirAll(filepath.Join(c.dir, "..", "home"), 0o755))
	c.write("../home/ignore", "abc\n")
	c.git("config", "core.excludesFile", filepath.Join(c.dir, "..", "home", "ignore"))
	c.git("commit", "-q", "--allow-empty", "-m", "empty")
	for _, list := range lists {
		c.write(".gitignore", list)
		var want []string
		for p := range strings.SplitSeq(c.git("ls-files", "-z", "--others", "--exclude-standard"), "\x00") {
			if p != "" {
				want = append(want, p)
			}
		}
		slices.Sort(want)
		s := open(t, c.options())
		if !slices.Equal(s.Untracked, want) {
			t.Errorf(".gitignore %q:\n got %q\nwant %q", list, s.Untracked, want)
		}
	}
}

func TestIgnoreRulesAboveTheNamedDirectory(t *testing.T) {
	t.Parallel()
	c := withFiles(t, ".gitignore", "*.tmp\n", "a/.gitignore", "/b/local\n", "a/b/x", "x")
	c.write("a/b/y.tmp", "", "a/b/local", "", "a/b/n", "")
	s := open(t, Options{Source: filepath.Join(c.dir, "a", "b"), Auth: Auth{Env: c.env}})
	same(t, "untracked", s.Untracked, []string{"n"})
}
