package image

import (
	"path"
	"strings"

	autov1 "github.com/fluxcd/image-automation-controller/api/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
)

// AutomationKind is Flux's kind of what writes choices into Git.
const AutomationKind = autov1.ImageUpdateAutomationKind

// Automation is a Flux ImageUpdateAutomation of any version.
type Automation struct {
	Declared
	Spec autov1.ImageUpdateAutomationSpec
}

// v1alpha1 is the spec of image.toolkit.fluxcd.io/v1alpha1, the only version
// whose fields are others.
type v1alpha1 struct {
	Checkout struct {
		GitRepositoryRef struct {
			Name string `json:"name"`
		} `json:"gitRepositoryRef"`
		Branch string `json:"branch"`
	} `json:"checkout"`
	Commit struct {
		AuthorName      string             `json:"authorName"`
		AuthorEmail     string             `json:"authorEmail"`
		MessageTemplate string             `json:"messageTemplate"`
		SigningKey      *autov1.SigningKey `json:"signingKey"`
	} `json:"commit"`
	Push    *autov1.PushSpec       `json:"push"`
	Update  *autov1.UpdateStrategy `json:"update"`
	Suspend bool                   `json:"suspend"`
}

// readAutomation reads the document of an automation.
func readAutomation(d object.Document, at Declared) (Automation, error) {
	a := Automation{Declared: at}
	if !strings.HasSuffix(d.APIVersion, "/v1alpha1") {
		return a, decodeSpec(d.Node, &a.Spec)
	}
	var old v1alpha1
	if err := decodeSpec(d.Node, &old); err != nil {
		return a, err
	}
	a.Spec = autov1.ImageUpdateAutomationSpec{
		SourceRef: autov1.CrossNamespaceSourceReference{Kind: "GitRepository", Name: old.Checkout.GitRepositoryRef.Name},
		GitSpec: &autov1.GitSpec{
			Commit: autov1.CommitSpec{
				Author:          autov1.CommitUser{Name: old.Commit.AuthorName, Email: old.Commit.AuthorEmail},
				MessageTemplate: old.Commit.MessageTemplate, SigningKey: old.Commit.SigningKey,
			},
			Push: old.Push,
		},
		Update: old.Update, Suspend: old.Suspend,
	}
	if old.Checkout.Branch != "" {
		a.Spec.GitSpec.Checkout = &autov1.GitCheckoutSpec{}
		a.Spec.GitSpec.Checkout.Reference.Branch = old.Checkout.Branch
	}
	return a, nil
}

// SourceRef names the GitRepository that is written to: in the automation's own
// namespace unless the reference says otherwise.
func (a Automation) SourceRef() Ref {
	ref := Ref{Namespace: a.Spec.SourceRef.Namespace, Name: a.Spec.SourceRef.Name}
	if ref.Namespace == "" {
		ref.Namespace = a.Namespace
	}
	return ref
}

// Git is spec.git, empty where it is missing.
func (a Automation) Git() autov1.GitSpec {
	if a.Spec.GitSpec == nil {
		return autov1.GitSpec{}
	}
	return *a.Spec.GitSpec
}

// CheckoutRef is the ref that the automation starts from, by Flux's precedence:
// commit, name, semver, tag, branch. "" where it says none.
func (a Automation) CheckoutRef() string {
	if a.Git().Checkout == nil {
		return ""
	}
	r := a.Git().Checkout.Reference
	for _, s := range []string{r.Commit, r.Name, r.SemVer, r.Tag, r.Branch} {
		if s != "" {
			return s
		}
	}
	return ""
}

// Push is spec.git.push, empty where it is missing.
func (a Automation) Push() autov1.PushSpec {
	if a.Git().Push == nil {
		return autov1.PushSpec{}
	}
	return *a.Git().Push
}

// UpdatePath is the directory whose files are edited, slashes, "." for all.
func (a Automation) UpdatePath() string {
	if a.Spec.Update == nil {
		return "."
	}
	return path.Clean(strings.TrimPrefix(path.Clean("/"+a.Spec.Update.Path), "/"))
}

// In reports whether a file, by its path in the repository, is below UpdatePath.
func (a Automation) In(file string) bool {
	dir := a.UpdatePath()
	return dir == "." || strings.HasPrefix(file, dir+"/")
}

// Check tells what is wrong with the automation whatever the repository holds,
// nil if nothing is.
func (a Automation) Check() error {
	refuse := func(field, hint, format string, args ...any) error {
		p := a.problem("image-automation", field, format, args...)
		p.Hint = hint
		return p
	}
	if k := a.Spec.SourceRef.Kind; k != "" && k != "GitRepository" {
		return refuse("spec.sourceRef.kind", "", "spec.sourceRef.kind: %s cannot be written to, only a GitRepository can", k)
	}
	if a.Spec.SourceRef.Name == "" {
		return refuse("spec.sourceRef", "", "spec.sourceRef.name is missing: which repository is to be written to?")
	}
	if u := a.Spec.Update; u != nil && u.Strategy != "" && u.Strategy != autov1.UpdateStrategySetters {
		return refuse("spec.update.strategy", "strategy: Setters", "spec.update.strategy: there is no %q", u.Strategy)
	}
	if a.Git().Commit.Author.Email == "" {
		return refuse("spec.git.commit.author", "author: {name: fluxcdbot, email: fluxcdbot@users.noreply.github.com}",
			"spec.git.commit.author.email is missing: a commit needs somebody who made it")
	}
	who := a.Git().Commit.Author
	if strings.ContainsAny(who.Name+who.Email, "<>\n\x00") {
		return refuse("spec.git.commit.author", "", "spec.git.commit.author: neither name nor email can hold <, > or a line break")
	}
	if key := a.Git().Commit.SigningKey; key != nil {
		if t := key.Type; t != "" && t != autov1.SigningKeyTypeGPG && t != autov1.SigningKeyTypeSSH {
			return refuse("spec.git.commit.signingKey.type", "type: gpg, or ssh", "spec.git.commit.signingKey.type: there is no %q", t)
		}
	}
	if _, err := a.selector(); err != nil {
		return refuse("spec.policySelector", "", "spec.policySelector: %s", err)
	}
	return a.checkTemplate()
}

func (a Automation) selector() (labels.Selector, error) {
	if a.Spec.PolicySelector == nil {
		return labels.Everything(), nil
	}
	return metav1.LabelSelectorAsSelector(a.Spec.PolicySelector)
}

// Takes reports whether the automation writes what a policy chooses: one of its
// own namespace that policySelector does not leave out.
func (a Automation) Takes(p Policy) bool {
	selector, err := a.selector()
	return err == nil && p.Namespace == a.Namespace && selector.Matches(labels.Set(p.Labels))
}
