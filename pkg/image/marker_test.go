package image

import "testing"

func TestMarkers(t *testing.T) {
	const file = `kind: Deployment
spec:
  containers:
  - image: sha-42ea07d # {"$imagepolicy": "flux-system:api:tag"}
  - image: ghcr.io/team/api:1.2.3 # {"$imagepolicy": "flux-system:api"}
  - image: ghcr.io/team/web:1.2.3 # {"$imagepolicy": "flux-system:web:tag"}
---
images:
- name: ghcr.io/team/api
  # {"$imagepolicy": "flux-system:api:tag"}
  newTag: 1.2.3
- name: other
  newTag: ghcr.io/team/api:1 # {"$imagepolicy": "flux-system:api"}
`
	want := []struct {
		line     int
		policy   string
		nonsense bool
		trap     bool
	}{
		{4, "api", true, true},
		{5, "api", false, false},
		{6, "web", false, true},
		{11, "api", false, false},
		{13, "api", true, true},
	}
	got := Markers("x.yaml", []byte(file))
	if len(got) != len(want) {
		t.Fatalf("found %d markers, want %d: %+v", len(got), len(want), got)
	}
	for i, w := range want {
		m := got[i]
		if m.Line != w.line || m.Policy != w.policy || (m.Nonsense() != "") != w.nonsense || (m.Trap() != "") != w.trap {
			t.Errorf("marker %d: %+v nonsense=%q trap=%q, want %+v", i, m, m.Nonsense(), m.Trap(), w)
		}
	}
}
