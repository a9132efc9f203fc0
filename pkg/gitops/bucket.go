package gitops

import (
	"context"
	"fmt"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/source"
)

// fetchBucket reads a Bucket at its server, with the credentials and
// certificates of its Secrets.
func (e *Engine) fetchBucket(ctx context.Context, r *Run, id object.ID, bucket flux.Bucket) (*source.Snapshot, error) {
	s := bucket.Spec
	b := source.Bucket{
		Endpoint: s.Endpoint, Name: s.BucketName, Prefix: s.Prefix, Region: s.Region, Insecure: s.Insecure, Ignore: s.Ignore,
		AWS: s.Provider == sourcev1.BucketProviderAmazon, CacheDir: e.SourceCache,
	}
	switch {
	case s.Provider == sourcev1.BucketProviderGoogle:
		return nil, &sourceError{"unsupported-source", "spec.provider: gcp has an API of its own, which this version does not speak",
			"Google's storage has the S3 API too: provider: generic, endpoint: storage.googleapis.com, an HMAC key in secretRef; or " + leaveToFlux}
	case s.Provider == sourcev1.BucketProviderAzure:
		return nil, &sourceError{"unsupported-source", "spec.provider: azure has an API of its own, which this version does not speak", leaveToFlux}
	}
	suspended, had, err := e.suspendedAt(ctx, r, id, s.Suspend)
	if err != nil {
		return nil, err
	}
	if s.SecretRef != nil {
		data, err := e.sourceSecret(ctx, r, bucket.Namespace, s.SecretRef, "credentials")
		if err == nil {
			err = b.UseSecret("secret/"+s.SecretRef.Name+" in "+bucket.Namespace, data)
		}
		if err != nil {
			return nil, err
		}
	}
	if s.STS != nil && s.SecretRef == nil {
		if err := e.bucketLogin(ctx, r, bucket, &b); err != nil {
			return nil, err
		}
	}
	if b.CACert, b.ClientCert, b.ClientKey, err = e.sourceCertificates(ctx, r, bucket.Namespace, s.CertSecretRef); err != nil {
		return nil, err
	}
	if b.Proxy, err = e.sourceProxy(ctx, r, bucket.Namespace, s.ProxySecretRef); err != nil {
		return nil, err
	}
	timeout := time.Minute // the default of the CRD
	if s.Timeout != nil {
		timeout = s.Timeout.Duration
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no answer within spec.timeout, %s", timeout))
	defer cancel()
	snapshot, err := b.Open(ctx)
	if err == nil && suspended && snapshot.Revision != had {
		return nil, &sourceError{"", fmt.Sprintf("it is suspended at %s, and the bucket has something else by now", had), "resume it, or --include-suspended"}
	}
	return snapshot, err
}

// bucketLogin is what spec.sts says.
func (e *Engine) bucketLogin(ctx context.Context, r *Run, bucket flux.Bucket, b *source.Bucket) error {
	s := bucket.Spec.STS
	switch b.STSEndpoint = s.Endpoint; {
	case b.AWS && s.Provider == sourcev1.STSProviderAmazon:
		return nil
	case b.AWS || s.Provider != sourcev1.STSProviderLDAP:
		return &sourceError{"", fmt.Sprintf("spec.sts.provider %s is not for spec.provider %s", s.Provider, firstOf(bucket.Spec.Provider, sourcev1.BucketProviderGeneric)), "aws goes with aws, ldap with generic"}
	case s.SecretRef == nil:
		return &sourceError{"", "spec.sts.secretRef is missing: ldap wants username and password", "spec.sts.secretRef"}
	}
	data, err := e.sourceSecret(ctx, r, bucket.Namespace, s.SecretRef, "the login of spec.sts")
	if err != nil {
		return err
	}
	b.LDAP = &source.LDAP{Username: data["username"], Password: data["password"]}
	if b.LDAP.Username == "" || b.LDAP.Password == "" {
		return &sourceError{"", fmt.Sprintf("secret/%s in %s has not both of username and password", s.SecretRef.Name, bucket.Namespace), ""}
	}
	b.LDAP.CACert, b.LDAP.ClientCert, b.LDAP.ClientKey, err = e.sourceCertificates(ctx, r, bucket.Namespace, s.CertSecretRef)
	return err
}

// sourceCertificates are those that spec.certSecretRef names.
func (e *Engine) sourceCertificates(ctx context.Context, r *Run, namespace string, ref *meta.LocalObjectReference) (ca, cert, key []byte, err error) {
	if ref == nil {
		return nil, nil, nil, nil
	}
	data, err := e.sourceSecret(ctx, r, namespace, ref, "certificates")
	if err != nil {
		return nil, nil, nil, err
	}
	return []byte(firstOf(data["ca.crt"], data["caFile"])), []byte(firstOf(data["tls.crt"], data["certFile"])), []byte(firstOf(data["tls.key"], data["keyFile"])), nil
}
