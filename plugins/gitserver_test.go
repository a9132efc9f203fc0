package plugins

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/source/gitserver"
)

// gitServer serves the repositories below a folder: gitserver https|ssh DIR.
// $GITURL is its address. https lets in bot with the password in the file
// token, and its CA is trusted; ssh lets in the key in the file id, and its
// host key is in the file known_hosts.
func gitServer(t *testing.T) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if len(args) != 2 {
			ts.Fatalf("usage: gitserver https|ssh DIR")
		}
		dir := ts.MkAbs(args[1])
		write := func(name string, data []byte) { ts.Check(os.WriteFile(ts.MkAbs(name), data, 0o600)) }
		switch args[0] {
		case "https":
			const token = "not-to-be-printed"
			git := gitserver.Backend(t, dir)
			srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if user, password, _ := r.BasicAuth(); user != "bot" || password != token {
					w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
					w.WriteHeader(http.StatusUnauthorized)
					return
				}
				git.ServeHTTP(w, r)
			}))
			ts.Defer(srv.Close)
			write("token", []byte(token+"\n"))
			write("ca.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}))
			ts.Setenv("SSL_CERT_FILE", ts.MkAbs("ca.pem"))
			ts.Setenv("GITURL", srv.URL)
		case "ssh":
			key := gitserver.NewKey(t)
			srv := gitserver.NewSSH(t, dir, key.Only)
			write("id", key.PEM(t, ""))
			write("stranger", gitserver.NewKey(t).PEM(t, ""))
			write("known_hosts", srv.KnownHosts())
			ts.Setenv("GITURL", srv.URL(dir))
		default:
			ts.Fatalf("gitserver %s: want https or ssh", args[0])
		}
	}
}
