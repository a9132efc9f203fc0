package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// CreatedAnnotation is where OCI has the time at which an image was built.
const CreatedAnnotation = "org.opencontainers.image.created"

// Digest is what a tag means now, sha256:<64 hex>: that of the index where the
// image has several platforms. The registry's word is checked against the
// manifest, since what is written into Git is what will be pulled.
func (r *Repository) Digest(ctx context.Context, tag string) (digest string, err error) {
	err = r.ask(ctx, func(ctx context.Context) error {
		if digest, err = r.head(ctx, tag); err != nil {
			return err
		}
		_, err = r.manifest(ctx, digest)
		return err
	})
	if err != nil {
		return "", r.ofTag(tag, err)
	}
	return digest, nil
}

// Created is when the image of a tag was built: the index's or the manifest's
// annotation org.opencontainers.image.created, else the created of its config.
// Of several platforms it is that of linux/amd64, else that of the first. The
// time is zero where the image does not say it, as those that are built
// reproducibly, which say 1970.
//
// What is behind a digest never changes: known answers from memory, by digest,
// and may be nil. A time that is found there costs one HEAD.
func (r *Repository) Created(ctx context.Context, tag string, known func(digest string) (time.Time, bool)) (digest string, created time.Time, err error) {
	err = r.ask(ctx, func(ctx context.Context) error {
		if digest, err = r.head(ctx, tag); err != nil {
			return err
		}
		if known != nil {
			var ok bool
			if created, ok = known(digest); ok {
				return nil
			}
		}
		created, err = r.created(ctx, digest, 2)
		return err
	})
	if err != nil {
		return "", time.Time{}, r.ofTag(tag, err)
	}
	return digest, created, nil
}

// head is the digest that a tag has by the registry's word.
func (r *Repository) head(ctx context.Context, tag string) (string, error) {
	ref := r.name.Tag(tag)
	d, err := r.puller.Head(ctx, ref)
	if err == nil {
		return d.Digest.String(), nil
	}
	if answer := (*transport.Error)(nil); errors.As(err, &answer) && answer.StatusCode != http.StatusMethodNotAllowed {
		return "", err
	}
	if ctx.Err() != nil || noAnswer(err) {
		return "", err
	}
	// HEAD without a digest, or no HEAD at all: some registries are like that.
	got, err := r.puller.Get(ctx, ref)
	if err != nil {
		return "", err
	}
	return got.Digest.String(), nil
}

// manifest is what a digest stands for, and is checked against it.
func (r *Repository) manifest(ctx context.Context, digest string) (*remote.Descriptor, error) {
	d, err := r.puller.Get(ctx, r.name.Digest(digest))
	var answer *transport.Error
	switch {
	case err == nil:
		return d, nil
	case errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound:
		return nil, &Error{Image: r.request.Image, What: "the registry says that its digest is " + digest + ", and has no such manifest", err: err}
	case ctx.Err() != nil, answer != nil, noAnswer(err):
		return nil, err
	}
	return nil, &Error{Image: r.request.Image, What: "the manifest is not the one of its digest", Why: err.Error(), Fix: "do not use this image: something between here and the registry changes it", err: err}
}

// noAnswer reports whether err is the network's.
func noAnswer(err error) bool {
	var request *url.Error
	return errors.As(err, &request)
}

// parts is what an index and a manifest have in common, as far as dates go.
type parts struct {
	Annotations map[string]string
	Config      *v1.Descriptor
	Manifests   []v1.Descriptor
}

// created looks into a manifest, and depth indexes deep.
func (r *Repository) created(ctx context.Context, digest string, depth int) (time.Time, error) {
	d, err := r.manifest(ctx, digest)
	if err != nil {
		return time.Time{}, err
	}
	var m parts
	if err := json.Unmarshal(d.Manifest, &m); err != nil {
		return time.Time{}, &Error{Image: r.request.Image, What: "the manifest " + digest + " is not JSON", err: err}
	}
	if t := dateOf(m.Annotations[CreatedAnnotation]); !t.IsZero() {
		return t, nil
	}
	if m.Config == nil {
		child := platformOf(m.Manifests)
		if child == nil || depth == 0 {
			return time.Time{}, nil
		}
		if t := dateOf(child.Annotations[CreatedAnnotation]); !t.IsZero() {
			return t, nil
		}
		return r.created(ctx, child.Digest.String(), depth-1)
	}
	image, err := d.Image()
	if err != nil {
		return time.Time{}, nil // an artifact that is no image has no config of one
	}
	data, err := image.RawConfigFile()
	if err != nil {
		return time.Time{}, err
	}
	var config struct{ Created string }
	if json.NewDecoder(bytes.NewReader(data)).Decode(&config) != nil {
		return time.Time{}, nil
	}
	return dateOf(config.Created), nil
}

// platformOf is the manifest of an index that counts: linux/amd64, else the
// first that is an image and not something about one.
func platformOf(all []v1.Descriptor) *v1.Descriptor {
	var first *v1.Descriptor
	for i := range all {
		d := &all[i]
		if !d.MediaType.IsImage() && !d.MediaType.IsIndex() || d.Platform != nil && d.Platform.OS == "unknown" {
			continue
		}
		if d.Platform != nil && d.Platform.OS == "linux" && d.Platform.Architecture == "amd64" {
			return d
		}
		if first == nil {
			first = d
		}
	}
	return first
}

// dateOf reads a date of RFC 3339; zero where there is none, or one that only
// stands for none.
func dateOf(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || t.Unix() <= 0 {
		return time.Time{}
	}
	return t.UTC()
}

// ofTag makes of an error about a repository one about a tag.
func (r *Repository) ofTag(tag string, err error) error {
	e := (*Error)(nil)
	if !errors.As(err, &e) {
		return err
	}
	about := *e
	about.Image = r.request.Image + ":" + tag
	if e.Status == http.StatusNotFound {
		about.What, about.Fix = "there is no such tag any more", "it was deleted after the tags were listed: run it again"
	}
	return &about
}
