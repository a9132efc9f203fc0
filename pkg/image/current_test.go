package image

import "testing"

// What digest Git has beside a tag: where that is not one and the same, none.
func TestDigestOf(t *testing.T) {
	const a, b = "sha256:aaaa", "sha256:bbbb"
	mark := func(part, value string) Marker {
		return Marker{Namespace: "flux-system", Policy: "api", Part: part, Value: value, Key: map[string]string{"": "image", "tag": "newTag", "digest": "digest", "name": "newName"}[part]}
	}
	for _, test := range []struct {
		name    string
		markers []Marker
		digest  string
		text    string
	}{
		{"nothing", nil, "", ""},
		{"a whole reference", []Marker{mark("", "ghcr.io:5000/api:1@"+a)}, a, "ghcr.io:5000/api:1@" + a},
		{"without a digest", []Marker{mark("", "ghcr.io:5000/api:1")}, "", "ghcr.io:5000/api:1"},
		{"of another tag", []Marker{mark("", "ghcr.io:5000/api:2@"+a)}, "", "ghcr.io:5000/api:2@" + a},
		{"of another image", []Marker{mark("", "docker.io/api:1@"+a)}, "", "docker.io/api:1@" + a},
		{"twice the same", []Marker{mark("", "ghcr.io:5000/api:1@"+a), mark("", "ghcr.io:5000/api:1@"+a)}, a, "ghcr.io:5000/api:1@" + a},
		{"twice, not the same", []Marker{mark("", "ghcr.io:5000/api:1@"+a), mark("", "ghcr.io:5000/api:1@"+b)}, "", "ghcr.io:5000/api:1@" + a},
		{"once with and once without", []Marker{mark("", "ghcr.io:5000/api:1@"+a), mark("", "ghcr.io:5000/api:1")}, "", "ghcr.io:5000/api:1@" + a},
		{"in parts", []Marker{mark("name", "ghcr.io:5000/api"), mark("tag", "1"), mark("digest", a)}, a, "1"},
		{"in parts, of another tag", []Marker{mark("tag", "2"), mark("digest", a)}, "", "2"},
		{"a digest alone", []Marker{mark("digest", a)}, "", ""},
		{"an empty one, as Flux leaves it", []Marker{mark("tag", "1"), mark("digest", "")}, "", "1"},
		{"a bare tag that destroyed the reference", []Marker{mark("", "1")}, "", ""},
	} {
		w := Current(test.markers)[Ref{"flux-system", "api"}]
		if got := w.DigestOf("ghcr.io:5000/api", "1"); got != test.digest || w.String() != test.text {
			t.Errorf("%s: %q %q, want %q %q", test.name, got, w, test.digest, test.text)
		}
	}
}
