package source

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"
)

// silence is how long a server may say nothing while something is expected of it:
// Git's servers give a sign of life every five seconds while they work. dialTime is
// how long a connection may take. Shorter in tests.
var (
	silence  = time.Minute
	dialTime = 30 * time.Second
)

// dialNet connects to a server that is given up when it falls silent.
func dialNet(ctx context.Context, network, addr string) (net.Conn, error) {
	d := &net.Dialer{Timeout: dialTime}
	return attend(d.DialContext(ctx, network, addr))
}

// attend is a connection with a limit to the silence at its other end.
func attend(c net.Conn, err error) (net.Conn, error) {
	if err != nil {
		return nil, err
	}
	return &attended{c, silence}, nil
}

type attended struct {
	net.Conn
	limit time.Duration
}

func (c *attended) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.limit)); err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		// Not wrapped: it would pass for the end of the caller's time.
		err = fmt.Errorf("the server has said nothing for %s", c.limit)
	}
	return n, err
}

// Write gives the other end time anew: it has something to read first.
func (c *attended) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if err == nil {
		err = c.SetReadDeadline(time.Now().Add(c.limit))
	}
	return n, err
}
