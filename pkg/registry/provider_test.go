package registry

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// onNoCloud takes away what this machine may have of a cloud's credentials.
func onNoCloud(t *testing.T) {
	t.Helper()
	for _, name := range []string{"AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE",
		"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "GOOGLE_APPLICATION_CREDENTIALS", "AZURE_CLIENT_ID", "AZURE_TENANT_ID"} {
		t.Setenv(name, "")
	}
	home := t.TempDir()
	for _, name := range []string{"HOME", "CLOUDSDK_CONFIG", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "PATH"} {
		t.Setenv(name, home+"/"+name)
	}
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
}

// A login as a machine in Google's cloud has it: a token from the metadata
// service, which is the password at the registry.
func TestProviderLogin(t *testing.T) {
	onNoCloud(t)
	var logins atomic.Int32
	metadata := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Metadata-Flavor", "Google")
		if strings.HasSuffix(r.URL.Path, "/instance/service-accounts/default/token") {
			logins.Add(1)
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, `{"access_token":"hunter2","expires_in":3600,"token_type":"Bearer"}`)
			return
		}
		w.WriteHeader(http.StatusNotFound)
	}))
	t.Cleanup(metadata.Close)
	t.Setenv("GCE_METADATA_HOST", strings.TrimPrefix(metadata.URL, "http://"))

	s := newServer(t)
	s.user, s.password, s.basic = "oauth2accesstoken", "hunter2", true
	s.push(t, "project/team/api", "1.0.0")
	c, _ := client()
	c.Transport = &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, s.host())
	}}
	request := Request{Image: "europe-docker.pkg.dev/project/team/api", Insecure: true, Provider: "gcp"}
	if got, err := tags(t.Context(), c, request); err != nil || len(got) != 1 {
		t.Errorf("%v %v", got, err)
	}

	// All repositories of a registry have one login.
	var more []Request
	for i := range 20 {
		s.push(t, fmt.Sprintf("project/team/app%d", i), "1.0.0")
		r := request
		r.Image = fmt.Sprintf("europe-docker.pkg.dev/project/team/app%d", i)
		more = append(more, r)
	}
	for _, a := range c.All(t.Context(), more) {
		if a.Err != nil {
			t.Error(a.Err)
		}
	}
	if n := logins.Load(); n != 1 {
		t.Errorf("%d logins", n)
	}

	// The cloud's word counts alone, and what it was is told without it.
	s.password = "another"
	request.DockerConfigs = some(dockerConfig("europe-docker.pkg.dev", "oauth2accesstoken", "another"))
	_, err := tags(t.Context(), c, request)
	if err == nil || !strings.Contains(err.Error(), "the registry asks for credentials; used: the login of provider gcp: 401") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("%v", err)
	}
}

// Nobody is logged in: which cloud, why, and what to type.
func TestProviderWithoutCredentials(t *testing.T) {
	onNoCloud(t)
	s := newServer(t)
	c, _ := client()
	c.Transport = &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, s.host())
	}}
	for _, test := range []struct{ provider, image, want, hint string }{
		{"aws", "123456789012.dkr.ecr.eu-west-1.amazonaws.com/api", "no login at aws: ", "aws sso login; "},
		{"aws", "ghcr.io/team/api", "no login at aws: invalid AWS registry: 'ghcr.io'", "spec.provider is for registries of that cloud"},
		{"azure", "ghcr.io/team/api", "no login at azure: ", "spec.provider is for registries of that cloud"},
		{"azure", "team.azurecr.io/api", "no login at azure: ", "az login; "},
		{"gcp", "ghcr.io/team/api", "no login at gcp: ", "spec.provider is for registries of that cloud"},
		{"oracle", "ghcr.io/team/api", "no login at oracle: provider 'oracle' not implemented", "spec.provider is one of generic, aws, azure, gcp"},
	} {
		_, err := tags(t.Context(), c, Request{Image: test.image, Insecure: true, Provider: test.provider})
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), test.want) || !strings.Contains(e.Hint(), test.hint) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %s", test.provider, err, test.want)
		}
	}
}

// Where nobody answers, that is what is said, after a while that has an end, and once for all
// repositories; who asks and gives up earlier does not wait for it.
func TestAProviderThatHangs(t *testing.T) {
	onNoCloud(t)
	ended := make(chan struct{})
	metadata := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-ended:
		}
	}))
	t.Cleanup(metadata.Close)
	t.Cleanup(func() { close(ended) })
	t.Setenv("GCE_METADATA_HOST", strings.TrimPrefix(metadata.URL, "http://"))
	s := newServer(t)
	c, _ := client()
	c.logins.limit = 300 * time.Millisecond
	c.Transport = &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, s.host())
	}}
	request := Request{Image: "europe-docker.pkg.dev/project/team/api", Insecure: true, Provider: "gcp", Timeout: time.Minute}
	hasty := request
	hasty.Timeout = 20 * time.Millisecond
	if _, err := tags(t.Context(), c, hasty); err == nil || !strings.Contains(err.Error(), "no answer within 20ms") {
		t.Error(err)
	}
	for _, a := range c.All(t.Context(), []Request{request, request}) {
		if a.Err == nil || !strings.Contains(a.Err.Error(), "no login at gcp: no answer within 300ms") {
			t.Error(a.Err)
		}
	}
}
