package source

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/s3utils"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
)

// s3Client reads one bucket over the S3 API, with the client that Flux has: what an endpoint is, how
// a bucket is addressed there, and what an etag is, are its answers.
type s3Client struct {
	b       Bucket
	client  *minio.Client
	options minio.Options
	http    *http.Client
}

// connect asks nobody yet, but for a login.
func (b Bucket) connect(ctx context.Context) (*s3Client, error) {
	auth := Auth{CACert: b.CACert, ClientCert: b.ClientCert, ClientKey: b.ClientKey, Proxy: b.Proxy}
	c := &s3Client{b: b}
	var err error
	if c.http, err = auth.httpClient(remote{scheme: "https", host: b.Endpoint, path: b.Name}); err != nil {
		return nil, err
	}
	c.options = minio.Options{Secure: !b.Insecure, Transport: c.http.Transport, Region: b.Region, MaxRetries: 3}
	if c.options.Region == "" {
		// Rather than to ask where the bucket is, which is one request more: see list.
		c.options.Region = "us-east-1"
		if in := s3utils.GetRegionFromURL(url.URL{Scheme: "https", Host: b.Endpoint}); in != "" {
			c.options.Region = in
		}
	}
	if c.options.Creds, err = b.login(ctx, c.http); err != nil {
		return nil, stopped(ctx, err)
	}
	if c.client, err = minio.New(b.Endpoint, &c.options); err != nil {
		return nil, &Error{Where: b.Endpoint, What: "spec.endpoint is no host", Why: err.Error(), err: err}
	}
	return c, nil
}

// login is who asks; nil for nobody.
func (b Bucket) login(ctx context.Context, client *http.Client) (*credentials.Credentials, error) {
	switch {
	case b.AccessKey != "":
		return credentials.NewStaticV4(b.AccessKey, b.SecretKey, ""), nil
	case b.LDAP != nil:
		own := Auth{CACert: b.LDAP.CACert, ClientCert: b.LDAP.ClientCert, ClientKey: b.LDAP.ClientKey, Proxy: b.Proxy}
		at, err := own.httpClient(remote{scheme: "https", host: b.STSEndpoint})
		if err != nil {
			return nil, err
		}
		c := credentials.New(&credentials.LDAPIdentity{Client: at, STSEndpoint: b.STSEndpoint, LDAPUsername: b.LDAP.Username, LDAPPassword: b.LDAP.Password})
		if _, err := c.GetWithContext(&credentials.CredContext{Client: at}); err != nil {
			return nil, &Error{Where: redact(b.STSEndpoint), What: "no login by spec.sts", Why: Auth{Password: b.LDAP.Password}.scrub(cause(err)), Fix: "check username and password in the Secret of spec.sts.secretRef"}
		}
		return c, nil
	case b.AWS:
		var load []func(*config.LoadOptions) error
		if b.Proxy != nil { // else it has its own, which knows AWS_CA_BUNDLE
			load = append(load, config.WithHTTPClient(client))
		}
		if b.Region != "" {
			load = append(load, config.WithRegion(b.Region))
		}
		if b.STSEndpoint != "" {
			load = append(load, config.WithBaseEndpoint(b.STSEndpoint))
		}
		at, err := config.LoadDefaultConfig(ctx, load...)
		if err != nil {
			return nil, b.noLogin(err)
		}
		got, err := at.Credentials.Retrieve(ctx)
		if err != nil {
			return nil, b.noLogin(err)
		}
		return credentials.NewStaticV4(got.AccessKeyID, got.SecretAccessKey, got.SessionToken), nil
	}
	return nil, nil
}

func (b Bucket) noLogin(err error) error {
	return &Error{Where: b.url(), What: "no login at AWS", Why: strings.Join(strings.Fields(err.Error()), " "), err: err,
		Fix: flux.CloudLogin("aws") + "; or spec.secretRef with accesskey and secretkey"}
}

func (c *s3Client) close() { c.http.CloseIdleConnections() }

// list is one request for each 1,000 objects, sorted by key.
func (c *s3Client) list(ctx context.Context) ([]stored, error) {
	out, err := c.listIn(ctx)
	if c.b.Region == "" && c.options.Region != "" && elsewhere(err) {
		c.options.Region = "" // it is asked for then
		if c.client, err = minio.New(c.b.Endpoint, &c.options); err == nil {
			out, err = c.listIn(ctx)
		}
	}
	if err != nil {
		return nil, c.explain(err, "")
	}
	slices.SortFunc(out, func(a, b stored) int { return strings.Compare(a.key, b.key) })
	return out, nil
}

func (c *s3Client) listIn(ctx context.Context) (out []stored, err error) {
	ctx, cancel := context.WithCancel(ctx) // the channel is not read to its end after an error
	defer cancel()
	for o := range c.client.ListObjects(ctx, c.b.Name, minio.ListObjectsOptions{Recursive: true, Prefix: c.b.Prefix, UseV1: s3utils.IsGoogleEndpoint(*c.client.EndpointURL())}) {
		if o.Err != nil {
			return nil, o.Err
		}
		if out = append(out, stored{o.Key, o.ETag, o.Size}); len(out) > 2*maxFiles { // what is ignored is listed, too
			return nil, &Error{Where: c.b.url(), What: "the bucket is too large", Why: fmt.Sprintf("it lists more than %d objects", 2*maxFiles), Fix: "spec.prefix"}
		}
	}
	return out, nil
}

// get reads an object as it was listed; errMoved says that it is another one by now, or none.
func (c *s3Client) get(ctx context.Context, o stored) ([]byte, error) {
	options := minio.GetObjectOptions{}
	if err := options.SetMatchETag(o.etag); err != nil {
		return nil, err
	}
	data, etag, err := c.object(ctx, o.key, options, o.size)
	if err != nil {
		if code := minio.ToErrorResponse(err).StatusCode; code == http.StatusNotFound || code == http.StatusPreconditionFailed {
			return nil, errMoved
		}
		return nil, c.explain(err, o.key)
	}
	if etag != o.etag || int64(len(data)) != o.size {
		return nil, errMoved
	}
	return data, nil
}

// getIfThere reads an object that may not be there: nil then.
func (c *s3Client) getIfThere(ctx context.Context, key string) ([]byte, error) {
	data, _, err := c.object(ctx, key, minio.GetObjectOptions{}, 1<<20)
	if err != nil {
		if minio.ToErrorResponse(err).StatusCode == http.StatusNotFound {
			return nil, nil
		}
		return nil, c.explain(err, key)
	}
	return data, nil
}

func (c *s3Client) object(ctx context.Context, key string, options minio.GetObjectOptions, size int64) ([]byte, string, error) {
	body, info, _, err := minio.Core{Client: c.client}.GetObject(ctx, c.b.Name, key, options)
	if err != nil {
		return nil, "", err
	}
	defer body.Close()
	data, err := io.ReadAll(io.LimitReader(body, size+1))
	return data, info.ETag, err
}

// elsewhere reports whether the server says that the bucket is in another region.
func elsewhere(err error) bool {
	if err == nil {
		return false
	}
	e := minio.ToErrorResponse(err)
	return e.StatusCode == http.StatusMovedPermanently ||
		slices.Contains([]string{"AuthorizationHeaderMalformed", "PermanentRedirect", "InvalidRegion", "IllegalLocationConstraintException"}, e.Code)
}

// explain says what an error means for the user. key is the object that was asked for, "" for the
// listing.
func (c *s3Client) explain(err error, key string) error {
	var already *Error
	if errors.As(err, &already) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	e := &Error{Where: c.b.url(), err: err}
	if key != "" {
		e.Where += ": " + key
	}
	const keys = "put what the server has given you into the Secret of spec.secretRef: accesskey, secretkey"
	said := minio.ToErrorResponse(err)
	var verify *tls.CertificateVerificationError
	var network *url.Error
	switch {
	case errors.As(err, &verify):
		e.What, e.Why, e.Fix = "the certificate of "+c.b.Endpoint+" is not trusted", verify.Err.Error(), "put the CA's certificate as ca.crt into a Secret, and name it in spec.certSecretRef"
	case errors.As(err, &network) && strings.Contains(network.Error(), "server gave HTTP response to HTTPS client"):
		e.What, e.Fix = "the server speaks http", "spec.insecure: true"
	case errors.As(err, &network):
		e.What, e.Why, e.Fix = c.b.Endpoint+" cannot be reached", cause(err), "check spec.endpoint, the network and a proxy (spec.proxySecretRef, HTTPS_PROXY)"
	case said.Code == "NoSuchBucket" || said.StatusCode == http.StatusNotFound && key == "":
		e.What, e.Fix = "there is no such bucket (404)", "check spec.bucketName, spec.endpoint and spec.region"
	case said.Code == "InvalidAccessKeyId":
		e.What, e.Why, e.Fix = "the server refused who asks (403)", "it does not know the access key", keys
	case said.Code == "SignatureDoesNotMatch":
		e.What, e.Why, e.Fix = "the server refused who asks (403)", "the secret key does not belong to the access key", keys
	case slices.Contains([]string{"ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired"}, said.Code):
		e.What, e.Why, e.Fix = fmt.Sprintf("the server refused who asks (%d)", said.StatusCode), "the login has expired", "aws sso login; or "+keys
	case said.Code == "RequestTimeTooSkewed":
		e.What, e.Why, e.Fix = "the server refused who asks (403)", "the clock of this machine is not the server's", "set the clock: timedatectl"
	case said.StatusCode == http.StatusForbidden || said.StatusCode == http.StatusUnauthorized:
		e.What, e.Why, e.Fix = fmt.Sprintf("the server forbids it (%d)", said.StatusCode), said.Message, "who asks needs s3:ListBucket and s3:GetObject; "+keys
		if c.options.Creds == nil {
			e.Why = "asked without credentials"
		}
	case elsewhere(err):
		e.What, e.Why, e.Fix = "the bucket is in another region than "+c.options.Region, said.Message, "spec.region"
	case said.StatusCode != 0:
		e.What, e.Why, e.Fix = fmt.Sprintf("the server answered %d %s", said.StatusCode, said.Code), said.Message, "try again later, or check spec.endpoint"
	default:
		e.What, e.Why = "cannot be read", strings.Join(strings.Fields(cause(err)), " ")
	}
	return e
}
