package controlplane

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMemoryErrorSaysWhatIsNeededAndWhatToType(t *testing.T) {
	for _, test := range []struct {
		set       Set
		available uint64
		want      []string
	}{
		{All, 2 << 30, nil},
		{All, 700 << 20, []string{"700 MiB are available", "needs 1024 MiB", "--components apiserver", "--ignore-memory"}},
		{APIServer, 700 << 20, nil},
		{APIServer, 100 << 20, []string{"100 MiB are available", "needs 512 MiB", "--ignore-memory"}},
	} {
		err := memoryError(test.set, test.available)
		if (err == nil) != (test.want == nil) {
			t.Errorf("%s with %d MiB: %v", test.set, test.available>>20, err)
		}
		for _, want := range test.want {
			if !strings.Contains(fmt.Sprint(err), want) {
				t.Errorf("%s with %d MiB: %v, want %q in it", test.set, test.available>>20, err, want)
			}
		}
	}
}

func TestTailReturnsLastLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, []byte("one\ntwo\nthree\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, want := tail(path, 2), "  two\n  three"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := tail(path, 20), "  one\n  two\n  three"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestKubeconfigIsReadBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kubeconfig")
	contexts := []contextUser{{"devcluster", User{Name: Admin, Token: "first"}}, {"devcluster-nobody", User{Name: Nobody, Token: "second"}}}
	if err := writeKubeconfig(path, "https://127.0.0.1:1", []byte("a certificate\n"), contexts); err != nil {
		t.Fatal(err)
	}
	ca, token, err := readKubeconfig(path)
	if err != nil || string(ca) != "a certificate\n" || token != "first" {
		t.Errorf("%q, %q, %v", ca, token, err)
	}
}

func TestOwnMemoryIsKnown(t *testing.T) {
	if size, ok := residentSize(os.Getpid()); !ok || size < 1<<20 {
		t.Errorf("this process holds %d bytes, %v", size, ok)
	}
}
