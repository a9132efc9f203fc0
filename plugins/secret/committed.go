package secret

import (
	"context"
	"io/fs"
	"path/filepath"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/secret"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/source"
)

// commits are the commits that HEAD names, by the root of their repository; nil
// where one cannot be read.
type commits map[string]*source.Snapshot

// file is what HEAD has for a file, nil for nothing: a version to build upon is a
// help, not a need.
func (c commits) file(ctx context.Context, env *cli.Env, real string) []byte {
	abs, err := filepath.Abs(real)
	if err != nil {
		return nil
	}
	if abs, err = filepath.EvalSymlinks(abs); err != nil {
		return nil
	}
	root := secret.Repository(filepath.Dir(abs))
	rel, err := filepath.Rel(root, abs)
	if root == "" || err != nil {
		return nil
	}
	head, known := c[root]
	if !known {
		// HEAD by name: what the work tree looks like is of no interest.
		head, _ = source.Open(ctx, source.Options{Source: root, Ref: "HEAD", Auth: source.Auth{Env: env.Environ}})
		c[root] = head
	}
	if head == nil {
		return nil
	}
	data, err := fs.ReadFile(head.FS, filepath.ToSlash(rel))
	if err != nil {
		return nil
	}
	return data
}
