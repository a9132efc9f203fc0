package render

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/provider"
	"sigs.k8s.io/kustomize/api/resource"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
)

// Files that Flux leaves out of an artifact unless there is a .sourceignore
// (sourceignore.ExcludeCI, ExcludeExtra, ExcludeVCS): a worktree has them.
var (
	excludedDirs  = []string{".git", ".github", ".circleci"}
	excludedFiles = []string{
		".travis.yml", ".gitlab-ci.yml", "appveyor.yml", ".drone.yml", "cloudbuild.yaml", "codeship-services.yml",
		"codeship-steps.yml", ".goreleaser.yml", ".sops.yaml", ".flux.yaml",
	}
)

// scan lists what is below the entry as resources, "./"-relative to it: each
// directory that has a kustomization file, undescended, and every .yaml and
// .yml elsewhere, all of which must hold Kubernetes objects. It names every
// file that does not.
func (b *build) scan() ([]string, error) {
	factory := provider.NewDefaultDepProvider().GetResourceFactory()
	var found []string
	var errs []error
	err := fs.WalkDir(b.FS, b.dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return &Error{File: name, Msg: err.Error(), err: err}
		}
		if err := b.ctx.Err(); err != nil {
			return err
		}
		if name == b.dir {
			return nil
		}
		rel := "./" + strings.TrimPrefix(strings.TrimPrefix(name, b.dir), "/")
		if b.dir == "." {
			rel = "./" + name
		}
		if d.IsDir() {
			if slices.Contains(excludedDirs, path.Base(name)) {
				return fs.SkipDir
			}
			if b.fs.kustomizationIn(name) != "" {
				found = append(found, rel)
				return fs.SkipDir
			}
			return nil
		}
		if ext := path.Ext(name); !d.Type().IsRegular() || ext != ".yaml" && ext != ".yml" || slices.Contains(excludedFiles, path.Base(name)) {
			return nil
		}
		data, err := b.fs.read(name)
		if err != nil {
			errs = append(errs, &Error{File: name, Msg: err.Error(), err: err})
			return nil
		}
		if err := parse(factory, data); err != nil {
			errs = append(errs, b.notManifest(name, data, err))
			return nil
		}
		found = append(found, rel)
		return nil
	})
	if err != nil {
		errs = append(errs, err)
	}
	return found, errors.Join(errs...)
}

// parse reports whether kustomize can read data as resources.
func parse(factory *resource.Factory, data []byte) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("kustomize panicked: %v", p)
		}
	}()
	_, err = factory.SliceFromBytes(data)
	return err
}

// notManifest says what keeps a file of a generated list from being one.
func (b *build) notManifest(name string, data []byte, err error) *Error {
	fix := fmt.Sprintf("list the manifests in %s, or move this file out of %s",
		path.Join(b.dir, konfig.DefaultKustomizationFileName()), b.dir)
	docs, yamlErr := object.Documents(name, data)
	if yamlErr != nil {
		e := syntaxError(name, yamlErr)
		e.Fix = "correct the YAML there; if it is no manifest, " + fix
		return e
	}
	if e := notObject(name, docs); e != nil {
		e.Msg += fmt.Sprintf("; without a kustomization.yaml, every YAML file in %s is one", b.dir)
		e.Fix = fix
		return e
	}
	return &Error{File: name, Msg: b.scrub(plain(err.Error())), Fix: fix}
}

// notObject finds the first document that is no Kubernetes object, nil if all
// are.
func notObject(file string, docs []object.Document) *Error {
	for _, d := range docs {
		missing := ""
		switch {
		case d.Kind == "":
			missing = "no kind"
		case d.APIVersion == "":
			missing = "no apiVersion"
		case strings.HasSuffix(d.Kind, "List") || d.Name != "":
			continue
		case object.Find(d.Node, "metadata", "generateName") != nil:
			return &Error{File: file, Line: d.Line, Msg: "has metadata.generateName and no name: what is applied again must have a name", Fix: "give it metadata.name"}
		default:
			missing = "no metadata.name"
		}
		return &Error{File: file, Line: d.Line, Msg: "not a Kubernetes object: it has " + missing, Fix: "add it, or take the file out of the resources"}
	}
	return nil
}
