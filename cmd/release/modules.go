package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// module is a Go module that is compiled into what is published.
type module struct{ path, version, dir string }

// modules lists those of all published binaries for one platform, by path. The
// standard library's is the first, with the path "std".
func (r *release) modules(t target) ([]module, error) {
	args := []string{"list", "-deps", "-tags", r.tags, "-json=Module,Standard"}
	for _, p := range published {
		args = append(args, "./cmd/"+p.binary())
	}
	list := exec.Command("go", args...)
	list.Dir, list.Stderr = r.source, os.Stderr
	list.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+t.os, "GOARCH="+t.arch)
	out, err := list.Output()
	if err != nil {
		return nil, fmt.Errorf("listing the dependencies for %s: %w", t, err)
	}
	found := map[string]module{}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var pkg struct {
			Standard bool
			Module   *struct {
				Path, Version, Dir string
				Main               bool
				Replace            *struct{ Path, Version, Dir string }
			}
		}
		if err := dec.Decode(&pkg); err == io.EOF {
			break
		} else if err != nil {
			return nil, err
		}
		m := pkg.Module
		if pkg.Standard || m == nil || m.Main {
			continue
		}
		if m.Replace != nil {
			m.Path, m.Version, m.Dir = m.Replace.Path, m.Replace.Version, m.Replace.Dir
		}
		found[m.Path] = module{m.Path, m.Version, m.Dir}
	}
	out, err = exec.Command("go", "env", "GOROOT", "GOVERSION").Output()
	if err != nil {
		return nil, err
	}
	goroot, version, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	std := module{"std", strings.TrimPrefix(version, "go"), goroot}
	return append([]module{std}, slices.SortedFunc(maps.Values(found), byPath)...), nil
}

func byPath(a, b module) int { return strings.Compare(a.path, b.path) }

// sbom writes what is inside of any archive, as CycloneDX.
func (r *release) sbom(inside map[target][]module) error {
	std := inside[r.targets[0]][0]
	all := map[module]bool{}
	for _, modules := range inside {
		for _, m := range modules[1:] {
			all[m] = true
		}
	}
	modules := append([]module{std}, slices.SortedFunc(maps.Keys(all), byPath)...)
	name := "pkg:golang/github.com/kubectl-gitops/kubectl-gitops@" + r.version
	bom := cdx.NewBOM()
	bom.Metadata = &cdx.Metadata{
		Timestamp: r.date.Format("2006-01-02T15:04:05Z"),
		Component: &cdx.Component{BOMRef: name, Type: cdx.ComponentTypeApplication, Name: "kubectl-gitops", Version: r.version, PackageURL: name},
	}
	components := make([]cdx.Component, len(modules))
	depends := make([]string, len(modules))
	for i, m := range modules {
		url := "pkg:golang/" + m.path + "@" + m.version
		components[i] = cdx.Component{BOMRef: url, Type: cdx.ComponentTypeLibrary, Name: m.path, Version: m.version, PackageURL: url}
		depends[i] = url
	}
	bom.Components, bom.Dependencies = &components, &[]cdx.Dependency{{Ref: name, Dependencies: &depends}}
	f, err := os.Create(filepath.Join(r.out, "kubectl-gitops_"+r.version+".cdx.json"))
	if err != nil {
		return err
	}
	if err := cdx.NewBOMEncoder(f, cdx.BOMFileFormatJSON).SetPretty(true).Encode(bom); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
