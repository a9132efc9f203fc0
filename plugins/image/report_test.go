package image

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var rewrite = flag.Bool("update", false, "write the goldens")

// varies is what differs from run to run: commits, and the sums of directories.
var varies = regexp.MustCompile(`[0-9a-f]{64}|[0-9a-f]{40}`)

// The whole answers for scripts, to the byte: names, order and shapes are a promise. The goldens are
// written by go test ./plugins/image -run TestReport -update.
func TestReport(t *testing.T) {
	f, host, push := fleet(t, map[string]string{
		"apps/web/image.yaml": repository("web", "v1", "HOST/team/web", "  exclusionList: ['-debug$']\n") +
			policy("web", "v1", "  imageRepositoryRef: {name: web}\n  filterTags: {pattern: '^main-[a-f0-9]+-(?P<n>[0-9]+)$', extract: '$n'}\n  policy: {numerical: {order: asc}}\n  digestReflectionPolicy: Always\n"),
		"apps/web/web.yaml": "image: HOST/team/web:main-aaaaaaa-1 # {\"$imagepolicy\": \"flux-system:web\"}\n" +
			"gone: x # {\"$imagepolicy\": \"flux-system:nobody\"}\ntag: HOST/team/web:1 # {\"$imagepolicy\": \"flux-system:web:tag\"}\n",
		"apps/odd/image.yaml": policy("odd", "v1", "  imageRepositoryRef: {name: api}\n  policy: {semver: {range: 9.x}}\n"),
		"apps/odd/odd.yaml":   "image: x:1 # {\"$imagepolicy\": \"flux-system:odd\"}\n",
		"clusters/vps/bump.yaml": automationYAML("bump", "    push: {branch: bump}\n") +
			strings.Replace(automationYAML("held", ""), "  interval: 30m\n", "  interval: 30m\n  suspend: true\n", 1),
	})
	push("team/web", "main-aaaaaaa-1", "main-bbbbbbb-20", "main-ccccccc-7-debug", "latest")
	f.hook("post-receive", "while read old new ref; do [ $ref = refs/heads/bump ] && echo 'https://forge.example.com/team/fleet/pull/new/bump'; done; true\n")
	tags := filepath.Join(f.work, "tags")
	if err := os.WriteFile(tags, []byte("1.0.0\n1.2.0\nlatest\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		args []string
		code int
	}{
		{"list.json", []string{"list", "--source", f.work, "--tags", "-o", "json"}, 0},
		{"policy.json", []string{"policy", "--source", f.work, "--explain", "-o", "json"}, 1},
		{"eval.yaml", []string{"eval", "-f", filepath.Join(f.work, "apps/api/image.yaml"), "--tags", tags, "-o", "yaml"}, 0},
		{"update.json", []string{"update", "--source", f.work, "-o", "json"}, 1},
		{"update-again.yaml", []string{"update", "--source", f.work, "-o", "yaml"}, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			out, errs, code := runEnv(t, f.env, test.args...)
			if code != test.code {
				t.Errorf("exit code %d\n%s", code, errs)
			}
			out = strings.NewReplacer(host, "registry.example.com", f.work, "WORK", f.url, "https://forge.example.com/team/fleet.git").Replace(out)
			out = varies.ReplaceAllStringFunc(out, func(s string) string { return strings.Repeat("0", len(s)) })
			golden := filepath.Join("testdata", "report", test.name)
			if *rewrite {
				if err := os.MkdirAll(filepath.Dir(golden), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(golden, []byte(out), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if out != string(want) {
				t.Errorf("got\n%s\nwant\n%s", out, want)
			}
		})
	}
}
