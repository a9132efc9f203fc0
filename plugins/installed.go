package plugins

import (
	"debug/buildinfo"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/printers"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/gitops"
)

// PluginsReport is the answer of plugins -o json|yaml.
type PluginsReport struct {
	APIVersion string           `json:"apiVersion"` // kubectl-gitops.dev/v1alpha1
	Kind       string           `json:"kind"`       // PluginsReport
	Warnings   []gitops.Warning `json:"warnings"`   // of versions that are mixed
	Plugins    []Installed      `json:"plugins"`    // in the order in which they are found
}

// Installed is one binary of this project that kubectl or Flux's CLI would
// find.
type Installed struct {
	Typed      string `json:"typed"`                // what runs it: "kubectl gitops sync"
	Path       string `json:"path"`                 // the file
	Version    string `json:"version"`              // of its build information; "" where it has none
	ShadowedBy string `json:"shadowedBy,omitempty"` // the file that is run in its place
}

func pluginsCommand(env *cli.Env) *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:   "plugins",
		Short: "List which of these plugins are installed where, and which shadow which",
		Long: `List the binaries of kubectl-gitops that kubectl finds on PATH, and those in
the folder of Flux's plugins. Of two of the same name the first on PATH is run;
kubectl takes the longest name that fits, so that kubectl-gitops-sync is run for
sync where it is installed, whatever version kubectl-gitops has.`,
		Args: cli.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			found := installed(env)
			report := PluginsReport{APIVersion: gitops.APIVersion, Kind: "PluginsReport", Warnings: mixed(found), Plugins: found}
			if output != "text" {
				return answer(c, env, output, report)
			}
			w := printers.GetNewTabWriter(env.Out)
			fmt.Fprintln(w, "TYPED\tVERSION\tPATH\tNOTE")
			for _, p := range report.Plugins {
				note := ""
				if p.ShadowedBy != "" {
					note = "shadowed by " + p.ShadowedBy
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", p.Typed, p.Version, p.Path, note)
			}
			return w.Flush()
		},
	}
	cli.AddFormat(c.Flags(), &output, "text", "json", "yaml")
	return c
}

// installed looks where kubectl and Flux's CLI look.
func installed(env *cli.Env) []Installed {
	found := []Installed{}
	first := map[string]string{} // by what is typed
	add := func(path string) {
		info, err := os.Stat(path)
		if err != nil || info.IsDir() || info.Mode()&0o111 == 0 && !strings.HasSuffix(path, ".exe") {
			return
		}
		p := Installed{Typed: cli.TypedName(path), Path: path}
		if build, err := buildinfo.ReadFile(path); err == nil {
			p.Version = build.Main.Version
		}
		if at, shadowed := first[p.Typed]; shadowed {
			p.ShadowedBy = at
		} else {
			first[p.Typed] = path
		}
		found = append(found, p)
	}
	var seen []string
	for _, dir := range filepath.SplitList(env.Getenv("PATH")) {
		if dir == "" || slices.ContainsFunc(seen, func(d string) bool { return same(d, dir) }) {
			continue
		}
		seen = append(seen, dir)
		names, _ := filepath.Glob(filepath.Join(escapeGlob(dir), "kubectl-gitops*"))
		for _, name := range names {
			add(name)
		}
	}
	folder := env.Getenv("FLUXCD_PLUGINS")
	if home := env.Home(); folder == "" && home != "" {
		folder = filepath.Join(home, ".fluxcd", "plugins")
	}
	if folder != "" {
		names, _ := filepath.Glob(filepath.Join(escapeGlob(folder), "flux-gitops*"))
		for _, name := range names {
			add(name)
		}
	}
	// The umbrella's commands, where a binary of their own is run in their place.
	for i, p := range found {
		if p.Typed != "kubectl gitops" || p.ShadowedBy != "" {
			continue
		}
		for _, plugin := range All {
			if at, ok := first["kubectl gitops "+plugin.Verb]; ok {
				found = slices.Insert(found, i+1, Installed{Typed: "kubectl gitops " + plugin.Verb, Path: p.Path, Version: p.Version, ShadowedBy: at})
			}
		}
	}
	return found
}

// escapeGlob makes a directory name stand for itself in a pattern.
func escapeGlob(dir string) string {
	return strings.NewReplacer(`[`, `\[`, `*`, `\*`, `?`, `\?`).Replace(dir)
}
