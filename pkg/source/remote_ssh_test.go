package source

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/source/gitserver"
)

func TestKeysForSSH(t *testing.T) {
	t.Parallel()
	s, k, stranger := newServed(t), gitserver.NewKey(t), gitserver.NewKey(t)
	srv := gitserver.NewSSH(t, s.root, k.Only)
	url := srv.URL(s.root + "/fleet.git")
	put := func(env []string, name string, data []byte) string {
		t.Helper()
		name = filepath.Join(strings.TrimPrefix(env[0], "HOME="), ".ssh", name)
		must(t, os.MkdirAll(filepath.Dir(name), 0o700))
		must(t, os.WriteFile(name, data, 0o600))
		return name
	}
	inHome := home(t)
	put(inHome, "id_ed25519", k.PEM(t, ""))
	inEnv := home(t)
	inEnv = append(inEnv, "GITOPS_GIT_SSH_KEY="+put(inEnv, "deploy", k.PEM(t, "")))
	locked := home(t)
	locked = append(locked, "GITOPS_GIT_SSH_PASSPHRASE=open", "GITOPS_GIT_SSH_KEY="+put(locked, "deploy", k.PEM(t, "open")))
	inAgent := append(home(t), "SSH_AUTH_SOCK="+newAgent(t, stranger, k))
	for name, auth := range map[string]Auth{
		"given":                 {SSHKey: k.PEM(t, "")},
		"given, with password":  {SSHKey: k.PEM(t, "open"), SSHPassphrase: []byte("open")},
		"file in home":          {Env: inHome},
		"file in environment":   {Env: inEnv},
		"with passphrase there": {Env: locked},
		"agent":                 {Env: inAgent},
	} {
		auth.KnownHosts = srv.KnownHosts()
		snap := open(t, Options{Source: url, Auth: auth})
		is(t, name, snap.Revision, "main@sha1:"+s.third)
		same(t, name, files(t, snap), []string{"a.yaml=4\n", "b/c.yaml=c\n"})
		is(t, name+": URL", snap.URL, url)
	}

	elsewhere := home(t)
	put(elsewhere, "id_ed25519", stranger.PEM(t, ""))
	lockedFile := put(elsewhere, "id_rsa", k.PEM(t, "open"))
	elsewhere = append(elsewhere, "SSH_AUTH_SOCK="+newAgent(t, stranger))
	known := srv.KnownHosts()
	refused(t, Options{Source: url, Auth: Auth{KnownHosts: known, Env: elsewhere}}, url+": the server refused git's key",
		"tried the ssh agent, ", "/.ssh/id_ed25519; skipped "+lockedFile+" (it has a passphrase: ssh-add "+lockedFile+")", "--git-ssh-key FILE")
	refused(t, Options{Source: url, Auth: Auth{KnownHosts: known, Env: home(t)}}, "no key was found")
	refused(t, Options{Source: url, Auth: Auth{KnownHosts: known, Env: append(home(t), "SSH_AUTH_SOCK=/nowhere")}}, "skipped the ssh agent (")
	refused(t, Options{Source: url, Auth: Auth{KnownHosts: known, SSHKey: stranger.PEM(t, ""), Env: inHome}}, "tried the ssh key given")
	refused(t, Options{Source: url, Auth: Auth{KnownHosts: known, SSHKey: k.PEM(t, "open"), SSHPassphrase: []byte("shut")}}, "the ssh key given cannot be used: the passphrase is wrong", "ssh-keygen -y -f FILE")
	refused(t, Options{Source: url, Auth: Auth{KnownHosts: known, SSHKey: k.PEM(t, "open")}}, "it has a passphrase, and none was given", "ssh-add")
	refused(t, Options{Source: url, Auth: Auth{KnownHosts: known, SSHKey: []byte("ssh-ed25519 AAAA")}}, "it is not a private key", "without .pub")
	refused(t, Options{Source: url, Auth: Auth{KnownHosts: known, Env: []string{"GITOPS_GIT_SSH_KEY=/nowhere"}}}, "GITOPS_GIT_SSH_KEY: the key cannot be read from /nowhere")
}

func TestHostKeys(t *testing.T) {
	t.Parallel()
	s, k := newServed(t), gitserver.NewKey(t)
	srv := gitserver.NewSSH(t, s.root, k.Only)
	url := srv.URL(s.root + "/fleet.git")
	_, port, err := net.SplitHostPort(srv.Addr)
	must(t, err)
	other := srv.KnownAs(gitserver.NewKey(t).Signer.PublicKey())
	file := filepath.Join(t.TempDir(), "hosts")
	must(t, os.WriteFile(file, srv.KnownHosts(), 0o644))
	env := home(t)
	dir := filepath.Join(strings.TrimPrefix(env[0], "HOME="), ".ssh")
	must(t, os.MkdirAll(dir, 0o700))
	for name, auth := range map[string]Auth{
		"given":       {KnownHosts: srv.KnownHosts()},
		"other kind":  {KnownHosts: srv.KnownAs(srv.ECDSA.PublicKey())},
		"both":        {KnownHosts: append(append([]byte("# comment\n\n"), other...), srv.KnownHosts()...)},
		"environment": {Env: []string{"GITOPS_GIT_KNOWN_HOSTS=" + file}},
		"ssh's own":   {Env: []string{"SSH_KNOWN_HOSTS=" + file}},
	} {
		auth.SSHKey = k.PEM(t, "")
		is(t, name, open(t, Options{Source: url, Auth: auth}).Revision, "main@sha1:"+s.third)
	}
	auth := Auth{SSHKey: k.PEM(t, ""), Env: env}
	fingerprint := ssh.FingerprintSHA256(srv.HostKey.PublicKey())
	refused(t, Options{Source: url, Auth: auth}, url+": the host key of 127.0.0.1 is not known", "ssh-ed25519 "+fingerprint,
		"ssh-keyscan -p "+port+" 127.0.0.1 >> ~/.ssh/known_hosts", "--git-known-hosts FILE")
	must(t, os.WriteFile(filepath.Join(dir, "known_hosts"), other, 0o644))
	refused(t, Options{Source: url, Auth: auth}, "the host key of 127.0.0.1 has CHANGED", fingerprint, filepath.Join(dir, "known_hosts"), "ssh-keygen -R '[127.0.0.1]:"+port+"'")
	must(t, os.WriteFile(filepath.Join(dir, "known_hosts"), srv.KnownHosts(), 0o644))
	open(t, Options{Source: url, Auth: auth})
	refused(t, Options{Source: url, Auth: Auth{SSHKey: k.PEM(t, "")}}, "is not known", "(there is none)") // no environment: nothing is trusted
	refused(t, Options{Source: url, Auth: Auth{SSHKey: k.PEM(t, ""), Env: []string{"GITOPS_GIT_KNOWN_HOSTS=/nowhere"}}}, "/nowhere: the known hosts cannot be read")
	refused(t, Options{Source: url, Auth: Auth{SSHKey: k.PEM(t, ""), KnownHosts: []byte("nonsense\n")}}, "the known hosts cannot be read")
}

func TestSSHConfigAndFormsOfAddress(t *testing.T) {
	t.Parallel()
	s, k := newServed(t), gitserver.NewKey(t)
	var users []string
	srv := gitserver.NewSSH(t, s.root, func(user string, key ssh.PublicKey) bool {
		users = append(users, user)
		return k.Only(user, key)
	})
	_, port, err := net.SplitHostPort(srv.Addr)
	must(t, err)
	env := home(t)
	dir := filepath.Join(strings.TrimPrefix(env[0], "HOME="), ".ssh")
	must(t, os.MkdirAll(filepath.Join(dir, "conf.d"), 0o700))
	must(t, os.WriteFile(filepath.Join(dir, "deploy"), k.PEM(t, ""), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "config"), []byte("Include conf.d/*\nMatch host forge exec \"false\"\n  Port 1\nHost forge !other\n  HostName=127.0.0.1\n  Port "+port+"\n  User \"deployer\"\nHost *\n  Port 2\n"), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "conf.d", "keys"), []byte("# keys\nHost forge\n\tIdentityFile ~/.ssh/deploy\n"), 0o600))
	auth := Auth{Env: env, KnownHosts: srv.KnownHosts()}
	for _, source := range []string{"forge:fleet.git", "forge:" + s.root + "/fleet.git", "me@forge:fleet.git", "ssh://forge" + s.root + "/fleet.git", "git+ssh://forge" + s.root + "/fleet.git"} {
		is(t, source, open(t, Options{Source: source, Auth: auth, WorkDir: t.TempDir()}).Revision, "main@sha1:"+s.third)
	}
	is(t, "users", strings.Join(users, " "), "deployer deployer me deployer deployer")
	dirNamedSo := t.TempDir()
	must(t, os.Mkdir(filepath.Join(dirNamedSo, "forge:fleet.git"), 0o755))
	if rev := open(t, Options{Source: "forge:fleet.git", Auth: auth, WorkDir: dirNamedSo}).Revision; !strings.HasPrefix(rev, "dir@") {
		t.Errorf("a directory of that name is there: %s", rev)
	}
	must(t, os.WriteFile(filepath.Join(dir, "config"), []byte("Host forge\n  HostName 127.0.0.1\n  Port 1\n  ProxyJump bastion\n"), 0o600))
	refused(t, Options{Source: "forge:fleet.git", Auth: auth}, "forge:fleet.git: 127.0.0.1:1 cannot be reached", "ProxyJump or ProxyCommand, which is not supported yet")
}

func TestRepositoriesOverSSH(t *testing.T) {
	t.Parallel()
	s, k := newServed(t), gitserver.NewKey(t)
	srv := gitserver.NewSSH(t, s.root, k.Only)
	auth := Auth{SSHKey: k.PEM(t, ""), KnownHosts: srv.KnownHosts()}
	must(t, os.Symlink("fleet.git", filepath.Join(s.root, "it's !x$(id).git")))
	for ref, want := range map[string]string{"": "main@sha1:" + s.third, "v1.1.0": "v1.1.0@sha1:" + s.second, "1.0.x": "v1.0.0@sha1:" + s.first, s.old: "sha1:" + s.old} {
		is(t, ref, open(t, Options{Source: srv.URL(s.root + "/it's !x$(id).git"), Ref: ref, Auth: auth}).Revision, want)
	}
	refused(t, Options{Source: srv.URL("/nowhere.git"), Auth: auth}, "no such repository: fatal: '/nowhere.git' does not appear to be a git repository", "check the URL")
	refused(t, Options{Source: srv.URL(s.root + "/empty.git"), Auth: auth}, "the repository is empty", "push a first commit")
	refused(t, Options{Source: srv.URL(s.root + "/fleet.git"), Ref: strings.Repeat("e", 40), Auth: auth}, "the server does not have commit")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	l.Close()
	refused(t, Options{Source: "ssh://git@" + l.Addr().String() + "/x/y", Auth: auth}, l.Addr().String()+" cannot be reached", "connection refused")
}
