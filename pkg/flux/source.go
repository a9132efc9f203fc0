package flux

import (
	"encoding/json"
	"fmt"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
)

// GitRepository is a Flux GitRepository of any version.
type GitRepository struct {
	Ref
	Object object.Object
	Spec   sourcev1.GitRepositorySpec
}

// ParseGitRepository reads o into the model.
func ParseGitRepository(o object.Object) (GitRepository, error) {
	g := GitRepository{Ref: Ref{o.GetNamespace(), o.GetName()}, Object: o}
	data, err := json.Marshal(o.Object["spec"])
	if err != nil {
		return g, err
	}
	if err := utiljson.Unmarshal(data, &g.Spec); err != nil {
		return g, fmt.Errorf("gitrepository/%s in %s: spec: %s", g.Name, g.Namespace, typeError(err))
	}
	if g.Spec.URL == "" {
		return g, fmt.Errorf("gitrepository/%s in %s: spec.url is missing", g.Name, g.Namespace)
	}
	return g, nil
}

// Revision is the ref to fetch, by Flux's precedence: commit, name, semver,
// tag, branch; "" where none is given (Flux then takes the branch master).
func (g GitRepository) Revision() string {
	r := g.Spec.Reference
	if r == nil {
		return ""
	}
	for _, s := range []string{r.Commit, r.Name, r.SemVer, r.Tag, r.Branch} {
		if s != "" {
			return s
		}
	}
	return ""
}
