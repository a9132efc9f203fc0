package source

import (
	"bufio"
	"context"
	"os/exec"
	"time"

	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
)

// program is a service of git itself, for a repository on this disk: its hooks are to run when it is
// pushed to, and they are git's to run.
type program struct {
	pipe
	cancel context.CancelFunc
	wait   func() error
}

func (u *Upstream) program(ctx context.Context, r remote, service string) (*program, *packp.AdvRefs, error) {
	git := environment(u.o.Auth.Env).git()
	if git == "" {
		return nil, nil, &Error{Where: r.String(), What: "a repository on this disk needs git for that", Why: "there is none on PATH"}
	}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx)) // what has begun is not cut short
	cmd := exec.CommandContext(running, git, service, r.file())
	cmd.Env, cmd.WaitDelay = u.o.Auth.Env, time.Second
	p := &program{pipe: pipe{stderr: &tail{}}, cancel: cancel, wait: cmd.Wait}
	cmd.Stderr = p.stderr
	stdin, err := cmd.StdinPipe()
	if err == nil {
		p.stdin = stdin
		stdout, pipeErr := cmd.StdoutPipe()
		p.stdout, err = bufio.NewReader(stdout), pipeErr
	}
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		cancel()
		return nil, nil, &Error{Where: r.String(), What: "git " + service + " does not start", Why: cause(err), err: err}
	}
	adv, err := p.advertised(ctx)
	if err != nil {
		p.close()
		return nil, nil, &Error{Where: r.String(), What: "git " + service + " failed", Why: p.stderr.String(), err: err}
	}
	return p, adv, nil
}

func (p *program) close() {
	_ = p.stdin.Close()
	p.cancel()
	_ = p.wait()
}

// sender opens a connection to fetch.
func (u *Upstream) sender(ctx context.Context) (session, *packp.AdvRefs, error) {
	if u.from.scheme == "file" {
		p, adv, err := u.program(ctx, u.from, "upload-pack")
		return p, adv, err
	}
	return connect(ctx, u.o, u.from)
}
