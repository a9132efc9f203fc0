// Package cli wires a plugin to a terminal: streams, kubectl's flags, exit
// codes, signals. What every command shares is here, once.
package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"os/user"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cluster"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/gitops"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/ui"
)

// Exit codes, a promise to scripts.
const (
	ExitOK          = 0   // done, ready, no difference
	ExitNo          = 1   // the answer is no: differences, something failed or not ready
	ExitUsage       = 2   // could not or would not start
	ExitBusy        = 3   // another run holds the root
	ExitInterrupted = 130 // Ctrl-C
)

// Exit is an error whose message has been printed already.
type Exit struct{ Code int }

func (e Exit) Error() string { return fmt.Sprintf("exit code %d", e.Code) }

// Env is what a command gets from its process.
type Env struct {
	genericiooptions.IOStreams
	Environ []string // as os.Environ
	// Name is how the user typed the binary: "kubectl gitops", "kubectl gitops sync".
	Name string
	// Kube holds kubectl's own flags.
	Kube *genericclioptions.ConfigFlags
}

// Getenv reads one variable of Environ.
func (e *Env) Getenv(key string) string {
	for i := len(e.Environ) - 1; i >= 0; i-- {
		// Windows has its variables in any case: Path.
		if k, v, _ := strings.Cut(e.Environ[i], "="); k == key || runtime.GOOS == "windows" && strings.EqualFold(k, key) {
			return v
		}
	}
	return ""
}

// Home is the user's home directory, "" where there is none.
func (e *Env) Home() string {
	if home := e.Getenv("HOME"); home != "" || runtime.GOOS != "windows" {
		return home
	}
	return e.Getenv("USERPROFILE")
}

// Command is a plugin's command as the user types it: the umbrella's name has
// still to get the verb.
func (e *Env) Command(verb string) string {
	if strings.HasSuffix(e.Name, verb) {
		return e.Name
	}
	return e.Name + " " + verb
}

// Version is set by the release build (-ldflags -X); Commit comes from the
// build information of Go where the build has it.
var Version = "v0.0.0-dev"

// Actor is who runs this process, as locks and Events in the cluster name them.
func (e *Env) Actor() gitops.Actor {
	a := gitops.Actor{User: "unknown", Host: "unknown", PID: os.Getpid(), Version: Version}
	if u, err := user.Current(); err == nil && u.Username != "" {
		a.User = u.Username
	}
	if name := e.Getenv("GITHUB_ACTOR"); name != "" {
		a.User = name // who the job runs for, not the account of its machine
	}
	if host, err := os.Hostname(); err == nil {
		a.Host = host
	}
	return a
}

// UserAgent is how audit logs of the API server name this program.
func UserAgent() string { return "kubectl-gitops/" + Version }

// Commit is the revision that the binary was built from, "" if unknown.
func Commit() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return ""
}

// TypedName turns argv[0] into what the user typed. kubectl runs
// kubectl-gitops-sync for "kubectl gitops sync"; krew installs a plugin
// gitops-sync as kubectl-gitops_sync, typed "kubectl gitops-sync"; Flux's CLI
// runs flux-gitops for "flux gitops". Any other name is itself.
func TypedName(argv0 string) string {
	name := filepath.Base(argv0)
	if ext := filepath.Ext(name); strings.EqualFold(ext, ".exe") {
		name = strings.TrimSuffix(name, ext)
	}
	for _, host := range []string{"kubectl", "flux"} {
		if rest, ok := strings.CutPrefix(name, host+"-"); ok {
			return host + " " + strings.ReplaceAll(strings.ReplaceAll(rest, "-", " "), "_", "-")
		}
	}
	return name
}

// noCacheDir is where nothing can be kept.
var noCacheDir = filepath.Join(os.DevNull, "kube")

// Main runs a command in this process and exits with its code.
func Main(command func(*Env) *cobra.Command) {
	stderr := os.Stderr
	// kustomize prints what it finds deprecated straight to the global, into the
	// middle of our lines. Whoever has something to say here says it to Env.
	if null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0); err == nil {
		os.Stderr = null
	}
	env := &Env{
		IOStreams: genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: stderr},
		Environ:   os.Environ(),
		Name:      TypedName(os.Args[0]),
	}
	os.Exit(Run(context.Background(), command, env, os.Args[1:]))
}

// sameSignal is how long after the first signal another one is the same.
const sameSignal = 500 * time.Millisecond

// Run runs a command with args and returns the exit code. The first Ctrl-C (or
// SIGTERM) cancels the context, so that a run stops between objects and says
// what it did; the second kills.
func Run(ctx context.Context, command func(*Env) *cobra.Command, env *Env, args []string) int {
	// A closed pipe (| head) must not stop an apply: writes then fail, and the
	// answer is dropped.
	signal.Ignore(syscall.SIGPIPE)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	go func() {
		select {
		case <-signals:
			cancel()
			// timeout(1), and whoever signals a process and then its group, means the same
			// one: what comes with the first is no second.
			time.Sleep(sameSignal)
			signal.Stop(signals)
		case <-ctx.Done():
		}
	}()
	// client-go's own log would land in the middle of ours.
	klog.SetLogger(logr.Discard())
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard)

	env.Kube = genericclioptions.NewConfigFlags(true)
	if env.Home() == "" && env.Getenv("KUBECACHEDIR") == "" {
		env.Kube.CacheDir = ptr.To(noCacheDir) // kubectl's would be in the current directory, which may be a repository
	}
	return Execute(ctx, command(env), env, args)
}

// Execute runs a command within a process that Run has prepared, and returns the
// exit code.
func Execute(ctx context.Context, cmd *cobra.Command, env *Env, args []string) int {
	if cmd.Annotations[cobra.CommandDisplayNameAnnotation] == "" {
		cmd.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: env.Name}
	}
	if cmd.Version == "" {
		cmd.Version = Version
	}
	cmd.SetVersionTemplate("{{.CommandPath}} {{.Version}}\n")
	addHelp(cmd, env)
	if completing(args) {
		addCompletion(cmd, env)
	}
	cmd.SetArgs(args)
	cmd.SetIn(env.In)
	cmd.SetOut(env.Out)
	cmd.SetErr(env.ErrOut)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.PersistentPreRunE = func(c *cobra.Command, _ []string) error { return notOfWindows(c) }
	cmd.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return flagError(c, err)
	})
	err := cmd.ExecuteContext(ctx)
	var exit Exit
	switch {
	case err == nil:
		return ExitOK
	case errors.As(err, &exit):
		return exit.Code
	}
	u := ui.New(ui.Options{Out: env.Out, Err: env.ErrOut, Color: "auto", Progress: "none", Typed: env.Name, Getenv: env.Getenv})
	defer u.Close()
	if ctx.Err() != nil {
		u.Error(errors.New("interrupted before anything was written"))
		return ExitInterrupted
	}
	u.Error(err)
	var busy *cluster.BusyError
	if errors.As(err, &busy) {
		return ExitBusy
	}
	return ExitUsage
}
