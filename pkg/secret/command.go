package secret

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"

	"github.com/google/shlex"
)

// command is a program that prints private keys: SOPS_AGE_KEY_CMD or
// SOPS_AGE_SSH_PRIVATE_KEY_CMD. As in sops it gets the wanted recipient in
// SOPS_AGE_RECIPIENT and is split into words without a shell. Unlike there it
// runs only when no key at hand fits, and once for a recipient.
type command struct {
	env, line string
	parse     func([]byte) identities

	mu  sync.Mutex
	ran map[string]identities // by recipient
	why string                // what the last run came to
}

// place is the Place of a command as things stand.
func (c *command) place() Place {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.ran) == 0 {
		return Place{Where: c.env, Why: "not run: no sealed file needed it"}
	}
	found := make(map[string]bool)
	for _, ids := range c.ran {
		for _, id := range ids.ids {
			found[id.recipient] = true
		}
	}
	return Place{Where: c.env, Found: len(found), Why: c.why}
}

// identities runs the command for a recipient, or gives what that run printed.
// A command that fails prints no identity: the place says why.
func (c *command) identities(recipient string) []identity {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ids, ok := c.ran[recipient]; ok {
		return ids.ids
	}
	var ids identities
	if out, err := run(c.line, "SOPS_AGE_RECIPIENT="+recipient); err != nil {
		c.why = err.Error()
	} else {
		ids = c.parse(out)
		c.why = ids.outcome()
	}
	if c.ran == nil {
		c.ran = make(map[string]identities)
	}
	c.ran[recipient] = ids
	return ids.ids
}

// run runs a command line with one more variable and returns its stdout. Its
// errors quote nothing that the program wrote, nor the command line.
func run(line, env string) ([]byte, error) {
	words, err := shlex.Split(line)
	if err != nil || len(words) == 0 {
		return nil, errors.New("is not a command line")
	}
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Env = append(os.Environ(), env)
	out, err := cmd.Output()
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		return nil, fmt.Errorf("%s; run it by hand to see why", exit.ProcessState)
	}
	if err != nil {
		return nil, errors.New("the program cannot be started")
	}
	return out, nil
}
