package cli

import (
	"bytes"
	"context"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1 "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cluster"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/gitops"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/source"
)

// named is a kind whose objects are completed by name.
type named struct {
	group, kind string
	about       []string // the field that tells one from another
}

var (
	kustomizations = named{"kustomize.toolkit.fluxcd.io/", "Kustomization", []string{"spec", "path"}}
	policies       = named{"image.toolkit.fluxcd.io/", "ImagePolicy", []string{"spec", "imageRepositoryRef", "name"}}
	repositories   = named{"image.toolkit.fluxcd.io/", "ImageRepository", []string{"spec", "image"}}
	automations    = named{"image.toolkit.fluxcd.io/", "ImageUpdateAutomation", []string{"spec", "update", "path"}}
)

// names completes the names of objects that a file of the repository at hand
// declares; of Kustomizations, outside of any repository, those that the cluster
// knows. suffix is what has still to follow.
func names(env *Env, of named, suffix string) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
		home := DefaultNamespace
		if env.Kube.Namespace != nil && *env.Kube.Namespace != "" {
			home = *env.Kube.Namespace
		}
		found := map[string]string{} // with their descriptions
		add := func(namespace, name, about string) {
			if namespace != "" && namespace != home {
				name = namespace + "/" + name
			}
			if name += suffix; strings.HasPrefix(name, prefix) && !slices.Contains(args, name) {
				found[name] = about
			}
		}
		root := repository(".")
		inCluster := func() []gitops.KustomizationStatus { return nil }
		if of.kind == kustomizations.kind && !isRepository(root) {
			inCluster = later(env, func(ctx context.Context) []gitops.KustomizationStatus { return known(ctx, env) }) // while files are read
		}
		eachFile(env, root, func(name string, data []byte) {
			if !bytes.Contains(data, []byte(of.group)) {
				return
			}
			docs, _ := object.Documents("", data)
			for _, d := range docs {
				if d.Kind == of.kind && strings.HasPrefix(d.APIVersion, of.group) && d.Name != "" {
					about := ""
					if n := object.Find(d.Node, of.about...); n != nil {
						about = n.Value
					}
					add(d.Namespace, d.Name, about)
				}
			}
		}, ".yaml", ".yml")
		for _, k := range inCluster() {
			add(k.Namespace, k.Name, k.Path)
		}
		var out []string
		for _, name := range slices.Sorted(maps.Keys(found)) {
			out = append(out, described(name, found[name]))
		}
		if suffix != "" {
			return out, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}

// known are the Kustomizations that the cluster knows, where it answers.
func known(ctx context.Context, env *Env) []gitops.KustomizationStatus {
	c, err := cluster.Connect(env.Kube, UserAgent())
	if err != nil {
		return nil
	}
	report, err := gitops.Status(ctx, c, "", nil)
	if err != nil {
		return nil
	}
	return report.Kustomizations
}

// kubeNames are the names of one kind in the kubeconfig; a context with its
// cluster, a cluster with its server.
func kubeNames(env *Env, kind string) []string {
	config, err := env.Kube.ToRawKubeConfigLoader().RawConfig()
	if err != nil {
		return nil
	}
	var names []string
	switch kind {
	case "context":
		for name, c := range config.Contexts {
			names = append(names, described(name, c.Cluster))
		}
	case "cluster":
		for name, c := range config.Clusters {
			names = append(names, described(name, c.Server))
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
func namespaces(ctx context.Context, env *Env) []string {
	config, err := env.Kube.ToRESTConfig()
	if err != nil {
		return nil
	}
	client, err := corev1.NewForConfig(config)
	if err != nil {
		return nil
	}
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

// refs completes the branches and tags of the source, where that is on the disk.
func refs(c *cobra.Command, _ []string, prefix string) ([]string, cobra.ShellCompDirective) {
	dir, ok := sourceAtHand(c)
	if !ok {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return withPrefix(source.RefNames(dir), prefix), cobra.ShellCompDirectiveNoFileComp
}

// sourceDirectories completes the directories of the source, where that is on the
// disk: paths in a source are relative to its root, whatever the current directory.
func sourceDirectories(c *cobra.Command, _ []string, prefix string) ([]string, cobra.ShellCompDirective) {
	root, ok := sourceAtHand(c)
	if !ok {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	dir, _ := path.Split(prefix)
	entries, err := os.ReadDir(filepath.Join(root, filepath.FromSlash(dir)))
	if err != nil || !filepath.IsLocal(filepath.Join(".", dir)) {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			names = append(names, dir+e.Name()+"/")
		}
	}
	return withPrefix(names, prefix), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

// sourceAtHand is the directory whose files --source means.
func sourceAtHand(c *cobra.Command) (dir string, ok bool) {
	if f := c.Flags().Lookup("source"); f != nil && f.Value.String() != "" {
		info, err := os.Stat(f.Value.String())
		return f.Value.String(), err == nil && info.IsDir()
	}
	dir = repository(".")
	return dir, isRepository(dir)
}

// sealedFiles completes the sealed files below what was typed, or below the
// current directory; any file where there are none.
func sealedFiles(env *Env) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
		var names []string
		here := ""
		if strings.HasPrefix(prefix, "./") {
			here = "./"
		}
		eachFile(env, filepath.Dir(prefix), func(name string, data []byte) {
			if name = here + name; strings.HasPrefix(name, prefix) && bytes.Contains(data, []byte("ENC[")) && bytes.Contains(data, []byte("sops")) && !slices.Contains(args, name) {
				names = append(names, name)
			}
		}, ".yaml", ".yml", ".json", ".env", ".ini")
		if len(names) == 0 {
			return nil, cobra.ShellCompDirectiveDefault
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// repository is the root of the work tree around dir, or dir.
func repository(dir string) string {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return dir
	}
	for at := abs; ; at = filepath.Dir(at) {
		if isRepository(at) {
			return at
		}
		if at == filepath.Dir(at) {
			return dir
		}
	}
}

func isRepository(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, ".git"))
	return err == nil
}

// eachFile reads the files below root that end in one of exts, for as long as
// completion may take.
func eachFile(env *Env, root string, each func(name string, data []byte), exts ...string) {
	end := time.Now().Add(completionTime(env))
	_ = filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		switch {
		case time.Now().After(end):
			return fs.SkipAll
		case err != nil:
			return nil
		case d.IsDir() && name != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules" || d.Name() == "vendor"):
			return fs.SkipDir
		case !d.Type().IsRegular() || !slices.Contains(exts, filepath.Ext(name)):
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
