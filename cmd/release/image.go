package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// image writes the container image of the umbrella for every Linux of the
// targets: an OCI layout in a tar, as crane, skopeo, podman and docker read it.
// The directory that an engine would build the same from is left in builds.
func (r *release) image(licenses map[target][]byte) error {
	text, err := os.ReadFile(filepath.Join(r.source, "Containerfile"))
	if err != nil {
		return err
	}
	definition, err := parseContainerfile(string(text))
	if err != nil {
		return err
	}
	var index v1.ImageIndex = mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	found := false
	for _, t := range r.targets {
		if t.os != "linux" {
			continue
		}
		context := filepath.Join(r.builds, "image", t.String())
		if err := r.imageContext(context, t, licenses[t]); err != nil {
			return err
		}
		img, err := r.imageFor(t, definition, context)
		if err != nil {
			return fmt.Errorf("image for %s: %w", t, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img,
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: t.os, Architecture: t.arch}}})
		found = true
	}
	if !found {
		return nil
	}
	dir, err := os.MkdirTemp(r.builds, "layout-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	at, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	// The names under which podman load and docker load have it.
	name := "kubectl-gitops:" + r.version
	if err := at.AppendIndex(index, layout.WithAnnotations(map[string]string{
		"org.opencontainers.image.ref.name": name, "io.containerd.image.name": "docker.io/library/" + name,
	})); err != nil {
		return err
	}
	return r.pathTar(filepath.Join(r.out, "kubectl-gitops_"+r.version+"_image.tar"), dir)
}

// imageContext fills the directory that the Containerfile copies from.
func (r *release) imageContext(dir string, t target, licenses []byte) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	program, err := os.ReadFile(filepath.Join(r.built(t), t.executable("kubectl-gitops")))
	if err != nil {
		return err
	}
	license, err := os.ReadFile(filepath.Join(r.source, "LICENSE"))
	if err != nil {
		return err
	}
	for name, data := range map[string][]byte{"LICENSE": license, "THIRD-PARTY-LICENSES": licenses, "ca-certificates.crt": certificates()} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, "kubectl-gitops"), program, 0o755)
}

// certificates are Mozilla's, of the version in go.mod. Those that Mozilla trusts
// with a condition, which a file cannot say, are left out.
func certificates() []byte {
	var out bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			_ = pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}) // a Buffer takes all
		}
	}
	return out.Bytes()
}

func (r *release) imageFor(t target, definition *containerfile, context string) (v1.Image, error) {
	files := map[string]entry{}
	for _, c := range definition.copies {
		name := filepath.Join(context, c.from)
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		info, err := os.Stat(name)
		if err != nil {
			return nil, err
		}
		mode := int64(0o644)
		if info.Mode()&0o100 != 0 {
			mode = 0o755
		}
		files[c.to] = entry{c.to, mode, data}
		for dir := path.Dir(c.to); dir != "."; dir = path.Dir(dir) {
			files[dir] = entry{dir + "/", 0o755, nil}
		}
	}
	var layer bytes.Buffer
	out := tar.NewWriter(&layer)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := r.tarEntry(out, files[name]); err != nil {
			return nil, err
		}
	}
	if err := out.Close(); err != nil {
		return nil, err
	}
	packed, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer.Bytes())), nil },
		tarball.WithMediaType(types.OCILayer), tarball.WithCompressionLevel(gzip.DefaultCompression), tarball.WithCompressedCaching)
	if err != nil {
		return nil, err
	}
	config := definition.config
	config.Labels = maps.Clone(config.Labels)
	config.Labels["org.opencontainers.image.version"] = r.version
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err = mutate.Append(img, mutate.Addendum{Layer: packed, History: v1.History{Created: v1.Time{Time: r.date}, CreatedBy: "COPY"}})
	if err != nil {
		return nil, err
	}
	file, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Created, file.Config = t.os, t.arch, v1.Time{Time: r.date}, config
	return mutate.ConfigFile(img, file)
}

// pathTar packs a directory, the same files into the same bytes.
func (r *release) pathTar(name, dir string) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	out := tar.NewWriter(f)
	err = filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil || file == dir {
			return err
		}
		rel, err := filepath.Rel(dir, file)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return r.tarEntry(out, entry{filepath.ToSlash(rel) + "/", 0o755, nil})
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		return r.tarEntry(out, entry{filepath.ToSlash(rel), 0o644, data})
	})
	if err != nil {
		return err
	}
	if err := out.Close(); err != nil {
		return err
	}
	return f.Close()
}
