package secret_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/secret"
)

// A rotation in the cluster: the new identity beside the old one, then alone;
// what else stands there stays as it is.
func TestInstalledKeys(t *testing.T) {
	oldFile, oldRecipient, err := secret.NewKey(false)
	if err != nil {
		t.Fatal(err)
	}
	newFile, newRecipient, err := secret.NewKey(true)
	if err != nil {
		t.Fatal(err)
	}
	mine := "# the team's, do not lose\n\n" + strings.TrimSuffix(string(oldFile), "\n")
	data := map[string][]byte{"identity.agekey": []byte(mine), "sops.asc": []byte("pgp")}
	before := secret.InstalledIn(data)
	both, err := before.Add(newFile)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := both.Recipients(); err != nil || !slices.Equal(got, []string{newRecipient, oldRecipient}) {
		t.Errorf("got %v, %v", err, got)
	}
	patch := before.Patch(both)
	if len(patch) != 1 || !strings.Contains(string(patch["age.agekey"]), "AGE-SECRET-KEY-PQ-1") {
		t.Errorf("got %d entries", len(patch))
	}
	again, err := both.Add(newFile)
	if err != nil || len(both.Patch(again)) != 0 {
		t.Errorf("added twice: %v", err)
	}
	alone, err := both.Remove(oldRecipient)
	if err != nil {
		t.Fatal(err)
	}
	if patch := both.Patch(alone); len(patch) != 1 || patch["identity.agekey"] != nil {
		t.Errorf("got %d entries", len(patch))
	}
	// Of an entry that holds more only the identity goes, and the comments above it.
	shared := secret.InstalledIn(map[string][]byte{"age.agekey": append([]byte("# one\n"+string(oldFile)+"\n# two\n"), newFile...)})
	rest, err := shared.Remove(oldRecipient)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(shared.Patch(rest)["age.agekey"]); got != "\n# two\n"+string(newFile) {
		t.Errorf("got %d bytes", len(got))
	}
	if _, err := rest.Remove(oldRecipient); err == nil || !strings.Contains(err.Error(), "no identity of age1") {
		t.Errorf("got %v", err)
	}
}

// What is no key for Flux is refused, and none of it is said.
func TestNotInstallable(t *testing.T) {
	for _, file := range []string{"", "# nothing\n", "hunter2\n", "AGE-PLUGIN-YUBIKEY-1HUNTER2\n", "-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2"} {
		if _, err := secret.InstalledIn(nil).Add([]byte(file)); err == nil || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "HUNTER2") {
			t.Errorf("%q: got %v", file, err)
		}
	}
	if _, err := secret.InstalledIn(map[string][]byte{"x.agekey": []byte("hunter2")}).Recipients(); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v", err)
	}
}
