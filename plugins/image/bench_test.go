package image

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	ggcr "github.com/google/go-containerregistry/pkg/registry"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/bench"
)

// BenchmarkScan lists 200 repositories of 100 tags from a registry 10 ms away,
// beside crane ls in a loop. Both are the real binaries, started from nothing.
func BenchmarkScan(b *testing.B) {
	for _, tool := range []string{"kubectl-gitops-image", "crane"} {
		if _, err := exec.LookPath(tool); err != nil {
			b.Skipf("%s is not on PATH: make build tools, and PATH=$PWD/bin:$PATH", tool)
		}
	}
	const repositories, tags, latency = 200, 100, 10 * time.Millisecond
	inner := ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)))
	var requests atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		time.Sleep(latency)
		inner.ServeHTTP(w, r)
	}))
	b.Cleanup(s.Close)
	host := strings.TrimPrefix(s.URL, "http://")
	var manifests, list strings.Builder
	for i := range repositories {
		name := fmt.Sprintf("team/app-%03d", i)
		for t := range tags {
			r := httptest.NewRequest(http.MethodPut, fmt.Sprintf("/v2/%s/manifests/1.%d.0", name, t), strings.NewReader("{}"))
			inner.ServeHTTP(httptest.NewRecorder(), r)
		}
		manifests.WriteString(repository(fmt.Sprintf("app-%03d", i), "v1", host+"/"+name, ""))
		fmt.Fprintf(&list, "%s/%s\n", host, name)
	}
	dir := b.TempDir()
	for name, text := range map[string]string{"images.yaml": manifests.String(), "list": list.String()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	env := append(os.Environ(), "DOCKER_CONFIG="+b.TempDir(), "HOME="+b.TempDir(), "KUBECONFIG="+filepath.Join(dir, "none"))
	run := func(b *testing.B, name string, args ...string) string {
		b.Helper()
		c := exec.Command(name, args...)
		c.Env, c.Dir = env, dir
		out, err := c.Output()
		if err != nil {
			b.Fatalf("%s: %v", name, err)
		}
		return string(out)
	}
	table := "| | seconds | requests |\n|---|---|---|\n"
	var seconds []float64
	for _, side := range []struct {
		name, what string
		once       func(*testing.B)
	}{
		{"kubectl-gitops", "`kubectl gitops image list`", func(b *testing.B) {
			var report Report
			if err := json.Unmarshal([]byte(run(b, "kubectl-gitops-image", "list", "--source", dir, "-o", "json")), &report); err != nil {
				b.Fatal(err)
			}
			if n := len(report.Repositories); n != repositories || report.Repositories[n-1].TagCount != tags {
				b.Fatalf("%d repositories", n)
			}
		}},
		{"crane", "`crane ls`, one after the other", func(b *testing.B) {
			if n := strings.Count(run(b, "sh", "-c", `while read -r image; do crane ls "$image"; done <list`), "\n"); n != repositories*tags {
				b.Fatalf("%d tags", n)
			}
		}},
	} {
		b.Run(side.name, func(b *testing.B) {
			requests.Store(0)
			for b.Loop() {
				side.once(b)
			}
			each := b.Elapsed().Seconds() / float64(b.N)
			seconds = append(seconds, each)
			n := requests.Load() / int64(b.N)
			b.ReportMetric(float64(n), "requests/op")
			table += fmt.Sprintf("| %s | %.2f | %d |\n", side.what, each, n)
		})
	}
	if len(seconds) == 2 {
		table += fmt.Sprintf("\n%d repositories of %d tags each, a registry on loopback that takes %s longer for each request: %.0f × faster.",
			repositories, tags, latency, seconds[1]/seconds[0])
		bench.Record(b, "image-scan", "Images: scanning 200 repositories", table)
	}
}
