package secret_test

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/secret"
)

const (
	letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	hexes   = "0123456789abcdef"
	base62  = "0123456789" + letters
)

// made is a text of n mixed letters of an alphabet, the same each time: no token of
// anybody is kept in these files.
func made(n int, alphabet string) string {
	r := rand.New(rand.NewPCG(1, uint64(n)))
	raw := make([]byte, n)
	for i := range raw {
		raw[i] = alphabet[r.IntN(len(alphabet))]
	}
	return string(raw)
}

func jwt(claims string) string {
	enc := base64.RawURLEncoding.EncodeToString
	return enc([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + enc([]byte(claims)) + "." + made(43, base62)
}

func privatePEM(t *testing.T) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(ed25519.NewKeyFromSeed([]byte(made(ed25519.SeedSize, base62))))
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// checkOne are the findings of one file.
func checkOne(t *testing.T, name, data string) []secret.Finding {
	t.Helper()
	dir := t.TempDir()
	return secret.NewChecker(ring(t), secret.Rules{Dir: dir}, dir).File(name, filepath.Join(dir, name), []byte(data))
}

func TestCheckKnowsTokensByTheirForm(t *testing.T) {
	upper := strings.ToUpper(letters[:26])
	key := privatePEM(t)
	for title, c := range map[string]struct{ rule, value string }{
		"AWS":              {secret.KnownToken, "AKIA" + made(16, upper+"234567")},
		"GitHub":           {secret.KnownToken, "ghp_" + made(36, base62)},
		"GitHub, with x":   {secret.KnownToken, "ghp_" + made(16, base62) + "xXxx" + made(16, base62)},
		"GitHub, fine":     {secret.KnownToken, "github_pat_" + made(22, base62) + "_" + made(59, base62)},
		"GitLab":           {secret.KnownToken, "glpat-" + made(20, base62)},
		"Slack":            {secret.KnownToken, "xoxb-" + made(12, hexes[:10]) + "-" + made(24, base62)},
		"Slack webhook":    {secret.KnownToken, "https://hooks.slack.com/services/T" + made(8, upper) + "/B" + made(8, upper) + "/" + made(24, base62)},
		"Telegram":         {secret.KnownToken, "1" + made(8, hexes[:10]) + ":AA" + made(33, base62)},
		"Stripe":           {secret.KnownToken, "sk_live_" + made(24, base62)},
		"Google":           {secret.KnownToken, "AIza" + made(35, base62)},
		"Azure":            {secret.KnownToken, "AccountName=x;AccountKey=" + made(86, base62) + "=="},
		"npm":              {secret.KnownToken, "npm_" + made(36, base62)},
		"PyPI":             {secret.KnownToken, "pypi-AgE" + made(60, base62)},
		"Docker Hub":       {secret.KnownToken, "dckr_pat_" + made(27, base62)},
		"SendGrid":         {secret.KnownToken, "SG." + made(22, base62) + "." + made(43, base62)},
		"Anthropic":        {secret.KnownToken, "sk-ant-api03-" + made(90, base62)},
		"OpenAI":           {secret.KnownToken, "sk-proj-" + made(20, base62) + "T3BlbkFJ" + made(20, base62)},
		"Hugging Face":     {secret.KnownToken, "hf_" + made(34, letters)},
		"DigitalOcean":     {secret.KnownToken, "dop_v1_" + made(64, hexes)},
		"Vault":            {secret.KnownToken, "hvs." + made(24, base62)},
		"Grafana":          {secret.KnownToken, "glsa_" + made(32, base62) + "_" + made(8, hexes)},
		"Databricks":       {secret.KnownToken, "dapi" + made(32, hexes)},
		"a JWT":            {secret.KnownToken, jwt(`{"sub":"ci","iss":"kubernetes/serviceaccount"}`)},
		"age":              {secret.PrivateKey, x25519(t).private},
		"age, hybrid":      {secret.PrivateKey, hybrid(t).private},
		"PEM":              {secret.PrivateKey, key},
		"PEM, escaped":     {secret.PrivateKey, `{"private_key": "` + strings.ReplaceAll(key, "\n", `\n`) + `"}`},
		"PEM, base64":      {secret.PrivateKey, base64.StdEncoding.EncodeToString([]byte(key))},
		"OpenSSH":          {secret.PrivateKey, sshKey(t, "").private},
		"OpenSSH, locked":  {secret.PrivateKey, sshKey(t, "phrase").private},
		"PGP":              {secret.PrivateKey, "-----BEGIN PGP PRIVATE KEY BLOCK-----\nVersion: GnuPG v2\n\n" + made(64, base62) + "\n"},
		"a URL":            {secret.ClearPassword, "postgres://app:" + made(12, base62) + "@db:5432/app"},
		"htpasswd, apr1":   {secret.ClearPassword, "ops:$apr1$" + made(8, base62) + "$" + made(22, base62)},
		"htpasswd, bcrypt": {secret.ClearPassword, "ops:$2y$10$" + made(53, base62)},
	} {
		t.Run(title, func(t *testing.T) {
			for name, text := range map[string]string{
				"notes.md":    "# How to\n\nuse " + c.value + "\n",
				"deploy.sh":   "#!/bin/sh\n\necho '" + c.value + "'\n",
				"values.yaml": "a: b\n# once\n# " + strings.ReplaceAll(c.value, "\n", "\n# ") + "\n",
			} {
				found := checkOne(t, name, text)
				if len(found) != 1 || found[0].Rule != c.rule || found[0].Line != 3 || found[0].Fix == "" {
					t.Errorf("%s: got %+v", name, found)
				}
				for _, f := range found {
					quiet(t, f.Message, f.Fix)
					if strings.Contains(f.Message+f.Fix, c.value[5:]) {
						t.Errorf("prints what it found: %+v", f)
					}
				}
			}
		})
	}
}

func TestCheckKnowsPasswordsByTheirNames(t *testing.T) {
	p := "Tr0ub4dor" + made(4, base62)
	random := made(24, base62)
	for title, c := range map[string]struct {
		name, text string
		line       int
	}{
		"an environment variable of a Deployment": {"d.yaml", "apiVersion: apps/v1\nkind: Deployment\nspec: {template: {spec: {containers: [{env: [\n{name: DB_PASSWORD,\n value: " + p + "}]}]}}}\n", 5},
		"a ConfigMap":                  {"c.yaml", "apiVersion: v1\nkind: ConfigMap\ndata:\n  db.password: " + p + "\n", 4},
		"a file in a ConfigMap":        {"c.yaml", "apiVersion: v1\nkind: ConfigMap\ndata:\n  app.properties: |\n    url=x\n    db.password=" + p + "\n", 6},
		"values of a chart":            {"values.yaml", "grafana:\n  adminPassword: prom-operator\n", 2},
		"a HelmRelease":                {"r.yaml", "kind: HelmRelease\nspec:\n  values:\n    auth: {rootPassword: " + p + "}\n", 4},
		"an argument":                  {"d.yaml", "args:\n- --user=x\n- --password=" + p + "\n", 3},
		"JSON":                         {"a.json", "{\n\"clientSecret\": \"" + random + "\"}", 2},
		".env":                         {".env", "A=b\nexport API_TOKEN=" + random + "\n", 2},
		"ini":                          {"a.ini", "[db]\npassword = " + p + "\n", 2},
		"a template":                   {"t.yaml", "{{ if . }}\nadminPassword: " + p + "\n{{ end }}\n", 2},
		"Terraform":                    {"a.tf", "x = 1\npassword = \"" + p + "\"\n", 2},
		"a program":                    {"a.py", "\npassword = '" + p + "'\n", 2},
		"a script":                     {"a.sh", "\nPGPASSWORD=" + p + " psql\n", 2},
		"a document":                   {"a.md", "\nSet `DB_PASSWORD=" + p + "`.\n", 2},
		"a comment":                    {"a.yaml", "a: b\n# password: " + p + "\n", 2},
		"a comment in words":           {"a.yaml", "a: b # the password of grafana is " + p + "\n", 1},
		"USER:PASSWORD beside auth":    {"a.yaml", "# basic auth admin:" + p + " (htpasswd)\na: b\n", 1},
		"a Secret that is sealed else": {"a.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: x}\n# admin:" + p + "\n", 4},
		"an Authorization header":      {"a.http", "GET /\nAuthorization: Basic " + base64.StdEncoding.EncodeToString([]byte("admin:"+p)) + "\n", 2},
		"the login to a registry":      {"config.json", "{\"auths\": {\"r\":\n {\"auth\": \"" + base64.StdEncoding.EncodeToString([]byte("me:"+p)) + "\"}}}", 2},
	} {
		t.Run(title, func(t *testing.T) {
			found := checkOne(t, c.name, c.text)
			if len(found) != 1 || found[0].Rule != secret.ClearPassword && found[0].Rule != secret.KnownToken || found[0].Line != c.line {
				t.Fatalf("got %+v", found)
			}
			if strings.Contains(found[0].Message, p) || strings.Contains(found[0].Message, random) || strings.Contains(found[0].Message, "prom-operator") {
				t.Errorf("prints what it found: %+v", found)
			}
			c.text = strings.Replace(c.text, "\n", " # gitops:allow password,token\n", 1)
			if c.line == 1 && len(checkOne(t, c.name, c.text)) > 0 {
				t.Error("is not allowed by a comment on its line")
			}
		})
	}
}

// What only speaks of secrets is no finding: a check that cries wolf is switched off.
func TestCheckKnowsWhatIsNoSecret(t *testing.T) {
	sha := made(64, hexes)
	for name, text := range map[string]string{
		"refs.yaml": `apiVersion: apps/v1
kind: Deployment
metadata: {annotations: {checksum/secret: ` + sha + `}}
spec:
  template:
    spec:
      imagePullSecrets: [{name: registry-login}]
      containers:
      - image: ghcr.io/acme/token-service:1.2.3@sha256:` + sha + `
        args: [--password-file=/etc/db/password, --token=$(TOKEN), "--secret-name=db"]
        env:
        - {name: DB_PASSWORD, valueFrom: {secretKeyRef: {name: db, key: password}}}
        - {name: TOKEN_URL, value: "https://id.example.com/oauth/token"}
        - {name: PASSWORD_FILE, value: /run/secrets/db}
        - {name: DB_PASSWORD2, value: $(DB_PASSWORD)}
        - {name: ENABLE_PASSWORD, value: "true"}
      volumes: [{name: x, secret: {secretName: db-credentials}}]
`,
		"values.yaml": `existingSecret: grafana-admin
auth: {enabled: true, existingSecret: redis, secretKey: "", password: ""}
adminPassword: "<change me>"
rootPassword: changeme
replicationPassword: REPLACE_WITH_A_PASSWORD
passwordKey: admin-password
tlsSecret: wildcard-tls
token: ${TOKEN}
secret: prometheus-auth
apiKey: your-api-key
sharedKey: vault:secret/data/x#key
`,
		"crd.yaml": `properties:
  password: {type: string, description: "password: the password of the user, as in s3cr3t"}
  token:
    description: Token is the name of a Secret
    type: string
required: [password, secret]
`,
		"rbac.yaml":       "rules:\n- {apiGroups: [''], resources: [secrets], verbs: [get]}\ntype: kubernetes.io/service-account-token\n",
		"template.yaml":   "{{- if .Values.auth }}\npassword: {{ .Values.password | quote }}\ntoken: {{ randAlphaNum 32 }}\n{{- end }}\n",
		"main.go":         "password := os.Getenv(\"PASSWORD\")\nt.Secret = cfg.Secret\nif token != \"\" {}\nApiKey: c.ApiKey,\n",
		"script.sh":       "PASSWORD=$(cat /run/pw)\nTOKEN=${1}\nkubectl create secret generic x --from-file=password=/dev/stdin\n",
		"README.md":       "Set `PASSWORD=<your password>`. The token: see above. password: the one you were given.\npostgres://user:password@host and https://user:$TOKEN@host, postgres://app:${PW}@db\n-----BEGIN PRIVATE KEY-----\n...\n",
		"examples.md":     "AKIAIOSFODNN7EXAMPLE " + "ghp_" + strings.Repeat("x", 36) + " " + jwt(`{"sub":"1234567890","name":"John Doe"}`) + "\n",
		"old.md":          jwt(fmt.Sprintf(`{"sub":"x","exp":%d}`, time.Now().Add(-time.Hour).Unix())) + "\n",
		"cert.yaml":       "caBundle: " + base64.StdEncoding.EncodeToString([]byte("-----BEGIN CERTIFICATE-----\n"+made(80, base62))) + "\n",
		"image.yaml":      "# registry login: see wiki/Secrets\n# admin:latest is the tag; login at grafana.example.com:3000\nimage: nginx:1.27.3-alpine\n",
		"age.yaml":        "# public key: " + x25519(t).public + "\n",
		".sops.yaml.orig": "creation_rules: []\n",
		"binary.db":       "\x00password=Tr0ub4dor&3\n",
	} {
		for _, f := range checkOne(t, name, text) {
			t.Errorf("%s: %+v", name, f)
		}
	}
}

func TestCheckFindsValuesLeftByKubectlApply(t *testing.T) {
	key := x25519(t)
	plain := strings.Replace(secretYAML, "    name: db\n", "    name: db\n    annotations:\n        kubectl.kubernetes.io/last-applied-configuration: |\n            {\"kind\":\"Secret\",\"stringData\":{\"password\":\""+password+"\"}}\n", 1)
	found := checkOne(t, "a.yaml", string(seal(t, "a.yaml", plain, to(key))))
	var rules []string
	for _, f := range found {
		rules = append(rules, f.Rule)
		quiet(t, f.Message, f.Fix)
	}
	if got := strings.Join(rules, " "); got != "plaintext-secret server-metadata no-rule" {
		t.Errorf("got %s", got)
	}
}

func FuzzCheck(f *testing.F) {
	f.Add("a.yaml", []byte("a: &x {password: *x}\n# admin:Tr0ub4dor&3 htpasswd\n"))
	f.Add("a.env", []byte("API_TOKEN=\"x\\\"\n--BEGIN PRIVATE KEY-----\\n"))
	f.Add("kustomization.yaml", []byte("resources: [., .., a=b]\n"))
	f.Add("k.yaml", []byte("apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nspec: {path: ../..}\n"))
	f.Add(".sops.yaml", []byte("creation_rules: [{path_regex: '('}, {}, {path_regex: x}]\n"))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		c := secret.NewChecker(ring(t), secret.Rules{Dir: dir}, dir)
		for _, found := range c.File(name, filepath.Join(dir, "x", filepath.Base(name)), data) {
			if found.Rule == "" || found.Message == "" || found.Fix == "" || strings.Contains(found.Message+found.Fix, "\n") && !strings.Contains(name, "\n") {
				t.Errorf("got %+v", found)
			}
		}
		c.File("a.yaml", filepath.Join(dir, "a.yaml"), []byte("apiVersion: v1\n"))
		if _, err := c.Whole(func(string) ([]byte, error) { return data, nil }); err != nil {
			t.Error(err)
		}
	})
}
