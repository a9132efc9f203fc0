package secret_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/secret"
)

func file(data []byte) *fstest.MapFile { return &fstest.MapFile{Data: data, Mode: 0o644} }

func mustRead(t testing.TB, f fs.FS, name string) string {
	t.Helper()
	data, err := fs.ReadFile(f, name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestOverlayOpensWhatIsReadAndTellsEveryProblem(t *testing.T) {
	key, other := x25519(t), x25519(t)
	all := seal(t, "all.yaml", secretYAML, whole(key))
	broken := []byte(swap("name: db", "name: x")(t, string(seal(t, "broken.yaml", secretYAML, to(key)))))
	f := secret.Overlay(fstest.MapFS{
		"apps/all.yaml":       file(all),
		"apps/plain.yaml":     file([]byte("kind: ConfigMap\n")),
		"apps/env/app.env":    file(seal(t, "app.env", "A="+password+"\n", whole(key))),
		"apps/env/broken.yml": file(broken),
		"apps/env/alien.yaml": file(seal(t, "alien.yaml", secretYAML, to(other))),
		"apps/unread.yaml":    file(seal(t, "unread.yaml", secretYAML, to(other))),
	}, ring(t, key), secret.OverlayOptions{Configured: true})

	for range 2 {
		if got := mustRead(t, f, "apps/all.yaml"); got != secretYAML {
			t.Errorf("got\n%s", got)
		}
		if got := mustRead(t, f, "apps/env/app.env"); got != "A="+password+"\n" {
			t.Errorf("got\n%s", got)
		}
		if got := mustRead(t, f, "apps/plain.yaml"); got != "kind: ConfigMap\n" {
			t.Errorf("got\n%s", got)
		}
		if got := mustRead(t, f, "apps/env/broken.yml"); got != string(broken) {
			t.Errorf("got\n%s", got)
		}
		mustRead(t, f, "apps/env/alien.yaml")
	}
	var got []string
	for _, p := range f.Problems() {
		got = append(got, p.Path+" "+string(p.Kind))
	}
	if want := "apps/env/alien.yaml wrong key, apps/env/broken.yml tampered"; strings.Join(got, ", ") != want {
		t.Errorf("got problems %v", got)
	}
	got = nil
	for _, o := range f.Opened() {
		got = append(got, fmt.Sprint(o.Path, " ", o.MetadataSealed, " ", o.MACIgnored, " ", o.Recipients[0] == key.public))
	}
	if want := "apps/all.yaml true false true, apps/env/app.env false false true"; strings.Join(got, ", ") != want {
		t.Errorf("got opened %v", got)
	}
	if got, err := f.ReadSealed("apps/all.yaml"); err != nil || !bytes.Equal(got, all) {
		t.Errorf("ReadSealed: %v\n%s", err, got)
	}
	if _, err := f.ReadFile("no"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestOverlayIgnoringMACs(t *testing.T) {
	key := x25519(t)
	good := seal(t, "a.yaml", secretYAML, to(key))
	f := secret.Overlay(fstest.MapFS{
		"good.yaml": file(good),
		"bad.yaml":  file([]byte(swap("name: db", "name: x")(t, string(good)))),
	}, ring(t, key), secret.OverlayOptions{Configured: true, IgnoreMAC: true})
	if got, want := mustRead(t, f, "bad.yaml"), strings.Replace(secretYAML, "name: db", "name: x", 1); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	mustRead(t, f, "good.yaml")
	if o := f.Opened(); len(f.Problems()) != 0 || len(o) != 2 || !o[0].MACIgnored || o[1].MACIgnored {
		t.Errorf("got %+v, problems %v", o, f.Problems())
	}
}

func TestOverlayWithoutDecryption(t *testing.T) {
	key := x25519(t)
	sealed := seal(t, "a.yaml", secretYAML, whole(key))
	for title, k := range map[string]*secret.Keyring{"with the key": ring(t, key), "without keys": nil} {
		f := secret.Overlay(fstest.MapFS{"a.yaml": file(sealed)}, k, secret.OverlayOptions{})
		if got := mustRead(t, f, "a.yaml"); got != string(sealed) {
			t.Errorf("%s: got\n%s", title, got)
		}
		ps := f.Problems()
		if len(ps) != 1 || len(f.Opened()) != 0 {
			t.Fatalf("%s: got %v", title, ps)
		}
		p := ps[0]
		if p.Kind != secret.NotConfigured || p.Error() != "a.yaml: is sealed, but its Kustomization has no spec.decryption" ||
			!p.MetadataSealed || len(p.Recipients) != 1 || !strings.Contains(p.Hint, "spec.decryption.provider: sops") {
			t.Errorf("%s: got %+v", title, p)
		}
	}
}

// To look at a file is not to read it: only reading opens, and is a problem.
func TestOverlayOpensOnlyWhatIsRead(t *testing.T) {
	key := x25519(t)
	sealed := seal(t, "a.yaml", secretYAML, to(key))
	f := secret.Overlay(fstest.MapFS{"d/a.yaml": file(sealed)}, ring(t), secret.OverlayOptions{Configured: true})
	info, err := f.Stat("d/a.yaml")
	if err != nil || info.Size() != int64(len(sealed)) {
		t.Errorf("got %v, %v", info, err)
	}
	if entries, err := f.ReadDir("d"); err != nil || len(entries) != 1 {
		t.Errorf("got %v, %v", entries, err)
	}
	opened, err := f.Open("d/a.yaml")
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	if _, err := f.ReadSealed("d/a.yaml"); err != nil {
		t.Error(err)
	}
	if ps := f.Problems(); len(ps) != 0 {
		t.Errorf("got %v before anything is read", ps)
	}
	if data, err := io.ReadAll(opened); err != nil || !bytes.Equal(data, sealed) {
		t.Errorf("got %v\n%s", err, data)
	}
	if ps := f.Problems(); len(ps) != 1 {
		t.Errorf("got %v after a file is read", ps)
	}
}

func TestOverlayIsAFileSystem(t *testing.T) {
	key := x25519(t)
	f := secret.Overlay(fstest.MapFS{
		"a.yaml":       file(seal(t, "a.yaml", secretYAML, to(key))),
		"d/plain.yaml": file([]byte("a: b\n")),
		"d/alien.json": file(seal(t, "a.json", `{"a": "b"}`, whole(x25519(t)))),
	}, ring(t, key), secret.OverlayOptions{Configured: true})
	if err := fstest.TestFS(f, "a.yaml", "d/plain.yaml", "d/alien.json"); err != nil {
		t.Error(err)
	}
}

// What a caller does to the bytes it got is its own affair.
func TestOverlayBytesAreTheCallers(t *testing.T) {
	key := x25519(t)
	f := secret.Overlay(fstest.MapFS{"a.yaml": file(seal(t, "a.yaml", secretYAML, to(key)))}, ring(t, key), secret.OverlayOptions{Configured: true})
	data, err := f.ReadFile("a.yaml")
	if err != nil {
		t.Fatal(err)
	}
	clear(data)
	if got := mustRead(t, f, "a.yaml"); got != secretYAML {
		t.Errorf("got\n%s", got)
	}
}

// Many readers at once, of overlays that share a Keyring (run with -race).
func TestOverlaysAtOnce(t *testing.T) {
	key := x25519(t)
	files := fstest.MapFS{}
	for i := range 20 {
		files[fmt.Sprintf("%02d.yaml", i)] = file(seal(t, "a.yaml", secretYAML, to(key)))
		files[fmt.Sprintf("%02d.env", i)] = file(seal(t, "a.env", "A="+password+"\n", whole(x25519(t))))
	}
	k := ring(t, key)
	var wg sync.WaitGroup
	for range 4 {
		f := secret.Overlay(files, k, secret.OverlayOptions{Configured: true})
		for range 4 {
			wg.Go(func() {
				for name := range files {
					data, err := f.ReadFile(name)
					if err != nil || strings.HasSuffix(name, ".yaml") && string(data) != secretYAML {
						t.Errorf("%s: got %v\n%s", name, err, data)
					}
					f.Problems()
				}
			})
		}
		wg.Wait()
		if len(f.Opened()) != 20 || len(f.Problems()) != 20 {
			t.Errorf("got %d opened, %d problems", len(f.Opened()), len(f.Problems()))
		}
	}
}
