// Package render builds the objects of one Flux Kustomization as
// kustomize-controller does (generate or patch kustomization.yaml, kustomize
// build, post-build substitution), from an fs.FS and in memory: nothing is
// written to the source, and what an overlay decrypted never reaches a disk.
package render

import (
	"context"
	"errors"
	"io/fs"
	"runtime"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
)

// Request is one Kustomization and all that it is rendered from.
type Request struct {
	// FS is the source from its root, usually under a decrypting overlay. Where
	// it is a SealedReader, only what may become an object, a patch or a Secret
	// is read in the clear: resources, patches and secretGenerator inputs.
	// Everything else (configMapGenerator inputs above all, which Flux never
	// decrypts) is read as it was committed.
	FS fs.FS

	// Kustomization gives spec.path and what its spec puts into the
	// kustomization.yaml there. Not applied here: spec.commonMetadata, which
	// Flux applies after its owner labels, and spec.postBuild's variables, which
	// come resolved in Variables.
	Kustomization flux.Kustomization

	// Links are the symbolic links that the source left out of FS, path to
	// target. They only serve to explain a missing file.
	Links map[string]string

	// Variables are those of spec.postBuild, merged (substituteFrom in its
	// order, then substitute); newlines are still in the values.
	Variables map[string]string

	// Strict makes a variable that has neither value nor default an error, as
	// Flux does since 2.9; otherwise it is the empty string.
	Strict bool

	// RemoteBases allows resources and components that are URLs. kustomize
	// fetches them itself, git ones into directories of its own below the
	// system's temporary directory, which it removes.
	RemoteBases bool
}

// SealedReader is an fs.FS that decrypts and can also give what was committed.
type SealedReader interface {
	ReadSealed(name string) ([]byte, error)
}

// Build renders r. A directory without manifests renders to no objects, which
// is no error here. Errors are *Error, joined where there are several, but for
// a context that is done and for what FS itself refused to read, which is kept
// in the chain.
func Build(ctx context.Context, r Request) (result *Result, err error) {
	// kustomize and the YAML parsers below it panic on some malformed input.
	defer func() {
		if p := recover(); p != nil {
			e := &Error{File: r.Kustomization.Path(), Msg: "a YAML parser or kustomize panicked"}
			if p, ok := p.(runtime.Error); ok { // others might quote the source
				e.Msg += ": " + p.Error()
			}
			result, err = nil, e
		}
	}()
	b := newBuild(ctx, r)
	result, err = b.run()
	if cause := ctx.Err(); cause != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, err
	}
	return result, nil
}

// build is one rendering under way.
type build struct {
	Request
	ctx   context.Context
	dir   string // the entry: spec.path, clean and slash-separated
	fs    *sourceFS
	entry entry
	tree  *tree

	parsed map[string]parsed // by file

	alone     bool // it may ask for an OpenAPI schema of its own
	batchSize int  // objects
	batched   bool // it was built in batches
}

func newBuild(ctx context.Context, r Request) *build {
	return &build{
		Request: r, ctx: ctx, dir: r.Kustomization.Path(), fs: newSourceFS(ctx, r),
		parsed: map[string]parsed{}, batchSize: batchSize,
	}
}

// parsed is what a file of the source parses to.
type parsed struct {
	docs []object.Document
	err  error
}

// documents are those of a file that can be read, parsed once.
func (b *build) documents(file string) ([]object.Document, error) {
	p, ok := b.parsed[file]
	if !ok {
		data, err := b.fs.read(file)
		if err != nil {
			return nil, err
		}
		p.docs, p.err = object.Documents(file, data)
		b.parsed[file] = p
	}
	return p.docs, p.err
}

func (b *build) run() (*Result, error) {
	if err := b.checkPath(); err != nil {
		return nil, err
	}
	e, err := b.makeEntry()
	if err != nil {
		return nil, err
	}
	b.entry = e
	b.tree = readTree(b)
	if errs := b.tree.forbidden; len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	if err := b.fs.setRoles(b.tree); err != nil {
		return nil, err
	}
	built, err := b.kustomize()
	if err != nil {
		return nil, b.explain(err)
	}
	defer clear(b.parsed) // the result holds on to b
	return b.finish(built)
}

// owner is where the Kustomization itself stands, for what its spec asks for.
func (b *build) owner(msg, fix string) *Error {
	o := b.Kustomization.Object
	return &Error{File: o.File, Line: o.Line, Object: b.Kustomization.Ref.String(), Msg: msg, Fix: fix}
}

// named is what an error calls an object.
func named(kind, apiVersion, namespace, name string) string {
	id := object.ID{Group: groupOf(apiVersion), Kind: kind, Namespace: namespace, Name: name}
	return id.String()
}
