package source

import (
	"context"
	"errors"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strings"

	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// sshKeys are the ways to log in.
type sshKeys struct {
	methods []ssh.AuthMethod
	kinds   []string // what was tried, for messages
	skipped []string // what was not, and why
	agent   net.Conn
}

func (k *sshKeys) close() {
	if k.agent != nil {
		k.agent.Close()
	}
}

func (k *sshKeys) tried() string {
	why := "no key was found"
	if len(k.kinds) > 0 {
		why = "tried " + strings.Join(k.kinds, ", ")
	}
	if len(k.skipped) > 0 {
		why += "; skipped " + strings.Join(k.skipped, ", ")
	}
	return why
}

// sshKeys collects them: a key that was given is the only one, else the one in the environment;
// else the agent's, those that ~/.ssh/config names for the host, and the usual files.
func (a Auth) sshKeys(ctx context.Context, r remote, host sshHost) (*sshKeys, error) {
	env := environment(a.Env)
	k := &sshKeys{}
	one := func(pem, passphrase []byte, kind string) (*sshKeys, error) {
		s, err := parseKey(pem, passphrase)
		if err != nil {
			return nil, keyError(kind, err)
		}
		k.kinds, k.methods = []string{kind}, []ssh.AuthMethod{ssh.PublicKeys(s)}
		return k, nil
	}
	if len(a.SSHKey) > 0 {
		return one(a.SSHKey, a.SSHPassphrase, "the ssh key given")
	}
	if name := env.get("GITOPS_GIT_SSH_KEY"); name != "" {
		pem, err := os.ReadFile(name)
		if err != nil {
			return nil, &Error{Where: "GITOPS_GIT_SSH_KEY", What: "the key cannot be read from " + name, Why: cause(err), err: err}
		}
		passphrase := a.SSHPassphrase
		if len(passphrase) == 0 {
			passphrase = []byte(env.get("GITOPS_GIT_SSH_PASSPHRASE"))
		}
		return one(pem, passphrase, "the key in GITOPS_GIT_SSH_KEY")
	}
	var signers []ssh.Signer
	if sock := env.get("SSH_AUTH_SOCK"); sock != "" {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", sock)
		if err == nil {
			k.agent = conn
			signers, err = agent.NewClient(conn).Signers()
		}
		switch {
		case err != nil:
			k.skipped = append(k.skipped, "the ssh agent ("+cause(err)+")")
		case len(signers) == 0:
			k.skipped = append(k.skipped, "the ssh agent, which has no key")
		default:
			k.kinds = append(k.kinds, "the ssh agent")
		}
	}
	for _, name := range host.identities(env) {
		pem, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		s, err := parseKey(pem, a.SSHPassphrase)
		var locked *ssh.PassphraseMissingError
		switch {
		case errors.As(err, &locked):
			k.skipped = append(k.skipped, name+" (it has a passphrase: ssh-add "+name+")")
		case err != nil:
			k.skipped = append(k.skipped, name+" (it is not a private key)")
		default:
			signers = append(signers, s)
			k.kinds = append(k.kinds, name)
		}
	}
	if len(signers) > 0 {
		k.methods = append(k.methods, ssh.PublicKeys(signers...))
	}
	if r.hasPass {
		k.methods = append(k.methods, ssh.Password(r.password))
		k.kinds = append(k.kinds, "the password in the URL")
	}
	return k, nil
}

func parseKey(pem, passphrase []byte) (ssh.Signer, error) {
	s, err := ssh.ParsePrivateKey(pem)
	var locked *ssh.PassphraseMissingError
	if errors.As(err, &locked) && len(passphrase) > 0 {
		return ssh.ParsePrivateKeyWithPassphrase(pem, passphrase)
	}
	return s, err
}

func keyError(kind string, err error) error {
	var locked *ssh.PassphraseMissingError
	e := &Error{What: kind + " cannot be used", Why: "it is not a private key", Fix: "the file that ssh-keygen made, without .pub", err: err}
	switch {
	case errors.As(err, &locked):
		e.Why, e.Fix = "it has a passphrase, and none was given", "set GITOPS_GIT_SSH_PASSPHRASE, or ssh-add it and leave the key out"
	case strings.Contains(err.Error(), "decrypt") || strings.Contains(err.Error(), "password") || strings.Contains(err.Error(), "passphrase"):
		e.Why, e.Fix = "the passphrase is wrong", "check it with: ssh-keygen -y -f FILE"
	}
	return e
}

// knownHosts reads the host keys that are trusted: those given, else those of the environment's
// file, else SSH_KNOWN_HOSTS, else ~/.ssh/known_hosts with the system's. A file that was named
// must be there.
func (a Auth) knownHosts() (*hostKeys, error) {
	env := environment(a.Env)
	k := &hostKeys{}
	switch {
	case len(a.KnownHosts) > 0:
		k.own = true
		f, err := os.CreateTemp("", "known_hosts") // the parser reads files only
		if err != nil {
			return nil, err
		}
		defer os.Remove(f.Name())
		_, err = f.Write(a.KnownHosts)
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
		k.files = []string{f.Name()}
	case env.get("GITOPS_GIT_KNOWN_HOSTS") != "":
		k.files = []string{env.get("GITOPS_GIT_KNOWN_HOSTS")}
	case env.get("SSH_KNOWN_HOSTS") != "":
		k.files = filepath.SplitList(env.get("SSH_KNOWN_HOSTS"))
	default:
		names := []string{"/etc/ssh/ssh_known_hosts"}
		if home := env.home(); home != "" {
			names = append([]string{filepath.Join(home, ".ssh", "known_hosts"), filepath.Join(home, ".ssh", "known_hosts2")}, names...)
		} else {
			names = nil
		}
		for _, name := range names {
			if _, err := os.Stat(name); err == nil {
				k.files = append(k.files, name)
			}
		}
	}
	db, err := knownhosts.NewDB(k.files...)
	if err != nil {
		where := strings.Join(k.files, ", ")
		if k.own {
			where = "the known hosts that were given"
		}
		return nil, &Error{Where: where, What: "the known hosts cannot be read", Why: cause(err), Fix: "ssh-keyscan HOST writes lines of the right form", err: err}
	}
	k.db = db
	return k, nil
}

// sshHost is where and as whom to log in, ~/.ssh/config considered.
type sshHost struct {
	name, port, user string
	keys             []string // IdentityFile
	jump             bool     // ProxyJump or ProxyCommand
}

func (a Auth) sshHost(r remote) (sshHost, error) {
	env := environment(a.Env)
	settings, err := readSSHConfig(env, r.host)
	if err != nil {
		return sshHost{}, err
	}
	h := sshHost{name: r.host, port: r.port, user: r.user, keys: settings["identityfile"]}
	first := func(at *string, key, otherwise string, override bool) {
		if v := settings[key]; len(v) > 0 && (*at == "" || override) {
			*at = v[0]
		}
		if *at == "" {
			*at = otherwise
		}
	}
	first(&h.name, "hostname", r.host, true)
	first(&h.port, "port", "22", false)
	first(&h.user, "user", "git", false)
	h.name = strings.ReplaceAll(strings.ReplaceAll(h.name, "%h", r.host), "%%", "%")
	for _, key := range []string{"proxyjump", "proxycommand"} {
		if v := settings[key]; len(v) > 0 && !strings.EqualFold(v[0], "none") {
			h.jump = true
		}
	}
	return h, nil
}

// identities are the key files to try, the usual ones where the configuration names none.
func (h sshHost) identities(env environment) []string {
	home := env.home()
	if home == "" {
		return nil
	}
	var names []string
	for _, name := range h.keys {
		local := ""
		if u, err := user.Current(); err == nil {
			local = u.Username
		}
		name = strings.NewReplacer("%%", "%", "%d", home, "%h", h.name, "%r", h.user, "%u", local).Replace(name)
		names = append(names, absolute(home, env.expandHome(name)))
	}
	if len(names) == 0 {
		for _, name := range []string{"id_ed25519", "id_ecdsa", "id_rsa"} {
			names = append(names, filepath.Join(home, ".ssh", name))
		}
	}
	return names
}
