package cli

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// completionTime is how long an answer may take: less than there is between two key strokes, or as long as somebody
// wants to wait whose cluster is far away. What takes longer is given up, without a word.
func completionTime(env *Env) time.Duration {
	if d, err := time.ParseDuration(env.Getenv("GITOPS_COMPLETION_TIMEOUT")); err == nil {
		return d
	}
	return 100 * time.Millisecond
}

// later starts to ask, and returns how to get the answer: none where it is not
// there in time, also where who is asked cannot be interrupted, as a program that
// logs in to a cloud.
func later[T any](env *Env, ask func(context.Context) T) (answer func() T) {
	ctx, cancel := context.WithTimeout(context.Background(), completionTime(env))
	done := make(chan T, 1)
	go func() { done <- ask(ctx) }()
	return func() (t T) {
		defer cancel()
		select {
		case t = <-done:
		case <-ctx.Done():
		}
		return t
	}
}

// completing tells a request of a shell's completion script.
func completing(args []string) bool {
	return len(args) > 0 && (args[0] == cobra.ShellCompRequestCmd || args[0] == cobra.ShellCompNoDescRequestCmd)
}

// addCompletion teaches root and all below it what stands after them. Commands
// are told by their names, as users type them.
func addCompletion(root *cobra.Command, env *Env) {
	switch root.Name() {
	case "sync", "diff", "build", "status", "suspend", "resume":
		root.ValidArgsFunction = names(env, kustomizations, "")
	case "policy":
		root.ValidArgsFunction = names(env, policies, "")
	case "list":
		root.ValidArgsFunction = names(env, repositories, "")
	case "update":
		root.ValidArgsFunction = names(env, automations, "")
	case "decrypt", "edit", "rotate", "updatekeys":
		root.ValidArgsFunction = sealedFiles(env)
	}
	root.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if complete := flagCompletion(env, f); complete != nil {
			_ = root.RegisterFlagCompletionFunc(f.Name, complete)
		}
	})
	for _, c := range root.Commands() {
		addCompletion(c, env)
	}
}

// flagCompletion is what a flag's value is completed from, nil for files.
func flagCompletion(env *Env, f *pflag.Flag) cobra.CompletionFunc {
	if values := f.Annotations[choices]; values != nil {
		return oneOf(values, f.Value.Type() == "stringSlice")
	}
	switch f.Name {
	case "context", "cluster", "user":
		return static(func() []string { return kubeNames(env, f.Name) })
	case "namespace":
		return static(func() []string {
			return later(env, func(ctx context.Context) []string { return namespaces(ctx, env) })()
		})
	case "ref", "base", "push-branch":
		return refs
	case "name":
		return names(env, kustomizations, "")
	case "policy":
		return names(env, policies, "=")
	}
	switch pathOf(f.Name) {
	case aSourceDirectory:
		return sourceDirectories
	case aDirectory:
		return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		}
	case aFile:
		return nil
	}
	return cobra.NoFileCompletions
}

// static completes one of values, which may come with a description.
func static(values func() []string) cobra.CompletionFunc {
	return func(_ *cobra.Command, _ []string, prefix string) ([]string, cobra.ShellCompDirective) {
		return withPrefix(values(), prefix), cobra.ShellCompDirectiveNoFileComp
	}
}

// oneOf completes one of values, or a list of them with commas.
func oneOf(values []string, list bool) cobra.CompletionFunc {
	return func(_ *cobra.Command, _ []string, prefix string) ([]string, cobra.ShellCompDirective) {
		before := ""
		if at := strings.LastIndex(prefix, ","); list && at >= 0 {
			before = prefix[:at+1]
		}
		var out []string
		for _, v := range values {
			if !slices.Contains(strings.Split(before, ","), v) {
				out = append(out, before+v)
			}
		}
		return withPrefix(out, prefix), cobra.ShellCompDirectiveNoFileComp
	}
}

func withPrefix(values []string, prefix string) []string {
	return slices.DeleteFunc(values, func(v string) bool { return !strings.HasPrefix(v, prefix) })
}

// described is a value with what a shell shows beside it, if that is anything.
func described(value, description string) string {
	if description == "" {
		return value
	}
	return cobra.CompletionWithDesc(value, description)
}
