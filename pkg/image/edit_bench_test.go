package image

import (
	"fmt"
	"testing"
	"time"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/bench"
)

// A repository of 5,000 files, of which 2,000 have a marker whose value changes.
func BenchmarkEditRepository(b *testing.B) {
	const files, markers = 5000, 2000
	all := make([][]byte, files)
	size := 0
	for i := range all {
		comment := "# plain"
		if i%5 < 2 {
			comment = `# {"$imagepolicy": "flux-system:api"}`
		}
		all[i] = fmt.Appendf(nil, "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: d%d\n  namespace: shop\n  labels: {app: d%d}\nspec:\n  replicas: 2\n"+
			"  selector:\n    matchLabels: {app: d%d}\n  template:\n    metadata:\n      labels: {app: d%d}\n    spec:\n      containers:\n      - name: app\n"+
			"        image: ghcr.io/team/api:1.2.%d %s\n        ports:\n        - containerPort: 8080\n        env:\n        - {name: A, value: b}\n", i, i, i, i, i, comment)
		size += len(all[i])
	}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		for i, data := range all {
			_, edits, _ := Edit(fmt.Sprintf("d%d.yaml", i), data, chosen)
			n += len(edits)
		}
		if n != markers {
			b.Fatalf("%d edits", n)
		}
	}
	each := b.Elapsed() / time.Duration(b.N)
	bench.Record(b, "image-edit", "Images: writing 2,000 markers", fmt.Sprintf("%d files (%.1f MB), %d markers whose value changes, edited in memory, byte for byte, each result read again and compared: "+
		"**%d ms** on one core, %.2f ms a marker. A file without a marker is not parsed.", files, float64(size)/1e6, markers, each.Milliseconds(), float64(each.Microseconds())/1000/markers))
}
