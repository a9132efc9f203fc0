package source

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"

	"github.com/go-git/go-git/v5/plumbing/format/pktline"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/transport"
	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"
	"golang.org/x/net/proxy"
)

// pipe speaks Git's protocol to a program at its other end.
type pipe struct {
	stdin  io.WriteCloser
	stdout *bufio.Reader
	stderr *tail
}

// sshSession runs a Git service on the server. go-git's own ssh transport is not used: it dials
// without the caller's context and reads the ssh configuration of the process alone.
type sshSession struct {
	pipe
	client *ssh.Client
	stop   func() bool
}

// tail keeps the first of what a server says on standard error.
type tail struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.buf.Len() < 4096 {
		t.buf.Write(p)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(t.buf.String())
}

// connectSSH opens a session to fetch.
func connectSSH(ctx context.Context, o Options, r remote) (session, *packp.AdvRefs, error) {
	s, adv, err := dialGitSSH(ctx, o, r, transport.UploadPackServiceName)
	if err != nil {
		return nil, nil, err
	}
	return s, adv, nil
}

// dialGitSSH logs in and starts a Git service. The host key is always checked.
func dialGitSSH(ctx context.Context, o Options, r remote, service string) (*sshSession, *packp.AdvRefs, error) {
	host, err := o.Auth.sshHost(r)
	if err != nil {
		return nil, nil, err
	}
	keys, err := o.Auth.sshKeys(ctx, r, host)
	if err != nil {
		return nil, nil, err
	}
	defer keys.close()
	client, stop, err := dialSSH(ctx, r, host, keys, o.Auth)
	if err != nil {
		return nil, nil, err
	}
	s := &sshSession{pipe: pipe{stderr: &tail{}}, client: client, stop: stop}
	adv, err := s.start(ctx, r, service)
	if err != nil {
		s.close()
		return nil, nil, s.explain(r, err, o.Auth)
	}
	return s, adv, nil
}

// dialSSH opens the connection; stop ends the watch over ctx, which closes it.
func dialSSH(ctx context.Context, r remote, host sshHost, keys *sshKeys, a Auth) (*ssh.Client, func() bool, error) {
	known, err := a.knownHosts()
	if err != nil {
		return nil, nil, err
	}
	addr := net.JoinHostPort(host.name, host.port)
	var verdict error // the handshake's error does not always wrap it
	config := &ssh.ClientConfig{
		User: host.user,
		Auth: keys.methods,
		HostKeyCallback: func(name string, at net.Addr, key ssh.PublicKey) error {
			verdict = known.check(r, name, at, key)
			return verdict
		},
		HostKeyAlgorithms: known.db.HostKeyAlgorithms(addr),
	}
	if len(config.HostKeyAlgorithms) == 0 { // OpenSSH's order, so that the fingerprint shown is the one it shows
		config.HostKeyAlgorithms = []string{
			ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256,
		}
	}
	conn, err := a.dial(ctx, r, addr)
	if err != nil {
		var refused *Error
		if errors.As(err, &refused) {
			return nil, nil, err
		}
		e := unreachable(r, err, a).(*Error)
		e.Where, e.What = r.String(), addr+" cannot be reached"
		if host.jump {
			e.Fix = "~/.ssh/config reaches this host through ProxyJump or ProxyCommand, which is not supported yet: clone it with git, then --source DIR"
		}
		return nil, nil, e
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	c, channels, requests, err := ssh.NewClientConn(conn, addr, config)
	switch {
	case err == nil:
		return ssh.NewClient(c, channels, requests), stop, nil
	case verdict != nil:
		err = verdict
	case strings.Contains(err.Error(), "unable to authenticate"):
		err = &Error{
			Where: r.String(), What: "the server refused " + host.user + "'s key", Why: keys.tried(),
			Fix: "--git-ssh-key FILE, or ssh-add FILE; the public key must be known to the server", err: err,
		}
	default:
		err = &Error{Where: r.String(), What: "the ssh connection failed", Why: a.scrub(err.Error()), Fix: "ssh -T " + host.user + "@" + host.name, err: err}
	}
	stop()
	conn.Close()
	return nil, nil, err
}

// dial connects to addr, through the proxy that was given or that the environment names.
func (a Auth) dial(ctx context.Context, r remote, addr string) (net.Conn, error) {
	direct := &net.Dialer{Timeout: dialTime}
	d := proxy.FromEnvironmentUsing(direct)
	if a.Proxy != nil {
		var err error
		if d, err = proxy.FromURL(a.Proxy, direct); err != nil {
			return nil, &Error{Where: r.String(), What: "the proxy is of the kind " + a.Proxy.Scheme, Why: "ssh goes through socks5 alone", Fix: "address: socks5://HOST:PORT, or an https URL", err: err}
		}
	}
	return attend(d.(proxy.ContextDialer).DialContext(ctx, "tcp", addr))
}

// start runs a Git service and reads the references it begins with.
func (s *sshSession) start(ctx context.Context, r remote, service string) (*packp.AdvRefs, error) {
	remote, err := s.client.NewSession()
	if err != nil {
		return nil, err
	}
	if s.stdin, err = remote.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := remote.StdoutPipe()
	if err != nil {
		return nil, err
	}
	s.stdout = bufio.NewReader(stdout)
	remote.Stderr = s.stderr
	if err := remote.Start(service + " " + shellQuote(r.path)); err != nil {
		return nil, err
	}
	adv, err := s.advertised(ctx)
	if err != nil {
		_ = s.stdin.Close()
		_ = remote.Wait() // all of standard error has arrived then
	}
	return adv, err
}

// shellQuote quotes a path for the server's shell as Git does (quote.c, sq_quote_buf).
func shellQuote(p string) string {
	return "'" + strings.NewReplacer("'", `'\''`, "!", `'\!'`).Replace(p) + "'"
}

func (s *pipe) advertised(context.Context) (*packp.AdvRefs, error) {
	adv := packp.NewAdvRefs()
	if err := adv.Decode(s.stdout); err != nil {
		if errors.Is(err, packp.ErrEmptyAdvRefs) {
			return nil, errEmpty
		}
		return nil, err
	}
	if adv.IsEmpty() {
		return nil, errEmpty
	}
	transport.FilterUnsupportedCapabilities(adv.Capabilities)
	return adv, nil
}

func (s *pipe) fetch(_ context.Context, req *packp.UploadPackRequest) (io.ReadCloser, error) {
	if err := req.UploadRequest.Encode(s.stdin); err != nil {
		return nil, err
	}
	if err := req.UploadHaves.Encode(s.stdin, false); err != nil {
		return nil, err
	}
	if err := pktline.NewEncoder(s.stdin).EncodeString("done\n"); err != nil {
		return nil, err
	}
	if err := s.stdin.Close(); err != nil {
		return nil, err
	}
	answer := packp.NewUploadPackResponse(req)
	if err := answer.Decode(io.NopCloser(s.stdout)); err != nil {
		if said := s.stderr.String(); said != "" {
			err = fmt.Errorf("%w: %s", err, said)
		}
		return nil, err
	}
	return answer, nil
}

func (s *sshSession) close() {
	s.stop()
	_ = s.client.Close()
}

// explain says what the server's refusal means for the user.
func (s *sshSession) explain(r remote, err error, a Auth) error {
	if errors.Is(err, errEmpty) {
		return err
	}
	said := s.stderr.String()
	var line *pktline.ErrorLine
	if errors.As(err, &line) {
		said = line.Text
	}
	e := &Error{Where: r.String(), Why: a.scrub(said), err: err}
	if e.Why == "" {
		e.Why = a.scrub(err.Error())
	}
	lower := strings.ToLower(said)
	for _, sign := range []string{"not found", "does not appear to be a git repository", "does not exist", "no such", "could not be found", "access denied"} {
		if strings.Contains(lower, sign) {
			e.What, e.Fix = "no such repository", "check the URL; forges also say this where the key may not read it"
			return e
		}
	}
	e.What = "the server refused"
	return e
}

// hostKeys are the host keys that the user trusts.
type hostKeys struct {
	db    *knownhosts.HostKeyDB
	files []string
	own   bool // given in memory
}

// check compares the key of a server with those known.
func (k *hostKeys) check(r remote, name string, at net.Addr, key ssh.PublicKey) error {
	err := k.db.HostKeyCallback()(name, at, key)
	if err == nil {
		return nil
	}
	host, port, _ := net.SplitHostPort(name)
	scan, entry := host, host
	if port != "22" {
		scan, entry = "-p "+port+" "+host, "'["+host+"]:"+port+"'"
	}
	in := strings.Join(k.files, ", ")
	if k.own {
		in = "the known hosts that were given"
	} else if in == "" {
		in = "~/.ssh/known_hosts (there is none)"
	}
	e := &Error{Where: r.String(), err: err}
	shown := key.Type() + " " + ssh.FingerprintSHA256(key)
	if knownhosts.IsHostKeyChanged(err) {
		e.What = "the host key of " + host + " has CHANGED, or someone stands between"
		e.Why = "it shows " + shown + ", which is not the key in " + in
		e.Fix = "only when the server's owner says so: ssh-keygen -R " + entry + " && ssh-keyscan " + scan + " >> ~/.ssh/known_hosts"
		return e
	}
	if !knownhosts.IsHostUnknown(err) {
		e.What, e.Why = "the host key of "+host+" is not accepted", err.Error()
		return e
	}
	e.What = "the host key of " + host + " is not known"
	e.Why = "it shows " + shown + ", which is not in " + in
	e.Fix = "compare that fingerprint with the one that the server's owner publishes, then: ssh-keyscan " + scan + " >> ~/.ssh/known_hosts, or --git-known-hosts FILE"
	return e
}
