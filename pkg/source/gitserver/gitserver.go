// Package gitserver serves real repositories with the real git over HTTP and
// SSH on loopback: for tests.
package gitserver

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Backend serves the repositories below dir with git's own http-backend.
func Backend(t *testing.T, dir string) http.Handler {
	t.Helper()
	git, err := exec.LookPath("git")
	must(t, err)
	return &cgi.Handler{
		Path: git, Args: []string{"http-backend"}, Stderr: io.Discard,
		Env: []string{"GIT_PROJECT_ROOT=" + dir, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_NOSYSTEM=1", "HOME=" + dir, "PATH=" + os.Getenv("PATH")},
	}
}

// SSH is an SSH server on loopback that runs git-upload-pack.
type SSH struct {
	Addr    string
	HostKey ssh.Signer // ed25519, which clients prefer
	ECDSA   ssh.Signer // another that it has
	allow   func(user string, key ssh.PublicKey) bool
}

// NewSSH serves what is below root to the keys that allow lets in.
func NewSSH(t *testing.T, root string, allow func(string, ssh.PublicKey) bool) *SSH {
	t.Helper()
	s := &SSH{HostKey: NewKey(t).Signer, allow: allow}
	config := &ssh.ServerConfig{PublicKeyCallback: func(c ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if s.allow(c.User(), key) {
			return nil, nil
		}
		return nil, errors.New("not this key")
	}}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	s.ECDSA, err = ssh.NewSignerFromKey(other)
	must(t, err)
	config.AddHostKey(s.ECDSA)
	config.AddHostKey(s.HostKey)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	s.Addr = l.Addr().String()
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { s.serve(conn, config, root) })
		}
	})
	t.Cleanup(func() { l.Close(); running.Wait() })
	return s
}

func (s *SSH) serve(conn net.Conn, config *ssh.ServerConfig, root string) {
	defer conn.Close()
	_, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for c := range channels {
		ch, reqs, err := c.Accept()
		if err != nil {
			return
		}
		for req := range reqs {
			var request struct{ Command string }
			if req.Type != "exec" || ssh.Unmarshal(req.Payload, &request) != nil {
				_ = req.Reply(false, nil)
				continue
			}
			_ = req.Reply(true, nil)
			cmd := exec.Command("sh", "-c", request.Command)
			cmd.Dir, cmd.Env = root, []string{"PATH=" + os.Getenv("PATH"), "HOME=" + root, "GIT_CONFIG_NOSYSTEM=1"}
			cmd.Stdout, cmd.Stderr = ch, ch.Stderr()
			stdin, err := cmd.StdinPipe()
			if err != nil || cmd.Start() != nil {
				return
			}
			go func() { _, _ = io.Copy(stdin, ch); stdin.Close() }()
			status := struct{ Status uint32 }{}
			if cmd.Wait() != nil {
				status.Status = 128
			}
			_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(&status))
			ch.Close()
			break
		}
	}
}

// URL is the address of an absolute path, or of one below root, on the server.
func (s *SSH) URL(path string) string { return "ssh://git@" + s.Addr + path }

// KnownHosts is the line of a known_hosts file for the server.
func (s *SSH) KnownHosts() []byte { return s.KnownAs(s.HostKey.PublicKey()) }

// KnownAs is that line with another key.
func (s *SSH) KnownAs(key ssh.PublicKey) []byte {
	host, port, _ := net.SplitHostPort(s.Addr)
	return fmt.Appendf(nil, "[%s]:%s %s", host, port, ssh.MarshalAuthorizedKey(key))
}

// Key is an ed25519 key pair.
type Key struct {
	Signer  ssh.Signer
	Private ed25519.PrivateKey
}

// NewKey makes one.
func NewKey(t *testing.T) Key {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	signer, err := ssh.NewSignerFromKey(private)
	must(t, err)
	return Key{signer, private}
}

// PEM is the private key, under a passphrase unless that is "".
func (k Key) PEM(t *testing.T, passphrase string) []byte {
	t.Helper()
	block, err := ssh.MarshalPrivateKey(k.Private, "")
	if passphrase != "" {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(k.Private, "", []byte(passphrase))
	}
	must(t, err)
	return pem.EncodeToMemory(block)
}

// Only lets in this key, whatever the user.
func (k Key) Only(_ string, offered ssh.PublicKey) bool {
	return string(offered.Marshal()) == string(k.Signer.PublicKey().Marshal())
}
