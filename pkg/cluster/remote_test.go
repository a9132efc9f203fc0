package cluster

import (
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"testing"

	"k8s.io/client-go/rest"
)

// A login is asked for with each request, since one may end before a run does.
func TestRemoteByLogin(t *testing.T) {
	t.Parallel()
	var seen []string
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.URL.Path+" "+r.Header.Get("Authorization"))
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"major":"1","minor":"37","gitVersion":"v1.37.2"}`)
	}))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	own := &Cluster{config: &rest.Config{}, counts: &counts{}}
	n := 0
	token := func(context.Context) (string, error) { n++; return fmt.Sprintf("token-%d", n), nil }
	c, err := own.RemoteByLogin(t.Context(), "prod", srv.URL, ca, token)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Reach(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(seen) != 2 || seen[0] != "/version Bearer token-1" || seen[1] != "/version Bearer token-2" {
		t.Errorf("%q", seen)
	}
	if _, err := own.RemoteByLogin(t.Context(), "prod", srv.URL, nil, token); err == nil {
		t.Error("a server whose certificate nobody trusts was sent a token")
	}
	if len(seen) != 2 {
		t.Errorf("%q", seen)
	}
}
