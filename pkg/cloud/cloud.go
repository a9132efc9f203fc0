// Package cloud logs in at AWS, Azure and Google Cloud, with Flux's own code: what Flux's
// controllers find in their pod, this finds on the machine: environment, files of the cloud's
// command line tool, metadata service.
package cloud

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/auth"
	authutils "github.com/fluxcd/pkg/auth/utils"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
)

// Error is a cloud that gave no login.
type Error struct {
	Provider string
	err      error
}

func (e *Error) Error() string {
	return fmt.Sprintf("no login at %s: %s", e.Provider, strings.Join(strings.Fields(e.err.Error()), " "))
}

func (e *Error) Unwrap() error { return e.err }

// Hint is what to type so that the machine has a login.
func (e *Error) Hint() string { return flux.CloudLogin(e.Provider) }

// Git is what proves to the Git servers of a cloud (CodeCommit, Azure DevOps, Secure Source
// Manager) who asks, in the keys of Flux's Secrets: bearerToken, or username and password.
func Git(ctx context.Context, provider, repository string, proxy *url.URL) (map[string]string, error) {
	u, err := url.Parse(repository)
	if err != nil {
		return nil, &Error{provider, fmt.Errorf("its URL is none")} // it may have a password in it
	}
	options := []auth.Option{auth.WithGitURL(*u), auth.WithAllowShellOut()}
	if proxy != nil {
		options = append(options, auth.WithProxyURL(*proxy))
	}
	got, err := authutils.GetGitCredentials(ctx, provider, options...)
	if err != nil {
		return nil, &Error{provider, err}
	}
	if got.BearerToken != "" {
		return map[string]string{"bearerToken": got.BearerToken}, nil
	}
	return map[string]string{"username": got.Username, "password": got.Password}, nil
}

// Cluster is a managed cluster that this machine may log in to.
type Cluster struct {
	Host string // https://HOST:PORT
	CA   []byte // PEM

	login func(context.Context) (*auth.RESTConfig, error)
	mu    sync.Mutex
	last  *auth.RESTConfig
}

// Kubernetes asks the cloud for the cluster that a ConfigMap of spec.kubeConfig.configMapRef
// describes in Flux's keys: provider, cluster (the cloud's name of it), address and ca.crt.
func Kubernetes(ctx context.Context, data map[string]string) (*Cluster, error) {
	name := data[meta.KubeConfigKeyProvider]
	provider, err := authutils.ProviderByName[auth.RESTConfigProvider](name)
	if err != nil {
		return nil, &Error{name, err}
	}
	options := []auth.Option{auth.WithAllowShellOut()}
	if v := data[meta.KubeConfigKeyCluster]; v != "" {
		options = append(options, auth.WithClusterResource(v))
	}
	if v := data[meta.KubeConfigKeyAddress]; v != "" {
		options = append(options, auth.WithClusterAddress(v))
	}
	if v := data[meta.KubeConfigKeyCACert]; v != "" {
		options = append(options, auth.WithCAData(v))
	}
	c := &Cluster{login: func(ctx context.Context) (*auth.RESTConfig, error) {
		got, err := auth.GetRESTConfig(ctx, provider, options...)
		if err != nil {
			return nil, &Error{name, err}
		}
		return got, nil
	}}
	if _, err := c.Token(ctx); err != nil {
		return nil, err
	}
	c.Host, c.CA = c.last.Host, c.last.CAData
	return c, nil
}

// Token lets in; a new one comes before the last one ends.
func (c *Cluster) Token(ctx context.Context) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last == nil || time.Until(c.last.ExpiresAt) < time.Minute {
		got, err := c.login(ctx)
		if err != nil {
			return "", err
		}
		c.last = got
	}
	return c.last.BearerToken, nil
}
