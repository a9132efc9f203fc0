package secret

import (
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/getsops/sops/v3"
	sopsage "github.com/getsops/sops/v3/age"
	"github.com/getsops/sops/v3/cmd/sops/formats"
	"github.com/getsops/sops/v3/pgp"
)

// The sops section is byte by byte what SOPS's own store writes.
func TestMetadataIsWrittenAsSopsWritesIt(t *testing.T) {
	var group sops.KeyGroup
	for range 2 {
		id, err := age.GenerateX25519Identity()
		if err != nil {
			t.Fatal(err)
		}
		key, err := sopsage.MasterKeyFromRecipient(id.Recipient().String())
		if err != nil {
			t.Fatal(err)
		}
		group = append(group, key)
	}
	ssh, err := sopsage.MasterKeyFromRecipient("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPeT2vM9xjDE7C4Wt5JmCl3wqXG5w0vNxu4gSGpZDvUi me@host: # 1")
	if err != nil {
		t.Fatal(err)
	}
	gpg := pgp.NewMasterKeyFromFingerprint("D7229043384BCC60326C6FB9D8720D957C3D3074")
	for _, groups := range [][]sops.KeyGroup{{group}, {append(group, ssh)}, {{gpg}}, {group, {gpg}, {ssh}}} {
		for _, selection := range []sops.Metadata{
			{}, {EncryptedRegex: KubernetesRegex}, {EncryptedRegex: "y"}, {EncryptedRegex: ".*: # x"}, {UnencryptedSuffix: "_unencrypted"}, {EncryptedSuffix: "yes"}, {UnencryptedRegex: "1:20:30.5"},
			{EncryptedCommentRegex: "- 'sops:enc' \"x\""}, {UnencryptedCommentRegex: " lead and \ttab"}, {MACOnlyEncrypted: true, EncryptedRegex: "null"}, {EncryptedRegex: "2024-05-06T07:08:09Z"}, {EncryptedRegex: "a\nb c d e f g "}, {EncryptedRegex: strings.Repeat("long words ", 30)},
		} {
			meta := selection
			meta.LastModified = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
			meta.Version = "3.13.3"
			meta.MessageAuthenticationCode = "ENC[AES256_GCM,data:YQ==,iv:YQ==,tag:YQ==,type:str]"
			meta.KeyGroups = groups
			if len(groups) > 1 {
				meta.ShamirThreshold = 2
				for _, g := range groups {
					for _, k := range g {
						k.SetEncryptedDataKey([]byte("-----BEGIN AGE ENCRYPTED FILE-----\nYWdlLWVuY3J5cHRpb24ub3JnL3YxCi0+\n-----END AGE ENCRYPTED FILE-----\n"))
					}
				}
			}
			for _, indent := range []int{0, 2} {
				got, err := metadataBlock(indent, meta)
				if err != nil {
					t.Fatal(err)
				}
				want, err := storeIndented(formats.Yaml, indent).EmitEncryptedFile(sops.Tree{Branches: sops.TreeBranches{{}}, Metadata: meta})
				if err != nil {
					t.Fatal(err)
				}
				if string(got) != string(want) {
					t.Errorf("got\n%s\nwant\n%s", got, want)
				}
			}
		}
	}
}
