package secret

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/google/shlex"
	"golang.org/x/term"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
)

// editorOf is the user's editor as a program and its arguments: SOPS_EDITOR and
// EDITOR are split into words, and no shell ever sees them. Without them it is
// one that sops would take.
func editorOf(env *cli.Env) ([]string, error) {
	for _, name := range []string{"SOPS_EDITOR", "EDITOR"} {
		line := env.Getenv(name)
		if line == "" {
			continue
		}
		if runtime.GOOS == "windows" {
			line = strings.ReplaceAll(line, `\`, "/") // no escapes there
		}
		words, err := shlex.Split(line)
		if err != nil || len(words) == 0 {
			return nil, &hinted{fmt.Errorf("%s is not a command line", name), `export EDITOR="code --wait", or the like`}
		}
		return words, nil
	}
	for _, name := range []string{"vim", "nano", "vi"} {
		if path, err := exec.LookPath(name); err == nil {
			return []string{path}, nil
		}
	}
	return nil, &hinted{errors.New("no editor is known"), "export EDITOR=…"}
}

// errKilled is an editor that crashed, or was killed: what it saved was not given
// up by anyone.
var errKilled = errors.New("was killed")

// runEditor runs the editor on a file, until it is done or ctx is.
func runEditor(ctx context.Context, env *cli.Env, editor []string, path string) error {
	c := exec.CommandContext(ctx, editor[0], append(editor[1:len(editor):len(editor)], path)...)
	c.Stdin, c.Stdout, c.Stderr, c.Env = env.In, env.Out, env.ErrOut, env.Environ
	if out, ok := env.Out.(*os.File); !ok || !term.IsTerminal(int(out.Fd())) {
		c.Stdout = env.ErrOut // stdout is for the answer
	}
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	c.WaitDelay = 5 * time.Second
	err := c.Run()
	exit := new(exec.ExitError)
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &exit):
		return &hinted{fmt.Errorf("the editor %s cannot be started: %w", editor[0], unquoted(err)), `export EDITOR="code --wait", or the like`}
	case exit.ExitCode() < 0:
		return fmt.Errorf("the editor %s %w: nothing was written", editor[0], errKilled)
	}
	return fmt.Errorf("the editor %s ended with %s: nothing was written", editor[0], exit.ProcessState)
}

// unquoted is an error of os/exec without the program, which the caller names.
func unquoted(err error) error {
	if e := new(exec.Error); errors.As(err, &e) {
		return e.Err
	}
	if e := new(fs.PathError); errors.As(err, &e) {
		return e.Err
	}
	return err
}

// again says what is wrong with the text, and asks to go back to the editor.
// Without a terminal there is nobody to ask.
func again(ctx context.Context, env *cli.Env, err error) bool {
	in, ok := env.In.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) || ctx.Err() != nil {
		return false
	}
	fmt.Fprintf(env.ErrOut, "error: %s\npress Enter to go back to the editor, or Ctrl-C to give up and keep the text: ", err)
	answered := make(chan bool, 1)
	go func() { answered <- readLine(in) }()
	select {
	case ok := <-answered:
		return ok
	case <-ctx.Done():
		fmt.Fprintln(env.ErrOut)
		return false
	}
}

// readLine reads up to the end of a line, and not a byte more.
func readLine(in io.Reader) bool {
	b := make([]byte, 1)
	for {
		if n, err := in.Read(b); n == 0 || err != nil {
			return false
		}
		if b[0] == '\n' || b[0] == '\r' {
			return true
		}
	}
}
