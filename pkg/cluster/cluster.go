// Package cluster is the only one that talks to the API server: it observes,
// writes, watches, and keeps inventories. It decides nothing.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
)

// Cluster is a connection to one API server, as one user. Safe for concurrent use.
type Cluster struct {
	Context string // name of the kubeconfig context; "in-cluster" or "no-context" without one
	Server  string // URL

	// FieldManager of what is applied.
	FieldManager string
	// Impersonated is the user as whom everything is asked, "" for oneself.
	Impersonated string
	// RightsCommand prints, as one types it, what an account must be allowed to do
	// for the command at hand: a hint where something is forbidden. "" for none.
	RightsCommand string

	remote  bool     // not the one at hand: of a spec.kubeConfig
	self    *Cluster // the same connection as oneself; nil where this is it
	config  *rest.Config
	dynamic dynamic.Interface
	// metadata reads the metadata of objects alone.
	metadata metadata.Interface
	counts   *counts
	*kinds
}

// kinds is what is known of the kinds that a server has, whoever asks.
type kinds struct {
	discovery discovery.CachedDiscoveryInterface

	mu       sync.Mutex
	mapper   meta.ResettableRESTMapper
	fresh    bool // discovery was asked anew in this run
	resolved map[schema.GroupVersionKind]Resource
	schemas  map[schema.GroupVersion]map[schema.GroupVersionKind]map[string]any // that were asked for

	ours   sync.Map // flux.Ref -> true: the name of its ConfigMap is free, or ours
	narrow sync.Map // Resource -> true: may not be listed in all namespaces at once
}

// noContext stands for the name of a context where there is none.
const noContext = "no-context"

// noConfig is the error where no kubeconfig leads to a server. client-go tells of
// a file that may not be read by its text alone.
func noConfig(err error, contexts []string) error {
	fix := "set KUBECONFIG or --kubeconfig, and choose --context NAME"
	if len(contexts) > 0 {
		fix += "; there is: " + strings.Join(contexts, ", ")
	}
	if strings.Contains(err.Error(), fs.ErrPermission.Error()) {
		fix = fmt.Sprintf("user %d must be able to read it; a container runs as the file's owner by docker run --user \"$(id -u)\"", os.Getuid())
	}
	return &Error{What: "no cluster to talk to", Why: err, Fix: fix}
}

// Connect makes the clients. It sends nothing: the first request tells whether
// the server is there (see Reach). userAgent is how audit logs name us.
func Connect(getter genericclioptions.RESTClientGetter, userAgent string) (*Cluster, error) {
	n := &counts{}
	wrap := n.wrap()
	count := func(config *rest.Config) *rest.Config {
		config.Wrap(wrap)
		return config
	}
	flags, isFlags := getter.(*genericclioptions.ConfigFlags)
	if isFlags {
		// Discovery goes through the flags, and is counted there.
		flags.WrapConfigFn = count
		flags.WithDiscoveryQPS(-1)
	}
	config, err := getter.ToRESTConfig()
	if err != nil {
		raw, _ := getter.ToRawKubeConfigLoader().RawConfig() // none has no contexts
		return nil, noConfig(err, slices.Sorted(maps.Keys(raw.Contexts)))
	}
	config = rest.CopyConfig(config)
	// The server has Priority & Fairness; a client-side limit would only be slower.
	config.QPS = -1
	config.UserAgent = userAgent
	config.WarningHandler = rest.NoWarnings{}
	c := &Cluster{
		Context:      noContext,
		Server:       config.Host,
		FieldManager: flux.FieldManager,
		config:       config,
		counts:       n,
		kinds:        &kinds{resolved: map[schema.GroupVersionKind]Resource{}},
	}
	if raw, err := getter.ToRawKubeConfigLoader().RawConfig(); err == nil && raw.CurrentContext != "" {
		c.Context = raw.CurrentContext
	}
	if in, err := rest.InClusterConfig(); err == nil && c.Context == noContext && in.Host == config.Host {
		c.Context = "in-cluster"
	}
	if isFlags && flags.Context != nil && *flags.Context != "" {
		c.Context = *flags.Context
	}
	if !isFlags {
		count(config)
	}
	if c.dynamic, err = dynamic.NewForConfig(config); err != nil {
		return nil, err
	}
	if c.metadata, err = metadata.NewForConfig(config); err != nil {
		return nil, err
	}
	if c.discovery, err = getter.ToDiscoveryClient(); err != nil {
		return nil, err
	}
	mapper, err := getter.ToRESTMapper()
	if err != nil {
		return nil, err
	}
	var ok bool
	if c.mapper, ok = mapper.(meta.ResettableRESTMapper); !ok {
		return nil, fmt.Errorf("REST mapper %T cannot be reset", mapper)
	}
	return c, nil
}

// Configured reports whether anybody said which cluster this is: with no
// kubeconfig it is kubectl's last resort, a server on localhost.
func (c *Cluster) Configured() bool {
	return c.Context != noContext || !strings.HasPrefix(c.Server, "http://localhost:8080")
}

// Reach asks the server for its version: the cheapest question that needs
// the network, TLS and, on most servers, credentials.
func (c *Cluster) Reach(ctx context.Context) error {
	if _, err := c.discovery.ServerVersion(); err != nil {
		return c.unreachable(err)
	}
	return ctx.Err()
}

// unreachable explains an error that says nothing about an object.
func (c *Cluster) unreachable(err error) error {
	if c.remote {
		return &Error{What: fmt.Sprintf("the cluster of %s (%s) does not answer", c.Context, c.Server), Why: err, Fix: "look at the address and the credentials in " + c.Context}
	}
	fix := fmt.Sprintf("kubectl --context %s version, to see whether the cluster answers", c.Context)
	if c.Context == noContext {
		fix = "set KUBECONFIG or --kubeconfig, and choose --context NAME"
	}
	what := "does not answer"
	if isUnauthorized(err) {
		what = "does not let us in"
		fix = "log in again, or choose other credentials with --context or --user"
	}
	return &Error{What: fmt.Sprintf("cluster %s (%s) %s", c.Context, c.Server, what), Why: err, Fix: fix}
}

// Error is a failure to talk to the cluster.
type Error struct {
	What string
	Why  error
	Fix  string
}

func (e *Error) Error() string { return e.What + ": " + e.Why.Error() }
func (e *Error) Unwrap() error { return e.Why }

// Hint is what to type next.
func (e *Error) Hint() string { return e.Fix }

// Resource is where the objects of a kind live on the server.
type Resource struct {
	schema.GroupVersionResource
	Kind       string
	Namespaced bool
}

// GroupKind is the resource's kind.
func (r Resource) GroupKind() schema.GroupKind {
	return schema.GroupKind{Group: r.Group, Kind: r.Kind}
}

// NoKindError is a kind that the server does not serve.
type NoKindError struct {
	GVK schema.GroupVersionKind
	// Served are the versions of the same kind that it does serve, best first.
	Served []string
}

func (e *NoKindError) Error() string {
	if len(e.Served) > 0 {
		return fmt.Sprintf("the cluster serves %s as %s, not %s", e.GVK.Kind, strings.Join(e.Served, ", "), e.GVK.Version)
	}
	return fmt.Sprintf("the cluster has no kind %s in %s", e.GVK.Kind, e.GVK.GroupVersion())
}

// Resolve finds the resource of a kind, *NoKindError if there is none. A kind
// that kubectl's discovery cache lacks is looked for once more on the server.
func (c *Cluster) Resolve(gvk schema.GroupVersionKind) (Resource, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r, ok := c.resolved[gvk]; ok {
		return r, nil
	}
	for {
		m, err := c.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
		if err == nil {
			r := Resource{m.Resource, gvk.Kind, m.Scope.Name() == meta.RESTScopeNameNamespace}
			c.resolved[gvk] = r
			return r, nil
		}
		if !meta.IsNoMatchError(err) {
			return Resource{}, c.unreachable(err)
		}
		if c.fresh {
			return Resource{}, &NoKindError{GVK: gvk, Served: c.served(gvk.GroupKind())}
		}
		c.reset()
	}
}

// served lists the versions of gk, best first. c.mu is held.
func (c *Cluster) served(gk schema.GroupKind) []string {
	ms, err := c.mapper.RESTMappings(gk)
	if err != nil {
		return nil
	}
	var out []string
	for _, m := range ms {
		if v := m.GroupVersionKind.Version; !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}

// Forget drops what is known of the server's kinds, after a run has made some.
func (c *Cluster) Forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reset()
}

func (c *Cluster) reset() {
	c.discovery.Invalidate()
	c.mapper.Reset()
	clear(c.resolved)
	c.fresh = true
}

// at is the client for r, in ns where r has namespaces.
func (c *Cluster) at(r Resource, ns string) dynamic.ResourceInterface {
	if r.Namespaced {
		return c.dynamic.Resource(r.GroupVersionResource).Namespace(ns)
	}
	return c.dynamic.Resource(r.GroupVersionResource)
}

// IsNoKind reports whether err is a *NoKindError.
func IsNoKind(err error) bool {
	var e *NoKindError
	return errors.As(err, &e)
}

// AwaitKinds waits until the server serves all of gvks: a CRD is established a
// moment before discovery knows it. *NoKindError if one is still missing after
// timeout.
func (c *Cluster) AwaitKinds(ctx context.Context, gvks []schema.GroupVersionKind, timeout time.Duration) error {
	if len(gvks) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	pause := 50 * time.Millisecond
	for {
		c.Forget()
		var missing error
		for _, gvk := range gvks {
			if _, err := c.Resolve(gvk); err != nil {
				missing = err
				break
			}
		}
		if missing == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return missing
		case <-time.After(pause):
			pause = min(2*pause, time.Second)
		}
	}
}
