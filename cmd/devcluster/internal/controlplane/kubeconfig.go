package controlplane

import (
	"encoding/base64"
	"fmt"
	"os"
	"strings"
)

// contextUser is one context of a kubeconfig.
type contextUser struct {
	Context string
	User    User
}

// writeKubeconfig writes a kubeconfig whose contexts all lead to server; the first is the current one.
func writeKubeconfig(path, server string, ca []byte, contexts []contextUser) error {
	var b strings.Builder
	fmt.Fprintf(&b, `apiVersion: v1
kind: Config
current-context: %s
clusters:
- name: devcluster
  cluster:
    server: %s
    certificate-authority-data: %s
`, contexts[0].Context, server, base64.StdEncoding.EncodeToString(ca))
	b.WriteString("contexts:\n")
	for _, c := range contexts {
		fmt.Fprintf(&b, "- name: %s\n  context: {cluster: devcluster, user: %q}\n", c.Context, c.User.Name)
	}
	b.WriteString("users:\n")
	for _, c := range contexts {
		fmt.Fprintf(&b, "- name: %q\n  user: {token: %q}\n", c.User.Name, c.User.Token)
	}
	return os.WriteFile(path, []byte(b.String()), 0o600)
}
