// Package s3server is an S3 server in memory that checks signatures: for tests.
package s3server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

// Server is gofakes3, which answers as S3 does but lets in everybody, behind the check that it has
// not: AWS's own signer must come to the signature of the request.
type Server struct {
	AccessKey, SecretKey string
	Public               bool // who signs nothing may read

	// Before, where set, sees each request that was let in; true ends it with what it answered.
	Before func(http.ResponseWriter, *http.Request) bool

	backend gofakes3.Backend
	handler http.Handler
	mu      sync.Mutex
	asked   []string
}

// New has no buckets yet.
func New(accessKey, secretKey string) *Server {
	b := s3mem.New()
	return &Server{AccessKey: accessKey, SecretKey: secretKey, backend: b, handler: gofakes3.New(b, gofakes3.WithTimeSkewLimit(0)).Server()}
}

// Put stores an object; the bucket is made where it is not there yet.
func (s *Server) Put(bucket, key, content string) error {
	if err := s.backend.CreateBucket(bucket); err != nil && !gofakes3.HasErrorCode(err, gofakes3.ErrBucketAlreadyExists) {
		return err
	}
	about := map[string]string{"Last-Modified": time.Now().UTC().Format(http.TimeFormat)}
	_, err := s.backend.PutObject(bucket, key, about, bytes.NewReader([]byte(content)), int64(len(content)), nil)
	return err
}

// Delete removes an object.
func (s *Server) Delete(bucket, key string) error {
	_, err := s.backend.DeleteObject(bucket, key)
	return err
}

// Asked is what was asked since the last time: "list" or the key of an object, in order.
func (s *Server) Asked() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := strings.Join(s.asked, " ")
	s.asked = nil
	return out
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if code := s.refuse(r); code != "" {
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprintf(w, `<Error><Code>%s</Code><Message>as the server says it</Message></Error>`, code)
		return
	}
	_, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if key == "" {
		key = "list"
	}
	s.mu.Lock()
	s.asked = append(s.asked, key)
	s.mu.Unlock()
	if s.Before != nil && s.Before(w, r) {
		return
	}
	s.handler.ServeHTTP(w, r)
}

var authorization = regexp.MustCompile(`^AWS4-HMAC-SHA256 Credential=([^/]+)/\d{8}/([^/]+)/s3/aws4_request, SignedHeaders=([^,]+), Signature=[0-9a-f]{64}$`)

// refuse is the code of S3's error, "" where the request may go on.
func (s *Server) refuse(r *http.Request) string {
	given := r.Header.Get("Authorization")
	m := authorization.FindStringSubmatch(given)
	switch {
	case m == nil && s.Public && given == "":
		return ""
	case m == nil:
		return "AccessDenied"
	case m[1] != s.AccessKey:
		return "InvalidAccessKeyId"
	}
	if err := s.verify(r, m[2], strings.Split(m[3], ";")); err != nil {
		return "SignatureDoesNotMatch"
	}
	return ""
}

func (s *Server) verify(r *http.Request, region string, signed []string) error {
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if err != nil {
		return err
	}
	again := r.Clone(context.Background())
	again.Header = http.Header{}
	for _, name := range signed {
		if values := r.Header.Values(name); len(values) > 0 {
			again.Header[http.CanonicalHeaderKey(name)] = values
		}
	}
	again.URL.Scheme, again.URL.Host = "http", r.Host
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	err = signer.SignHTTP(r.Context(), aws.Credentials{AccessKeyID: s.AccessKey, SecretAccessKey: s.SecretKey}, again, r.Header.Get("X-Amz-Content-Sha256"), "s3", region, at)
	if err == nil && again.Header.Get("Authorization") != r.Header.Get("Authorization") {
		err = errors.New("another signature")
	}
	return err
}
