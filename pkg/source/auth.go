package source

import (
	"bytes"
	"context"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"time"
)

// Auth is what a remote may be shown to prove who asks. What is given here wins over the
// environment, that over user information in the URL, that over the ssh agent, key files and
// Git's credential helpers. All of it is for the server of the URL that is opened: it is never
// sent to another host.
type Auth struct {
	// Username and Password are for https; Password may be a token. Without a Username it is "git",
	// which all forges take with a token.
	Username, Password string
	BearerToken        string // for https, instead of them
	CACert             []byte // PEM certificates to trust besides the system's
	ClientCert         []byte // PEM, with ClientKey
	ClientKey          []byte

	Proxy *url.URL // http, https or socks5 (ssh: socks5 alone); nil for the environment's

	SSHKey        []byte // PEM private key; no other key is tried then
	SSHPassphrase []byte
	KnownHosts    []byte // lines of a known_hosts file; no other is read then

	// Env is the environment, as from os.Environ: GITOPS_GIT_USERNAME, GITOPS_GIT_TOKEN,
	// GITOPS_GIT_TOKEN_FILE, GITOPS_GIT_SSH_KEY, GITOPS_GIT_SSH_PASSPHRASE,
	// GITOPS_GIT_KNOWN_HOSTS (the last of keys and hosts are files), SSH_AUTH_SOCK,
	// SSH_KNOWN_HOSTS, HOME for ~/.ssh and Git's own configuration, PATH for git. Without it
	// nothing is taken from the environment.
	Env []string
}

// Given reports whether a holds credentials that somebody gave for this run.
func (a Auth) Given() bool {
	env := environment(a.Env)
	for _, name := range []string{"GITOPS_GIT_TOKEN", "GITOPS_GIT_TOKEN_FILE", "GITOPS_GIT_SSH_KEY"} {
		if env.get(name) != "" {
			return true
		}
	}
	return a.Password != "" || a.BearerToken != "" || len(a.SSHKey) > 0
}

// credential is what is sent to an https server.
type credential struct {
	kind               string // for messages: where it comes from, never what it is
	username, password string
	bearer             string
}

// httpCredential is what to send without being asked to; nil for none.
func (a Auth) httpCredential(r remote) (*credential, error) {
	env := environment(a.Env)
	user := a.Username
	for _, u := range []string{env.get("GITOPS_GIT_USERNAME"), r.user, "git"} {
		if user == "" {
			user = u
		}
	}
	switch {
	case a.BearerToken != "":
		return &credential{kind: "the bearer token given", bearer: a.BearerToken}, nil
	case a.Password != "":
		return &credential{kind: "the password or token given", username: user, password: a.Password}, nil
	case env.get("GITOPS_GIT_TOKEN") != "":
		return &credential{kind: "GITOPS_GIT_TOKEN", username: user, password: env.get("GITOPS_GIT_TOKEN")}, nil
	case env.get("GITOPS_GIT_TOKEN_FILE") != "":
		name := env.get("GITOPS_GIT_TOKEN_FILE")
		token, err := os.ReadFile(name)
		if err != nil {
			return nil, &Error{Where: "GITOPS_GIT_TOKEN_FILE", What: "the token cannot be read from " + name, Why: cause(err), err: err}
		}
		token = bytes.TrimSpace(token)
		if len(token) == 0 {
			return nil, &Error{Where: "GITOPS_GIT_TOKEN_FILE", What: name + " is empty"}
		}
		return &credential{kind: "the token in GITOPS_GIT_TOKEN_FILE", username: user, password: string(token)}, nil
	case r.hasPass:
		return &credential{kind: "the user and password in the URL", username: r.user, password: r.password}, nil
	}
	return nil, nil
}

// fromHelper asks Git's credential helpers, which the user has configured for exactly this; nil
// where there is no git or it knows nothing. Nothing is prompted for.
func (a Auth) fromHelper(ctx context.Context, r remote, dir string) *credential {
	env := environment(a.Env)
	git := env.git()
	if git == "" {
		return nil
	}
	ask := "protocol=" + r.scheme + "\nhost=" + hostPort(r.host, r.port) + "\npath=" + strings.TrimPrefix(r.path, "/") + "\n"
	if user := r.user; user != "" {
		ask += "username=" + user + "\n"
	}
	if strings.ContainsAny(r.scheme+r.host+r.path+r.user, "\n\r\x00") {
		return nil
	}
	cmd := exec.CommandContext(ctx, git, "-c", "core.askPass=", "-c", "credential.interactive=false", "credential", "fill")
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(ask+"\n")
	cmd.Env = append(append([]string{}, a.Env...), "GIT_TERMINAL_PROMPT=0", "GIT_ASKPASS=", "SSH_ASKPASS=", "GCM_INTERACTIVE=never")
	cmd.WaitDelay = time.Second // a helper's daemon may keep the pipe
	out, err := cmd.Output()
	if err != nil {
		return nil
	}
	c := &credential{kind: "Git's credential helper"}
	for line := range strings.Lines(string(out)) {
		switch k, v, _ := strings.Cut(strings.TrimRight(line, "\r\n"), "="); k {
		case "username":
			c.username = v
		case "password":
			c.password = v
		}
	}
	if c.password == "" {
		return nil
	}
	return c
}

// scrub takes what is secret in a out of a text that a server sent.
func (a Auth) scrub(text string, more ...string) string {
	env := environment(a.Env)
	if a.Proxy != nil {
		if password, ok := a.Proxy.User.Password(); ok {
			more = append(more, password)
		}
	}
	for _, secret := range append(more, a.Password, a.BearerToken, string(a.SSHPassphrase), env.get("GITOPS_GIT_TOKEN")) {
		if len(secret) > 3 {
			text = strings.ReplaceAll(text, secret, "***")
		}
	}
	return redact(text)
}
