package cli

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1 "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
)

// Completion answers from what is at hand, in the time between two key strokes:
// it gives up, without a word, what takes longer.
const completionTime = 100 * time.Millisecond

// completing tells a request of a shell's completion script.
func completing(args []string) bool {
	return len(args) > 0 && (args[0] == cobra.ShellCompRequestCmd || args[0] == cobra.ShellCompNoDescRequestCmd)
}

// addCompletion teaches root and all below it what stands after them. Commands
// are told by their names, as users type them.
func addCompletion(root *cobra.Command, env *Env) {
	switch root.Name() {
	case "sync", "diff", "build", "status", "suspend", "resume":
		root.ValidArgsFunction = completeObjects(env, "Kustomization", "kustomize.toolkit.fluxcd.io/")
	case "policy":
		root.ValidArgsFunction = completeObjects(env, "ImagePolicy", "image.toolkit.fluxcd.io/")
	case "list":
		root.ValidArgsFunction = completeObjects(env, "ImageRepository", "image.toolkit.fluxcd.io/")
	case "update":
		root.ValidArgsFunction = completeObjects(env, "ImageUpdateAutomation", "image.toolkit.fluxcd.io/")
	case "decrypt", "edit", "rotate", "updatekeys":
		root.ValidArgsFunction = completeSealed
	}
	for flag, values := range map[string]func() []string{
		"context": func() []string { return kubeNames(env, "context") },
		"cluster": func() []string { return kubeNames(env, "cluster") },
		"user":    func() []string { return kubeNames(env, "user") },
		"namespace": func() []string {
			return namespaces(env)
		},
		"color":    func() []string { return []string{"auto", "always", "never"} },
		"progress": func() []string { return []string{"auto", "tty", "plain", "none"} },
		"output":   func() []string { return outputFormats(root) },
	} {
		if root.LocalFlags().Lookup(flag) == nil {
			continue
		}
		_ = root.RegisterFlagCompletionFunc(flag, func(_ *cobra.Command, _ []string, prefix string) ([]string, cobra.ShellCompDirective) {
			return withPrefix(values(), prefix), cobra.ShellCompDirectiveNoFileComp
		})
	}
	for _, c := range root.Commands() {
		addCompletion(c, env)
	}
}

func withPrefix(values []string, prefix string) []string {
	return slices.DeleteFunc(values, func(v string) bool { return !strings.HasPrefix(v, prefix) })
}

// outputFormats are those that the usage of -o lists.
func outputFormats(c *cobra.Command) []string {
	_, list, found := strings.Cut(c.LocalFlags().Lookup("output").Usage, ": ")
	if !found {
		return nil
	}
	return strings.Split(strings.TrimSuffix(list, "."), ", ")
}

// kubeNames are the names of one kind in the kubeconfig.
func kubeNames(env *Env, kind string) []string {
	config, err := env.Kube.ToRawKubeConfigLoader().RawConfig()
	if err != nil {
		return nil
	}
	var names []string
	switch kind {
	case "context":
		for name := range config.Contexts {
			names = append(names, name)
		}
	case "cluster":
		for name := range config.Clusters {
			names = append(names, name)
		}
	default:
		for name := range config.AuthInfos {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// namespaces asks the cluster, which may be away.
func namespaces(env *Env) []string {
	config, err := env.Kube.ToRESTConfig()
	if err != nil {
		return nil
	}
	config.Timeout = completionTime
	client, err := corev1.NewForConfig(config)
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), completionTime)
	defer cancel()
	list, err := client.Namespaces().List(ctx, metav1.ListOptions{Limit: 500})
	if err != nil {
		return nil
	}
	var names []string
	for _, n := range list.Items {
		names = append(names, n.Name)
	}
	return names
}

// completeObjects completes the names of objects of a kind that a file of the
// repository at hand declares.
func completeObjects(env *Env, kind, group string) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
		home := DefaultNamespace
		if env.Kube.Namespace != nil && *env.Kube.Namespace != "" {
			home = *env.Kube.Namespace
		}
		var names []string
		eachManifest(repository("."), func(_ string, data []byte) {
			if !bytes.Contains(data, []byte(group)) {
				return
			}
			docs, _ := object.Documents("", data)
			for _, d := range docs {
				if d.Kind != kind || !strings.HasPrefix(d.APIVersion, group) || d.Name == "" {
					continue
				}
				name := d.Name
				if d.Namespace != "" && d.Namespace != home {
					name = d.Namespace + "/" + d.Name
				}
				if !slices.Contains(args, name) {
					names = append(names, name)
				}
			}
		})
		slices.Sort(names)
		return withPrefix(slices.Compact(names), prefix), cobra.ShellCompDirectiveNoFileComp
	}
}

// completeSealed completes the sealed files below what was typed, or below the
// current directory; any file where there are none.
func completeSealed(_ *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	var names []string
	eachManifest(filepath.Join(".", filepath.Dir(prefix)), func(name string, data []byte) {
		if bytes.Contains(data, []byte("ENC[")) && bytes.Contains(data, []byte("sops:")) && !slices.Contains(args, name) {
			names = append(names, name)
		}
	})
	if names = withPrefix(names, strings.TrimPrefix(prefix, "./")); len(names) == 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// repository is the root of the work tree around dir, or dir.
func repository(dir string) string {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return dir
	}
	for at := abs; ; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(at, ".git")); err == nil {
			return at
		}
		if at == filepath.Dir(at) {
			return dir
		}
	}
}

// eachManifest reads the YAML files below root, for as long as completion may
// take.
func eachManifest(root string, each func(name string, data []byte)) {
	end := time.Now().Add(completionTime)
	_ = filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		switch {
		case time.Now().After(end):
			return fs.SkipAll
		case err != nil:
			return nil
		case d.IsDir() && name != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules" || d.Name() == "vendor"):
			return fs.SkipDir
		case !d.Type().IsRegular() || !slices.Contains([]string{".yaml", ".yml"}, filepath.Ext(name)):
			return nil
		}
		if info, err := d.Info(); err != nil || info.Size() > 1<<20 {
			return nil
		}
		if data, err := os.ReadFile(name); err == nil {
			each(name, data)
		}
		return nil
	})
}
