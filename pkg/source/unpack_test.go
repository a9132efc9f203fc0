package source

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io/fs"
	"strings"
	"testing"
)

// tgz is an archive of these entries; a file has one, "path=content".
func tgz(t *testing.T, entries ...*tar.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(z)
	for _, h := range entries {
		name, content, file := strings.Cut(h.Name, "=")
		if file {
			h.Name, h.Typeflag, h.Size, h.Mode = name, tar.TypeReg, int64(len(content)), 0o644
		}
		must(t, w.WriteHeader(h))
		_, err := w.Write([]byte(content))
		must(t, err)
	}
	must(t, errors.Join(w.Close(), z.Close()))
	return out.Bytes()
}

func TestUnpack(t *testing.T) {
	t.Parallel()
	s, err := Unpack(tgz(t, &tar.Header{Name: "./", Typeflag: tar.TypeDir}, &tar.Header{Name: "apps/", Typeflag: tar.TypeDir}, &tar.Header{Name: "./apps/a.yaml=a\n"},
		&tar.Header{Name: "b/c/d.yaml=d\n"}, &tar.Header{Name: "link.yaml", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}, &tar.Header{Name: "apps/logo.png=x"}),
		"latest@sha256:1", "oci://host/team/fleet")
	must(t, err)
	same(t, "files", files(t, s), []string{"apps/a.yaml=a\n", "apps/logo.png=x", "b/c/d.yaml=d\n"})
	same(t, "artifact", names(t, s, Content{Submodules: true}), []string{"apps/a.yaml", "b/c/d.yaml"})
	if _, err := fs.ReadFile(s.FS, "link.yaml"); err == nil || !strings.Contains(err.Error(), "is a symbolic link to /etc/passwd") {
		t.Error(err)
	}
	if !s.Is("oci://HOST/team/fleet/") || s.Is("oci://host/team/other") || s.Is("https://host/team/fleet") {
		t.Error("it is of another repository")
	}
	for what, entry := range map[string]*tar.Header{
		`"../out" leads out of it`:                 {Name: "../out=x"},
		`"a/../../out" leads out of it`:            {Name: "a/../../out=x"},
		`"/etc/x" leads out of it`:                 {Name: "/etc/x=x"},
		`"a\\b" leads out of it`:                   {Name: `a\b=x`},
		`"dev" is neither a file nor a directory`:  {Name: "dev", Typeflag: tar.TypeChar},
		`"hard" is neither a file nor a directory`: {Name: "hard", Typeflag: tar.TypeLink, Linkname: "a"},
	} {
		if _, err := Unpack(tgz(t, entry), "x", ""); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
	whole := tgz(t, &tar.Header{Name: "a=" + strings.Repeat("x", 4096)})
	for what, data := range map[string][]byte{"is not a gzipped tar archive": []byte("kind: Secret"), "the archive is damaged": whole[:len(whole)/2]} {
		if _, err := Unpack(data, "x", ""); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// A small archive that would fill the memory is refused before it does.
func TestUnpackABomb(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(z)
	must(t, w.WriteHeader(&tar.Header{Name: "a", Typeflag: tar.TypeReg, Size: maxUnpacked + 1, Mode: 0o644}))
	must(t, z.Flush())
	if _, err := Unpack(out.Bytes(), "x", ""); err == nil || !strings.Contains(err.Error(), "the archive is too large") {
		t.Error(err)
	}
}
