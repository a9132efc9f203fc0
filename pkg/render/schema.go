package render

import (
	"context"
	"sync/atomic"

	"golang.org/x/sync/semaphore"
	"sigs.k8s.io/kustomize/kyaml/openapi"
)

// kustomize's OpenAPI schema is process-wide, and written without regard to
// who reads it (kustomize#3659, #4824). Whatever makes a resid.Gvk reads it,
// CurId and OrgId among them: nothing may outside of withSchema. Once it is
// loaded, builds that do not ask for another one only read it, and may run at
// the same time; a build that asks for another one must be alone.
// TestBuildsAtTheSameTime, under -race, holds kustomize to that.
var (
	// A semaphore, so that waiting for it ends with the context.
	schemaUsers = semaphore.NewWeighted(allUsers)

	// schemaChanged tells that the schema is not the built-in one. Flux resets
	// it for every build, which costs 0.1 s each time.
	schemaChanged atomic.Bool
)

const allUsers = 1 << 20

func init() { schemaChanged.Store(true) } // it is not loaded yet

// withSchema calls use while the schema is the built-in one. A use that
// changes it says so by alone, and is given the built-in one to start from.
func withSchema(ctx context.Context, alone bool, use func()) error {
	for {
		n := int64(1)
		if alone || schemaChanged.Load() {
			n = allUsers
		}
		if err := schemaUsers.Acquire(ctx, n); err != nil {
			return err
		}
		if schemaChanged.Load() && n == 1 { // meanwhile
			schemaUsers.Release(n)
			continue
		}
		if schemaChanged.Load() {
			// Loaded at once: a custom schema adds to it only when it is there.
			openapi.ResetOpenAPI()
			openapi.Schema()
			schemaChanged.Store(false)
		}
		if n > 1 && !alone {
			schemaUsers.Release(n)
			continue
		}
		defer schemaUsers.Release(n)
		use()
		return nil
	}
}
