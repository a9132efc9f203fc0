package sync

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/gitops"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/ui"
)

// confirm shows the plan and asks. Anything but yes is a no.
func confirm(env *cli.Env, u *ui.UI, preview gitops.SyncReport) error {
	in, ok := env.In.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return &gitops.Refused{Code: "no-terminal", Msg: "--interactive asks on a terminal, and stdin is none", Fix: "leave --interactive out, or use --dry-run first"}
	}
	if err := u.Sync(preview); err != nil {
		return err
	}
	fmt.Fprint(env.ErrOut, "apply this? [y/N] ")
	answer, _ := bufio.NewReader(in).ReadString('\n')
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return &gitops.Refused{Code: "declined", Msg: "nothing was written", Fix: ""}
}
