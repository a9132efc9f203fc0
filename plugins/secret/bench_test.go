package secret

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/bench"
)

// benchFiles is how many sealed files the tree has.
const benchFiles = 1000

// BenchmarkTree runs the real binaries over one tree of sealed files: ours once over
// the tree, and sops in a loop of the shell over the same files, as people do it, both
// in one run. PATH must have kubectl-gitops-secret, sops and age-keygen, as make bench
// gives it.
func BenchmarkTree(b *testing.B) {
	for _, name := range []string{"kubectl-gitops-secret", "sops", "age-keygen"} {
		if _, err := exec.LookPath(name); err != nil {
			b.Fatalf("%s is not on PATH: make bench", name)
		}
	}
	dir := b.TempDir()
	run := func(script string) (wall, cpu time.Duration) {
		b.Helper()
		c := exec.Command("sh", "-euc", script)
		c.Dir = dir
		c.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "SOPS_AGE_KEY_FILE=" + filepath.Join(dir, "key"), "LC_ALL=C.UTF-8"}
		begin := time.Now()
		if out, err := c.CombinedOutput(); err != nil {
			b.Fatalf("%s: %v\n%.2000s", script, err, out)
		}
		return time.Since(begin), c.ProcessState.UserTime() + c.ProcessState.SystemTime()
	}
	run(`age-keygen -o key 2>/dev/null; age-keygen -o other 2>/dev/null; mkdir tree
		printf 'creation_rules:\n- encrypted_regex: ^(data|stringData)$\n  age: %s\n' $(age-keygen -y key) > .sops.yaml`)
	for i := range benchFiles {
		path := filepath.Join(dir, "tree", fmt.Sprintf("app-%03d", i/10), fmt.Sprintf("secret-%d.yaml", i%10))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			b.Fatal(err)
		}
		plain := fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata:\n  name: app-%d # number %[1]d\n  namespace: shop\ntype: Opaque\nstringData:\n  # who has it\n  username: app-%[1]d\n  password: Tr0ub4dor-%[1]d\n  url: postgres://db-%[1]d.shop:5432/app\n", i)
		if err := os.WriteFile(path, []byte(plain), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	run(`find tree -name '*.yaml' | xargs kubectl-gitops-secret encrypt -i`)
	oneReader := `printf 'creation_rules:\n- encrypted_regex: ^(data|stringData)$\n  age: %s\n' $(age-keygen -y key) > .sops.yaml`
	twoReaders := `printf 'creation_rules:\n- encrypted_regex: ^(data|stringData)$\n  age: %s,%s\n' $(age-keygen -y key) $(age-keygen -y other) > .sops.yaml`
	type figures struct{ ours, oursCPU, sops, sopsCPU time.Duration }
	rows := map[string]*figures{}
	measure := func(b *testing.B, name, before, ours, sops string) {
		f := &figures{}
		rows[name] = f
		for b.Loop() {
			run(before)
			f.ours, f.oursCPU = run(ours)
			run(before)
			f.sops, f.sopsCPU = run("find tree -name '*.yaml' | while read f; do " + sops + "; done")
		}
		b.ReportMetric(f.sops.Seconds()/f.ours.Seconds(), "x")
		b.ReportMetric(f.ours.Seconds(), "s/tree")
		b.ReportMetric(f.sops.Seconds(), "s/tree-of-sops")
	}
	b.Run("check", func(b *testing.B) {
		measure(b, "check", oneReader, `kubectl-gitops-secret check tree`, `sops decrypt "$f" >/dev/null`)
	})
	run(`cp -r tree before`)
	b.Run("updatekeys", func(b *testing.B) {
		measure(b, "updatekeys", `rm -rf tree; cp -r before tree; `+twoReaders, `kubectl-gitops-secret updatekeys tree >/dev/null`, `sops updatekeys -y "$f" >/dev/null 2>&1`)
	})
	var table strings.Builder
	fmt.Fprintf(&table, "%d sealed files of four values, in a hundred directories. `kubectl gitops secret` runs once over the tree; sops runs once\na file, in a loop of the shell: `sops decrypt` beside `check`, `sops updatekeys -y` beside `updatekeys`, which adds a reader.\nCPU is what both use of all cores. `updatekeys` flushes each file to the disk, which sops does not.\n\n", benchFiles)
	table.WriteString("| command | kubectl gitops secret | CPU | sops in a loop | CPU | times faster |\n|---|---|---|---|---|---|\n")
	for _, name := range []string{"check", "updatekeys"} {
		if f := rows[name]; f != nil {
			fmt.Fprintf(&table, "| `%s` | %.2f s | %.2f s | %.1f s | %.1f s | %.0f |\n", name, f.ours.Seconds(), f.oursCPU.Seconds(), f.sops.Seconds(), f.sopsCPU.Seconds(), f.sops.Seconds()/f.ours.Seconds())
		}
	}
	bench.Record(b, "secret", "A tree of sealed files", table.String())
}
