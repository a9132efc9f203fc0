package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cache"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/cluster"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/gitops"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/registry"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/secret"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/source"
)

// Engine opens the source, then the cluster: what is wrong at hand is told
// before anything is asked of a server. workTree reads the files on the disk
// rather than the commit. Outside of any repository, and without --source, the
// cluster says what the source is.
func (s *Source) Engine(ctx context.Context, env *Env, o gitops.Options, fieldManager string, workTree bool) (*gitops.Engine, error) {
	keys, err := secret.Find(secret.FindOptions{KeyFile: s.AgeKeyFile, Getenv: env.Getenv})
	if err != nil {
		return nil, err
	}
	auth, err := s.Auth(ctx, env)
	if err != nil {
		return nil, err
	}
	e := &gitops.Engine{Cache: env.cache(), Keys: keys, Auth: auth, Registries: &registry.Client{UserAgent: UserAgent()}, Options: o, Actor: env.Actor()}
	if dir := env.Kube.CacheDir; dir != nil && *dir != "" {
		e.SourceCache = filepath.Join(*dir, "gitops", "sources")
	}
	e.Options.KeepSpec = s.Ref != "" && len(o.Names) > 0
	if strings.HasPrefix(s.Source, "oci://") {
		e.Source, err = gitops.OpenOCI(ctx, e.Registries, s.Source, s.Ref)
	} else {
		e.Source, err = source.Open(ctx, source.Options{Source: s.Source, Ref: s.Ref, WorkTree: workTree, Auth: auth, Submodules: true, CacheDir: e.SourceCache})
	}
	nowhere := errors.Is(err, source.ErrNoRepository)
	if err != nil && !nowhere {
		return nil, err
	}
	if nowhere {
		return e, s.fromCluster(ctx, env, e, fieldManager, err)
	}
	if e.Cluster, err = cluster.Connect(env.Kube, UserAgent()); err != nil {
		return nil, err
	}
	e.Cluster.FieldManager = fieldManager
	if s.Path == "" {
		if err := e.Cluster.Reach(ctx); err != nil {
			return nil, err
		}
		rec, err := e.Cluster.Load(ctx, o.Root)
		if err != nil {
			return nil, err
		}
		s.remembered = gitops.RememberedPath(rec, e.Source.Prefix)
	}
	if e.Options.Path, err = s.EntryPath(e.Source, e.Cluster.Context); err != nil {
		return nil, err
	}
	if s.Path != "" {
		if err := e.Cluster.Reach(ctx); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// fromCluster takes root and source from the cluster; why says why there is none
// at hand.
func (s *Source) fromCluster(ctx context.Context, env *Env, e *gitops.Engine, fieldManager string, why error) (err error) {
	if e.Cluster, err = cluster.Connect(env.Kube, UserAgent()); err == nil {
		err = e.Cluster.Reach(ctx)
	}
	if err != nil {
		return fmt.Errorf("%w, and no cluster to take one from: %s", why, err)
	}
	e.Cluster.FieldManager = fieldManager
	if err := e.FromCluster(ctx, s.Ref); err != nil {
		return err
	}
	if s.Path == "" {
		s.remembered = e.Options.Path
	}
	e.Options.Path, err = s.EntryPath(e.Source, e.Cluster.Context)
	return err
}

// cache is what earlier runs have found out, in kubectl's cache directory. Each
// version of the program has its own; so has each build of one in the making.
func (e *Env) cache() *cache.Dir {
	if e.Kube.CacheDir == nil || *e.Kube.CacheDir == "" {
		return nil
	}
	version := Version
	if strings.Contains(version, "-dev") || strings.Contains(version, "-dirty") {
		file, err := os.Executable()
		if err != nil {
			return nil
		}
		info, err := os.Stat(file)
		if err != nil {
			return nil
		}
		version += fmt.Sprint(" ", info.Size(), info.ModTime().UnixNano())
	}
	return cache.Open(filepath.Join(*e.Kube.CacheDir, "kubectl-gitops"), version)
}
