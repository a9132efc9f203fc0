package cli

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/gitops"
)

// Confirm shows what is about to be done, and asks. Anything but yes is a no, and
// an error that says so.
func Confirm(env *Env, show func() error, question string) error {
	in, ok := env.In.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return &gitops.Refused{Code: "no-terminal", Msg: "--interactive asks on a terminal, and stdin is none", Fix: "leave --interactive out, or use --dry-run first"}
	}
	if err := show(); err != nil {
		return err
	}
	fmt.Fprint(env.ErrOut, question+" [y/N] ")
	answer, _ := bufio.NewReader(in).ReadString('\n')
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return &gitops.Refused{Code: "declined", Msg: "nothing was written", Fix: ""}
}
