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
	e, err := s.open(ctx, env, workTree)
	if e == nil {
		return nil, err
	}
	e.Options, e.Cache = o, env.cache()
	e.Options.KeepSpec = s.Ref != "" && len(o.Names) > 0
	if err != nil { // no repository is around
		return e, s.fromCluster(ctx, env, e, fieldManager, err)
	}
	if e.Cluster, err = cluster.Connect(env.Kube, UserAgent()); err != nil {
		return nil, err
	}
	e.Cluster.FieldManager, e.Cluster.RightsCommand = fieldManager, s.rightsCommand("")
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
	e.Cluster.RightsCommand = s.rightsCommand(e.Options.Path)
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
	e.Cluster.FieldManager, e.Cluster.RightsCommand = fieldManager, s.rightsCommand("")
	if err := e.FromCluster(ctx, s.Ref); err != nil {
		return err
	}
	if s.Path == "" {
		s.remembered = e.Options.Path
	}
	e.Options.Path, err = s.EntryPath(e.Source, e.Cluster.Context)
	e.Cluster.RightsCommand = s.rightsCommand(e.Options.Path)
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
	dir := filepath.Join(*e.Kube.CacheDir, "kubectl-gitops")
	d := cache.Open(dir, version)
	switch {
	case d != nil:
	case *e.Kube.CacheDir == noCacheDir:
		fmt.Fprintln(e.ErrOut, "warning: HOME is not set: nothing is kept between runs, which makes them slower; --cache-dir DIR names a place")
	default:
		fmt.Fprintf(e.ErrOut, "warning: %s cannot be written: nothing is kept between runs, which makes them slower; --cache-dir DIR names another place\n", dir)
	}
	return d
}

// open opens the keys, the credentials and the source. An engine without a
// source, and source.ErrNoRepository, is what there is where none is named and
// none is around.
func (s *Source) open(ctx context.Context, env *Env, workTree bool) (*gitops.Engine, error) {
	keys, err := secret.Find(secret.FindOptions{KeyFile: s.AgeKeyFile, Getenv: env.Getenv})
	if err != nil {
		return nil, err
	}
	auth, err := s.Auth(ctx, env)
	if err != nil {
		return nil, err
	}
	e := &gitops.Engine{Keys: keys, Auth: auth, Registries: &registry.Client{UserAgent: UserAgent()}, Actor: env.Actor()}
	if dir := env.Kube.CacheDir; dir != nil && *dir != "" {
		e.SourceCache = filepath.Join(*dir, "gitops", "sources")
	}
	if strings.HasPrefix(s.Source, "oci://") {
		e.Source, err = gitops.OpenOCI(ctx, e.Registries, s.Source, s.Ref)
	} else {
		e.Source, err = source.Open(ctx, source.Options{Source: s.Source, Ref: s.Ref, WorkTree: workTree, Auth: auth, Submodules: true, CacheDir: e.SourceCache})
	}
	if err != nil && !errors.Is(err, source.ErrNoRepository) {
		return nil, err
	}
	return e, err
}

// Offline opens the source alone: no cluster is asked, and no kubeconfig is
// needed. The files on the disk are read. o.Path is filled in, but where a
// Kustomization is given.
func (s *Source) Offline(ctx context.Context, env *Env, o gitops.Options) (*gitops.Engine, error) {
	e, err := s.open(ctx, env, true)
	if err != nil {
		return nil, err
	}
	if o.Given == nil {
		// The name of the context is known without asking it, where there is one.
		name := ""
		if raw, err := env.Kube.ToRawKubeConfigLoader().RawConfig(); err == nil {
			name = raw.CurrentContext
		}
		if flag := env.Kube.Context; flag != nil && *flag != "" {
			name = *flag
		}
		if o.Path, err = s.EntryPath(e.Source, name); err != nil {
			return nil, err
		}
	}
	e.Options = o
	return e, nil
}
