package cli

import (
	"context"
	"strings"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cluster"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/gitops"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/registry"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/secret"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/source"
)

// Engine opens the source, then the cluster: what is wrong at hand is told
// before anything is asked of a server. workTree reads the files on the disk
// rather than the commit. o.Path is filled in.
func (s *Source) Engine(ctx context.Context, env *Env, o gitops.Options, fieldManager string, workTree bool) (*gitops.Engine, error) {
	keys, err := secret.Find(secret.FindOptions{KeyFile: s.AgeKeyFile, Getenv: env.Getenv})
	if err != nil {
		return nil, err
	}
	auth, err := s.Auth(env)
	if err != nil {
		return nil, err
	}
	registries := &registry.Client{UserAgent: UserAgent()}
	var snap *source.Snapshot
	if strings.HasPrefix(s.Source, "oci://") {
		snap, err = gitops.OpenOCI(ctx, registries, s.Source, s.Ref)
	} else {
		snap, err = source.Open(ctx, source.Options{Source: s.Source, Ref: s.Ref, WorkTree: workTree, Auth: auth, Submodules: true})
	}
	if err != nil {
		return nil, err
	}
	k8s, err := cluster.Connect(env.Kube, UserAgent())
	if err != nil {
		return nil, err
	}
	k8s.FieldManager = fieldManager
	if s.Path == "" {
		if err := k8s.Reach(ctx); err != nil {
			return nil, err
		}
		rec, err := k8s.Load(ctx, o.Root)
		if err != nil {
			return nil, err
		}
		s.remembered = gitops.RememberedPath(rec, snap.Prefix)
	}
	if o.Path, err = s.EntryPath(snap, k8s.Context); err != nil {
		return nil, err
	}
	if s.Path != "" {
		if err := k8s.Reach(ctx); err != nil {
			return nil, err
		}
	}
	return &gitops.Engine{Cluster: k8s, Source: snap, Keys: keys, Auth: auth, Registries: registries, Options: o, Actor: env.Actor()}, nil
}
