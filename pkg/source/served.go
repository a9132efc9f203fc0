package source

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Served is an artifact that a controller of Flux serves, as status.artifact of its source has it.
type Served struct {
	URL, Revision, Digest string
	// FromService asks the server behind a Service of the cluster, where the URL is one of those.
	FromService func(ctx context.Context, scheme, namespace, name, port, path string) (io.ReadCloser, error)
}

// service is the host of a Service in a cluster: NAME.NAMESPACE.svc, and a domain or not.
var service = regexp.MustCompile(`^([a-z0-9-]+)\.([a-z0-9-]+)\.svc(?:\..*)?$`)

// Open fetches the artifact, and holds it to its digest. A Service of the cluster is asked through
// the API server, and directly where that cannot be: from inside of the cluster.
func (a Served) Open(ctx context.Context) (*Snapshot, error) {
	u, err := url.Parse(a.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, &Error{Where: redact(a.URL), What: "is no address of an artifact", Fix: "see to the controller that serves it"}
	}
	body, err := a.get(ctx, u)
	if err != nil {
		return nil, stopped(ctx, err)
	}
	defer body.Close()
	data, err := io.ReadAll(io.LimitReader(body, maxUnpacked+1))
	if err != nil {
		return nil, stopped(ctx, &Error{Where: u.Redacted(), What: "the artifact does not come whole", Why: cause(err), Fix: "try again", err: err})
	}
	if len(data) > maxUnpacked {
		return nil, &Error{Where: u.Redacted(), What: "the artifact is too large", Why: fmt.Sprintf("it has more than %d MiB", maxUnpacked>>20)}
	}
	want := digest.Digest(a.Digest)
	if !strings.Contains(a.Digest, ":") { // as Flux's fetcher reads it
		want = digest.Digest("sha256:" + a.Digest)
	}
	if err := want.Validate(); err != nil {
		return nil, &Error{Where: u.Redacted(), What: "its digest cannot be checked", Why: fmt.Sprintf("%q: %v", a.Digest, err)}
	}
	if got := want.Algorithm().FromBytes(data); got != want {
		return nil, &Error{Where: u.Redacted(), What: "the artifact is not to be trusted", Why: fmt.Sprintf("its digest is %s, not the %s of status.artifact", got, want), Fix: "try again, if it was made anew just now"}
	}
	return Unpack(data, a.Revision, u.Redacted())
}

func (a Served) get(ctx context.Context, u *url.URL) (io.ReadCloser, error) {
	m := service.FindStringSubmatch(u.Hostname())
	var inside error
	if m != nil && a.FromService != nil {
		body, err := a.FromService(ctx, u.Scheme, m[2], m[1], cmp.Or(u.Port(), map[string]string{"http": "80", "https": "443"}[u.Scheme]), u.Path)
		if err == nil {
			return body, nil
		}
		inside = err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	answer, err := http.DefaultClient.Do(req)
	switch {
	case err != nil && inside != nil:
		e := &Error{Where: u.Redacted(), What: "the artifact cannot be reached", Why: "it is inside of the cluster, and through the API server: " + inside.Error(), err: inside,
			Fix: fmt.Sprintf("kubectl auth can-i get services/proxy -n %s; or run inside of the cluster", m[2])}
		return nil, e
	case err != nil:
		return nil, &Error{Where: u.Redacted(), What: u.Host + " cannot be reached", Why: cause(err), Fix: "check the network, and a proxy (HTTPS_PROXY)", err: err}
	case answer.StatusCode == http.StatusOK:
		return answer.Body, nil
	}
	answer.Body.Close()
	e := &Error{Where: u.Redacted(), What: "the server answered " + answer.Status, Fix: "see to the controller that serves it", err: errors.New(answer.Status)}
	if answer.StatusCode == http.StatusNotFound {
		e.What, e.Why, e.Fix = "the artifact is gone (404)", "its controller has made another, or lost what it had", "try again"
	}
	return nil, e
}
