package plugins

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Flux's CLI installs what make release makes, by the manifest that is made for it, runs it under its own name, and
// removes it again.
func TestFluxCLIInstallsThePlugin(t *testing.T) {
	if os.Getenv("FLUX") == "" {
		t.Skip("with Flux's own CLI: make soak")
	}
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	dist, plugins := filepath.Join(t.TempDir(), "dist"), t.TempDir()
	// A catalog is a folder of manifests, each named after its plugin; a release has its files below its version.
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch name := strings.TrimPrefix(r.URL.Path, "/catalog/"); {
		case name == "gitops.yaml":
			http.ServeFile(w, r, filepath.Join(dist, "flux-gitops.yaml"))
		default:
			http.StripPrefix("/v0.0.1/", http.FileServer(http.Dir(dist))).ServeHTTP(w, r)
		}
	}))
	defer server.Close()
	run := func(want, name string, args ...string) {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Env = append(os.Environ(), "FLUXCD_PLUGINS="+plugins, "FLUXCD_PLUGIN_CATALOG="+server.URL+"/catalog/", "HOME="+t.TempDir())
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), want) {
			t.Fatalf("%s %s: %v, want %q:\n%s", name, strings.Join(args, " "), err, want, out)
		}
	}
	run("kubectl-gitops_v0.0.1_", "release", "-version", "v0.0.1", "-source", root, "-host", filepath.Join(root, "bin"), "-builds", t.TempDir(),
		"-targets", "host", "-out", dist, "-url", server.URL)

	run("installed gitops v0.0.1", "flux", "plugin", "install", "gitops")
	run("flux-gitops", "flux", "plugin", "list")
	run("flux gitops sync [KUSTOMIZATION…] [flags]", "flux", "gitops", "sync", "--help")
	run("flux gitops v", "flux", "gitops", "version")
	run("uninstalled gitops", "flux", "plugin", "uninstall", "gitops")
	left, err := os.ReadDir(plugins)
	if err != nil || len(left) > 0 {
		t.Errorf("%v is left of the plugin: %v", left, err)
	}
}
