package source

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/source/s3server"
)

const bucketPassword = "not-to-be-printed"

// bucket is a server with the bucket fleet, "key", "content", …, and how to read it.
func bucket(t *testing.T, objects ...string) (*s3server.Server, Bucket) {
	t.Helper()
	s := s3server.New("ada", bucketPassword)
	put(t, s, objects...)
	u := serve(t, s)
	return s, Bucket{Endpoint: strings.TrimPrefix(u, "http://"), Name: "fleet", Insecure: true, AccessKey: "ada", SecretKey: bucketPassword}
}

func put(t *testing.T, s *s3server.Server, objects ...string) {
	t.Helper()
	for i := 0; i < len(objects); i += 2 {
		must(t, s.Put("fleet", objects[i], objects[i+1]))
	}
}

func readBucket(t *testing.T, b Bucket) *Snapshot {
	t.Helper()
	s, err := b.Open(t.Context())
	if err != nil {
		t.Fatalf("%v (hint: %s)", err, hint(err))
	}
	return s
}

func refusedBucket(t *testing.T, b Bucket, parts ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), 20*time.Second, errors.New("no answer in time"))
	defer cancel()
	s, err := b.Open(ctx)
	if err == nil {
		t.Fatalf("read %s, want an error with %q", s.Revision, parts)
	}
	text := err.Error() + "\nhint: " + hint(err)
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("the error does not say %q:\n%s", p, text)
		}
	}
	if strings.Contains(text, bucketPassword) {
		t.Errorf("the error has the secret key in it:\n%s", text)
	}
}

// The files and the revision of a bucket are those of Flux's artifact: no default rules, the
// .sourceignore at the top, spec.ignore after it, keys with their prefix.
func TestBucketIsReadAsFluxDoes(t *testing.T) {
	t.Parallel()
	s, b := bucket(t, "apps/web.yaml", "web", "apps/logo.png", "png", "apps/a b+c%.yaml", "odd", "drafts/x.yaml", "draft", "notes.md", "n", "folder/", "")
	etag := func(content string) string { return fmt.Sprintf("%x", md5.Sum([]byte(content))) }
	revision := func(lines ...string) string {
		return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(strings.Join(lines, "\n")+"\n")))
	}
	snap := readBucket(t, b)
	same(t, "all", files(t, snap), []string{"apps/a b+c%.yaml=odd", "apps/logo.png=png", "apps/web.yaml=web", "drafts/x.yaml=draft", "notes.md=n"})
	is(t, "revision", snap.Revision, revision("apps/a b+c%.yaml "+etag("odd"), "apps/logo.png "+etag("png"), "apps/web.yaml "+etag("web"), "drafts/x.yaml "+etag("draft"), "notes.md "+etag("n")))

	put(t, s, ".sourceignore", "drafts/\n*.md\n", "apps/.sourceignore", "web.yaml\n")
	own := "!notes.md\nodd*\n*.png\n"
	b.Ignore = &own
	snap = readBucket(t, b)
	same(t, "ignored", files(t, snap), []string{".sourceignore=drafts/\n*.md\n", "apps/.sourceignore=web.yaml\n", "apps/a b+c%.yaml=odd", "apps/web.yaml=web", "notes.md=n"})
	is(t, "revision", snap.Revision, revision("apps/.sourceignore "+etag("web.yaml\n"), "apps/a b+c%.yaml "+etag("odd"), "apps/web.yaml "+etag("web"), "notes.md "+etag("n")))

	// The rules at the top hold below a prefix, too.
	b.Prefix, b.Ignore = "apps/", nil
	put(t, s, ".sourceignore", "*.png\n")
	same(t, "prefix", files(t, readBucket(t, b)), []string{".sourceignore=*.png\n", "apps/.sourceignore=web.yaml\n", "apps/a b+c%.yaml=odd", "apps/web.yaml=web"})
}

// A bucket that has not changed costs one listing, one object that has changed one object more.
func TestBucketIsReadOnce(t *testing.T) {
	t.Parallel()
	s, b := bucket(t, ".sourceignore", "*.md\n", "a.yaml", "a", "b.yaml", "b")
	b.CacheDir = filepath.Join(t.TempDir(), "cache")
	read := func(want, asked string) {
		t.Helper()
		is(t, "files", strings.Join(files(t, readBucket(t, b)), " "), want)
		is(t, "asked", s.Asked(), asked)
	}
	same(t, "at first", files(t, readBucket(t, b)), []string{".sourceignore=*.md\n", "a.yaml=a", "b.yaml=b"})
	s.Asked()
	read(".sourceignore=*.md\n a.yaml=a b.yaml=b", "list")
	put(t, s, "b.yaml", "changed")
	read(".sourceignore=*.md\n a.yaml=a b.yaml=changed", "list b.yaml")
	read(".sourceignore=*.md\n a.yaml=a b.yaml=changed", "list")
	must(t, s.Delete("fleet", "a.yaml"))
	put(t, s, ".sourceignore", "*.txt\n")
	read(".sourceignore=*.txt\n b.yaml=changed", "list .sourceignore")
	read(".sourceignore=*.txt\n b.yaml=changed", "list")

	names, err := filepath.Glob(filepath.Join(b.CacheDir, "*"))
	must(t, err)
	if len(names) != 1 {
		t.Fatalf("the cache has %v", names)
	}
	data, err := os.ReadFile(names[0])
	must(t, err)
	if info, err := os.Stat(names[0]); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("others may read it: %v", info.Mode())
	}
	for asked, damaged := range map[string][]byte{
		"list .sourceignore b.yaml": data[:len(data)/2],
		"list .sourceignore":        append(make([]byte, 50), data[50:]...), // the first of the two in it
	} {
		must(t, os.WriteFile(names[0], damaged, 0o600))
		read(".sourceignore=*.txt\n b.yaml=changed", asked)
	}
	// Who may not list it does not get it from the cache either.
	b.SecretKey = "wrong"
	refusedBucket(t, b, "the secret key does not belong to the access key")
}

// More than one page of keys.
func TestBucketOfManyObjects(t *testing.T) {
	t.Parallel()
	s, b := bucket(t)
	for i := range 1005 {
		put(t, s, fmt.Sprintf("%04d.yaml", i), "x")
	}
	if n := len(files(t, readBucket(t, b))); n != 1005 {
		t.Errorf("%d files", n)
	}
	if asked := s.Asked(); strings.Count(asked, "list") != 2 {
		t.Errorf("%d listings", strings.Count(asked, "list"))
	}
}

// What is read is of one moment: an object that goes, or changes, while the others are read makes it
// be read again; what never holds still is an error, never fewer files.
func TestBucketThatChangesWhileItIsRead(t *testing.T) {
	t.Parallel()
	s, b := bucket(t, "a.yaml", "a", "b.yaml", "b")
	once := true
	s.Before = func(_ http.ResponseWriter, r *http.Request) bool {
		if once && r.URL.Path == "/fleet/b.yaml" {
			once = false
			must(t, s.Delete("fleet", "b.yaml"))
			put(t, s, "c.yaml", "c")
		}
		return false
	}
	same(t, "files", files(t, readBucket(t, b)), []string{"a.yaml=a", "c.yaml=c"})
	once = true
	put(t, s, "b.yaml", "b")
	s.Before = func(_ http.ResponseWriter, r *http.Request) bool {
		if once && r.URL.Path == "/fleet/b.yaml" {
			once = false
			put(t, s, "b.yaml", "changed")
		}
		return false
	}
	same(t, "files", files(t, readBucket(t, b)), []string{"a.yaml=a", "b.yaml=changed", "c.yaml=c"})
	n := 0
	s.Before = func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/fleet/b.yaml" {
			n++
			put(t, s, "b.yaml", fmt.Sprint(n))
		}
		return false
	}
	refusedBucket(t, b, "it changes while it is read", "hint: try again when the upload is over")
}

func TestBucketIsRefused(t *testing.T) {
	t.Parallel()
	s, good := bucket(t, "a.yaml", "a")
	change := func(f func(*Bucket)) Bucket { b := good; f(&b); return b }
	refusedBucket(t, change(func(b *Bucket) { b.SecretKey = "wrong" }), "the server refused who asks (403): the secret key does not belong to the access key", "spec.secretRef")
	refusedBucket(t, change(func(b *Bucket) { b.AccessKey = "eve" }), "the server refused who asks (403): it does not know the access key")
	refusedBucket(t, change(func(b *Bucket) { b.AccessKey, b.SecretKey = "", "" }), "the server forbids it (403): asked without credentials")
	refusedBucket(t, change(func(b *Bucket) { b.Name = "other" }), "there is no such bucket (404)", "spec.bucketName")
	refusedBucket(t, change(func(b *Bucket) { b.Prefix = "apsp/" }), `there is nothing to read in it: no object has the prefix "apsp/"`, "spec.prefix")
	refusedBucket(t, change(func(b *Bucket) { b.Endpoint = "http://" + b.Endpoint }), "spec.endpoint is a host", "hint: spec.endpoint: 127.0.0.1:")
	refusedBucket(t, change(func(b *Bucket) { b.Insecure = false }), "the server speaks http", "spec.insecure: true")
	refusedBucket(t, change(func(b *Bucket) { b.Endpoint = "127.0.0.1:1" }), "127.0.0.1:1 cannot be reached: ", "refused")
	if err := new(Bucket).UseSecret("secret/x in y", map[string]string{"accesskey": "a"}); err == nil || !strings.Contains(err.Error(), "secret/x in y: has not both of accesskey and secretkey") {
		t.Errorf("%v", err)
	}

	s.Before = func(w http.ResponseWriter, r *http.Request) bool {
		code, status := "ExpiredToken", http.StatusBadRequest
		if r.URL.Query().Get("prefix") == "skew" {
			code, status = "RequestTimeTooSkewed", http.StatusForbidden
		}
		w.WriteHeader(status)
		fmt.Fprintf(w, "<Error><Code>%s</Code><Message>m</Message></Error>", code)
		return true
	}
	refusedBucket(t, good, "the server refused who asks (400): the login has expired")
	refusedBucket(t, change(func(b *Bucket) { b.Prefix = "skew" }), "the clock of this machine is not the server's")
	var slow atomic.Bool // the server may still be at a request that nobody waits for
	slow.Store(true)
	s.Before = func(http.ResponseWriter, *http.Request) bool {
		if slow.Load() {
			time.Sleep(time.Second)
		}
		return false
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, errors.New("no answer within spec.timeout, 50ms"))
	defer cancel()
	if _, err := good.Open(ctx); err == nil || err.Error() != "no answer within spec.timeout, 50ms" {
		t.Errorf("%v", err)
	}
	slow.Store(false)

	for key, want := range map[string]string{
		"../../etc/passwd": `the bucket is not to be trusted: the object "../../etc/passwd" leads out of it`,
		"b/../c.yaml":      "leads out of it",
		"//a.yaml":         `two objects are at one place: "//a.yaml" and "a.yaml"`,
		"a.yaml/b":         `an object is in the place of a directory: "a.yaml" and "a.yaml/b"`,
	} {
		put(t, s, key, "x")
		refusedBucket(t, good, want, "spec.ignore")
		must(t, s.Delete("fleet", key))
	}
	same(t, "again", files(t, readBucket(t, good)), []string{"a.yaml=a"})
}

// What is listed as huge is not fetched.
func TestBucketThatIsTooLarge(t *testing.T) {
	t.Parallel()
	_, b := bucket(t, "a.yaml", "a")
	asked := 0
	b.Endpoint = strings.TrimPrefix(serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		fmt.Fprint(w, `<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>video.mp4</Key><ETag>"x"</ETag><Size>900000000</Size></Contents></ListBucketResult>`)
	})), "http://")
	refusedBucket(t, b, "the bucket is too large: it has more than 512 MiB to read, 858 MiB of it in video.mp4", "spec.ignore")
	if asked != 1 {
		t.Errorf("%d requests", asked)
	}
}

// TLS with a CA of one's own, a proxy, and a bucket that is in another region than one said.
func TestBucketOverTLSAndThroughAProxy(t *testing.T) {
	t.Parallel()
	s, b := bucket(t, "a.yaml", "a")
	srv := httptest.NewUnstartedServer(s)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	b.Insecure, b.Endpoint = false, strings.TrimPrefix(srv.URL, "https://")
	refusedBucket(t, b, "is not trusted", "spec.certSecretRef")
	b.CACert = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	same(t, "TLS", files(t, readBucket(t, b)), []string{"a.yaml=a"})

	b.Insecure, b.Endpoint = true, "bucket.invalid:80"
	through := 0
	proxy := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { through++; s.ServeHTTP(w, r) }))
	var err error
	b.Proxy, err = url.Parse(proxy)
	must(t, err)
	same(t, "proxy", files(t, readBucket(t, b)), []string{"a.yaml=a"})
	if through != 2 {
		t.Errorf("%d requests through the proxy", through)
	}

	s.Before = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.Header.Get("Authorization"), "/eu-central-1/") {
			return false
		}
		if r.URL.Query().Has("location") {
			fmt.Fprint(w, `<LocationConstraint xmlns="http://s3.amazonaws.com/doc/2006-03-01/">eu-central-1</LocationConstraint>`)
			return true
		}
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, "<Error><Code>AuthorizationHeaderMalformed</Code><Message>m</Message></Error>")
		return true
	}
	same(t, "region", files(t, readBucket(t, b)), []string{"a.yaml=a"})
	s.Public, b.AccessKey, s.Before = true, "", nil
	same(t, "public", files(t, readBucket(t, b)), []string{"a.yaml=a"})
}

// A login at a token service gives the keys, as MinIO's does for LDAP.
func TestBucketWithALoginByLDAP(t *testing.T) {
	t.Parallel()
	_, b := bucket(t, "a.yaml", "a")
	b.AccessKey, b.SecretKey = "", ""
	b.LDAP = &LDAP{Username: "grace", Password: "hunter2"}
	b.STSEndpoint = serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("Action") != "AssumeRoleWithLDAPIdentity" || r.FormValue("LDAPUsername") != "grace" || r.FormValue("LDAPPassword") != "hunter2" {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, `<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Code>AccessDenied</Code><Message>wrong password</Message></Error></ErrorResponse>`)
			return
		}
		fmt.Fprintf(w, `<AssumeRoleWithLDAPIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithLDAPIdentityResult><Credentials><AccessKeyId>ada</AccessKeyId><SecretAccessKey>%s</SecretAccessKey><Expiration>%s</Expiration></Credentials></AssumeRoleWithLDAPIdentityResult></AssumeRoleWithLDAPIdentityResponse>`,
			bucketPassword, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	}))
	same(t, "files", files(t, readBucket(t, b)), []string{"a.yaml=a"})
	b.LDAP.Password = "hunter3"
	refusedBucket(t, b, "no login by spec.sts: ", "wrong password", "spec.sts.secretRef")
	_, err := b.Open(t.Context())
	if strings.Contains(err.Error(), "hunter3") {
		t.Error("the error has the password in it")
	}
}
