package controlplane

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// api is the little of an API client that a start needs.
type api struct {
	server string
	token  string
	client *http.Client
}

func newAPI(server string, ca []byte, token string) (*api, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, errors.New("the certificate authority is not PEM")
	}
	return &api{server: server, token: token, client: &http.Client{
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true},
		// The socket listens before the server does; a request that it never answers must not hold up the start.
		Timeout: 30 * time.Second,
	}}, nil
}

// do sends a request and returns the body of a 2xx answer.
func (a *api) do(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, a.server+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+a.token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := a.client.Do(req)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return nil, err
	}
	if resp.StatusCode/100 != 2 {
		return nil, fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, strings.TrimSpace(string(text)))
	}
	return text, nil
}

// ready holds once the API server says that it is.
func (a *api) ready(ctx context.Context) error {
	_, err := a.do(ctx, http.MethodGet, "/readyz", nil)
	return err
}

// exists holds once there is an object at path.
func (a *api) exists(path string) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := a.do(ctx, http.MethodGet, path, nil)
		return err
	}
}

// createNode makes a node that kwok plays the kubelet of.
func (a *api) createNode(ctx context.Context, name string) error {
	resources := map[string]string{"cpu": "64", "memory": "256Gi", "ephemeral-storage": "1Ti", "pods": "5000"}
	node, err := json.Marshal(map[string]any{
		"apiVersion": "v1",
		"kind":       "Node",
		"metadata": map[string]any{
			"name":        name,
			"annotations": map[string]string{"kwok.x-k8s.io/node": "fake"},
			"labels": map[string]string{
				"kubernetes.io/hostname": name,
				"kubernetes.io/os":       "linux",
				"kubernetes.io/arch":     "amd64",
			},
		},
		"status": map[string]any{"allocatable": resources, "capacity": resources},
	})
	if err != nil {
		return err
	}
	_, err = a.do(ctx, http.MethodPost, "/api/v1/nodes", node)
	return err
}

// nodeReady holds once the node is Ready and nothing keeps pods off it.
func (a *api) nodeReady(name string) func(context.Context) error {
	return func(ctx context.Context) error {
		text, err := a.do(ctx, http.MethodGet, "/api/v1/nodes/"+name, nil)
		if err != nil {
			return err
		}
		var node struct {
			Spec struct {
				Taints []struct{ Key string }
			}
			Status struct {
				Conditions []struct{ Type, Status string }
			}
		}
		if err := json.Unmarshal(text, &node); err != nil {
			return err
		}
		if len(node.Spec.Taints) > 0 {
			return fmt.Errorf("it has the taint %s", node.Spec.Taints[0].Key)
		}
		for _, c := range node.Status.Conditions {
			if c.Type == "Ready" && c.Status == "True" {
				return nil
			}
		}
		return errors.New("it is not Ready")
	}
}
