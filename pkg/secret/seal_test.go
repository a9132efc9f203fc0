package secret_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/getsops/sops/v3"
	"github.com/getsops/sops/v3/aes"
	sopsage "github.com/getsops/sops/v3/age"
	"github.com/getsops/sops/v3/cmd/sops/common"
	"github.com/getsops/sops/v3/config"
	"github.com/getsops/sops/v3/keyservice"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/secret"
)

// The secrets of these tests. None may ever stand in an error.
const (
	password = "correct-horse-battery"
	token    = "s3cr3t-token-value"
)

// sopsBinary is the real sops: the tool of that name in go.mod, which go builds
// once and keeps in its build cache.
var sopsBinary = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("go", "tool", "-n", "github.com/getsops/sops/v3/cmd/sops").Output()
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		return "", fmt.Errorf("go tool -n sops: %w\n%s", err, exit.Stderr)
	}
	return strings.TrimSpace(string(out)), err
})

// peer runs the real sops in dir with one private key, none if key is "".
func peer(t testing.TB, dir, key string, args ...string) (string, error) {
	t.Helper()
	bin, err := sopsBinary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, args...)
	cmd.Dir = dir
	cmd.Env = []string{"HOME=" + dir, "PATH=" + os.Getenv("PATH"), "SOPS_AGE_KEY=" + key}
	if home := os.Getenv("GNUPGHOME"); home != "" { // of a test that has one
		cmd.Env = append(cmd.Env, "GNUPGHOME="+home)
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("sops %s: %w: %s", strings.Join(args, " "), err, stderr.String())
	}
	return string(out), err
}

// pair is a private key and its public half.
type pair struct{ private, public string }

func x25519(t testing.TB) pair {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return pair{id.String(), id.Recipient().String()}
}

func hybrid(t testing.TB) pair {
	t.Helper()
	id, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	return pair{id.String(), id.Recipient().String()}
}

// ring is a Keyring that found just these private keys.
func ring(t testing.TB, pairs ...pair) *secret.Keyring {
	t.Helper()
	var keys []string
	for _, p := range pairs {
		keys = append(keys, p.private)
	}
	return find(t, map[string]string{"SOPS_AGE_KEY": strings.Join(keys, " ")})
}

// find searches an environment that has these variables and an empty home.
func find(t testing.TB, env map[string]string) *secret.Keyring {
	t.Helper()
	k, err := secret.Find(secret.FindOptions{Getenv: func(name string) string { return env[name] }, Home: t.TempDir(), GOOS: "linux"})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// sealing is how seal seals.
type sealing struct {
	groups    [][]string // key groups of age recipients
	threshold int
	regex     string // encrypted_regex
	macOnly   bool   // mac_only_encrypted
}

// seal seals a file as `sops encrypt` does, without a process.
func seal(t testing.TB, name, plain string, how sealing) []byte {
	t.Helper()
	var groups []sops.KeyGroup
	for _, recipients := range how.groups {
		var group sops.KeyGroup
		for _, r := range recipients {
			key, err := sopsage.MasterKeyFromRecipient(r)
			if err != nil {
				t.Fatal(err)
			}
			group = append(group, key)
		}
		groups = append(groups, group)
	}
	return sealTo(t, name, plain, groups, how)
}

func sealTo(t testing.TB, name, plain string, groups []sops.KeyGroup, how sealing) []byte {
	t.Helper()
	store := common.DefaultStoreForPath(config.NewStoresConfig(), name)
	branches, err := store.LoadPlainFile([]byte(plain))
	if err != nil {
		t.Fatal(err)
	}
	tree := sops.Tree{Branches: branches, Metadata: sops.Metadata{
		KeyGroups:        groups,
		ShamirThreshold:  how.threshold,
		EncryptedRegex:   how.regex,
		MACOnlyEncrypted: how.macOnly,
		Version:          "3.13.3",
	}}
	key, errs := tree.GenerateDataKeyWithKeyServices([]keyservice.KeyServiceClient{keyservice.NewLocalClient()})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	cipher := aes.NewCipher()
	mac, err := tree.Encrypt(key, cipher)
	if err != nil {
		t.Fatal(err)
	}
	tree.Metadata.LastModified = time.Now().UTC()
	tree.Metadata.MessageAuthenticationCode, err = cipher.Encrypt(mac, key, tree.Metadata.LastModified.Format(time.RFC3339))
	if err != nil {
		t.Fatal(err)
	}
	out, err := store.EmitEncryptedFile(tree)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// to is a sealing of data and stringData, as Flux wants it, to one key.
func to(p pair) sealing {
	return sealing{groups: [][]string{{p.public}}, regex: "^(data|stringData)$"}
}

// whole is a sealing of everything, kind and name too.
func whole(p pair) sealing { return sealing{groups: [][]string{{p.public}}} }

const secretYAML = `apiVersion: v1
kind: Secret
metadata:
    name: db
    labels:
        app: shop
stringData:
    password: ` + password + `
    token: ` + token + `
    port: "5432"
`
