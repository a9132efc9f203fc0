package secret

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/getsops/sops/v3/azkv"
	"github.com/getsops/sops/v3/gcpkms"
	"github.com/getsops/sops/v3/hcvault"
	"github.com/getsops/sops/v3/keyservice"
	"github.com/getsops/sops/v3/kms"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
	"sigs.k8s.io/yaml"
)

// The entries of a Flux decryption Secret besides age identities, by the names
// of kustomize-controller's decryptor.
const (
	pgpSuffix  = ".asc"
	vaultToken = "sops.vault-token"
	awsKMS     = "sops.aws-kms"
	azureKV    = "sops.azure-kv"
	gcpKMS     = "sops.gcp-kms"
)

// remotes are what a Flux decryption Secret holds besides age identities: PGP
// keys, used in memory and without gpg, and logins of key services. A nil one
// leaves it to what sops finds by itself.
type remotes struct {
	pgp   openpgp.EntityList
	vault string
	aws   aws.CredentialsProvider
	azure azcore.TokenCredential
	gcp   oauth2.TokenSource
}

// read takes one entry of the Secret. known is false for a name that means
// nothing; what cannot be read is an error that quotes nothing of it.
func (r *remotes) read(name string, data []byte) (outcome string, known bool, err error) {
	switch {
	case strings.HasSuffix(name, pgpSuffix):
		ring, err := openpgp.ReadArmoredKeyRing(bytes.NewReader(data))
		if err != nil {
			return "", true, errors.New("is not an armored PGP key")
		}
		n := 0
		for _, e := range ring {
			if e.PrivateKey == nil {
				continue
			}
			if e.PrivateKey.Encrypted {
				return "", true, errors.New("is a PGP key under a passphrase, and nothing prompts here")
			}
			r.pgp = append(r.pgp, e)
			n++
		}
		if n == 0 {
			return "", true, errors.New("is a PGP public key: the private one is needed")
		}
		return "PGP key", true, nil
	case name == vaultToken:
		r.vault = strings.TrimSpace(string(data))
		return "token for Vault", true, nil
	case name == awsKMS:
		var keys struct {
			ID      string `json:"aws_access_key_id"`
			Secret  string `json:"aws_secret_access_key"`
			Session string `json:"aws_session_token"`
		}
		if err := yaml.Unmarshal(data, &keys); err != nil || keys.ID == "" || keys.Secret == "" {
			return "", true, errors.New("is not YAML with aws_access_key_id and aws_secret_access_key")
		}
		r.aws = credentials.NewStaticCredentialsProvider(keys.ID, keys.Secret, keys.Session)
		return "credentials for AWS", true, nil
	case name == azureKV:
		r.azure, err = azureCredential(data)
		return "credentials for Azure", true, err
	case name == gcpKMS:
		login, err := google.CredentialsFromJSON(context.Background(), bytes.TrimSpace(data), "https://www.googleapis.com/auth/cloud-platform")
		if err != nil {
			return "", true, errors.New("is not a JSON file of Google Cloud credentials")
		}
		r.gcp = login.TokenSource
		return "credentials for Google Cloud", true, nil
	}
	return "", false, nil
}

// azureCredential reads the forms of sops.azure-kv that Flux knows: a service
// principal with a secret or a certificate, what `az ad sp create-for-rbac`
// prints, or the id of a managed identity; in UTF-16 too, as PowerShell writes it.
func azureCredential(data []byte) (azcore.TokenCredential, error) {
	text, err := io.ReadAll(transform.NewReader(bytes.NewReader(data), unicode.BOMOverride(transform.Nop)))
	var c struct {
		TenantID              string `json:"tenantId"`
		ClientID              string `json:"clientId"`
		ClientSecret          string `json:"clientSecret"`
		Certificate           string `json:"clientCertificate"`
		CertificatePassword   string `json:"clientCertificatePassword"`
		CertificateSendsChain bool   `json:"clientCertificateSendChain"`
		AuthorityHost         string `json:"authorityHost"`
		AppID                 string `json:"appId"`
		Tenant                string `json:"tenant"`
		Password              string `json:"password"`
	}
	if err != nil || yaml.Unmarshal(text, &c) != nil {
		return nil, errors.New("is not YAML or JSON")
	}
	options := azcore.ClientOptions{Cloud: cloud.AzurePublic}
	if c.AuthorityHost != "" {
		options.Cloud = cloud.Configuration{ActiveDirectoryAuthorityHost: c.AuthorityHost, Services: map[cloud.ServiceName]cloud.ServiceConfiguration{}}
	}
	var login azcore.TokenCredential
	switch {
	case c.TenantID != "" && c.ClientID != "" && c.ClientSecret != "":
		login, err = azidentity.NewClientSecretCredential(c.TenantID, c.ClientID, c.ClientSecret, &azidentity.ClientSecretCredentialOptions{ClientOptions: options})
	case c.TenantID != "" && c.ClientID != "" && c.Certificate != "":
		certs, key, perr := azidentity.ParseCertificates([]byte(c.Certificate), []byte(c.CertificatePassword))
		if perr != nil {
			return nil, errors.New("has a clientCertificate that cannot be read")
		}
		login, err = azidentity.NewClientCertificateCredential(c.TenantID, c.ClientID, certs, key,
			&azidentity.ClientCertificateCredentialOptions{ClientOptions: options, SendCertificateChain: c.CertificateSendsChain})
	case c.Tenant != "" && c.AppID != "" && c.Password != "":
		login, err = azidentity.NewClientSecretCredential(c.Tenant, c.AppID, c.Password, &azidentity.ClientSecretCredentialOptions{ClientOptions: options})
	case c.ClientID != "":
		login, err = azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{ID: azidentity.ClientID(c.ClientID)})
	default:
		return nil, errors.New("needs clientId; tenantId, clientId and clientSecret or clientCertificate; or appId, tenant and password")
	}
	if err != nil {
		return nil, errors.New("does not make a login for Azure")
	}
	return login, nil
}

// decrypt unwraps a data key by what the Secret holds. ok is false where it
// holds nothing for this kind of key.
func (r *remotes) decrypt(ctx context.Context, req *keyservice.DecryptRequest) (key []byte, ok bool, err error) {
	sealed := string(req.Ciphertext)
	switch k := req.Key.KeyType.(type) {
	case *keyservice.Key_PgpKey:
		if len(r.pgp) == 0 {
			return nil, false, nil
		}
		key, err = openPGP(r.pgp, sealed)
		return key, true, err
	case *keyservice.Key_VaultKey:
		if r.vault == "" {
			return nil, false, nil
		}
		master := hcvault.MasterKey{VaultAddress: k.VaultKey.VaultAddress, EnginePath: k.VaultKey.EnginePath, KeyName: k.VaultKey.KeyName, EncryptedKey: sealed}
		hcvault.Token(r.vault).ApplyToMasterKey(&master)
		key, err = master.DecryptContext(ctx)
		return key, true, err
	case *keyservice.Key_KmsKey:
		if r.aws == nil {
			return nil, false, nil
		}
		// Without the profile: it is one of this machine's.
		master := kms.MasterKey{Arn: k.KmsKey.Arn, Role: k.KmsKey.Role, EncryptionContext: map[string]*string{}, EncryptedKey: sealed}
		for name, value := range k.KmsKey.Context {
			master.EncryptionContext[name] = &value
		}
		kms.NewCredentialsProvider(r.aws).ApplyToMasterKey(&master)
		key, err = master.DecryptContext(ctx)
		return key, true, err
	case *keyservice.Key_AzureKeyvaultKey:
		if r.azure == nil {
			return nil, false, nil
		}
		master := azkv.MasterKey{VaultURL: k.AzureKeyvaultKey.VaultUrl, Name: k.AzureKeyvaultKey.Name, Version: k.AzureKeyvaultKey.Version, EncryptedKey: sealed}
		azkv.NewTokenCredential(r.azure).ApplyToMasterKey(&master)
		key, err = master.DecryptContext(ctx)
		return key, true, err
	case *keyservice.Key_GcpKmsKey:
		if r.gcp == nil {
			return nil, false, nil
		}
		master := gcpkms.MasterKey{ResourceID: k.GcpKmsKey.ResourceId, EncryptedKey: sealed}
		gcpkms.NewTokenSource(r.gcp).ApplyToMasterKey(&master)
		key, err = master.DecryptContext(ctx)
		return key, true, err
	}
	return nil, false, nil
}

// openPGP opens an armored message with private keys in memory.
func openPGP(ring openpgp.EntityList, sealed string) ([]byte, error) {
	block, err := armor.Decode(strings.NewReader(sealed))
	if err != nil {
		return nil, errDamaged
	}
	message, err := openpgp.ReadMessage(block.Body, ring, nil, nil)
	if err != nil {
		return nil, errNoMatch
	}
	return io.ReadAll(message.UnverifiedBody)
}
