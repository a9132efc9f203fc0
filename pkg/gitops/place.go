package gitops

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/fluxcd/pkg/apis/meta"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cloud"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/cluster"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
)

// place settles where the objects of p are, and as whom the server is asked for
// them: spec.kubeConfig and spec.serviceAccountName. The record of p stays in
// the cluster at hand.
func (e *Engine) place(ctx context.Context, r *Run, p *Planned) {
	if e.Cluster == nil {
		return
	}
	c, err := e.placeOf(ctx, r, p.Kustomization)
	if err != nil {
		code, field := "kubeconfig", "spec.kubeConfig"
		if p.Spec.KubeConfig == nil {
			code, field = "service-account", "spec.serviceAccountName"
		}
		q := p.fieldProblem(code, field, err.Error())
		q.Hint = hintOf(err)
		p.problem(reasonFailed, q)
		return
	}
	p.cluster = c
}

// placeOf connects to where the objects of k are.
func (e *Engine) placeOf(ctx context.Context, r *Run, k flux.Kustomization) (*cluster.Cluster, error) {
	c := e.Cluster
	var err error
	if ref := k.Spec.KubeConfig; ref != nil {
		if c, err = e.remote(ctx, r, k); err != nil {
			return nil, err
		}
	}
	account := k.Spec.ServiceAccountName
	if account == "" {
		return c, nil
	}
	key := fmt.Sprintf("%p as %s/%s", c, k.Namespace, account)
	if known := r.clusters[key]; known != nil {
		return known, nil
	}
	if c, err = c.As(k.Namespace, account); err != nil {
		return nil, err
	}
	r.clusters[key] = c
	return c, nil
}

// remote connects to the cluster of spec.kubeConfig, once for each Secret or
// ConfigMap.
func (e *Engine) remote(ctx context.Context, r *Run, k flux.Kustomization) (*cluster.Cluster, error) {
	ref := k.Spec.KubeConfig
	id := object.ID{Kind: "Secret", Namespace: k.Namespace}
	key := ""
	if ref.SecretRef != nil {
		id.Name, key = ref.SecretRef.Name, ref.SecretRef.Key
	} else {
		id.Kind, id.Name = "ConfigMap", ref.ConfigMapRef.Name
	}
	known, name := id.String()+" "+key, id.Short()
	if c := r.clusters[known]; c != nil {
		return c, nil
	}
	data, why := e.data(ctx, r, id)
	if why != nil {
		return nil, fmt.Errorf("%s: %w", id, why)
	}
	var c *cluster.Cluster
	var err error
	switch {
	case ref.SecretRef == nil && flux.IsCloud(data[meta.KubeConfigKeyProvider]):
		var at *cloud.Cluster
		if at, err = cloud.Kubernetes(ctx, data); err == nil {
			c, err = e.Cluster.RemoteByLogin(ctx, name, at.Host, at.CA, at.Token)
		}
	case ref.SecretRef == nil:
		c, err = e.Cluster.RemoteByToken(ctx, name, k.Namespace, data)
	default:
		keys := []string{"value", "value.yaml"}
		if key != "" {
			keys = []string{key}
		}
		var text string
		for _, k := range keys {
			if text = data[k]; text != "" {
				key = k
				break
			}
		}
		if text == "" {
			return nil, fmt.Errorf("%s: has no key %s", id, keys[0])
		}
		c, err = e.Cluster.Remote(ctx, name, []byte(text))
	}
	if err != nil && key != "" {
		return nil, fmt.Errorf("%s, key %s: %w", id, key, err)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", id, err)
	}
	r.clusters[known] = c
	return c, nil
}

// fieldProblem is what is wrong with a field of p's spec, at its line in Git.
// path is as the server writes it: spec.dependsOn[0].readyExpr.
func (p *Planned) fieldProblem(code, path, message string) Problem {
	q := Problem{Code: code, File: p.Object.File, Line: p.Object.Line, Object: p.Ref.String(), Message: path + ": " + message}
	if p.node != nil {
		q.Line = object.LineOf(p.node, path)
	}
	if p.origin != nil {
		if doc, ok := p.origin.Document(p.Object); ok {
			q.Line = object.LineOf(doc.Node, path)
		}
	}
	return q
}

// away reports whether the objects of p are in another cluster than the one at
// hand: what it declares is nothing that this run could reconcile or read.
func (e *Engine) away(p *Planned) bool {
	if e.Cluster == nil {
		return p.Spec.KubeConfig != nil
	}
	return p.cluster != nil && p.cluster.Server != e.Cluster.Server
}

// site is one API server. What is of one name in two clusters is not the same.
type site string

func (p *Planned) site() site {
	if p.cluster == nil {
		return ""
	}
	return site(p.cluster.Server)
}

// kindAt is a kind of one cluster.
type kindAt struct {
	site site
	schema.GroupKind
}

// spaceAt is a namespace of one cluster.
type spaceAt struct {
	site site
	name string
}

// definition is the kind of c's object where the run itself defines it.
func (r *Run) definition(p *Planned, gk schema.GroupKind) *definition {
	return r.crds[kindAt{p.site(), gk}]
}

// objectAt is an object of one cluster.
type objectAt struct {
	site site
	id   object.ID
}

// space is who makes a namespace of p in this run, nil for nobody.
func (r *Run) space(p *Planned, name string) *Planned {
	return r.spaces[spaceAt{p.site(), name}]
}
