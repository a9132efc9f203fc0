// Command release makes dist/: archives, a container image, checksums, an SBOM,
// krew's manifests and the manifest of the Flux plugin, of the source at hand. It needs no
// network, and gives the same bytes for the same commit. `make release` runs it
// for every platform.
package main

import (
	"debug/buildinfo"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// release is what one run makes.
type release struct {
	version string    // vX.Y.Z
	date    time.Time // of everything in the archives: that of the commit
	source  string    // the module's directory
	out     string    // dist
	builds  string    // where binaries are built, one directory a platform; kept, so that what did not change is not linked again
	host    string    // where those of this machine's platform are; builds/OS_ARCH where it is ""
	url     string    // where archives will be, before /VERSION/FILE
	tags    string    // build tags, as `make plugins` has them
	targets []target
}

// target is a platform, in Go's words.
type target struct{ os, arch string }

func (t target) String() string { return t.os + "_" + t.arch }

// executable is the file name of a binary there.
func (t target) executable(name string) string {
	if t.os == "windows" {
		return name + ".exe"
	}
	return name
}

func main() {
	r, err := parse(os.Args[1:])
	if err == nil {
		err = r.run()
	}
	if errors.Is(err, flag.ErrHelp) {
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func parse(args []string) (*release, error) {
	r := &release{}
	flags := flag.NewFlagSet("release", flag.ContinueOnError)
	flags.StringVar(&r.version, "version", "", "`version` to publish, vX.Y.Z")
	flags.StringVar(&r.source, "source", ".", "`directory` of the module")
	flags.StringVar(&r.out, "out", "dist", "`directory` to write; what is in it goes")
	flags.StringVar(&r.builds, "builds", "bin/platforms", "`directory` to build binaries in")
	flags.StringVar(&r.host, "host", "", "`directory` with the binaries of this platform, built by `make plugins`")
	flags.StringVar(&r.url, "url", "https://github.com/kubectl-gitops/kubectl-gitops/releases/download", "`address` below which the archives will be")
	flags.StringVar(&r.tags, "tags", "", "build `tags`")
	targets := flags.String("targets", "linux/amd64,linux/arm64,darwin/amd64,darwin/arm64,windows/amd64,windows/arm64", "`platforms`; host is this machine's")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if !strings.HasPrefix(r.version, "v") {
		return nil, fmt.Errorf("-version %q: want vX.Y.Z; make release VERSION=v0.1.0", r.version)
	}
	for _, t := range strings.Split(*targets, ",") {
		if t == "host" {
			t = runtime.GOOS + "/" + runtime.GOARCH
		}
		system, arch, ok := strings.Cut(t, "/")
		if !ok {
			return nil, fmt.Errorf("-targets %s: %q is no platform, want OS/ARCH such as linux/amd64", *targets, t)
		}
		r.targets = append(r.targets, target{system, arch})
	}
	var err error
	r.date, err = commitDate(r.source)
	return r, err
}

// commitDate is the time of HEAD; of SOURCE_DATE_EPOCH where that is set, and
// the epoch itself where there is no repository.
func commitDate(source string) (time.Time, error) {
	seconds := os.Getenv("SOURCE_DATE_EPOCH")
	if seconds == "" {
		git := exec.Command("git", "log", "-1", "--format=%ct")
		git.Dir = source
		out, err := git.Output()
		if err != nil {
			return time.Unix(0, 0).UTC(), nil
		}
		seconds = strings.TrimSpace(string(out))
	}
	var n int64
	if _, err := fmt.Sscan(seconds, &n); err != nil {
		return time.Time{}, fmt.Errorf("the time of the commit is %q: want seconds since 1970: %w", seconds, err)
	}
	return time.Unix(n, 0).UTC(), nil
}

// changed says whether the source is not what a commit says.
func changed(source string) bool {
	git := exec.Command("git", "status", "--porcelain")
	git.Dir = source
	out, err := git.Output()
	return err == nil && len(out) > 0
}

// committed says whether Go has put the commit into a binary: it does not find it
// from a linked worktree, and where it is told not to look.
func committed(binary string) bool {
	info, err := buildinfo.ReadFile(binary)
	return err == nil && slices.ContainsFunc(info.Settings, func(s debug.BuildSetting) bool { return s.Key == "vcs.revision" && s.Value != "" })
}

func (r *release) run() error {
	if changed(r.source) {
		fmt.Fprintln(os.Stderr, "warning: there are changes that are not committed: the binaries say so, and nobody can make them again")
	}
	if err := os.RemoveAll(r.out); err != nil {
		return err
	}
	if err := os.MkdirAll(r.out, 0o755); err != nil {
		return err
	}
	// By platform: an archive is the same whichever others are made with it.
	inside, texts := map[target][]module{}, map[target][]byte{}
	var made []archive
	for _, t := range r.targets {
		var err error
		if inside[t], err = r.modules(t); err != nil {
			return err
		}
		if texts[t], err = licenses(inside[t]); err != nil {
			return err
		}
		dir, err := r.build(t)
		if err != nil {
			return err
		}
		if !committed(filepath.Join(dir, t.executable(published[0].binary()))) {
			fmt.Fprintf(os.Stderr, "warning: the binaries for %s do not know their commit: build in a clone, not in a linked worktree, and without -buildvcs=false\n", t)
		}
		packed := make([]archive, len(published))
		var g errgroup.Group
		g.SetLimit(runtime.GOMAXPROCS(0))
		for i, p := range published {
			g.Go(func() (err error) {
				packed[i], err = r.pack(p, t, filepath.Join(dir, t.executable(p.binary())), texts[t])
				return err
			})
		}
		if err := g.Wait(); err != nil {
			return err
		}
		for _, a := range packed {
			fmt.Printf("%s  %.1f MB, %.1f MB unpacked\n", a.file, float64(a.size)/1e6, float64(a.unpacked)/1e6)
		}
		made = append(made, packed...)
	}
	if err := r.image(texts); err != nil {
		return err
	}
	if err := r.sbom(inside); err != nil {
		return err
	}
	if err := r.manifests(made); err != nil {
		return err
	}
	return r.checksums()
}

// built is the directory of t's binaries.
func (r *release) built(t target) string {
	if r.host != "" && t == (target{runtime.GOOS, runtime.GOARCH}) {
		return r.host
	}
	return filepath.Join(r.builds, t.String())
}

// build builds every published binary for t, unless the host's are there.
func (r *release) build(t target) (dir string, err error) {
	dir = r.built(t)
	if dir == r.host {
		return dir, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	absolute, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	args := []string{"build", "-trimpath", "-tags", r.tags, "-ldflags", "-s -w -X github.com/kubectl-gitops/kubectl-gitops/pkg/cli.Version=" + r.version, "-o", absolute + string(filepath.Separator)}
	for _, p := range published {
		args = append(args, "./cmd/"+p.binary())
	}
	build := exec.Command("go", args...)
	build.Dir, build.Stderr = r.source, os.Stderr
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+t.os, "GOARCH="+t.arch)
	if err := build.Run(); err != nil {
		return "", fmt.Errorf("building for %s: %w", t, err)
	}
	return dir, nil
}
