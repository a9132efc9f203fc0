package gitops

import (
	"context"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/cloud"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/source"
)

// CloudLogin puts this machine's login at the cloud of a GitRepository's
// spec.provider, aws, azure or gcp, into c; of the Secret the certificates stay.
// Any other provider changes nothing.
func CloudLogin(ctx context.Context, url string, c *source.Credentials) error {
	if !flux.IsCloud(c.Provider) {
		return nil
	}
	login, err := cloud.Git(ctx, c.Provider, url, c.Proxy)
	if err != nil {
		return err
	}
	for _, key := range []string{"ca.crt", "caFile"} {
		if v := c.Data[key]; v != "" {
			login[key] = v
		}
	}
	c.Data, c.Provider = login, ""
	return nil
}
