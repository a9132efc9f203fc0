package source

import (
	"net"
	"testing"
	"time"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/source/gitserver"
)

// A server that takes a connection and then says nothing does not hold up a run for
// ever: at three in the morning nobody is there to end it. (Not parallel: it has a
// clock of its own.)
func TestServersThatFallSilentAreGivenUp(t *testing.T) {
	before := silence
	silence = 50 * time.Millisecond
	defer func() { silence = before }()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
		}
	}()
	at := l.Addr().String()
	const why = "the server has said nothing for 50ms"
	refused(t, Options{Source: "http://" + at + "/x.git"}, why)
	refused(t, Options{Source: "https://" + at + "/x.git"}, why)
	refused(t, Options{Source: "ssh://git@" + at + "/x.git", Auth: Auth{SSHKey: gitserver.NewKey(t).PEM(t, ""), KnownHosts: []byte("x ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0NXkVRWKIGJVm0Vyyn5Rd1hLhL8XVxxWDGtGkTGsHE\n")}}, why)
}
