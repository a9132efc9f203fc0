package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cli"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/gitops"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/image"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/registry"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/secret"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/source"
)

// readOptions are the flags of the commands that read a source and ask
// registries.
type readOptions struct {
	cli.Source
	cli.Output
	timeout     time.Duration
	suspended   bool
	fromCluster bool
	names       []image.Ref
}

func (o *readOptions) addFlags(env *cli.Env, f *pflag.FlagSet) {
	o.Source.AddFlags(f)
	o.Output.AddFlags(f)
	env.AddKubeFlags(f)
	f.Lookup("path").Usage = "Directory of the source to read. Default: all of it."
	_ = f.MarkHidden("name") // complete refuses it
	f.Lookup("namespace").Usage = "Namespace of names, and of objects whose file says none; default " + cli.DefaultNamespace + "."
	f.DurationVar(&o.timeout, "timeout", time.Minute, "How long a registry may take where spec.timeout is absent.")
	f.BoolVar(&o.suspended, "include-suspended", false, "Look at suspended repositories and policies, too.")
	f.BoolVar(&o.fromCluster, "from-cluster", false, "Read the objects of the cluster instead of a source. The default outside of a Git repository.")
}

func (o *readOptions) complete(c *cobra.Command, env *cli.Env, args []string) error {
	if c.Flags().Changed("name") {
		return cli.Usage(c, "--name: there is no root Kustomization here; want names as arguments")
	}
	if o.fromCluster && (o.Source.Source != "" || o.Ref != "" || o.Path != "") {
		return cli.Usage(c, "--from-cluster reads no source: leave out --source, --ref and --path")
	}
	if o.timeout <= 0 {
		return cli.Usage(c, "a timeout cannot be negative or zero")
	}
	for _, arg := range args {
		ref, err := cli.Ref(c, env, arg)
		if err != nil {
			return err
		}
		o.names = append(o.names, image.Ref(ref))
	}
	return nil
}

// ociPrefix is how the URL of an artifact begins.
const ociPrefix = "oci://"

// tree is what the source declares of Flux's image API.
type tree struct {
	image.Objects
	fs        fs.FS
	problems  []*image.Problem // objects that cannot be read
	files     []string         // all YAML files below --path
	namespace string           // of objects whose file says none
	remotes   []string         // URLs of the source
	live      *live            // the cluster that it is read from, nil where it is files
	markers   []image.Marker
}

// read opens the source and reads every YAML file of it, whether a kustomization
// lists it or not.
func (s *session) read(ctx context.Context, o *readOptions) (*tree, error) {
	if o.fromCluster {
		return s.readCluster(ctx, image.RepositoryKind, image.PolicyKind)
	}
	snap, err := s.open(ctx, o)
	if errors.Is(err, source.ErrNoRepository) && o.Ref == "" && o.Path == "" {
		return s.readCluster(ctx, image.RepositoryKind, image.PolicyKind)
	}
	if err != nil {
		return nil, err
	}
	s.report.Revision = snap.Revision
	root := "."
	if o.Path != "" {
		if root, err = o.EntryPath(snap, ""); err != nil {
			return nil, err
		}
	}
	s.where = snap.Revision
	return s.declared(ctx, snap, root)
}

// open is the source: the work tree of a checkout, a remote, or an artifact.
func (s *session) open(ctx context.Context, o *readOptions) (*source.Snapshot, error) {
	if strings.HasPrefix(o.Source.Source, ociPrefix) {
		return gitops.OpenOCI(ctx, &s.registries, o.Source.Source, o.Ref)
	}
	auth, err := o.Source.Auth(ctx, s.env)
	if err != nil {
		return nil, err
	}
	return source.Open(ctx, source.Options{Source: o.Source.Source, Ref: o.Ref, WorkTree: true, Auth: auth})
}

// declared reads every YAML file below root.
func (s *session) declared(ctx context.Context, snap *source.Snapshot, root string) (*tree, error) {
	t := &tree{fs: snap.FS, namespace: namespaceOf(s.env), remotes: snap.Remotes}
	err := fs.WalkDir(snap.FS, root, func(name string, d fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil: // a submodule that is not checked out
			s.warn(image.Problem{Code: "image-unread", File: name, Message: "cannot be read: " + err.Error()})
			if d != nil && d.IsDir() {
				return fs.SkipDir
			}
		case d.Type().IsRegular() && isYAML(name):
			t.files = append(t.files, name)
			s.readFile(t, name)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return t, nil
}

// tell tells of the objects that could not be read. They are failures of those
// who want all objects of that kind.
func (s *session) tell(t *tree, o *readOptions, code string) {
	for _, p := range t.problems {
		if len(o.names) > 0 || code != "" && p.Code != code {
			s.warn(*p)
		} else {
			s.fail([]*image.Problem{p})
		}
	}
}

// called is what messages say for where the objects are from.
func (t *tree) called() string {
	if t.live != nil {
		return "the cluster"
	}
	return "the source"
}

// none warns that there is no object of a kind.
func (s *session) none(t *tree, kind string) {
	message := "no file of the source declares an " + kind + " of " + image.Group
	if t.live != nil {
		message = s.where + " has no " + kind + " of " + image.Group
	}
	s.warn(image.Problem{Code: "image-none", Message: message})
}

func isYAML(name string) bool {
	return strings.HasSuffix(name, ".yaml") || strings.HasSuffix(name, ".yml")
}

func (s *session) readFile(t *tree, name string) {
	data, err := fs.ReadFile(t.fs, name)
	if err != nil {
		s.warn(image.Problem{Code: "image-unread", File: name, Message: "cannot be read: " + err.Error()})
		return
	}
	t.markers = append(t.markers, image.Markers(name, data)...)
	objects, problems := image.Read(name, data)
	for _, p := range problems {
		if p.Code == "image-yaml" { // most likely a template
			s.warn(*p)
		} else {
			t.problems = append(t.problems, p)
		}
	}
	for _, p := range objects.Policies {
		p.Namespace = t.namespaceOf(p.Declared)
		t.Policies = append(t.Policies, p)
	}
	for _, r := range objects.Repositories {
		r.Namespace = t.namespaceOf(r.Declared)
		t.Repositories = append(t.Repositories, r)
	}
	for _, a := range objects.Automations {
		a.Namespace = t.namespaceOf(a.Declared)
		t.Automations = append(t.Automations, a)
	}
}

// namespaceOf is the namespace that the file says, or the kustomization beside
// it, or -n.
func (t *tree) namespaceOf(d image.Declared) string {
	if d.Namespace != "" {
		return d.Namespace
	}
	for _, name := range []string{"kustomization.yaml", "kustomization.yml", "Kustomization"} {
		name = path.Join(path.Dir(d.File), name)
		data, err := fs.ReadFile(t.fs, name)
		if err != nil {
			continue
		}
		docs, err := object.Documents(name, data)
		if err != nil || len(docs) == 0 {
			continue
		}
		if ns := object.Find(docs[0].Node, "namespace"); ns != nil && ns.Value != "" {
			return ns.Value
		}
	}
	return t.namespace
}

// named are those of all that the user named, all where he named none. A name
// that is not there is an error; one that is there twice, a warning.
func named[T any](s *session, t *tree, all []T, what string, names []image.Ref, declared func(T) image.Declared) ([]T, error) {
	slices.SortStableFunc(all, func(a, b T) int {
		x, y := declared(a), declared(b)
		return strings.Compare(x.Ref.String()+"\x00"+x.File, y.Ref.String()+"\x00"+y.File)
	})
	var out []T
	found := map[image.Ref]image.Declared{}
	for _, o := range all {
		d := declared(o)
		if len(names) > 0 && !slices.Contains(names, d.Ref) {
			continue
		}
		if first, again := found[d.Ref]; again {
			s.warn(image.Problem{Code: "image-twice", File: d.File, Line: d.Line, Object: d.String(),
				Message: "is declared in " + object.Where(first.File, first.Line) + " too: both are looked at", Hint: "--path DIR reads one directory only"})
		} else {
			found[d.Ref] = d
		}
		out = append(out, o)
	}
	for _, name := range names {
		if _, ok := found[name]; ok {
			continue
		}
		have := "there is none"
		if len(all) > 0 {
			var refs []string
			for _, o := range all {
				refs = append(refs, declared(o).Ref.String())
			}
			have = "there is " + some(slices.Compact(refs))
		}
		return nil, fmt.Errorf("no %s %s in %s: %s", what, name, s.where, have)
	}
	return out, nil
}

func some(names []string) string {
	if len(names) > 8 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:8], ", "), len(names)-8)
	}
	return strings.Join(names, ", ")
}

// short is how people type a name.
func (t *tree) short(ref image.Ref) string {
	if ref.Namespace == t.namespace {
		return ref.Name
	}
	return ref.String()
}

// repositoryOf is the ImageRepository that a policy means: of several with that
// name, the one whose file is nearest.
func (t *tree) repositoryOf(p image.Policy) (image.Repository, error) {
	if err := p.CheckRepository(); err != nil {
		return image.Repository{}, err
	}
	ref := p.RepositoryRef()
	best, nearest := image.Repository{}, -1
	for _, r := range t.Repositories {
		if r.Ref == ref {
			if n := common(r.File, p.File); n > nearest {
				best, nearest = r, n
			}
		}
	}
	if nearest < 0 {
		return best, &image.Problem{Code: "image-repository", File: p.File, Line: p.Line, Object: p.String(),
			Message: "there is no ImageRepository " + ref.String() + " in " + t.called(), Hint: "add it, or mend spec.imageRepositoryRef"}
	}
	return best, nil
}

// common is how much of two paths is the same, directories first.
func common(a, b string) int {
	if a == b {
		return len(a) + 1
	}
	n, last := 0, 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		if n++; a[n-1] == '/' {
			last = n
		}
	}
	return last
}

// scan asks the registries about repositories, all at once. Answers are in the
// order of the repositories; what is wrong with one is its problems.
func (s *session) scan(ctx context.Context, o *readOptions, t *tree, repositories []image.Repository) ([]answer, error) {
	keys, err := secret.Find(secret.FindOptions{KeyFile: o.AgeKeyFile, Getenv: s.env.Getenv})
	if err != nil {
		return nil, err
	}
	out := make([]answer, len(repositories))
	var sound []image.Repository
	var asked []int
	for i, r := range repositories {
		switch err := r.Check(); {
		case r.Spec.Suspend && !o.suspended:
			out[i].suspended = true
		case err != nil:
			out[i].problems = faults(err)
		default:
			asked, sound = append(asked, i), append(sound, r)
		}
	}
	requests, wrong := s.requests(ctx, t, keys, sound, o.timeout)
	var send []registry.Request
	var to []int
	for n, i := range asked {
		if out[i].problems = wrong[n]; len(wrong[n]) == 0 {
			send, to = append(send, requests[n]), append(to, i)
		}
	}
	for n, a := range s.registries.All(ctx, send) {
		i := to[n]
		if out[i].registry = a.Repository; a.Err != nil {
			out[i].problems = []*image.Problem{unanswered(repositories[i].Declared, a.Err)}
			continue
		}
		out[i].tags = s.valid(repositories[i], a.Tags)
	}
	return out, ctx.Err()
}

// answer is what is known of one repository.
type answer struct {
	registry  *registry.Repository // to ask more of
	tags      []string
	problems  []*image.Problem
	suspended bool // so nobody was asked
}

// unanswered is a registry or a Git server that did not tell what was asked.
func unanswered(d image.Declared, err error) *image.Problem {
	code := "image-registry"
	if git := (*source.Error)(nil); errors.As(err, &git) {
		code = "image-commits"
	}
	p := &image.Problem{Code: code, File: d.File, Line: d.Line, Object: d.String(), Message: err.Error()}
	if e := (interface{ Hint() string })(nil); errors.As(err, &e) {
		p.Hint = e.Hint()
	}
	return p
}

// valid leaves out what no image can be pulled by.
func (s *session) valid(r image.Repository, tags []string) []string {
	bad := 0
	out := slices.DeleteFunc(tags, func(tag string) bool {
		if image.ValidTag(tag) {
			return false
		}
		bad++
		return true
	})
	if bad > 0 {
		s.warn(image.Problem{Code: "image-tag", File: r.File, Line: r.Line, Object: r.String(),
			Message: fmt.Sprintf("the registry lists %d tags that are none by OCI's grammar: they are left out", bad)})
	}
	return out
}
