package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"
)

// plugin is something that can be installed by itself.
type plugin struct {
	verb  string // "" for the umbrella
	short string // one line of at most 50 characters, krew search cuts off the rest; "" where krew does not offer it
	long  string // what krew info shows
	next  string // what krew says after the installation, where there is something to do
}

func (p plugin) binary() string { return strings.TrimSuffix("kubectl-gitops-"+p.verb, "-") }

// Name is the plugin's in krew: gitops, gitops-sync.
func (p plugin) name() string { return strings.TrimPrefix(p.binary(), "kubectl-") }

// published are the umbrella and every plugin: each has an archive for each
// platform. Those that are worth having alone have words, and a manifest of
// krew's.
var published = []plugin{
	{
		"", "Make a cluster and a Git repository agree, now",
		`Reads the repositories that Flux reads, and makes a cluster what they say,
without installing anything in it: fetch, render, decrypt, show what differs,
apply, wait until healthy, prune. Writes new image tags into Git, and seals and
rotates secrets. Wire-compatible with Flux in both directions.`,
		`To let kubectl complete it: kubectl gitops completion install`,
	},
	{
		"sync", "Make a cluster what a Git repository says, once",
		`A full reconcile of the Flux Kustomizations of a repository, once: fetch,
render, decrypt, apply in order, wait until healthy, prune, record.`,
		"",
	},
	{
		"diff", "Show what a sync would change in a cluster",
		`The plan of a sync, printed: for people, for tools, as JSON, or as Markdown for
a pull request. Values of Secrets are masked.`,
		"",
	},
	{
		"secret", "Seal, edit and rotate secrets in Git with SOPS",
		`SOPS files that keep their bytes: encrypt, edit, decrypt, rotate and check the
secrets of a repository. What it seals opens with sops and with Flux.`,
		"",
	},
	{
		"image", "Choose image tags by Flux's policies, commit them",
		`Scans registries, chooses as Flux's ImagePolicies say, tells why, and commits
the new tags to Git.`,
		"",
	},
	{verb: "build"}, {verb: "rbac"}, {verb: "resume"}, {verb: "status"}, {verb: "suspend"},
}

// manifests writes krew's manifest of each plugin that it offers and Flux's of
// the umbrella, from the templates in krew-manifests/.
func (r *release) manifests(made []archive) error {
	templates, err := template.New("").Funcs(template.FuncMap{
		"indent": func(s string) string { return "    " + strings.ReplaceAll(s, "\n", "\n    ") },
	}).ParseGlob(filepath.Join(r.source, "krew-manifests", "*.tmpl"))
	if err != nil {
		return err
	}
	type platform struct{ OS, Arch, URL, Sum, Binary string }
	for _, p := range published {
		if p.short == "" {
			continue
		}
		values := struct {
			Name, Version, Short, Long, Next, Bare string
			Platforms                              []platform
		}{Name: p.name(), Version: r.version, Bare: strings.TrimPrefix(r.version, "v"), Short: p.short, Long: p.long, Next: p.next}
		for _, a := range made {
			if a.plugin == p {
				values.Platforms = append(values.Platforms, platform{
					a.target.os, a.target.arch, fmt.Sprintf("%s/%s/%s", r.url, r.version, a.file), a.sum, a.target.executable(p.binary()),
				})
			}
		}
		write := map[string]string{"krew.yaml.tmpl": p.name() + ".yaml"}
		if p.verb == "" {
			write["flux.yaml.tmpl"] = "flux-gitops.yaml"
		}
		for from, to := range write {
			var text bytes.Buffer
			if err := templates.ExecuteTemplate(&text, from, values); err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(r.out, to), text.Bytes(), 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}
