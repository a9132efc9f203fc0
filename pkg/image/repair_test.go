package image

import (
	"strings"
	"testing"
)

func TestRepair(t *testing.T) {
	names := map[Ref]string{{Namespace: "flux-system", Name: "api"}: "ghcr.io/team/api"}
	const marker, whole = `# {"$imagepolicy": "flux-system:api:tag"}`, `# {"$imagepolicy": "flux-system:api"}`
	digest := "sha256:" + strings.Repeat("ab", 32)
	for _, test := range []struct{ name, file, want string }{
		{"a bare tag", "a:\r\n- image: sha-42ea07d  " + marker + "  \r\n\r\nb: x\r\n", "a:\r\n- image: ghcr.io/team/api:sha-42ea07d  " + whole + "  \r\n\r\nb: x\r\n"},
		{"a bare tag in quotes", "image: '1.0'   " + marker, "image: 'ghcr.io/team/api:1.0'   " + whole},
		{"the comment above", "a:\n  " + marker + "\n  image: 1.0.0\n", "a:\n  " + whole + "\n  image: ghcr.io/team/api:1.0.0\n"},
		{"a bare digest", "image: " + digest + ` # {"$imagepolicy": "flux-system:api:digest"}` + "\n", "image: ghcr.io/team/api@" + digest + " " + whole + "\n"},
		{"a trap that has not snapped", "image: x/api:1 " + marker + "\n", "image: x/api:1 " + whole + "\n"},
		{"a whole reference in newTag", "newTag: ghcr.io/team/api:1.2 " + whole + "\n", "newTag: \"1.2\" " + marker + "\n"},
		{"a whole reference in tag, in quotes", "tag: 'ghcr.io/team/api:1.2' " + whole + "\n", "tag: '1.2' " + marker + "\n"},
		{"a trap in tag", "tag: v1 " + whole + "\n", "tag: v1 " + marker + "\n"},
		{"what fits", "image: x/api:1 " + whole + "\ntag: v1 " + marker + "\nnewTag: v2 " + marker + "\n", ""},
		{"sealed", "image: v1 " + marker + "\nsops: {mac: x}\n", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.want == "" {
				test.want = test.file
			}
			got, edits, problems := Repair("f.yaml", []byte(test.file), names)
			if string(got) != test.want || len(problems) > 0 || (len(edits) == 0) != (test.file == test.want) {
				t.Fatalf("got  %q\nwant %q\n%v %v", got, test.want, edits, problems)
			}
			for _, m := range Markers("f.yaml", got) {
				if test.name != "sealed" && m.Trap()+m.Nonsense() != "" {
					t.Errorf("%+v: %s%s", m, m.Trap(), m.Nonsense())
				}
			}
		})
	}
	for file, want := range map[string]string{
		"image: v1 # {\"$imagepolicy\": \"flux-system:web:tag\"}\n": "no ImageRepository of its policy",
		"newTag: ghcr.io/team/api " + whole + "\n":                  "which has no tag",
		"image: >- " + marker + "\n  v1\n":                          "cannot be mended where it stands",
		"image: \"flux-system:api:tag\" " + marker + "\n":           "the marker cannot be mended",
		"image: |\n  v1\n# x\nx: {image: >- " + marker + "\n  v1}":  "",
	} {
		got, edits, problems := Repair("f.yaml", []byte(file), names)
		if want != "" && (len(problems) != 1 || !strings.Contains(problems[0].Error(), want)) || len(edits) > 0 || string(got) != file {
			t.Errorf("%q: %q %v %v", file, got, edits, problems)
		}
	}
}
