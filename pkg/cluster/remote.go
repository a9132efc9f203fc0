package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/fluxcd/pkg/apis/meta"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
)

var serviceAccounts = Resource{schema.GroupVersionResource{Version: "v1", Resource: "serviceaccounts"}, "ServiceAccount", true}

// genericProvider is the one provider of spec.kubeConfig.configMapRef that needs
// no cloud.
const genericProvider = "generic"

// As is the same cluster, asked as a ServiceAccount: spec.serviceAccountName.
func (c *Cluster) As(namespace, name string) (*Cluster, error) {
	out := *c.Self()
	out.self = c.Self()
	out.Impersonated = fmt.Sprintf("system:serviceaccount:%s:%s", namespace, name)
	out.config = rest.CopyConfig(c.config)
	out.config.Impersonate = rest.ImpersonationConfig{UserName: out.Impersonated}
	var err error
	out.dynamic, err = dynamic.NewForConfig(out.config)
	return &out, err
}

// Self is the same connection as oneself, whoever c impersonates.
func (c *Cluster) Self() *Cluster {
	if c.self != nil {
		return c.self
	}
	return c
}

// HasServiceAccount tells whether a ServiceAccount exists.
func (c *Cluster) HasServiceAccount(ctx context.Context, namespace, name string) (bool, error) {
	_, err := c.at(serviceAccounts, namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, c.about(fmt.Sprintf("serviceaccount/%s in %s", name, namespace), err)
	}
	return true, nil
}

// Remote connects to the cluster of a kubeconfig that somebody keeps in a
// Secret: spec.kubeConfig.secretRef. What such a file could have this machine do
// is refused, where Flux leaves it out silently: to run a program, to read a
// file, or to trust any server.
func (c *Cluster) Remote(ctx context.Context, name string, kubeconfig []byte) (*Cluster, error) {
	raw, err := clientcmd.Load(kubeconfig)
	if err != nil {
		return nil, errors.New("is not a kubeconfig") // the parser may quote it
	}
	current := raw.Contexts[raw.CurrentContext]
	if current == nil {
		return nil, errors.New("is a kubeconfig without a current-context")
	}
	if server := raw.Clusters[current.Cluster]; server != nil {
		switch {
		case server.InsecureSkipTLSVerify:
			return nil, errors.New("has insecure-skip-tls-verify: any server would be trusted")
		case server.CertificateAuthority != "":
			return nil, errors.New("names a file, certificate-authority: use certificate-authority-data")
		}
	}
	if user := raw.AuthInfos[current.AuthInfo]; user != nil {
		switch {
		case user.Exec != nil || user.AuthProvider != nil:
			return nil, errors.New("runs a program to log in, which would run here: use a token or a client certificate")
		case user.ClientCertificate != "" || user.ClientKey != "" || user.TokenFile != "":
			return nil, errors.New("names a file of credentials: use client-certificate-data, client-key-data and token")
		}
	}
	config, err := clientcmd.NewDefaultClientConfig(*raw, nil).ClientConfig()
	if err != nil {
		return nil, errors.New("is a kubeconfig that is not complete")
	}
	return c.connect(ctx, name, config)
}

// RemoteByToken connects to the cluster that a ConfigMap describes by the keys
// of Flux's provider generic (spec.kubeConfig.configMapRef): address, ca.crt,
// audiences and serviceAccountName, whose token from c is what lets us in there.
func (c *Cluster) RemoteByToken(ctx context.Context, name, namespace string, data map[string]string) (*Cluster, error) {
	address, account := data[meta.KubeConfigKeyAddress], data[meta.KubeConfigKeyServiceAccountName]
	switch provider := data[meta.KubeConfigKeyProvider]; {
	case provider != genericProvider:
		return nil, fmt.Errorf("its provider is %q, want generic, aws, azure or gcp", provider)
	case address == "":
		return nil, fmt.Errorf("has no %s", meta.KubeConfigKeyAddress)
	case account == "":
		return nil, fmt.Errorf("has no %s, and there is no controller here whose own could be used", meta.KubeConfigKeyServiceAccountName)
	}
	if !strings.Contains(address, "://") {
		address = "https://" + address
	}
	audiences := strings.Fields(data[meta.KubeConfigKeyAudiences])
	if len(audiences) == 0 {
		audiences = []string{data[meta.KubeConfigKeyAddress]}
	}
	request := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
		"metadata": map[string]any{"name": account, "namespace": namespace},
		"spec":     map[string]any{"audiences": anySlice(audiences)},
	}}
	answer, err := c.at(serviceAccounts, namespace).Create(ctx, request, metav1.CreateOptions{}, "token")
	if err != nil {
		return nil, c.about(fmt.Sprintf("a token of serviceaccount/%s in %s", account, namespace), err)
	}
	token, _, _ := unstructured.NestedString(answer.Object, "status", "token")
	config := &rest.Config{Host: address, BearerToken: token, TLSClientConfig: rest.TLSClientConfig{CAData: []byte(data[meta.KubeConfigKeyCACert])}}
	return c.connect(ctx, name, config)
}

// RemoteByLogin connects to the cluster at an address, https://HOST:PORT, whose
// certificate ca (PEM) has signed. token is asked with each request for what lets
// us in: a login may end before a run does.
func (c *Cluster) RemoteByLogin(ctx context.Context, name, address string, ca []byte, token func(context.Context) (string, error)) (*Cluster, error) {
	config := &rest.Config{Host: address, TLSClientConfig: rest.TLSClientConfig{CAData: ca}}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return &login{next, token} })
	return c.connect(ctx, name, config)
}

// login adds a token to each request.
type login struct {
	next  http.RoundTripper
	token func(context.Context) (string, error)
}

func (l *login) RoundTrip(r *http.Request) (*http.Response, error) {
	token, err := l.token(r.Context())
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+token)
	return l.next.RoundTrip(r)
}

// connect makes the clients of another cluster, whose requests count with those
// of c, and asks it whether it is there. Its kinds are asked for once, and kept in memory only.
func (c *Cluster) connect(ctx context.Context, name string, config *rest.Config) (*Cluster, error) {
	config.QPS = -1
	config.UserAgent = c.config.UserAgent
	config.Timeout = c.config.Timeout
	config.WarningHandler = rest.NoWarnings{}
	config.Wrap(c.counts.wrap())
	out := &Cluster{Context: name, Server: config.Host, remote: true, FieldManager: c.FieldManager, config: config, counts: c.counts,
		kinds: &kinds{resolved: map[schema.GroupVersionKind]Resource{}}}
	var err error
	if out.dynamic, err = dynamic.NewForConfig(config); err != nil {
		return nil, err
	}
	if out.metadata, err = metadata.NewForConfig(config); err != nil {
		return nil, err
	}
	client, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, err
	}
	out.discovery = memory.NewMemCacheClient(client)
	out.mapper = restmapper.NewDeferredDiscoveryRESTMapper(out.discovery)
	return out, out.Reach(ctx)
}
