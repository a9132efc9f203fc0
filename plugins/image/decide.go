package image

import (
	"context"
	"sync"

	imagev1 "github.com/fluxcd/image-reflector-controller/api/v1"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/image"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/registry"
)

// decision is what one policy chose.
type decision struct {
	policy     image.Policy
	repository image.Repository // the one that it means, empty where there is none
	choice     image.Choice     // its Tag is "" where nothing was chosen
	image      image.Image      // what was chosen, with its digest where the policy reflects it
	problems   []*image.Problem // why nothing was
	// suspended is what is: "the policy is suspended". Nothing is chosen then, and
	// nothing is wrong: what stands in Git stays.
	suspended string

	registry *registry.Repository
	tags     []string         // nil where the registry was not asked, or did not answer
	unlisted []*image.Problem // why it did not
	facts    image.Facts      // for an order that Flux does not have
	told     bool             // the problems are those of the repository, and have been told with another policy
}

// decide lets policies choose from what their registries have now, and reports
// each. What is wrong with one is told, and leaves the others' choices standing.
func (s *session) decide(ctx context.Context, o *readOptions, t *tree, policies []image.Policy, explain bool) ([]decision, error) {
	out := make([]decision, len(policies))
	if err := s.gather(ctx, o, t, policies, out); err != nil {
		return nil, err
	}
	if err := s.facts(ctx, &o.Source, t, out); err != nil {
		return nil, err
	}
	for i := range out {
		if d := &out[i]; d.open() {
			d.choose()
		}
	}
	s.reflect(ctx, t, out)
	s.report.Policies = []PolicyReport{}
	written := image.Current(t.markers)
	for _, d := range out {
		s.tellDecision(d, written[d.policy.Ref], explain)
	}
	return out, ctx.Err()
}

// open reports whether the decision is still to be made.
func (d *decision) open() bool { return len(d.problems) == 0 && d.suspended == "" }

// gather asks the registries what the policies need to choose. What is wrong
// with a policy by itself costs no request.
func (s *session) gather(ctx context.Context, o *readOptions, t *tree, policies []image.Policy, out []decision) error {
	index := make([]int, len(policies)) // into repositories
	var repositories []image.Repository
	byPlace := map[image.Declared]int{}
	for i, p := range policies {
		d := &out[i]
		d.policy, d.problems = p, faults(p.Check())
		r, err := t.repositoryOf(p)
		d.repository, d.problems = r, append(d.problems, faults(err)...)
		if p.Spec.Suspend && !o.suspended {
			d.suspended, d.problems = "the policy is suspended", nil
		}
		if !d.open() {
			continue
		}
		// Which labels the policy's namespace has, only the cluster knows: who may is left to Flux.
		if from := r.Spec.AccessFrom; p.Namespace != r.Namespace && (from == nil || len(from.NamespaceSelectors) == 0) {
			s.warn(image.Problem{Code: "image-access", File: p.File, Line: p.Line, Object: p.String(),
				Message: "chooses from " + r.Ref.String() + ", which lets no other namespace do that: Flux would refuse",
				Hint:    "spec.accessFrom of the ImageRepository: {namespaceSelectors: [{matchLabels: {kubernetes.io/metadata.name: " + p.Namespace + "}}]}"})
		}
		n, ok := byPlace[r.Declared]
		if !ok {
			n = len(repositories)
			byPlace[r.Declared] = n
			repositories = append(repositories, r)
		}
		index[i] = n
	}
	answers, err := s.scan(ctx, o, t, repositories)
	if err != nil {
		return err
	}
	told := map[int]bool{} // repositories whose problems are told
	for i := range out {
		d := &out[i]
		if !d.open() {
			continue
		}
		a := answers[index[i]]
		d.registry, d.tags, d.problems, d.unlisted = a.registry, a.tags, a.problems, a.problems
		if a.suspended {
			d.suspended = "its repository " + t.short(d.repository.Ref) + " is suspended"
		}
		d.told = len(a.problems) > 0 && told[index[i]]
		told[index[i]] = told[index[i]] || len(a.problems) > 0
	}
	return nil
}

// choose makes the decision from the tags.
func (d *decision) choose() {
	var err error
	d.choice, err = image.Choose(d.policy, d.repository.Exclusions(), d.tags, d.facts)
	if d.problems = faults(err); len(d.problems) == 0 {
		d.image = image.Image{Name: d.repository.Spec.Image, Tag: d.choice.Tag}
	}
}

// reflect adds the digests that policies reflect, by Flux's rule: IfNotPresent
// keeps the one that is there for as long as the tag is the same. It is there in
// Git or, without Git, in the status of the policy.
func (s *session) reflect(ctx context.Context, t *tree, all []decision) {
	written := image.Current(t.markers)
	var wg sync.WaitGroup
	for i := range all {
		d := &all[i]
		if !d.open() {
			continue
		}
		switch d.policy.Spec.DigestReflectionPolicy {
		case imagev1.ReflectAlways:
		case imagev1.ReflectIfNotPresent:
			d.image.Digest = written[d.policy.Ref].DigestOf(d.image.Name, d.image.Tag)
			if latest := d.policy.Latest; t.live != nil && latest.Name == d.image.Name && latest.Tag == d.image.Tag {
				d.image.Digest = latest.Digest
			}
			if d.image.Digest != "" {
				continue
			}
		default:
			continue
		}
		wg.Go(func() {
			var err error
			if d.image.Digest, err = d.registry.Digest(ctx, d.image.Tag); err != nil {
				d.image, d.choice.Tag = image.Image{}, ""
				d.problems = []*image.Problem{unanswered(d.policy.Declared, err)}
			}
		})
	}
	wg.Wait()
}

// tellDecision adds a decision to the report, with every tag if asked to, and
// tells what is wrong with it.
func (s *session) tellDecision(d decision, written image.Written, explain bool) {
	p := d.policy
	r := PolicyReport{Namespace: p.Namespace, Name: p.Name, File: p.File, Line: p.Line, Repository: p.RepositoryRef().String(),
		Suspended: d.suspended != "", Tag: d.choice.Tag, Digest: d.image.Digest, Previous: written.String(), Reason: d.choice.Reason}
	switch {
	case p.CheckRepository() != nil:
		r.Repository = ""
	case p.Namespace == "":
		r.Repository = p.RepositoryRef().Name
	}
	if r.Previous == "" && p.Latest.Tag != "" {
		r.Previous = p.Latest.String()
	}
	if d.image.Name != "" {
		r.Image = d.image.String()
	}
	r.Problems, r.Message = problemReports(d.problems)
	if r.Suspended {
		r.Message = d.suspended
	}
	s.warn(d.choice.Warnings...)
	if explain {
		r.Tags = tagReports(d.choice)
	}
	if len(d.problems) > 0 && d.told {
		s.failed = true
	} else if len(d.problems) > 0 {
		s.fail(d.problems)
	}
	s.report.Policies = append(s.report.Policies, r)
}
