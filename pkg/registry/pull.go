package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Ref chooses an artifact of a repository: the first that is given of Digest,
// SemVer (of the tags that Filter, a regular expression, matches) and Tag; else
// the tag latest. That is Flux's order for an OCIRepository.
type Ref struct{ Digest, SemVer, Filter, Tag string }

// Artifact is an artifact at a registry, found and not yet fetched.
type Artifact struct {
	Tag    string // "" where it was named by its digest
	Digest string // sha256:…, of what the tag names
	r      *Repository
}

// Revision is as Flux writes it: latest@sha256:…, or the digest alone.
func (a *Artifact) Revision() string {
	if a.Tag == "" {
		return a.Digest
	}
	return a.Tag + "@" + a.Digest
}

// chartLayer is the media type of a Helm chart, in whose tags "_" stands for the
// "+" of a version.
const chartLayer = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"

// Find looks up what ref names now. mediaType is that of the layer that will be
// fetched, "" for any.
func (r *Repository) Find(ctx context.Context, ref Ref, mediaType string) (*Artifact, error) {
	a := &Artifact{r: r}
	switch {
	case ref.Digest != "":
		if _, err := v1.NewHash(ref.Digest); err != nil {
			return nil, r.refuse(fmt.Sprintf("spec.ref.digest %q is not a digest", ref.Digest), err.Error(), "write sha256:<64 hex>")
		}
		a.Digest = ref.Digest
		return a, nil
	case ref.SemVer != "":
		var err error
		if a.Tag, err = r.highest(ctx, ref, mediaType); err != nil {
			return nil, err
		}
	default:
		if a.Tag = ref.Tag; a.Tag == "" {
			a.Tag = name.DefaultTag
		}
	}
	err := r.ask(ctx, func(ctx context.Context) (err error) {
		a.Digest, err = r.head(ctx, a.Tag)
		return err
	})
	return a, r.absent(err, "there is no tag "+a.Tag)
}

func (r *Repository) refuse(what, why, fix string) error {
	return &Error{Image: r.request.Image, What: what, Why: why, Fix: fix}
}

// absent says what it means that the registry has not got what was asked for.
func (r *Repository) absent(err error, what string) error {
	said := (*Error)(nil)
	if !errors.As(err, &said) || said.Status != http.StatusNotFound {
		return err
	}
	about := *said
	about.What, about.Fix = what, "check the URL and spec.ref; some registries say this of a repository that may not be read"
	return &about
}

// highest is the tag of the highest version in the range. Like Flux's, a version
// has three numbers, and a v before them or not.
func (r *Repository) highest(ctx context.Context, ref Ref, mediaType string) (string, error) {
	versions, err := semver.NewConstraint(ref.SemVer)
	if err != nil {
		return "", r.refuse(fmt.Sprintf("spec.ref.semver %q is not a range of versions", ref.SemVer), err.Error(), "")
	}
	filter, err := regexp.Compile(ref.Filter)
	if err != nil {
		return "", r.refuse(fmt.Sprintf("spec.ref.semverFilter %q is not a regular expression", ref.Filter), err.Error(), "")
	}
	tags, err := r.Tags(ctx)
	if err != nil {
		return "", err
	}
	var best *semver.Version
	found := ""
	for _, tag := range tags {
		written := tag
		if mediaType == chartLayer {
			written = strings.ReplaceAll(tag, "_", "+")
		}
		v, err := semver.StrictNewVersion(strings.TrimPrefix(written, "v"))
		if err == nil && filter.MatchString(tag) && versions.Check(v) && (best == nil || v.GreaterThan(best)) {
			best, found = v, tag
		}
	}
	if best != nil {
		return found, nil
	}
	slices.Sort(tags)
	why := "it has no tags"
	if len(tags) > 0 {
		why = "it has " + strings.Join(tags[:min(len(tags), 5)], ", ")
	}
	if n := len(tags) - 5; n > 0 {
		why += fmt.Sprintf(" and %d more", n)
	}
	return "", r.refuse(fmt.Sprintf("no tag in the semver range %q", ref.SemVer), why, "")
}

// Layer fetches the first layer of a media type, "" for the first of all, as it
// is stored. What comes is held to its digest.
func (a *Artifact) Layer(ctx context.Context, mediaType string) (data []byte, err error) {
	err = a.r.ask(ctx, func(ctx context.Context) error {
		data, err = a.r.layer(ctx, a.Digest, mediaType)
		return err
	})
	return data, err
}

func (r *Repository) layer(ctx context.Context, digest, mediaType string) ([]byte, error) {
	d, err := r.manifest(ctx, digest)
	if err != nil {
		return nil, err
	}
	layers, err := layersOf(d)
	if err != nil {
		return nil, err
	}
	var kinds []string
	for _, l := range layers {
		if kinds = append(kinds, string(l.MediaType)); mediaType == "" || mediaType == string(l.MediaType) {
			return r.blob(ctx, l.Digest)
		}
	}
	if len(kinds) == 0 {
		return nil, r.refuse(digest+" has no layers", "", "")
	}
	return nil, r.refuse("no layer of the media type "+mediaType, "it has "+strings.Join(kinds, ", "), "correct spec.layerSelector.mediaType")
}

// layersOf are the layers of an image, as its manifest describes them.
func layersOf(d *remote.Descriptor) ([]v1.Descriptor, error) {
	img, err := d.Image()
	if err != nil {
		return nil, err
	}
	m, err := img.Manifest()
	if err != nil {
		return nil, err
	}
	return m.Layers, nil
}

// blob fetches what has a digest.
func (r *Repository) blob(ctx context.Context, h v1.Hash) ([]byte, error) {
	l, err := r.puller.Layer(ctx, r.name.Digest(h.String()))
	if err != nil {
		return nil, err
	}
	body, err := l.Compressed()
	if err != nil {
		return nil, err
	}
	defer body.Close()
	data, err := io.ReadAll(body)
	if err != nil {
		return nil, r.refuse("layer "+h.String()+" cannot be read", cause(err), "")
	}
	return data, nil
}
