package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// archive is one file that people download.
type archive struct {
	plugin plugin
	target target
	file   string // its name in dist/
	sum    string // sha256, lower-case hex
	// Bytes of the archive, and of the binary in it.
	size, unpacked int
}

// entry is a plain file in an archive; krew takes nothing else.
type entry struct {
	name string
	mode int64
	data []byte
}

// pack writes the archive of one plugin: its binary, the license, and those of
// what is inside the binary.
func (r *release) pack(p plugin, t target, binary string, licenses []byte) (archive, error) {
	a := archive{plugin: p, target: t, file: fmt.Sprintf("%s_%s_%s.tar.gz", p.binary(), r.version, t)}
	program, err := os.ReadFile(binary)
	if err != nil {
		return a, fmt.Errorf("%w; make plugins builds it", err)
	}
	license, err := os.ReadFile(filepath.Join(r.source, "LICENSE"))
	if err != nil {
		return a, err
	}
	entries := []entry{
		{"LICENSE", 0o644, license},
		{"THIRD-PARTY-LICENSES", 0o644, licenses},
		{t.executable(p.binary()), 0o755, program},
	}
	write := r.tarball
	if t.os == "windows" {
		a.file = strings.TrimSuffix(a.file, ".tar.gz") + ".zip"
		write = r.zip
	}
	var buf bytes.Buffer
	if err := write(&buf, entries); err != nil {
		return a, fmt.Errorf("%s: %w", a.file, err)
	}
	sum := sha256.Sum256(buf.Bytes())
	a.sum, a.size, a.unpacked = hex.EncodeToString(sum[:]), buf.Len(), len(program)
	return a, os.WriteFile(filepath.Join(r.out, a.file), buf.Bytes(), 0o644)
}

func (r *release) tarball(w io.Writer, entries []entry) error {
	compressed := gzip.NewWriter(w) // the best compression takes three times as long for 0.4 %
	out := tar.NewWriter(compressed)
	for _, e := range entries {
		if err := r.tarEntry(out, e); err != nil {
			return err
		}
	}
	if err := out.Close(); err != nil {
		return err
	}
	return compressed.Close()
}

// tarEntry writes a file, or a directory where the name ends in a /.
func (r *release) tarEntry(out *tar.Writer, e entry) error {
	header := tar.Header{Typeflag: tar.TypeReg, Name: e.name, Mode: e.mode, Size: int64(len(e.data)), ModTime: r.date, Format: tar.FormatUSTAR}
	if strings.HasSuffix(e.name, "/") {
		header.Typeflag = tar.TypeDir
	}
	if err := out.WriteHeader(&header); err != nil {
		return err
	}
	_, err := out.Write(e.data)
	return err
}

func (r *release) zip(w io.Writer, entries []entry) error {
	out := zip.NewWriter(w)
	for _, e := range entries {
		header := zip.FileHeader{Name: e.name, Method: zip.Deflate, Modified: r.date}
		header.SetMode(os.FileMode(e.mode))
		f, err := out.CreateHeader(&header)
		if err != nil {
			return err
		}
		if _, err := f.Write(e.data); err != nil {
			return err
		}
	}
	return out.Close()
}

// checksums writes checksums.txt over all of dist/, as sha256sum reads it.
func (r *release) checksums() error {
	files, err := os.ReadDir(r.out)
	if err != nil {
		return err
	}
	var text strings.Builder
	for _, f := range files {
		data, err := os.ReadFile(filepath.Join(r.out, f.Name()))
		if err != nil {
			return err
		}
		fmt.Fprintf(&text, "%x  %s\n", sha256.Sum256(data), f.Name())
	}
	return os.WriteFile(filepath.Join(r.out, "checksums.txt"), []byte(text.String()), 0o644)
}

// licenses are the license and notice files of every module that any published
// binary holds, one after the other: their terms ask for it.
func licenses(modules []module) ([]byte, error) {
	var out bytes.Buffer
	for _, m := range modules {
		names, err := licenseFiles(m.dir)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", m.path, m.version, err)
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				return nil, err
			}
			fmt.Fprintf(&out, "%s\n%s %s: %s\n\n%s\n\n", strings.Repeat("=", 78), m.path, m.version, filepath.Base(name), bytes.TrimSpace(text))
		}
	}
	return out.Bytes(), nil
}

// licenseFiles finds those in the directory of a module. One of several modules
// of a repository may have none: it is under the license of the repository,
// whose first module has it.
func licenseFiles(dir string) ([]string, error) {
	var found []string
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		base := strings.ToUpper(strings.TrimSuffix(strings.TrimSuffix(e.Name(), ".md"), ".txt"))
		if e.Type().IsRegular() && slices.ContainsFunc([]string{"LICENSE", "LICENCE", "COPYING", "NOTICE"}, func(prefix string) bool {
			return strings.HasPrefix(base, prefix)
		}) {
			found = append(found, filepath.Join(dir, e.Name()))
		}
	}
	return found, nil
}
