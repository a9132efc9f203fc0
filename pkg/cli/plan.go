package cli

import (
	"context"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/gitops"
)

// Plan are the flags of every command that plans a reconcile: where things come
// from, which Kustomizations, and what may be done to them.
type Plan struct {
	Source
	Output
	gitops.Options

	components   string
	fieldManager string
	looseVars    bool
	verify       string
}

// AddFlags adds them. formats are those of -o beyond text, json and yaml.
func (p *Plan) AddFlags(f *pflag.FlagSet, env *Env, formats ...string) {
	p.Source.AddFlags(f)
	p.Output.AddFlags(f, formats...)
	f.BoolVar(&p.NoDeps, "no-deps", false, "With names: leave out what they depend on.")
	f.BoolVar(&p.Prune, "prune", true, "Delete what is owned and no longer declared, where spec.prune allows it; false keeps and reports it.")
	f.StringSliceVar(&p.Allow, "allow", nil, "Codes of checks to override, as errors name them.")
	f.BoolVar(&p.IncludeSuspended, "include-suspended", false, "Take suspended Kustomizations too.")
	f.BoolVar(&p.Force, "force", false, "Delete and create anew where a field that differs cannot be changed.")
	f.StringVar(&p.components, "flux-components", "auto", "The Flux controllers in a bootstrap repository: auto (only where one runs already), apply, skip.")
	f.StringVar(&p.fieldManager, "field-manager", flux.FieldManager, "Field manager of server-side apply; the default is Flux's.")
	f.StringVar(&p.verify, "verify", "auto", "When to ask the server what an apply would store: auto (where it cannot be proved here that an object is in sync), server (for every object), local (never, but for what is to be written).")
	f.BoolVar(&p.IgnoreMAC, "ignore-mac", false, "Decrypt sealed files whose MAC does not match.")
	f.BoolVar(&p.looseVars, "no-strict-substitute", false, "Let undefined variables of postBuild be empty, as Flux did before 2.9.")
	f.BoolVar(&p.RemoteBases, "remote-bases", true, "Let a kustomization name bases by URL.")
	Choices(f, "allow", gitops.Overridable...)
	Choices(f, "flux-components", "auto", "apply", "skip")
	Choices(f, "verify", "auto", "server", "local")
	f.IntVar(&p.Concurrency, "concurrency", 16, "Requests to the API server under way at once.")
	env.AddKubeFlags(f)
}

// Complete checks the flags against each other; args are Kustomizations.
func (p *Plan) Complete(c *cobra.Command, env *Env, args []string) error {
	if err := OneOf(c, "flux-components", p.components); err != nil {
		return err
	}
	if err := OneOf(c, "verify", p.verify); err != nil {
		return err
	}
	p.Verify = gitops.VerifyMode(p.verify)
	if p.Concurrency < 1 {
		return Usage(c, "--concurrency %d: want at least 1", p.Concurrency)
	}
	if p.fieldManager == "" {
		return Usage(c, "--field-manager is empty: an apply needs one (the default is %s)", flux.FieldManager)
	}
	for _, code := range p.Allow {
		if err := OneOf(c, "allow", code); err != nil {
			return err
		}
	}
	p.FluxComponents, p.StrictVars = gitops.ComponentsMode(p.components), !p.looseVars
	for _, arg := range args {
		ref, err := Ref(c, env, arg)
		if err != nil {
			return err
		}
		p.Names = append(p.Names, ref)
	}
	var err error
	p.Root, err = Ref(c, env, p.Source.Name)
	return err
}

// Engine opens source and cluster; workTree reads the files on the disk rather
// than the commit.
func (p *Plan) Engine(ctx context.Context, env *Env, workTree bool) (*gitops.Engine, error) {
	p.tellRights, p.readOnly = true, p.Guess
	return p.Source.Engine(ctx, env, p.Options, p.fieldManager, workTree)
}
