package source

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/fluxcd/pkg/sourceignore"
	"golang.org/x/sync/errgroup"
)

// Bucket is what a Flux Bucket says of itself, for the providers that have the S3 API.
type Bucket struct {
	Endpoint string // host and port
	Name     string
	Prefix   string  // of the keys that are read; they keep it
	Region   string  // "" for what the endpoint says, else us-east-1
	Insecure bool    // http
	Ignore   *string // spec.ignore; nil for none

	// AccessKey and SecretKey prove who asks. Without them it is nobody, or with AWS whoever this
	// machine is logged in as there: environment, profile, single sign-on, metadata service.
	AccessKey, SecretKey string
	AWS                  bool
	LDAP                 *LDAP  // instead of keys: a login that gives them
	STSEndpoint          string // where LDAP is sent to; with AWS, instead of the region's

	CACert, ClientCert, ClientKey []byte   // PEM
	Proxy                         *url.URL // nil for the environment's

	CacheDir string // "" keeps nothing
}

// LDAP is a login at a security token service that knows LDAP: MinIO's.
type LDAP struct {
	Username, Password            string
	CACert, ClientCert, ClientKey []byte // PEM, of the service
}

// UseSecret takes the keys out of the Secret that spec.secretRef names.
func (b *Bucket) UseSecret(where string, data map[string]string) error {
	b.AccessKey, b.SecretKey = data["accesskey"], data["secretkey"]
	if b.AccessKey == "" || b.SecretKey == "" {
		return &Error{Where: where, What: "has not both of accesskey and secretkey", Fix: "kubectl create secret generic NAME --from-literal=accesskey=… --from-literal=secretkey=…"}
	}
	return nil
}

func (b Bucket) url() string {
	scheme := "https://"
	if b.Insecure {
		scheme = "http://"
	}
	return scheme + b.Endpoint + "/" + b.Name
}

// stored is an object in a bucket.
type stored struct {
	key, etag string
	size      int64
}

// errMoved says that an object is not what the listing said: the bucket has changed meanwhile.
var errMoved = errors.New("it has changed")

// Open reads the bucket: the objects below Prefix that neither the .sourceignore object at the top
// nor Ignore excludes. Flux's default rules are not for buckets. The revision is Flux's, the SHA-256
// of the sorted lines "key etag" (source-controller, internal/index).
//
// What comes is of one moment: where the bucket changes while it is read, it is read again. What was
// read before is not asked for again as long as its etag is the same, so that a bucket that has not
// changed costs one listing.
func (b Bucket) Open(ctx context.Context) (*Snapshot, error) {
	if strings.Contains(b.Endpoint, "/") {
		return nil, &Error{Where: b.Endpoint, What: "spec.endpoint is a host, with a port or not", Why: "a scheme or a path is in it", Fix: "spec.endpoint: " + strings.Trim(b.Endpoint[strings.LastIndex(b.Endpoint, "//")+1:], "/") + "; for http: spec.insecure: true"}
	}
	c, err := b.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer c.close()
	cache := b.cached()
	for range 3 {
		files, revision, err := b.read(ctx, c, cache)
		if errors.Is(err, errMoved) {
			continue
		}
		if err != nil {
			return nil, stopped(ctx, err)
		}
		return fileSnapshot(files, revision, b.url()), nil
	}
	return nil, &Error{Where: b.url(), What: "it changes while it is read", Why: "three times an object was not what the listing had said", Fix: "try again when the upload is over"}
}

// read lists the bucket once, and reads what cache has not.
func (b Bucket) read(ctx context.Context, c *s3Client, cache *bucketCache) (map[string][]byte, string, error) {
	listed, err := c.list(ctx)
	if err != nil {
		return nil, "", err
	}
	ignoreFile, err := b.ignoreFile(ctx, c, listed, cache)
	if err != nil {
		return nil, "", err
	}
	patterns := sourceignore.ReadPatterns(bytes.NewReader(ignoreFile), nil)
	if b.Ignore != nil {
		patterns = append(patterns, sourceignore.ReadPatterns(strings.NewReader(*b.Ignore), nil)...)
	}
	matcher := sourceignore.NewMatcher(patterns)
	listed = slices.DeleteFunc(listed, func(o stored) bool {
		return strings.HasSuffix(o.key, "/") || o.key == sourceignore.IgnoreFile || matcher.Match(strings.Split(o.key, "/"), false)
	})
	places, err := b.places(listed)
	if err != nil {
		return nil, "", err
	}
	// One with nothing in it would be an artifact without files: all that was made from it would go.
	if len(listed) == 0 {
		return nil, "", &Error{Where: b.url(), What: "there is nothing to read in it", Why: "no object has the prefix " + fmt.Sprintf("%q", b.Prefix) + ", or all are ignored", Fix: "check spec.prefix, spec.ignore and .sourceignore"}
	}
	objects := make([][]byte, len(listed))
	group, within := errgroup.WithContext(ctx)
	group.SetLimit(16)
	for i, o := range listed {
		if data, ok := cache.get(o); ok {
			objects[i] = data
			continue
		}
		group.Go(func() (err error) {
			objects[i], err = c.get(within, o)
			return err
		})
	}
	err = group.Wait()
	files, revision := map[string][]byte{}, sha256.New()
	for i, o := range listed {
		if objects[i] != nil {
			cache.put(o, objects[i])
		}
		files[places[i]] = objects[i]
		fmt.Fprintf(revision, "%s %s\n", o.key, o.etag)
	}
	if err != nil {
		return nil, "", err
	}
	if ignoreFile != nil { // it is a part of Flux's artifact, too
		files[sourceignore.IgnoreFile] = ignoreFile
	}
	cache.save()
	return files, "sha256:" + hex.EncodeToString(revision.Sum(nil)), nil
}

// ignoreFile is the .sourceignore object at the top of the bucket, whatever the prefix; nil for none.
func (b Bucket) ignoreFile(ctx context.Context, c *s3Client, listed []stored, cache *bucketCache) ([]byte, error) {
	if i := slices.IndexFunc(listed, func(o stored) bool { return o.key == sourceignore.IgnoreFile }); i >= 0 {
		data, ok := cache.get(listed[i])
		if ok {
			return data, nil
		}
		data, err := c.get(ctx, listed[i])
		if err == nil {
			cache.put(listed[i], data)
		}
		return data, err
	}
	if strings.HasPrefix(sourceignore.IgnoreFile, b.Prefix) {
		return nil, nil // it would have been listed
	}
	return c.getIfThere(ctx, sourceignore.IgnoreFile)
}

// places are the paths at which the objects go. Where two would be at one place, or one would be
// outside, the bucket is refused: Flux writes one over the other, or moves it inside.
func (b Bucket) places(listed []stored) ([]string, error) {
	refuse := func(what, why, fix string) ([]string, error) {
		return nil, &Error{Where: b.url(), What: what, Why: why, Fix: fix}
	}
	if len(listed) > maxFiles {
		return refuse("the bucket is too large", fmt.Sprintf("it has more than %d objects to read", maxFiles), "spec.prefix, spec.ignore, or a .sourceignore object")
	}
	var sum int64
	largest := stored{}
	out, at := make([]string, len(listed)), map[string]string{}
	for i, o := range listed {
		if sum += o.size; o.size > largest.size {
			largest = o
		}
		p := strings.TrimPrefix(path.Clean("/"+o.key), "/")
		switch {
		case slices.Contains(strings.FieldsFunc(o.key, func(r rune) bool { return r == '/' || r == '\\' }), ".."):
			return refuse("the bucket is not to be trusted", fmt.Sprintf("the object %q leads out of it", o.key), "delete the object, or exclude it: spec.ignore")
		case p == "":
			return refuse(fmt.Sprintf("the object %q has no name", o.key), "", "delete the object, or exclude it: spec.ignore")
		case at[p] != "":
			return refuse("two objects are at one place", fmt.Sprintf("%q and %q", at[p], o.key), "delete one, or exclude it: spec.ignore")
		}
		out[i], at[p] = p, o.key
	}
	for p, key := range at {
		for dir := path.Dir(p); dir != "."; dir = path.Dir(dir) {
			if at[dir] != "" {
				return refuse("an object is in the place of a directory", fmt.Sprintf("%q and %q", at[dir], key), "delete one, or exclude it: spec.ignore")
			}
		}
	}
	if sum > maxUnpacked {
		return refuse("the bucket is too large", fmt.Sprintf("it has more than %d MiB to read, %d MiB of it in %s", maxUnpacked>>20, largest.size>>20, largest.key), "spec.prefix, spec.ignore, or a .sourceignore object")
	}
	return out, nil
}

// bucketCache is what was read of a bucket, by key and etag.
type bucketCache struct {
	dir   kept
	file  string
	known map[stored][]byte
	used  map[stored]bool
	fresh bool // something in it is not in the file
}

// cached opens what is kept of the bucket: a zip archive with the etags as comments.
func (b Bucket) cached() *bucketCache {
	sum := sha256.Sum256([]byte(b.url() + "\x00" + b.Prefix))
	c := &bucketCache{dir: kept(b.CacheDir), file: filepath.Join(b.CacheDir, hex.EncodeToString(sum[:8])+".zip"), known: map[stored][]byte{}, used: map[stored]bool{}}
	if c.dir == "" {
		return c
	}
	data, err := os.ReadFile(c.file)
	if err != nil {
		return c
	}
	archive, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return c
	}
	for _, f := range archive.File {
		r, err := f.Open()
		if err != nil {
			continue
		}
		if content, err := io.ReadAll(io.LimitReader(r, maxUnpacked)); err == nil { // it has checked the sum
			c.known[stored{f.Name, f.Comment, int64(len(content))}] = content
		}
		r.Close()
	}
	return c
}

func (c *bucketCache) get(o stored) ([]byte, bool) {
	data, ok := c.known[o]
	c.used[o] = ok
	return data, ok
}

func (c *bucketCache) put(o stored, data []byte) {
	if !c.used[o] {
		c.known[o], c.used[o], c.fresh = data, true, true
	}
}

// save keeps what the bucket has now.
func (c *bucketCache) save() {
	if c.dir == "" {
		return
	}
	maps.DeleteFunc(c.known, func(o stored, _ []byte) bool {
		c.fresh = c.fresh || !c.used[o]
		return !c.used[o]
	})
	if !c.fresh {
		c.dir.used(c.file)
		return
	}
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, o := range slices.SortedFunc(maps.Keys(c.known), func(a, b stored) int { return strings.Compare(a.key, b.key) }) {
		f, err := w.CreateHeader(&zip.FileHeader{Name: o.key, Comment: o.etag, Method: zip.Deflate})
		if err != nil {
			return
		}
		if _, err := f.Write(c.known[o]); err != nil {
			return
		}
	}
	if w.Close() == nil {
		c.dir.write(c.file, out.Bytes())
	}
}
