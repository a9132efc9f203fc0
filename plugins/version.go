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
				return nil
			}
			return answer(c, env, output, v)
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "text", "Format of the answer on stdout: text, json, yaml.")
	return c
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
