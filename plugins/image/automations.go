package image

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/gitops"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/image"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/source"
)

// plan finds out which automations push where.
func (u *update) plan(ctx context.Context) error {
	u.finished, u.upstreams = map[*group]bool{}, map[image.Ref]*source.Upstream{}
	for _, p := range u.tree.problems {
		if p.Code == "image-automation" && len(u.o.names) == 0 {
			u.fail([]*image.Problem{p})
		} else {
			u.warn(*p)
		}
	}
	all, err := named(u.session, u.tree, u.tree.Automations, image.AutomationKind, u.o.names, func(a image.Automation) image.Declared { return a.Declared })
	if err != nil {
		return err
	}
	if len(all) == 0 && !u.failed {
		where := "no file of " + u.where + " declares an"
		if u.tree.live != nil {
			where = u.where + " has no"
		}
		return fault{&image.Problem{Message: fmt.Sprintf("%s %s of %s, which says where to commit and as whom", where, image.AutomationKind, image.Group),
			Hint: "flux create image update NAME --export --git-repo-ref flux-system --checkout-branch main --author-name NAME --author-email EMAIL > image-update.yaml"}}
	}
	for _, a := range all {
		auto := &automation{Automation: a, at: len(u.report.Automations)}
		u.report.Automations = append(u.report.Automations, AutomationReport{Namespace: a.Namespace, Name: a.Name, File: a.File, Line: a.Line, Status: "unchanged"})
		if (a.Spec.Suspend || u.suspendedLive(a.Ref)) && !u.o.suspended {
			u.report.Automations[auto.at].Status = "suspended"
			u.warn(image.Problem{Code: "image-suspended", File: a.File, Line: a.Line, Object: a.String(), Message: "is suspended: it is left out"})
			continue
		}
		u.ran = append(u.ran, auto)
		err := a.Check()
		if err == nil {
			err = u.assign(ctx, auto)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			u.failAutomation(auto, faults(err))
		}
	}
	return u.canSync()
}

// canSync refuses what a sync could not follow.
func (u *update) canSync() error {
	if !u.o.sync {
		return nil
	}
	for _, g := range u.groups {
		if g.branch != "" {
			return fmt.Errorf("--sync: %s pushes to %s of %s, which is not what the cluster follows before it is merged", g.automations[0], g.branch, g.up.URL)
		}
		if u.up != nil && g.up.URL != u.up.URL || g != u.groups[0] && u.up == nil {
			return fmt.Errorf("--sync: %s pushes to %s, which is another repository or branch than what would be synced", g.automations[0], g.up.URL)
		}
	}
	if u.up == nil && len(u.groups) == 0 {
		return errors.New("--sync: no automation of " + u.where + " runs, so that it is not known what to sync: kubectl gitops sync")
	}
	return nil
}

// failAutomation tells why nothing came of an automation.
func (u *update) failAutomation(a *automation, problems []*image.Problem) {
	r := &u.report.Automations[a.at]
	r.Status = "failed"
	r.Problems, r.Message = problemReports(problems)
	a.failed = automationFailure(problems[0])
	u.fail(problems)
}

// assign puts an automation into the group of its branch.
func (u *update) assign(ctx context.Context, a *automation) error {
	at, ref := u.up, a.CheckoutRef()
	repo, found, err := u.gitRepository(ctx, a)
	if err != nil {
		return err
	}
	if found {
		if at, err = u.upstream(ctx, a, repo); err != nil {
			return err
		}
		if ref == "" {
			ref = repo.Revision()
		}
	}
	branch := a.Push().Branch
	if u.o.pushBranch != "" {
		branch = u.o.pushBranch
	}
	if branch == ref {
		branch = ""
	}
	i := slices.IndexFunc(u.groups, func(g *group) bool { return g.up.URL == at.URL && g.ref == ref && g.branch == branch })
	if i < 0 {
		i = len(u.groups)
		u.groups = append(u.groups, &group{up: at, ref: ref, branch: branch, push: source.PushOptions{Options: map[string]string{}}})
	}
	g := u.groups[i]
	if _, elsewhere := u.upstreams[image.Ref(repo.Ref)]; elsewhere && repo.Spec.Timeout != nil {
		g.timeout = repo.Spec.Timeout.Duration
	}
	g.automations = append(g.automations, a)
	if spec := a.Push().Refspec; spec != "" && !slices.Contains(g.push.Refspecs, spec) {
		g.push.Refspecs = append(g.push.Refspecs, spec)
	}
	maps.Copy(g.push.Options, a.Push().Options)
	return nil
}

// gitRepository finds the GitRepository of an automation where the automation
// is: in the cluster, or in the source. There it need not be: what is not
// declared is the source itself.
func (u *update) gitRepository(ctx context.Context, a *automation) (repo flux.GitRepository, found bool, err error) {
	if u.tree.live == nil {
		return u.tree.gitRepository(a.SourceRef(), a.File)
	}
	ref := a.SourceRef()
	refuse := func(format string, args ...any) error {
		return &image.Problem{Code: "image-source", Object: a.String(), Field: "spec.sourceRef", Message: "spec.sourceRef: " + fmt.Sprintf(format, args...)}
	}
	id := object.ID{Group: flux.SourceGroup, Kind: sourcev1.GitRepositoryKind, Namespace: ref.Namespace, Name: ref.Name}
	o, err := u.tree.live.Get(ctx, id, sourcev1.GroupVersion.Version)
	if err != nil {
		return repo, false, refuse("%s", err)
	}
	if o == nil {
		return repo, false, refuse("there is no GitRepository %s in the cluster", ref)
	}
	if repo, err = flux.ParseGitRepository(object.Object{Unstructured: o}); err != nil {
		return repo, false, refuse("%s", err)
	}
	return repo, true, nil
}

// gitRepository finds a GitRepository in the source; of several with that name,
// the one nearest to the file near.
func (t *tree) gitRepository(ref image.Ref, near string) (out flux.GitRepository, found bool, err error) {
	nearest := -1
	for _, name := range t.files {
		data, err := fs.ReadFile(t.fs, name)
		if err != nil || !bytes.Contains(data, []byte(sourcev1.GitRepositoryKind)) || common(name, near) <= nearest {
			continue
		}
		docs, _ := object.Documents(name, data) // a file that is no YAML was told of
		for _, d := range docs {
			at := image.Declared{Ref: image.Ref{Namespace: d.Namespace, Name: d.Name}, File: name}
			at.Namespace = t.namespaceOf(at)
			if d.Kind != sourcev1.GitRepositoryKind || !strings.HasPrefix(d.APIVersion, flux.SourceGroup+"/") || at.Ref != ref {
				continue
			}
			o := object.Object{Unstructured: &unstructured.Unstructured{}, File: name, Line: d.Line}
			if err := d.Node.Decode(&o.Object); err != nil {
				continue
			}
			o.SetNamespace(at.Namespace)
			repo, err := flux.ParseGitRepository(o)
			if err != nil {
				return out, false, &image.Problem{Code: "image-source", File: name, Line: d.Line, Message: err.Error()}
			}
			out, found, nearest = repo, true, common(name, near)
		}
	}
	return out, found, nil
}

// upstream is where a GitRepository is: the repository at hand, with your
// credentials, where it is that one; else its URL, with the credentials that it
// names.
func (u *update) upstream(ctx context.Context, a *automation, repo flux.GitRepository) (*source.Upstream, error) {
	if u.up != nil && u.up.URL == "" {
		// A copy without a remote can only be looked at, and is what there is to look at.
		u.warn(image.Problem{Code: "image-local", File: repo.Object.File, Line: repo.Object.Line, Object: repo.Where(),
			Message: "this checkout has no remote: it is taken to be " + source.ShownURL(repo.Spec.URL), Hint: "git remote add origin " + source.ShownURL(repo.Spec.URL)})
		return u.up, nil
	}
	if u.up != nil {
		if at, err := u.up.At(repo.Spec.URL); at != nil || err != nil {
			return at, err
		}
	}
	ref := image.Ref(repo.Ref)
	if at := u.upstreams[ref]; at != nil {
		return at, nil
	}
	auth, err := u.gitAuth(ctx, a, repo)
	if err != nil {
		p := &image.Problem{Code: "image-source", File: cmp.Or(repo.Object.File, a.File), Line: cmp.Or(repo.Object.Line, a.Line), Object: repo.Where(), Field: "spec.sourceRef", Message: err.Error()}
		if e := (interface{ Hint() string })(nil); errors.As(err, &e) {
			p.Hint = e.Hint()
		}
		return nil, p
	}
	at, err := source.OpenUpstream(ctx, source.Options{Source: repo.Spec.URL, Auth: auth})
	if err == nil {
		u.upstreams[ref] = at
	}
	return at, err
}

// errNowhere is of a Secret that nobody has; what there is to say of it is said.
var errNowhere = errors.New("")

// gitAuth is what the server of a GitRepository may be shown: what its Secrets
// hold. What the command line gives is for one server: that of the source or, of
// a cluster's automations, that of the first one.
func (u *update) gitAuth(ctx context.Context, a *automation, repo flux.GitRepository) (source.Auth, error) {
	c := source.Credentials{Where: repo.Where(), Provider: repo.Spec.Provider}
	read := func(field, name string) (data map[string]string, where string, err error) {
		found, where, why := u.secrets().secret(ctx, image.Ref{Namespace: repo.Namespace, Name: name}, cmp.Or(repo.Object.File, a.File))
		if found == nil && where == "" {
			return nil, "", fmt.Errorf("%s: %s%w", field, why, errNowhere)
		}
		if found == nil {
			return nil, "", errors.New(field + ": " + why)
		}
		data = map[string]string{}
		for key, value := range found {
			data[key] = string(value)
		}
		return data, where, nil
	}
	if ref := repo.Spec.ProxySecretRef; ref != nil {
		data, where, err := read("spec.proxySecretRef", ref.Name)
		if err != nil {
			return source.Auth{}, err
		}
		if c.Proxy, err = source.ProxyOf(where, data); err != nil {
			return source.Auth{}, err
		}
	}
	if u.auth.Given() {
		first := cmp.Or(u.given, repo.Spec.URL)
		if u.up != nil {
			first = u.up.URL
		}
		if source.SameHost(first, repo.Spec.URL) {
			u.given = first
			auth := u.auth
			auth.Proxy = cmp.Or(auth.Proxy, c.Proxy)
			return auth, nil
		}
	}
	if ref := repo.Spec.SecretRef; ref != nil {
		data, where, err := read("spec.secretRef", ref.Name)
		switch {
		case err == nil:
			c.Data, c.Where = data, where
			u.gitSecret = repo.Namespace + "/" + ref.Name
		case errors.Is(err, errNowhere) && u.tree.live == nil && c.Provider != "github":
			u.warn(image.Problem{Code: "image-credentials", File: repo.Object.File, Line: repo.Object.Line, Object: repo.Where(),
				Message: err.Error() + "; what ssh and Git's credential helpers have for that server is used"})
		default:
			return source.Auth{}, err
		}
	}
	if err := gitops.CloudLogin(ctx, repo.Spec.URL, &c); err != nil {
		return source.Auth{}, err
	}
	return u.auth.WithSecret(ctx, repo.Spec.URL, c)
}

// secrets are those that GitRepositories and signing keys name.
func (u *update) secrets() *secrets {
	if u.store == nil {
		u.store = newSecrets(u.env, u.tree, u.keys, nil, "git.asc", "identity", "password", "bearerToken", "githubAppID", "ca.crt", "caFile", "tls.crt", "certFile", "address")
	}
	return u.store
}
