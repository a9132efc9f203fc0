package cloud

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fluxcd/pkg/apis/meta"
)

// aws is a machine with AWS's keys in its environment: nobody has to be asked for a login.
func aws(t *testing.T) {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "not-to-be-printed")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("AWS_CA_BUNDLE", "") // Flux's code does not take one
	t.Setenv("HOME", t.TempDir())
}

func TestGitAtAWS(t *testing.T) {
	aws(t)
	got, err := Git(t.Context(), "aws", "https://git-codecommit.eu-central-1.amazonaws.com/v1/repos/fleet", nil)
	if err != nil {
		t.Fatal(err)
	}
	// The key, and the token that a session has; the time and the signature of a request.
	if got["username"] != "AKIAEXAMPLE%" || len(got["password"]) != len("20060102T150405Z")+64 || strings.Contains(got["password"], "not-to-be-printed") {
		t.Errorf("%v", got)
	}
	_, err = Git(t.Context(), "aws", "https://git.example.com/fleet", nil)
	if err == nil || !strings.HasPrefix(err.Error(), "no login at aws: ") || !strings.Contains(err.(*Error).Hint(), "aws sso login") {
		t.Errorf("%v", err)
	}
}

// gcp is a machine with the key of a service account, whose token endpoint is a server of our own.
func gcp(t *testing.T, asked *[]url.Values) {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		*asked = append(*asked, r.Form)
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"access_token":"token-%d","token_type":"Bearer","expires_in":30}`, len(*asked))
	}))
	t.Cleanup(srv.Close)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	account, err := json.Marshal(map[string]string{
		"type": "service_account", "client_email": "ada@example.iam.gserviceaccount.com", "private_key_id": "1", "token_uri": srv.URL,
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "account.json")
	if err := os.WriteFile(file, account, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", file)
	t.Setenv("HOME", t.TempDir())
}

func TestClusterAtAWS(t *testing.T) {
	aws(t)
	data := map[string]string{
		meta.KubeConfigKeyProvider: "aws", meta.KubeConfigKeyCluster: "arn:aws:eks:eu-central-1:123456789012:cluster/prod",
		meta.KubeConfigKeyAddress: "https://prod.example.com", meta.KubeConfigKeyCACert: "-----BEGIN CERTIFICATE-----",
	}
	c, err := Kubernetes(t.Context(), data)
	if err != nil {
		t.Fatal(err)
	}
	if c.Host != "https://prod.example.com:443" && c.Host != "https://prod.example.com" || string(c.CA) != data[meta.KubeConfigKeyCACert] {
		t.Errorf("%q %q", c.Host, c.CA)
	}
	token, err := c.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// A presigned question who asks, that EKS sends to AWS.
	text, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(token, "k8s-aws-v1."))
	if err != nil || !strings.HasPrefix(string(text), "https://sts.eu-central-1.amazonaws.com/?Action=GetCallerIdentity") {
		t.Errorf("%q %v", text, err)
	}
	if again, _ := c.Token(t.Context()); again != token {
		t.Error("a token that is good for 15 minutes was made anew")
	}
	delete(data, meta.KubeConfigKeyCluster)
	if _, err := Kubernetes(t.Context(), data); err == nil || !strings.HasPrefix(err.Error(), "no login at aws: ") {
		t.Errorf("%v", err)
	}
}

// A token that ends soon is not used any more.
func TestClusterAtGCP(t *testing.T) {
	var asked []url.Values
	gcp(t, &asked)
	c, err := Kubernetes(t.Context(), map[string]string{
		meta.KubeConfigKeyProvider: "gcp", meta.KubeConfigKeyCluster: "projects/p/locations/l/clusters/prod",
		meta.KubeConfigKeyAddress: "https://prod.example.com", meta.KubeConfigKeyCACert: "-----BEGIN CERTIFICATE-----",
	})
	if err != nil {
		t.Fatal(err)
	}
	if token, err := c.Token(t.Context()); err != nil || token != "token-2" {
		t.Errorf("%q %v", token, err)
	}
	if len(asked) != 2 || asked[0].Get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" {
		t.Errorf("%v", asked)
	}
}
