package plugins

import (
	"encoding/json"
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
)

// VersionReport is the answer of version -o json|yaml.
type VersionReport struct {
	APIVersion string `json:"apiVersion"` // kubectl-gitops.dev/v1alpha1
	Kind       string `json:"kind"`       // VersionReport
	Version    string `json:"version"`    // vX.Y.Z
	Commit     string `json:"commit"`     // 40 hex digits; "" where the build did not know
	Go         string `json:"go"`         // the compiler, go1.26.8
	Platform   string `json:"platform"`   // OS/ARCH
}

func versionCommand(env *cli.Env) *cobra.Command {
	output := ""
	c := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			v := VersionReport{
				APIVersion: "kubectl-gitops.dev/v1alpha1", Kind: "VersionReport",
				Version: cli.Version, Commit: cli.Commit(), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
			}
			if output == "text" {
				fmt.Fprintf(env.Out, "%s %s\n", env.Name, v.Version)
			} else if err := answer(c, env, output, v); err != nil {
				return err
			}
			warnMixed(env)
			return nil
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "text", "Format of the answer on stdout: text, json, yaml.")
	return c
}

// warnMixed tells of commands that another version answers than the one that is
// installed beside it: one that a newer archive was unpacked over, say.
func warnMixed(env *cli.Env) {
	found := installed(env)
	versions := map[string]string{}
	for _, p := range found {
		versions[p.Path] = p.Version
	}
	for _, p := range found {
		if runs := p.ShadowedBy; runs != "" && versions[runs] != p.Version {
			fmt.Fprintf(env.ErrOut, "warning: %s is run by %s, version %s; %s, version %s, is hidden by it\nhint: remove the one that is not wanted; %s plugins lists all\n",
				p.Typed, runs, known(versions[runs]), p.Path, known(p.Version), env.Name)
		}
	}
}

func known(version string) string {
	if version == "" {
		return "unknown"
	}
	return version
}

// answer prints an object as JSON or YAML.
func answer(c *cobra.Command, env *cli.Env, output string, v any) error {
	if err := cli.OneOf(c, "output", output, "text", "json", "yaml"); err != nil {
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
