package main

import (
	"archive/tar"
	"bytes"
	"encoding/pem"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// Whoever builds the same source gets the same archive, wherever it lies on the disk.
func TestTwoBuildsAreTheSameBytes(t *testing.T) {
	host := target{runtime.GOOS, runtime.GOARCH}
	build := func() []byte {
		r := &release{version: "v1.2.3", date: time.Unix(1e9, 0).UTC(), source: t.TempDir(), out: t.TempDir(), builds: t.TempDir(), targets: []target{host}}
		for name, text := range map[string]string{
			"go.mod":                        "module example.com/x\n\ngo 1.26\n",
			"LICENSE":                       "whatever\n",
			"cmd/kubectl-gitops-one/one.go": "package main\n\nimport \"errors\"\n\nfunc main() { panic(errors.New(\"the trace names this file\")) }\n",
		} {
			file := filepath.Join(r.source, name)
			must(t, os.MkdirAll(filepath.Dir(file), 0o755))
			must(t, os.WriteFile(file, []byte(text), 0o644))
		}
		one := plugin{verb: "one"}
		defer func(was []plugin) { published = was }(published)
		published = []plugin{one}
		dir, err := r.build(host)
		must(t, err)
		a, err := r.pack(one, host, filepath.Join(dir, host.executable(one.binary())), []byte("licenses\n"))
		must(t, err)
		data, err := os.ReadFile(filepath.Join(r.out, a.file))
		must(t, err)
		return data
	}
	if !bytes.Equal(build(), build()) {
		t.Error("two builds differ")
	}
}

// Whoever wants one command alone finds it for their platform.
func TestEveryPluginIsPublished(t *testing.T) {
	mains, err := filepath.Glob("../kubectl-gitops*")
	must(t, err)
	var want, got []string
	for _, dir := range mains {
		want = append(want, filepath.Base(dir))
	}
	for _, p := range published {
		got = append(got, p.binary())
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("published are %q, cmd/ has %q", got, want)
	}
}

// Whoever builds one platform alone gets the archive that was made with five others.
func TestLicensesAreThoseOfThePlatform(t *testing.T) {
	r := &release{source: "../..", tags: "disable_grpc_modules"}
	has := func(os string) bool {
		modules, err := r.modules(target{os, "amd64"})
		must(t, err)
		return slices.ContainsFunc(modules, func(m module) bool { return m.path == "github.com/Microsoft/go-winio" })
	}
	if !has("windows") || has("linux") {
		t.Error("want go-winio inside for Windows, and only there")
	}
}

// What no commit says is told before it is published.
func TestChangesAreNotReleasedUnseen(t *testing.T) {
	dir := t.TempDir()
	must(t, exec.Command("git", "init", "-q", dir).Run())
	if changed(dir) {
		t.Error("an empty repository has changes")
	}
	must(t, os.WriteFile(filepath.Join(dir, "x.go"), nil, 0o644))
	if !changed(dir) {
		t.Error("a new file is no change")
	}
}

// A bug report names a commit only where the binary has one: it is told before it is published that none has.
func TestBinariesWithoutTheirCommitAreTold(t *testing.T) {
	t.Setenv("GIT_CONFIG_GLOBAL", os.DevNull) // nobody is asked to sign
	t.Setenv("GIT_CONFIG_NOSYSTEM", "1")
	dir := t.TempDir()
	for name, text := range map[string]string{"go.mod": "module example.com/x\n\ngo 1.26\n", "x.go": "package main\n\nfunc main() {}\n"} {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	must(t, exec.Command("git", "init", "-q", dir).Run())
	git := func(args ...string) {
		t.Helper()
		out, err := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=x", "-c", "user.email=x@example.com"}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	git("add", ".")
	git("commit", "-q", "-m", "x")
	for flag, want := range map[string]bool{"-buildvcs=true": true, "-buildvcs=false": false} {
		build := exec.Command("go", "build", flag, "-o", filepath.Join(t.TempDir(), "x"), ".")
		build.Dir = dir
		out, err := build.CombinedOutput()
		if err != nil {
			t.Fatalf("go build: %v\n%s", err, out)
		}
		if got := committed(build.Args[4]); got != want {
			t.Errorf("built with %s: committed is %t", flag, got)
		}
	}
}

// krew search shows fifty characters.
func TestShortDescriptionsAreShown(t *testing.T) {
	for _, p := range published {
		if len(p.short) > 50 {
			t.Errorf("%s: %d characters: %s", p.name(), len(p.short), p.short)
		}
	}
}

// Whoever ran the tests has bin/release, and releases next.
func TestBuildsAreNotInTheWayOfTools(t *testing.T) {
	r, err := parse([]string{"-version", "v1.2.3", "-source", "../.."})
	must(t, err)
	if _, err := os.Stat(filepath.Join("..", filepath.Base(r.builds))); err == nil && filepath.Dir(r.builds) == "bin" {
		t.Errorf("binaries of a release are built below %s, where make builds a program", r.builds)
	}
}

// The image is what the Containerfile says, for every Linux, and nothing but.
func TestImage(t *testing.T) {
	source, err := filepath.Abs("../..")
	must(t, err)
	make := func() string {
		r := &release{version: "v1.2.3", date: time.Unix(1e9, 0).UTC(), source: source, out: t.TempDir(), builds: t.TempDir(),
			targets: []target{{"linux", "amd64"}, {"darwin", "arm64"}, {"linux", "arm64"}}}
		for _, target := range r.targets {
			must(t, os.MkdirAll(r.built(target), 0o755))
			must(t, os.WriteFile(filepath.Join(r.built(target), "kubectl-gitops"), []byte("program for "+target.String()), 0o755))
		}
		must(t, r.image(map[target][]byte{{"linux", "amd64"}: []byte("licenses\n"), {"linux", "arm64"}: []byte("licenses\n")}))
		return filepath.Join(r.out, "kubectl-gitops_v1.2.3_image.tar")
	}
	file := make()
	one, err := os.ReadFile(file)
	must(t, err)
	two, err := os.ReadFile(make())
	must(t, err)
	if !bytes.Equal(one, two) {
		t.Error("two images of the same source differ")
	}

	dir := t.TempDir()
	unpack(t, one, dir)
	at, err := layout.ImageIndexFromPath(dir)
	must(t, err)
	outer, err := at.IndexManifest()
	must(t, err)
	if len(outer.Manifests) != 1 || outer.Manifests[0].Annotations["org.opencontainers.image.ref.name"] != "kubectl-gitops:v1.2.3" {
		t.Fatalf("the layout has %+v, want one index, with the name that podman load gives it", outer.Manifests)
	}
	index, err := at.ImageIndex(outer.Manifests[0].Digest)
	must(t, err)
	manifest, err := index.IndexManifest()
	must(t, err)
	var platforms []string
	for _, m := range manifest.Manifests {
		platforms = append(platforms, m.Platform.String())
		img, err := index.Image(m.Digest)
		must(t, err)
		checkImage(t, img, m.Platform.Architecture)
	}
	if !slices.Equal(platforms, []string{"linux/amd64", "linux/arm64"}) {
		t.Errorf("the index has %v", platforms)
	}
}

func checkImage(t *testing.T, img v1.Image, arch string) {
	t.Helper()
	config, err := img.ConfigFile()
	must(t, err)
	c := config.Config
	if config.Architecture != arch || config.OS != "linux" || c.User != "65532:65532" || !slices.Equal(c.Entrypoint, []string{"/usr/local/bin/kubectl-gitops"}) ||
		!slices.Contains(c.Env, "HOME=/tmp") || c.Labels["org.opencontainers.image.version"] != "v1.2.3" {
		t.Errorf("%s: config %+v", arch, config)
	}
	layers, err := img.Layers()
	must(t, err)
	if len(layers) != 1 {
		t.Fatalf("%s: %d layers", arch, len(layers))
	}
	stream, err := layers[0].Uncompressed()
	must(t, err)
	defer stream.Close()
	var names []string
	for in := tar.NewReader(stream); ; {
		h, err := in.Next()
		if err == io.EOF {
			break
		}
		must(t, err)
		data, err := io.ReadAll(in)
		must(t, err)
		names = append(names, h.Name)
		switch h.Name {
		case "usr/local/bin/kubectl-gitops":
			if h.Mode != 0o755 || string(data) != "program for linux_"+arch {
				t.Errorf("%s: mode %o, %q", h.Name, h.Mode, data)
			}
		case "etc/ssl/certs/ca-certificates.crt":
			n := 0
			for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
				n++
			}
			if n < 100 {
				t.Errorf("%d certificates", n)
			}
		}
		if h.Uid != 0 || h.Gid != 0 || h.Mode&0o022 != 0 {
			t.Errorf("%s can be written by others than root: %d:%d %o", h.Name, h.Uid, h.Gid, h.Mode)
		}
	}
	want := "etc/ etc/ssl/ etc/ssl/certs/ etc/ssl/certs/ca-certificates.crt usr/ usr/local/ usr/local/bin/ usr/local/bin/kubectl-gitops " +
		"usr/share/ usr/share/doc/ usr/share/doc/kubectl-gitops/ usr/share/doc/kubectl-gitops/LICENSE usr/share/doc/kubectl-gitops/THIRD-PARTY-LICENSES"
	if got := strings.Join(names, " "); got != want {
		t.Errorf("%s: files\n%s\nwant\n%s", arch, got, want)
	}
}

// What an engine would do and this does not is refused, with its line.
func TestContainerfileRefuses(t *testing.T) {
	for line, want := range map[string]string{
		"FROM alpine":             "want FROM scratch",
		"RUN true":                "want FROM, COPY",
		"COPY --chown=1 a /b":     "want COPY FILE",
		"COPY a b":                "want COPY FILE",
		"COPY a b /c":             "want a directory",
		`ENV A="b c"`:             "plain",
		"ENTRYPOINT /bin/program": "want ENTRYPOINT [",
	} {
		_, err := parseContainerfile("# comment\n\n" + line + "\n")
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "Containerfile:3: ") {
			t.Errorf("%s: %v, want %s", line, err, want)
		}
	}
}

func unpack(t *testing.T, archive []byte, dir string) {
	t.Helper()
	for in := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := in.Next()
		if err == io.EOF {
			return
		}
		must(t, err)
		name := filepath.Join(dir, h.Name)
		if strings.HasSuffix(h.Name, "/") {
			must(t, os.MkdirAll(name, 0o755))
			continue
		}
		data, err := io.ReadAll(in)
		must(t, err)
		must(t, os.WriteFile(name, data, 0o644))
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
