package image

import (
	"cmp"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig/v3"
	"github.com/google/go-containerregistry/pkg/name"
	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/types"
	kyaml "sigs.k8s.io/kustomize/kyaml/yaml"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
)

// defaultMessage is Flux's.
const defaultMessage = "Update from image update automation"

// messageData is what spec.git.commit.messageTemplate is given: the data of the
// controller of today, and Updated, which controllers up to Flux 2.6 had, and
// which templates of that time use.
type messageData struct {
	AutomationObject types.NamespacedName
	Changed          Changed
	Updated          Updated
	Values           map[string]string
}

// Changed is what an update changes, as Flux's templates see it. Paths are
// those below spec.update.path.
type Changed struct {
	FileChanges map[string]ObjectChanges
	// ImageResult is Updated under the name that it had for a while.
	ImageResult Updated

	ordered []Change
}

// ObjectChanges are the changes of objects.
type ObjectChanges map[ObjectIdentifier][]Change

// Change is one change of a value.
type Change struct {
	OldValue string
	NewValue string
	Setter   string // NAMESPACE:POLICY[:PART], as the marker says it
}

// ObjectIdentifier names an object; a kustomization.yaml has no name.
type ObjectIdentifier struct{ kyaml.ResourceIdentifier }

// Changes are all changes, each once, in the order of the files.
func (c Changed) Changes() []Change { return c.ordered }

// Objects are the changes of all objects, whatever their file.
func (c Changed) Objects() ObjectChanges {
	out := ObjectChanges{}
	for _, objects := range c.FileChanges {
		for id, changes := range objects {
			out[id] = append(out[id], changes...)
		}
	}
	return out
}

// Updated is what an update changes, as templates of Flux up to 2.6 see it.
type Updated struct {
	Files map[string]FileResult
}

// FileResult is what is updated in one file.
type FileResult struct {
	Objects map[ObjectIdentifier][]ImageRef
}

// Objects are the images of all objects, whatever their file.
func (u Updated) Objects() map[ObjectIdentifier][]ImageRef {
	out := map[ObjectIdentifier][]ImageRef{}
	for _, file := range u.Files {
		for id, refs := range file.Objects {
			out[id] = append(out[id], refs...)
		}
	}
	return out
}

// Images are all images, each once, by name.
func (u Updated) Images() []ImageRef {
	var out []ImageRef
	for _, file := range u.Files {
		for _, refs := range file.Objects {
			out = append(out, refs...)
		}
	}
	slices.SortFunc(out, func(a, b ImageRef) int {
		return cmp.Or(strings.Compare(a.String(), b.String()), strings.Compare(a.policy.String(), b.policy.String()))
	})
	return slices.Compact(out)
}

// ImageRef is an image that a policy has chosen. It has the methods that Flux's
// templates know: String, Name, Identifier, and these.
type ImageRef struct {
	name.Reference
	policy types.NamespacedName
}

// Policy names the policy.
func (i ImageRef) Policy() types.NamespacedName { return i.policy }

// Repository is the image's repository, as in "library/redis".
func (i ImageRef) Repository() string { return i.Context().RepositoryStr() }

// Registry is the image's registry, as in "index.docker.io".
func (i ImageRef) Registry() string { return i.Context().RegistryStr() }

// identify names the object of a document.
func identify(d object.Document) ObjectIdentifier {
	return ObjectIdentifier{kyaml.ResourceIdentifier{
		TypeMeta: kyaml.TypeMeta{APIVersion: d.APIVersion, Kind: d.Kind},
		NameMeta: kyaml.NameMeta{Name: d.Name, Namespace: d.Namespace},
	}}
}

// Message is the commit message for edits: what the automation's template makes
// of them. images are what policies have chosen. The error is a *Problem.
func (a Automation) Message(edits []Edited, images map[Ref]Image) (string, error) {
	t, err := a.template()
	if err != nil {
		return "", err
	}
	data := messageData{AutomationObject: types.NamespacedName(a.Ref), Values: a.Git().Commit.MessageTemplateValues}
	data.Changed.FileChanges, data.Updated.Files = map[string]ObjectChanges{}, map[string]FileResult{}
	for _, e := range edits {
		file := e.File
		if dir := a.UpdatePath(); dir != "." {
			file = strings.TrimPrefix(path.Clean(file), dir+"/")
		}
		change := Change{OldValue: e.Old, NewValue: e.New, Setter: e.Policy.Namespace + ":" + e.Policy.Name}
		if e.Part != "" {
			change.Setter += ":" + e.Part
		}
		if data.Changed.FileChanges[file] == nil {
			data.Changed.FileChanges[file] = ObjectChanges{}
			data.Updated.Files[file] = FileResult{Objects: map[ObjectIdentifier][]ImageRef{}}
		}
		data.Changed.FileChanges[file][e.Object] = append(data.Changed.FileChanges[file][e.Object], change)
		if !slices.Contains(data.Changed.ordered, change) {
			data.Changed.ordered = append(data.Changed.ordered, change)
		}
		text := e.New
		if chosen, ok := images[e.Policy]; ok {
			text = chosen.String()
		}
		if ref, err := name.ParseReference(text, name.WeakValidation); err == nil {
			objects := data.Updated.Files[file].Objects
			objects[e.Object] = append(objects[e.Object], ImageRef{ref, types.NamespacedName(e.Policy)})
		}
	}
	data.Changed.ImageResult = data.Updated
	var out strings.Builder
	if err := t.Execute(&out, data); err != nil {
		return "", a.templateProblem(err)
	}
	if strings.TrimSpace(out.String()) == "" {
		return "", a.problem("image-automation", messageField, "%s: makes an empty message of these changes", messageField)
	}
	return out.String(), nil
}

const messageField = "spec.git.commit.messageTemplate"

func (a Automation) template() (*template.Template, error) {
	text := a.Git().Commit.MessageTemplate
	if text == "" {
		text = defaultMessage
	}
	// As Flux: only functions whose result does not hang on when and where they run.
	t, err := template.New("commit message").Funcs(sprig.HermeticTxtFuncMap()).Parse(text)
	if err != nil {
		return nil, a.templateProblem(err)
	}
	return t, nil
}

func (a Automation) checkTemplate() error {
	_, err := a.template()
	return err
}

// templateError is where text/template says what is wrong.
var templateError = regexp.MustCompile(`^template: commit message:(\d+)(?::\d+)?: (?:executing "commit message" at )?(.*)$`)

func (a Automation) templateProblem(err error) error {
	p := a.problem("image-automation", messageField, "%s: %s", messageField, err)
	p.Hint = "fields are .AutomationObject, .Changed.FileChanges, .Changed.Objects, .Changed.Changes, .Values, and the older .Updated"
	m := templateError.FindStringSubmatch(strings.ReplaceAll(err.Error(), "\n", " "))
	if m == nil {
		return p
	}
	p.Message = messageField + ": " + strings.ReplaceAll(m[2], "image.messageData", "the template's data")
	n, _ := strconv.Atoi(m[1])
	node := object.Find(a.node, strings.Split(messageField, ".")...)
	switch {
	case node == nil:
	case node.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		p.Line = node.Line + n // the text begins on the line after the | or >
	default:
		p.Message = fmt.Sprintf("%s, line %d: %s", messageField, n, m[2])
	}
	return p
}
