package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	imagev1 "github.com/fluxcd/image-reflector-controller/api/v1"
	"go.yaml.in/yaml/v3"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
)

// Group of Flux's image API.
const Group = "image.toolkit.fluxcd.io"

// Kinds of Flux's image API that are read here.
const (
	PolicyKind     = imagev1.ImagePolicyKind
	RepositoryKind = imagev1.ImageRepositoryKind
)

// defaultExclusions is the default of ImageRepository's spec.exclusionList. It
// stands in the definition of the kind, so a file that leaves it out has it too.
var defaultExclusions = []string{`^.*\.sig$`}

// Ref names a policy or a repository.
type Ref struct{ Namespace, Name string }

// String is NAMESPACE/NAME, as people type it.
func (r Ref) String() string { return r.Namespace + "/" + r.Name }

// Declared is where an object of Flux's image API stands in Git.
type Declared struct {
	Ref         // Namespace is "" where the file does not say it
	Kind string // ImagePolicy or ImageRepository
	File string
	Line int // 1-based line of the object's first key

	node *yaml.Node
}

// String names the object: imagepolicy.image.toolkit.fluxcd.io/api in flux-system.
func (d Declared) String() string {
	return object.ID{Group: Group, Kind: d.Kind, Namespace: d.Namespace, Name: d.Name}.String()
}

func (d Declared) problem(code, path, format string, args ...any) *Problem {
	line := d.Line
	if path != "" && d.node != nil {
		line = object.LineOf(d.node, path)
	}
	return &Problem{Code: code, File: d.File, Line: line, Object: d.String(), Field: path, Message: fmt.Sprintf(format, args...)}
}

// Policy is a Flux ImagePolicy of any version: those before v1 have the same
// fields.
type Policy struct {
	Declared
	Spec        imagev1.ImagePolicySpec
	Labels      map[string]string
	Annotations map[string]string
	// Latest is what Flux has chosen last: status.latestRef, which only an object
	// of a cluster has.
	Latest Image
}

// Repository is a Flux ImageRepository of any version.
type Repository struct {
	Declared
	Spec imagev1.ImageRepositorySpec
}

// RepositoryRef names the ImageRepository that the policy chooses from. It is in
// the policy's own namespace unless the reference says otherwise.
func (p Policy) RepositoryRef() Ref {
	ref := Ref{Namespace: p.Spec.ImageRepositoryRef.Namespace, Name: p.Spec.ImageRepositoryRef.Name}
	if ref.Namespace == "" {
		ref.Namespace = p.Namespace
	}
	return ref
}

// Exclusions are the patterns of the tags that Flux never looks at.
func (r Repository) Exclusions() []string {
	if r.Spec.ExclusionList == nil {
		return defaultExclusions
	}
	return r.Spec.ExclusionList
}

// Included are the tags that the repository does not exclude. Its patterns have
// to compile: see Check.
func (r Repository) Included(tags []string) []string {
	patterns, _ := compileAll(r.Exclusions())
	out := []string{}
	for _, tag := range tags {
		if !slices.ContainsFunc(patterns, func(re *regexp.Regexp) bool { return re.MatchString(tag) }) {
			out = append(out, tag)
		}
	}
	return out
}

// Check tells what is wrong with the repository, nil if nothing is.
func (r Repository) Check() error {
	switch image := r.Spec.Image; {
	case image == "":
		return r.problem("image-repository", "spec", "spec.image is missing")
	case strings.Contains(image, "://"):
		p := r.problem("image-repository", "spec.image", "spec.image %s has a scheme", image)
		p.Hint = "image: " + image[strings.Index(image, "://")+3:]
		return p
	case strings.Contains(image, "@") || strings.Contains(image[strings.LastIndex(image, "/")+1:], ":"):
		p := r.problem("image-repository", "spec.image", "spec.image %s has a tag or a digest: it names a repository", image)
		name, _, _ := strings.Cut(image, "@")
		if slash := strings.LastIndex(name, "/"); strings.Contains(name[slash+1:], ":") {
			name = name[:strings.LastIndex(name, ":")]
		}
		p.Hint = "image: " + name
		return p
	}
	_, err := compileAll(r.Exclusions())
	if err != nil {
		return r.problem("image-regex", "spec.exclusionList", "spec.exclusionList: %s", err)
	}
	return nil
}

// Objects are what a file declares of Flux's image API.
type Objects struct {
	Policies     []Policy
	Repositories []Repository
	Automations  []Automation
}

// Read finds the ImagePolicies, ImageRepositories and ImageUpdateAutomations of
// one file. What cannot
// be read of them is a problem; a file that is not YAML is one only where it
// speaks of Flux's image API.
func Read(file string, data []byte) (Objects, []*Problem) {
	var out Objects
	if !strings.Contains(string(data), Group) {
		return out, nil
	}
	docs, err := object.Documents(file, data)
	var problems []*Problem
	if err != nil {
		p := &Problem{Code: "image-yaml", File: file, Message: err.Error()}
		if syntax := (*object.SyntaxError)(nil); errors.As(err, &syntax) {
			p.Line, p.Message = syntax.Line, "not valid YAML: "+syntax.Msg
		}
		problems = append(problems, p)
	}
	for _, d := range docs {
		group, _, _ := strings.Cut(d.APIVersion, "/")
		if group != Group {
			continue
		}
		at := Declared{Ref: Ref{Namespace: d.Namespace, Name: d.Name}, Kind: d.Kind, File: file, Line: d.Line, node: d.Node}
		switch d.Kind {
		case PolicyKind:
			p := Policy{Declared: at}
			if err := decodeSpec(d.Node, &p.Spec); err != nil {
				problems = append(problems, at.problem("image-policy", "spec", "spec: %s", err))
				continue
			}
			p.readMetadata()
			out.Policies = append(out.Policies, p)
		case RepositoryKind:
			r := Repository{Declared: at}
			if err := decodeSpec(d.Node, &r.Spec); err != nil {
				problems = append(problems, at.problem("image-repository", "spec", "spec: %s", err))
				continue
			}
			out.Repositories = append(out.Repositories, r)
		case AutomationKind:
			a, err := readAutomation(d, at)
			if err != nil {
				problems = append(problems, at.problem("image-automation", "spec", "spec: %s", err))
				continue
			}
			out.Automations = append(out.Automations, a)
		}
	}
	return out, problems
}

// readMetadata reads what an ImagePolicy has besides its spec.
func (p *Policy) readMetadata() {
	for field, to := range map[string]*map[string]string{"labels": &p.Labels, "annotations": &p.Annotations} {
		if n := object.Find(p.node, "metadata", field); n != nil {
			_ = n.Decode(to) // what is no map of strings, the API server refuses
		}
	}
	for field, to := range map[string]*string{"name": &p.Latest.Name, "image": &p.Latest.Name, "tag": &p.Latest.Tag, "digest": &p.Latest.Digest} {
		if n := object.Find(p.node, "status", "latestRef", field); n != nil {
			*to = n.Value
		}
	}
}

// ReadLive reads an object as a cluster has it, in JSON or YAML. It stands in no
// file, so that messages about it have no line.
func ReadLive(data []byte) (Objects, []*Problem) {
	out, problems := Read("", data)
	for _, p := range problems {
		p.Line = 0
	}
	for i := range out.Policies {
		out.Policies[i].Line, out.Policies[i].node = 0, nil
	}
	for i := range out.Repositories {
		out.Repositories[i].Line, out.Repositories[i].node = 0, nil
	}
	for i := range out.Automations {
		out.Automations[i].Line, out.Automations[i].node = 0, nil
	}
	return out, problems
}

// decodeSpec reads a document's spec as the API server would: by way of JSON.
func decodeSpec(n *yaml.Node, spec any) error {
	s := object.Find(n, "spec")
	if s == nil {
		return errors.New("is missing")
	}
	var v any
	if err := s.Decode(&v); err != nil {
		return errors.New(strings.Join(strings.Fields(strings.TrimPrefix(err.Error(), "yaml: ")), " "))
	}
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := utiljson.Unmarshal(data, spec); err != nil {
		if t := (*json.UnmarshalTypeError)(nil); errors.As(err, &t) {
			want := "a " + t.Type.String()
			switch t.Type.Kind() {
			case reflect.Struct, reflect.Map:
				want = "an object"
			case reflect.Slice:
				want = "a list"
			}
			return fmt.Errorf("%s: is a %s, want %s", t.Field, t.Value, want)
		}
		return errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	return nil
}
