package registry

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/fluxcd/pkg/auth"
	authutils "github.com/fluxcd/pkg/auth/utils"
	"github.com/google/go-containerregistry/pkg/authn"
)

// login gets credentials for image from a cloud, with Flux's own code: what
// Flux's controller finds in its pod, this finds on the machine (environment,
// files of the cloud's command line tool, metadata service).
func login(ctx context.Context, provider, image string, proxy *url.URL) (authn.Authenticator, error) {
	// az, as a user has it, besides what a pod has.
	options := []auth.Option{auth.WithAllowShellOut()}
	if proxy != nil {
		options = append(options, auth.WithProxyURL(*proxy))
	}
	lazy, err := authutils.GetArtifactRegistryCredentials(ctx, provider, image, options...)
	if err != nil {
		return nil, &loginError{provider, err}
	}
	// Now, since ctx ends with this question, and the credentials serve the next, too.
	config, err := lazy.Authorization()
	if err != nil {
		return nil, &loginError{provider, err}
	}
	return authn.FromConfig(*config), nil
}

// loginError is a cloud that gave no credentials.
type loginError struct {
	provider string
	err      error
}

func (e *loginError) Error() string {
	return fmt.Sprintf("no login at %s: %s", e.provider, strings.Join(strings.Fields(e.err.Error()), " "))
}
func (e *loginError) Unwrap() error { return e.err }

// fix is what to type so that the machine has credentials.
func (e *loginError) fix() string {
	if strings.HasPrefix(e.err.Error(), "invalid ") { // the name of the registry, before anybody is asked
		return "spec.provider is for registries of that cloud: leave it out"
	}
	switch e.provider {
	case "aws":
		return "aws sso login; or set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; or docker login, and no spec.provider"
	case "azure":
		return "az login; or set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET; or docker login, and no spec.provider"
	case "gcp":
		return "gcloud auth application-default login; or set GOOGLE_APPLICATION_CREDENTIALS; or docker login, and no spec.provider"
	}
	return "spec.provider is one of generic, aws, azure, gcp"
}
