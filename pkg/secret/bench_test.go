package secret_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/secret"
)

// BenchmarkFile is one sealed file: what check and updatekeys do of each.
func BenchmarkFile(b *testing.B) {
	dir := b.TempDir()
	key, other := x25519(b), x25519(b)
	if err := os.WriteFile(filepath.Join(dir, ".sops.yaml"), []byte("creation_rules:\n- encrypted_regex: "+secret.KubernetesRegex+"\n  age: "+key.public+"\n"), 0o600); err != nil {
		b.Fatal(err)
	}
	rules := secret.Rules{Dir: dir}
	var sealed [][]byte
	for i := range 500 {
		sealed = append(sealed, seal(b, fmt.Sprintf("%d.yaml", i), secretYAML, to(key)))
	}
	after := ruleFor(b, b.TempDir(), "a.yaml", "", key.public, other.public)
	b.Run("check", func(b *testing.B) {
		c := secret.NewChecker(ring(b, key), rules, dir)
		for i := 0; b.Loop(); i++ {
			if found := c.File("a.yaml", filepath.Join(dir, "a.yaml"), sealed[i%len(sealed)]); len(found) > 0 {
				b.Fatal(found)
			}
		}
	})
	b.Run("updatekeys", func(b *testing.B) {
		k := ring(b, key)
		for i := 0; b.Loop(); i++ {
			if out, err := k.UpdateKeys("a.yaml", sealed[i%len(sealed)], after); err != nil || !out.Changed {
				b.Fatal(err)
			}
		}
	})
}
