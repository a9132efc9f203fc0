package cluster

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
)

func TestRequestsAreCountedByVerb(t *testing.T) {
	for path, want := range map[string]bool{
		"/api/v1/pods":                                    true,
		"/api/v1/namespaces":                              true,
		"/api/v1/namespaces/x":                            false,
		"/api/v1/namespaces/x/pods":                       true,
		"/api/v1/namespaces/x/pods/y":                     false,
		"/api/v1/namespaces/x/pods/y/status":              false,
		"/apis/apps/v1/deployments":                       true,
		"/apis/apps/v1/namespaces/x/deployments/y":        false,
		"/apis/rbac.authorization.k8s.io/v1/clusterroles": true,
		"/apis/apps/v1":                                   false,
		"/api":                                            false,
		"/apis":                                           false,
		"/version":                                        false,
		"/openapi/v3":                                     false,
	} {
		if got := isCollection(path); got != want {
			t.Errorf("%s: %v, want %v", path, got, want)
		}
	}
}

// Mounted into a container, a kubeconfig is its owner's, whom the container is not.
func TestKubeconfigOfAnotherUser(t *testing.T) {
	err := noConfig(errors.New(`error loading config file "/etc/kubeconfig": open /etc/kubeconfig: permission denied`), nil)
	if hint := err.(*Error).Fix; !strings.Contains(hint, `--user "$(id -u)"`) {
		t.Errorf("%v, hint %q", err, hint)
	}
	if hint := noConfig(errors.New("no configuration has been provided"), nil).(*Error).Fix; !strings.Contains(hint, "--kubeconfig") {
		t.Errorf("hint %q", hint)
	}
}

// A 422 is not proof of an immutable field: an invalid manifest answers the
// same, and recreating for it would cost the live object.
func TestOnlyImmutableFieldsAreImmutable(t *testing.T) {
	invalid := func(msg string) error {
		return apierrors.NewInvalid(schema.GroupKind{Group: "apps", Kind: "Deployment"}, "web", field.ErrorList{field.Invalid(field.NewPath("spec"), "x", msg)})
	}
	for msg, want := range map[string]bool{
		"field is immutable":            true,
		"may not change once set":       true,
		"must be a valid port number":   false,
		"spec is immutable after bound": true,
	} {
		if got := IsImmutable(invalid(msg)); got != want {
			t.Errorf("%q: %v, want %v", msg, got, want)
		}
	}
	if IsImmutable(apierrors.NewConflict(schema.GroupResource{}, "x", nil)) || IsImmutable(nil) {
		t.Error("a conflict is not an immutable field")
	}
}

func TestReasonsAreTakenApart(t *testing.T) {
	secret := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Secret", "stringData": map[string]any{"a": "hunter2"}}}
	for _, c := range []struct {
		message string
		want    string
	}{
		{"failed to create typed patch object (app/x; apps/v1, Kind=Deployment): errors:\n  .spec.a: field not declared in schema\n  .spec.b[0]: field not declared in schema",
			"spec.a: field not declared in schema|spec.b[0]: field not declared in schema"},
		{`failed to create typed patch object (app/x; v1, Kind=Secret): .data.a: expected string, got &value.valueUnstructured{Value:"hunter2"}`,
			`data.a: expected string, got &value.valueUnstructured{Value:"***"}`},
		{`admission webhook "x" denied the request: no`, `admission webhook "x" denied the request: no`},
	} {
		if got := strings.Join(reasons(metav1.Status{Message: c.message}, secret, nil), "|"); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}

// A process that was stopped for longer than its lock lasts, by Ctrl-Z or with its
// machine, does not write before it has heard whether the lock is still its own.
func TestSureWaitsForTheAnswer(t *testing.T) {
	l := &Lock{}
	l.sign.Store(time.Now().Add(-time.Hour).UnixNano())
	held, lose := context.WithCancelCause(t.Context())
	answer := make(chan error)
	go func() { answer <- l.Sure(held) }()
	select {
	case err := <-answer:
		t.Fatalf("it did not wait: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	l.sign.Store(time.Now().UnixNano()) // renewed
	if err := <-answer; err != nil {
		t.Fatal(err)
	}
	l.sign.Store(0)
	go func() { answer <- l.Sure(held) }()
	lose(&LostError{Why: "another has it now"})
	if err := <-answer; err == nil {
		t.Fatal("sure of a lock that is lost")
	}
}

// Others count from when a lock says that it was taken, which is before the request
// arrives: one that took its time, because a server was away, must not be relied on for
// longer than it lasts.
func TestLockCountsFromWhenItWasAskedFor(t *testing.T) {
	var arrived time.Time
	lock := forgotten(t, func() { arrived = time.Now() })
	_, release := lock.Hold(t.Context())
	defer release()
	if sign := lock.sign.Load(); sign == 0 || sign > arrived.UnixNano() {
		t.Errorf("relied on from %s, and asked for before %s", time.Unix(0, sign), arrived)
	}
}

// forgotten is a lock on a server that lets its Lease be made, and has none when it
// is asked; asked is called before the answer.
func forgotten(t *testing.T, asked func()) *Lock {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.Method == http.MethodPost {
			asked()
			_, _ = io.Copy(w, r.Body)
			return
		}
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}`)
	}))
	t.Cleanup(srv.Close)
	client, err := dynamic.NewForConfig(&rest.Config{Host: srv.URL})
	if err != nil {
		t.Fatal(err)
	}
	lock, err := (&Cluster{dynamic: client, counts: &counts{}}).Lock(t.Context(), flux.Ref{Namespace: "x", Name: "x"}, "ada", LockState{}, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	return lock
}

// A lock whose Lease somebody deleted keeps nobody away: the run that held it is told at its next sign of life.
func TestLockThatIsDeletedIsLost(t *testing.T) {
	t.Parallel()
	lock := forgotten(t, func() {})
	held, release := lock.Hold(t.Context())
	defer release()
	<-held.Done()
	var lost *LostError
	if err := context.Cause(held); !errors.As(err, &lost) || lost.Why != "somebody deleted its lease" {
		t.Errorf("the run ends with %v", err)
	}
}

// A plan holds under the lock only where nobody has had it since the plan looked.
func TestALockThatMovedIsNotTheSame(t *testing.T) {
	lease := func(uid string, transitions int32) *coordinationv1.Lease {
		l := &coordinationv1.Lease{}
		l.UID, l.Spec.LeaseTransitions = types.UID(uid), &transitions
		return l
	}
	for title, c := range map[string]struct {
		before, after LockState
		want          bool
	}{
		"nobody ever had it":           {LockState{}, LockState{}, true},
		"nobody has had it since":      {LockState{lease: lease("a", 1)}, LockState{lease: lease("a", 1)}, true},
		"one held it":                  {LockState{lease: lease("a", 1), held: true}, LockState{lease: lease("a", 1)}, false},
		"one has had it since":         {LockState{lease: lease("a", 1)}, LockState{lease: lease("a", 2)}, false},
		"its Lease was made anew":      {LockState{lease: lease("a", 1)}, LockState{lease: lease("b", 1)}, false},
		"the first has had it":         {LockState{}, LockState{lease: lease("a", 0)}, false},
		"its Lease has been taken out": {LockState{lease: lease("a", 0)}, LockState{}, false},
	} {
		if got := c.before.sameAs(c.after); got != c.want {
			t.Errorf("%s: the same: %v, want %v", title, got, c.want)
		}
	}
}

// Versions of a kind have schemas of their own: which fields are passwords is what that of the object at hand says.
func TestSchemaIsThatOfTheVersion(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"safes.example.com"},"spec":{"versions":[
			{"name":"v1","schema":{"openAPIV3Schema":{"title":"one"}}},
			{"name":"v2","schema":{"openAPIV3Schema":{"title":"two"}}},
			{"name":"v3","schema":{"openAPIV3Schema":{"title":"three"}}}]}}`)
	}))
	defer srv.Close()
	client, err := dynamic.NewForConfig(&rest.Config{Host: srv.URL})
	if err != nil {
		t.Fatal(err)
	}
	c := &Cluster{dynamic: client, counts: &counts{}}
	for version, want := range map[string]any{"v1": "one", "v2": "two", "v3": "three", "v4": nil} {
		r := Resource{GroupVersionResource: schema.GroupVersionResource{Group: "example.com", Version: version, Resource: "safes"}, Kind: "Safe", Namespaced: true}
		if got, err := c.definedSchema(t.Context(), r); err != nil || got["title"] != want {
			t.Errorf("%s: got %v, %v, want the schema %v", version, got, err, want)
		}
	}
}

// A Lease that was renewed an hour from now, by a clock that was set back since: who renews it keeps it, and of who
// does not it is taken once it is silent for as long as it lasts, not in an hour.
func TestLockFromTheFutureIsHeldByWhoRenewsIt(t *testing.T) {
	for title, renewed := range map[string]bool{"a run that lives": true, "one that was killed": false} {
		var reads, version atomic.Int32
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			if r.Method != http.MethodGet {
				_, _ = io.Copy(w, r.Body)
				return
			}
			if reads.Add(1); renewed {
				version.Add(1)
			}
			at := time.Now().Add(time.Hour).UTC().Format(metav1.RFC3339Micro)
			fmt.Fprintf(w, `{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":"gitops-x","namespace":"x","resourceVersion":"%d"},
				"spec":{"holderIdentity":"bea","leaseDurationSeconds":1,"renewTime":%q}}`, version.Load(), at)
		}))
		client, err := dynamic.NewForConfig(&rest.Config{Host: srv.URL})
		if err != nil {
			t.Fatal(err)
		}
		c := &Cluster{dynamic: client, counts: &counts{}}
		ctx, cancel := context.WithCancel(t.Context())
		lock, err := c.Lock(ctx, flux.Ref{Namespace: "x", Name: "x"}, "ada", LockState{}, time.Hour, func(string) {
			if renewed && reads.Load() == 4 { // of which each is half a second after the one before
				cancel()
			}
		})
		if stolen := lock != nil; stolen == renewed {
			t.Errorf("%s: taken: %v, %v", title, stolen, err)
		}
		cancel()
		srv.Close()
	}
}

// A merge patch leaves what it does not name: the digest of an older tag would stay beside the new one.
func TestAStatusIsReplacedNotMerged(t *testing.T) {
	had := map[string]any{"name": "api", "tag": "1.0.0", "digest": "sha256:0", "inner": map[string]any{"gone": "x", "stays": "x"}}
	got, err := json.Marshal(instead(had, map[string]any{"name": "api", "tag": "1.1.0", "inner": map[string]any{"stays": "y"}, "new": map[string]any{"a": "b"}}))
	if want := `{"digest":null,"inner":{"gone":null,"stays":"y"},"name":"api","new":{"a":"b"},"tag":"1.1.0"}`; err != nil || string(got) != want {
		t.Errorf("%s %v, want %s", got, err, want)
	}
}

// A ConfigMap holds a megabyte, which may unpack to a gigabyte.
func TestAnInventoryUnpacksToWhatOneMayBe(t *testing.T) {
	var packed bytes.Buffer
	zw := gzip.NewWriter(&packed)
	_, _ = zw.Write([]byte("[" + strings.Repeat(" ", maxInventory-1) + "]"))
	_ = zw.Close()
	cm := &unstructured.Unstructured{Object: map[string]any{"binaryData": map[string]any{inventoryKey: base64.StdEncoding.EncodeToString(packed.Bytes())}}}
	cm.SetName("gitops-apps")
	_, err := newRecord(flux.Ref{Namespace: "shop", Name: "apps"}, nil, cm)
	if err == nil || !strings.Contains(err.Error(), "configmap/gitops-apps in shop: inventory.json.gz: unpacks to more than 64 MiB") {
		t.Error(err)
	}
}
