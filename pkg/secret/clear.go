package secret

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// hit is a secret that stands in clear. Its value never leaves this package.
type hit struct {
	rule, message, fix string
	line               int
	value              string
}

// maxCheckedSize is up to where a file is looked through for secrets in clear.
const maxCheckedSize = maxSealedSize

// known is a secret that is told by its form alone.
type known struct {
	rule, what string
	// literals: a text without any of them holds none.
	literals []string
	// expr has the secret as its first group, or as a whole. Few commands need it:
	// to compile all would be a tenth of what it takes to start any of them.
	expr func() *regexp.Regexp
	// holds is a last look, nil for none.
	holds func(value string) bool
}

func lazily(expr string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })
}

const rotateFix = "take it out, revoke it where it was made, and seal its successor"

// knownSecrets are the forms. Each is documented by whoever issues the secret, and
// has a prefix or a shape that nothing else has: few false alarms count for more
// here than the last of the rare forms.
var knownSecrets = []known{
	{PrivateKey, "a private key of age", []string{"AGE-SECRET-KEY-"}, lazily(`AGE-SECRET-KEY-(?:PQ-)?1[0-9A-Za-z]{20,}`), nil},
	// A key that stands in a text of JSON or YAML has its line breaks escaped.
	{PrivateKey, "a private key", []string{"PRIVATE KEY"}, lazily(`-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----(?:\s|\\r|\\n|[#>|"'+])*(?:[A-Za-z-]+: [^\n\\]*(?:\s|\\r|\\n|[#>|"'+])+)*([A-Za-z0-9+/=]{16,})`), nil},
	{PrivateKey, "a private key, in base64", []string{"LS0tLS1CRUdJTi"}, lazily(`LS0tLS1CRUdJTi[A-Za-z0-9+/]{30,}={0,2}`), encodedPrivateKey},
	{PrivateKey, "a private key of PuTTY", []string{"PuTTY-User-Key-File"}, lazily(`PuTTY-User-Key-File-\d: \S+`), nil},

	{KnownToken, "an access key of AWS", []string{"AKIA", "ASIA"}, lazily(`\b((?:AKIA|ASIA)[A-Z2-7]{16})\b`), nil},
	{KnownToken, "a token of GitHub", []string{"ghp_", "gho_", "ghu_", "ghs_", "ghr_"}, lazily(`\b(gh[pousr]_[A-Za-z0-9]{36,255})\b`), nil},
	{KnownToken, "a token of GitHub", []string{"github_pat_"}, lazily(`\b(github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59})\b`), nil},
	{KnownToken, "a token of GitLab", []string{"glpat-", "gldt-", "glrt-", "glptt-", "glcbt-", "glagent-"}, lazily(`\b(gl(?:pat|dt|rt|ptt|cbt|agent)-[A-Za-z0-9_.-]{20,})`), nil},
	{KnownToken, "a token of Slack", []string{"xox", "xapp-"}, lazily(`\b(xox[abeprs]-(?:\d-)?[A-Za-z0-9-]{20,}|xapp-\d-[A-Z0-9]+-\d+-[a-z0-9]+)`), nil},
	{KnownToken, "a webhook of Slack", []string{"hooks.slack.com/"}, lazily(`hooks\.slack\.com/(?:services|workflows|triggers)/([A-Za-z0-9+/_]{30,})`), nil},
	{KnownToken, "a webhook of Discord", []string{"/api/webhooks/"}, lazily(`discord(?:app)?\.com/api/webhooks/\d{15,}/([A-Za-z0-9_-]{60,})`), nil},
	{KnownToken, "a webhook of Microsoft Teams", []string{".webhook.office.com/"}, lazily(`\.webhook\.office\.com/webhookb2/([0-9a-f-]{36}@[0-9a-f-]{36}/IncomingWebhook/[0-9a-f]{32})`), nil},
	{KnownToken, "a token of a Telegram bot", []string{":AA"}, lazily(`\b(\d{8,10}:AA[A-Za-z0-9_-]{33})\b`), nil},
	{KnownToken, "a live key of Stripe", []string{"sk_live_", "rk_live_"}, lazily(`\b([sr]k_live_[A-Za-z0-9]{20,})`), nil},
	{KnownToken, "an API key of Google", []string{"AIza"}, lazily(`\b(AIza[A-Za-z0-9_-]{35})(?:[^A-Za-z0-9_-]|$)`), nil},
	{KnownToken, "an OAuth secret of Google", []string{"GOCSPX-"}, lazily(`\b(GOCSPX-[A-Za-z0-9_-]{28})`), nil},
	{KnownToken, "an account key of Azure", []string{"AccountKey=", "SharedAccessKey="}, lazily(`(?:AccountKey|SharedAccessKey)=([A-Za-z0-9+/]{40,}={0,2})`), nil},
	{KnownToken, "a token of npm", []string{"npm_"}, lazily(`\b(npm_[A-Za-z0-9]{36})\b`), nil},
	{KnownToken, "a token of PyPI", []string{"pypi-AgE"}, lazily(`\b(pypi-AgE[A-Za-z0-9_-]{50,})`), nil},
	{KnownToken, "a token of Docker Hub", []string{"dckr_"}, lazily(`\b(dckr_(?:pat|oat)_[A-Za-z0-9_-]{27,})`), nil},
	{KnownToken, "an API key of SendGrid", []string{"SG."}, lazily(`\b(SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43})`), nil},
	{KnownToken, "an API key of OpenAI", []string{"T3BlbkFJ"}, lazily(`\b(sk-[A-Za-z0-9_-]{16,}T3BlbkFJ[A-Za-z0-9_-]{16,})`), nil},
	{KnownToken, "an API key of Anthropic", []string{"sk-ant-"}, lazily(`\b(sk-ant-[a-z]+\d\d-[A-Za-z0-9_-]{80,})`), nil},
	{KnownToken, "a token of Hugging Face", []string{"hf_"}, lazily(`\b(hf_[A-Za-z]{34})\b`), nil},
	{KnownToken, "a token of DigitalOcean", []string{"_v1_"}, lazily(`\b(do[opr]_v1_[0-9a-f]{64})\b`), nil},
	{KnownToken, "a token of Vault", []string{"hvs.", "hvb.", "hvr."}, lazily(`\b(hv[sbr]\.[A-Za-z0-9_-]{24,})`), nil},
	{KnownToken, "a token of Terraform Cloud", []string{".atlasv1."}, lazily(`\b([A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_=-]{60,})`), nil},
	{KnownToken, "a token of Grafana", []string{"glsa_", "glc_ey"}, lazily(`\b(glsa_[A-Za-z0-9]{32}_[0-9A-Fa-f]{8}|glc_ey[A-Za-z0-9+/]{40,}={0,2})`), nil},
	{KnownToken, "a key of Tailscale", []string{"tskey-"}, lazily(`\b(tskey-[a-z]+-[A-Za-z0-9]{6,}(?:CNTRL|KE)[A-Za-z0-9-]*)`), nil},
	{KnownToken, "a token of Databricks", []string{"dapi"}, lazily(`\b(dapi[0-9a-f]{32}(?:-\d)?)\b`), nil},
	{KnownToken, "a token of Shopify", []string{"shp"}, lazily(`\b(shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32})\b`), nil},
	{KnownToken, "a token of Linear", []string{"lin_api_"}, lazily(`\b(lin_api_[A-Za-z0-9]{40})\b`), nil},
	{KnownToken, "a bootstrap token of Kubernetes", []string{"kubeadm", "--token"}, lazily(`--token[= ]([a-z0-9]{6}\.[a-z0-9]{16})\b`), nil},
	{KnownToken, "a JSON Web Token", []string{"eyJ"}, lazily(`\b(eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{20,})`), liveJWT},
	{KnownToken, "a login in an Authorization header", []string{"uthorization"}, lazily(`(?i)authorization["']?\s*[:=]\s*["']?(?:basic|bearer|token)\s+([A-Za-z0-9+/_.=~-]{12,})`), func(v string) bool { return random(v) }},
	{KnownToken, "the login to a registry", []string{`"auth"`}, lazily(`"auth"\s*:\s*"([A-Za-z0-9+/]{8,}={0,2})"`), encodedLogin},

	{ClearPassword, "a password in a URL", []string{"://"}, lazily(`\b[a-zA-Z][a-zA-Z0-9+.-]{1,30}://[^\s/:@"'<>{}$]*:([^\s/:@"'<>{}]{3,})@[A-Za-z0-9\[]`), func(v string) bool { return !strings.HasPrefix(v, "$") && !placeholder(v) }},
	{ClearPassword, "the hash of a password", []string{"$apr1$", "$2a$", "$2b$", "$2y$", "$5$", "$6$", "{SHA}"}, lazily(`[A-Za-z0-9_.@-]+:(\$apr1\$[./0-9A-Za-z]{1,8}\$[./0-9A-Za-z]{22}|\$2[aby]\$\d\d\$[./0-9A-Za-z]{53}|\$[56]\$(?:rounds=\d+\$)?[./0-9A-Za-z]{1,16}\$[./0-9A-Za-z]{43,86}|\{SHA\}[A-Za-z0-9+/]{27}=)`), nil},
}

// encodedPrivateKey tells whether a base64 text is a private key, and no certificate.
func encodedPrivateKey(value string) bool {
	value = strings.TrimRight(value, "=")
	head := value[:min(len(value), 120)&^3]
	plain, err := base64.StdEncoding.DecodeString(head)
	return err == nil && bytes.Contains(plain, []byte("PRIVATE KEY"))
}

// encodedLogin tells whether a base64 text is USER:PASSWORD.
func encodedLogin(value string) bool {
	plain, err := base64.StdEncoding.DecodeString(value)
	_, password, ok := strings.Cut(string(plain), ":")
	return err == nil && ok && !placeholder(password)
}

// liveJWT tells whether a token is one, and has not expired: an example in a
// document mostly has.
func liveJWT(value string) bool {
	parts := strings.Split(value, ".")
	head, err := base64.RawURLEncoding.DecodeString(parts[0])
	if err != nil || !bytes.Contains(head, []byte(`"alg"`)) {
		return false
	}
	body, err := base64.RawURLEncoding.DecodeString(parts[1])
	var claims struct {
		Exp float64 `json:"exp"`
		Sub any     `json:"sub"`
	}
	if err != nil || json.Unmarshal(body, &claims) != nil {
		return false
	}
	return claims.Sub != "1234567890" && (claims.Exp == 0 || claims.Exp > float64(time.Now().Unix()))
}

// clearHits finds the secrets that a file holds in clear.
func clearHits(name string, data []byte, docs *documentsOf) []hit {
	if len(data) > maxCheckedSize {
		data = data[:maxCheckedSize]
		docs = &documentsOf{data: data}
	}
	if bytes.IndexByte(data[:min(len(data), 8000)], 0) >= 0 {
		return nil // binary, as Git tells it
	}
	var out []hit
	lines := lineCounter{data: data}
	secret := kubernetesSecret(name, data, docs)
	for _, k := range knownSecrets {
		if !slices.ContainsFunc(k.literals, func(l string) bool { return bytes.Contains(data, []byte(l)) }) {
			continue
		}
		for _, m := range k.expr().FindAllSubmatchIndex(data, -1) {
			at := m[:2]
			if len(m) > 2 && m[2] >= 0 {
				at = m[2:4]
			}
			value := string(data[at[0]:at[1]])
			line := lines.at(m[0])
			if dull(value) || k.holds != nil && !k.holds(value) || k.rule != PrivateKey && secret.covers(line) {
				continue
			}
			out = append(out, hit{k.rule, "holds " + k.what, rotateFix, line, value})
		}
	}
	if secret.found {
		out = append(out, hit{PlaintextSecret, secret.message, "kubectl gitops secret encrypt -i " + quoted(name), secret.line, secret.value})
	}
	out = append(out, passwords(name, data, docs, secret)...)
	out = allowed(data, out)
	slices.SortStableFunc(out, func(a, b hit) int { return a.line - b.line })
	return dedupe(out)
}

// dedupe leaves one finding of a secret on a line: the one that is found first
// knows most of it.
func dedupe(hits []hit) []hit {
	var out []hit
	for _, h := range hits {
		if !slices.ContainsFunc(out, func(o hit) bool {
			return o.line == h.line && (o.value == h.value || h.rule == ClearPassword && (strings.Contains(o.value, h.value) || strings.Contains(h.value, o.value)))
		}) {
			out = append(out, h)
		}
	}
	return out
}

var allowComment = regexp.MustCompile(`gitops:allow[ \t]+([a-z-]+(?:,[a-z-]+)*)`)

// allowed leaves out what a comment on its line, or on the one before, allows.
func allowed(data []byte, hits []hit) []hit {
	if len(hits) == 0 || !bytes.Contains(data, []byte("gitops:allow")) {
		return hits
	}
	lines := bytes.Split(data, []byte("\n"))
	allows := func(line int, rule string) bool {
		if line < 1 || line > len(lines) {
			return false
		}
		m := allowComment.FindSubmatch(lines[line-1])
		return m != nil && slices.Contains(strings.Split(string(m[1]), ","), rule)
	}
	return slices.DeleteFunc(hits, func(h hit) bool { return allows(h.line, h.rule) || allows(h.line-1, h.rule) })
}

// lineCounter tells the line of an offset; it is asked of growing ones mostly.
type lineCounter struct {
	data     []byte
	pos, num int
}

func (l *lineCounter) at(pos int) int {
	if pos < l.pos {
		l.pos, l.num = 0, 0
	}
	l.num += bytes.Count(l.data[l.pos:pos], []byte("\n"))
	l.pos = pos
	return l.num + 1
}
