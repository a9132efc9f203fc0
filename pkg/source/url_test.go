package source

import (
	"runtime"
	"strings"
	"testing"
)

func TestSameRepository(t *testing.T) {
	t.Parallel()
	const a = "https://github.com/acme/fleet"
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{a, a, true},
		{a, "https://github.com/acme/fleet.git", true},
		{a, "https://github.com/acme/fleet/", true},
		{a, "https://github.com/acme/fleet.git/", true},
		{a, "https://GitHub.com/Acme/Fleet", true},
		{a, "https://user:secret@github.com/acme/fleet", true},
		{a, "https://github.com:443/acme/fleet", true},
		{a, "http://github.com:80/acme/fleet", true},
		{a, "git@github.com:acme/fleet.git", true},
		{a, "github.com:acme/fleet", true},
		{a, "git@github.com:/acme/fleet", true},
		{a, "ssh://git@github.com/acme/fleet.git", true},
		{a, "ssh://git@github.com:22/acme/fleet", true},
		{a, "git+ssh://git@github.com/acme/fleet", true},
		{a, "ssh://git@ssh.github.com:443/acme/fleet.git", true},
		{"git@ssh.dev.azure.com:v3/acme/platform/fleet", "https://acme@dev.azure.com/acme/platform/_git/fleet", true},
		{"ssh://git@git.example.com:2222/a/b", "ssh://other@GIT.example.com:2222/a/b.git", true},
		{"git@[::1]:a/b", "ssh://[::1]/a/b", true},
		{"/srv/git/fleet.git", "file:///srv/git/fleet", true},
		{"/srv/git/fleet/", "file://localhost/srv/git/fleet", true},

		{a, "https://github.com/acme/fleet2", false},
		{a, "https://github.com/other/fleet", false},
		{a, "https://gitlab.com/acme/fleet", false},
		{a, "https://github.com.evil.example/acme/fleet", false},
		{a, "https://evil.example/github.com/acme/fleet", false},
		{a, "https://github.com@evil.example/acme/fleet", false},
		{a, "https://github.com:8443/acme/fleet", false},
		{a, "ssh://git@github.com:443/acme/fleet", false},
		{"ssh://h:2222/a/b", "ssh://h:2223/a/b", false},
		{"ssh://h:2222/a/b", "ssh://h/a/b", false},
		{"/srv/git/Fleet", "/srv/git/fleet", false},
		{"../fleet", "/fleet", false},
		{"", "", false},
		{"oci://x/y", "oci://X/y/", true},
		{"oci://x/y", "https://x/y", false},
	} {
		if got := SameRepository(c.a, c.b); got != c.want {
			t.Errorf("SameRepository(%q, %q) = %v, want %v", c.a, c.b, got, c.want)
		}
		if SameRepository(c.a, c.b) != SameRepository(c.b, c.a) {
			t.Errorf("SameRepository(%q, %q) depends on the order", c.a, c.b)
		}
	}
}

func TestParseRemote(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, shown, path string }{
		{"https://host/a/b.git", "https://host/a/b.git", "/a/b.git"},
		{"HTTPS://host/a/b", "https://host/a/b", "/a/b"},
		{"https://u:p@host:8443/a%20b", "https://host:8443/a%20b", "/a b"},
		{"https://token@host/a", "https://host/a", "/a"},
		{"ssh://git@host:2222/a", "ssh://git@host:2222/a", "/a"},
		{"ssh://git:pw@host/a", "ssh://git@host/a", "/a"},
		{"git@host:a/b.git", "git@host:a/b.git", "a/b.git"},
		{"host:~me/b", "host:~me/b", "~me/b"},
		{"git@[fe80::1]:a", "git@[fe80::1]:a", "a"},
	} {
		r, ok, err := parseRemote(c.in)
		if err != nil || !ok {
			t.Errorf("%s: %v %v", c.in, ok, err)
			continue
		}
		is(t, c.in, r.String(), c.shown)
		is(t, c.in+" path", r.path, c.path)
	}
	for _, dir := range []string{"apps", "./a:b", "/a/b:c", "../x", "a:"} {
		if r, ok, err := parseRemote(dir); ok || err != nil {
			t.Errorf("%s is taken for %+v, %v", dir, r, err)
		}
	}
}

func TestBadURLsAreRefusedWithoutTheirSecret(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"htps://u:hunter2@host/a":              "did you mean https://host/a",
		"oci://u:hunter2@ghcr.io/acme/fleet":   "is an artifact, not a repository",
		"ftp://u:hunter2@host/a":               "use https://, ssh://",
		"https://u:hunter2@host:port/a":        "not a URL",
		"https://u:hun/ter2@host/a":            "not a URL",
		"https://u:hunter2@host":               "no host or no path",
		"file://u:hunter2@host/a":              "a file URL has no host",
		"https://u:hunter2%zz@host/a":          "not a URL",
		"https://u:p@hunter2@ho st/a":          "not a URL",
		"git://u:hunter2@host/a":               `unknown kind of URL "git://"`,
		"https://u:hunter2@/a":                 "no host",
		"https://host/a?token=x&u:hunter2@h:z": "",
	} {
		_, _, err := parseRemote(in)
		if want == "" {
			continue
		}
		if err == nil {
			t.Errorf("%s is accepted", in)
			continue
		}
		text := err.Error() + "\n" + hint(err)
		if !strings.Contains(text, want) || strings.Contains(text, "hunter2") || strings.Contains(text, "ter2") {
			t.Errorf("%s: %s", in, text)
		}
	}
}

func TestRedact(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`Get "https://u:s3cr@host/x": EOF`:     `Get "https://host/x": EOF`,
		"https://token@host/x":                 "https://host/x",
		"https://u:s@cr@host/x and more":       "https://host/x and more",
		"ssh://git@host/x":                     "ssh://git@host/x",
		"ssh://git:pw@host/x":                  "ssh://git@host/x",
		"https://host/a@v1":                    "https://host/a@v1",
		"no URL: a@b":                          "no URL: a@b",
		"https://a:b@c/ then https://d:e@f/ .": "https://c/ then https://f/ .",
	} {
		is(t, in, redact(in), want)
	}
	is(t, "remote", withoutSecrets("https://x-access-token:ghp@github.com/a/b.git"), "https://github.com/a/b.git")
	is(t, "remote", withoutSecrets("git@github.com:a/b.git"), "git@github.com:a/b.git")
	is(t, "remote", withoutSecrets("https://u:p:q@h:x/b"), "https://h:x/b")
	is(t, "remote", withoutSecrets("../fleet.git"), "../fleet.git")
}

// A path of Windows would be the host C of ssh elsewhere.
func TestWindowsPathElsewhere(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("it is a directory there")
	}
	_, ok, err := parseRemote(`C:\src\gitops`)
	if ok || err == nil || !strings.Contains(err.Error(), "is a path of Windows") {
		t.Errorf("got %t, %v", ok, err)
	}
	if _, ok, err := parseRemote("c:src/gitops"); !ok || err != nil {
		t.Errorf("a host of one letter: %t, %v", ok, err)
	}
}
