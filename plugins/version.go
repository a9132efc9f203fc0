package plugins

import (
	"encoding/json"
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/gitops"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/ui"
)

// VersionReport is the answer of version -o json|yaml.
type VersionReport struct {
	APIVersion string           `json:"apiVersion"` // kubectl-gitops.dev/v1alpha1
	Kind       string           `json:"kind"`       // VersionReport
	Warnings   []gitops.Warning `json:"warnings"`   // of versions that are mixed
	Version    string           `json:"version"`    // vX.Y.Z
	Commit     string           `json:"commit"`     // 40 hex digits; "" where the build did not know
	Go         string           `json:"go"`         // the compiler, go1.26.8
	Platform   string           `json:"platform"`   // OS/ARCH
}

func versionCommand(env *cli.Env) *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cli.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			v := VersionReport{
				APIVersion: gitops.APIVersion, Kind: "VersionReport", Warnings: mixed(installed(env)),
				Version: cli.Version, Commit: cli.Commit(), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
			}
			if output == "text" {
				fmt.Fprintf(env.Out, "%s %s\n", env.Name, v.Version)
			} else if err := answer(c, env, output, v); err != nil {
				return err
			}
			for _, w := range v.Warnings {
				fmt.Fprintf(env.ErrOut, "warning: %s\nhint: %s\n", w.Message, ui.Typed(env.Name, w.Hint))
			}
			return nil
		},
	}
	cli.AddFormat(c.Flags(), &output, "text", "json", "yaml")
	return c
}

// mixed tells of commands that another version answers than the one that is
// installed beside it: one that a newer archive was unpacked over, say.
func mixed(found []Installed) []gitops.Warning {
	versions := map[string]string{}
	for _, p := range found {
		versions[p.Path] = p.Version
	}
	warnings := []gitops.Warning{}
	for _, p := range found {
		if runs := p.ShadowedBy; runs != "" && versions[runs] != p.Version {
			warnings = append(warnings, gitops.Warning{Code: "mixed-versions",
				Message: fmt.Sprintf("%s is run by %s, version %s; %s, version %s, is hidden by it", p.Typed, runs, known(versions[runs]), p.Path, known(p.Version)),
				Hint:    "remove the one that is not wanted; kubectl gitops plugins lists all"})
		}
	}
	return warnings
}

func known(version string) string {
	if version == "" {
		return "unknown"
	}
	return version
}

// answer prints an object as JSON or YAML.
func answer(c *cobra.Command, env *cli.Env, output string, v any) error {
	if err := cli.OneOf(c, "output", output); err != nil {
		return err
	}
	text, err := json.MarshalIndent(v, "", "  ")
	if err == nil && output == "yaml" {
		text, err = yaml.JSONToYAML(text)
	} else if err == nil {
		text = append(text, '\n')
	}
	if err != nil {
		return err
	}
	_, _ = env.Out.Write(text) // a closed pipe is no failure
	return nil
}
