package source

import (
	"fmt"
	"net"
	"net/url"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
)

// remote is a Git URL in its parts.
type remote struct {
	scheme   string // https, http, ssh, file
	user     string
	password string
	hasPass  bool
	host     string // as written, without brackets
	port     string // "" for the default one
	path     string // as sent to the server; of an scp-like address without a leading slash
	scp      bool   // written as user@host:path
}

// scpLike is [user@]host:path, host in brackets where it is an IPv6 address (git-clone(1), "GIT URLS").
var scpLike = regexp.MustCompile(`^(?:([^/:@\s]+)@)?(\[[0-9A-Fa-f:.%]+\]|[^/:@\s\[\]]+):(.*)$`)

// parseRemote parses a Git URL. ok is false where s is the path of a directory. Errors never
// repeat what stands before an @.
func parseRemote(s string) (r remote, ok bool, err error) {
	scheme, rest, isURL := strings.Cut(s, "://")
	if !isURL {
		m := scpLike.FindStringSubmatch(s)
		drive := m != nil && len(m[2]) == 1 && m[1] == ""
		if drive && runtime.GOOS != "windows" && strings.HasPrefix(m[3], `\`) {
			return r, false, &Error{Where: s, What: "is a path of Windows, and this is not", Fix: "name the directory as it is called here; WSL has C:\\ at /mnt/c"}
		}
		if m == nil || drive && runtime.GOOS == "windows" || m[3] == "" {
			return remote{}, false, nil
		}
		return remote{scheme: "ssh", user: m[1], host: strings.Trim(m[2], "[]"), path: m[3], scp: true}, true, nil
	}
	shown := s
	if at := strings.LastIndex(rest, "@"); at >= 0 {
		shown = scheme + "://" + rest[at+1:]
	}
	switch scheme = strings.ToLower(scheme); scheme {
	case "https", "http", "ssh", "file":
	case "git+ssh", "ssh+git":
		scheme = "ssh"
	case "oci":
		return r, false, &Error{
			Where: shown, What: "is an artifact, not a repository",
			Fix: "use the Git repository that the artifact was made of, or unpack it: flux pull artifact " + shown + " -o DIR, then --source DIR",
		}
	default:
		e := &Error{Where: shown, What: fmt.Sprintf("unknown kind of URL %q", scheme+"://"), Fix: "use https://, ssh://, http:// or file://, or a directory"}
		if near := nearest(scheme, []string{"https", "http", "ssh", "file", "oci"}); near != "" {
			e.Fix = "did you mean " + near + "://" + strings.TrimPrefix(shown[strings.Index(shown, "://"):], "://") + "?"
		}
		return r, false, e
	}
	u, err := url.Parse(scheme + "://" + rest)
	if err != nil {
		return r, false, &Error{Where: shown, What: "not a URL", Why: "a user name or password with special characters in it must be percent-encoded, a port is a number"}
	}
	r = remote{scheme: scheme, host: u.Hostname(), port: u.Port(), path: u.Path}
	if u.User != nil {
		r.user = u.User.Username()
		r.password, r.hasPass = u.User.Password()
	}
	if scheme == "file" {
		if r.host != "" && !strings.EqualFold(r.host, "localhost") {
			return r, false, &Error{Where: shown, What: "a file URL has no host", Fix: "write file:///" + strings.TrimPrefix(r.host+r.path, "/")}
		}
		r.path = filepath.FromSlash(r.path)
		if runtime.GOOS == "windows" {
			r.path = strings.TrimPrefix(r.path, `\`) // file:///C:/x
		}
		return r, true, nil
	}
	if r.host == "" || strings.Trim(r.path, "/") == "" {
		return r, false, &Error{Where: shown, What: "not the URL of a repository", Why: "it has no host or no path", Fix: "write " + scheme + "://HOST/OWNER/REPOSITORY"}
	}
	return r, true, nil
}

// String is the URL as it may be shown and recorded: an ssh user stays, all other user names and
// all passwords go.
func (r remote) String() string {
	user := ""
	if r.scheme == "ssh" && r.user != "" {
		user = r.user + "@"
	}
	host := r.host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	switch {
	case r.scp:
		return user + host + ":" + r.path
	case r.scheme == "file":
		return "file://" + filepath.ToSlash(r.path)
	case r.port != "":
		host += ":" + r.port
	}
	return r.scheme + "://" + user + host + (&url.URL{Path: r.path}).EscapedPath()
}

// ShownURL is a URL as it may be shown: without what is secret in it.
func ShownURL(url string) string { return withoutSecrets(url) }

// full is the URL with the credentials that stand in it.
func (r remote) full() string {
	if r.scp || !r.hasPass && r.scheme != "http" && r.scheme != "https" {
		return r.String()
	}
	u := url.URL{Scheme: r.scheme, Host: hostPort(r.host, r.port), Path: r.path}
	if strings.Contains(r.host, ":") && r.port == "" {
		u.Host = "[" + r.host + "]"
	}
	switch {
	case r.hasPass:
		u.User = url.UserPassword(r.user, r.password)
	case r.user != "":
		u.User = url.User(r.user)
	}
	return u.String()
}

// withoutSecrets is a remote's URL as it stands in a configuration, without what must not be
// recorded. What is no URL, such as a path, is left as it is.
func withoutSecrets(raw string) string {
	r, ok, err := parseRemote(raw)
	if err != nil {
		return redact(raw)
	}
	if !ok || r.user == "" || (r.scheme == "ssh" && !r.hasPass) {
		return raw
	}
	return r.String()
}

// tunnels are the hosts under which forges serve ssh on the https port.
var tunnels = map[string]string{
	"ssh.github.com:443":       "github.com",
	"altssh.gitlab.com:443":    "gitlab.com",
	"altssh.bitbucket.org:443": "bitbucket.org",
}

// canonical is the form in which URLs of one repository are equal: host, port where it is not the
// scheme's own, path; in lower case, without user, scheme, ".git" and outer slashes. Of a file it
// is the clean path.
func (r remote) canonical() string {
	if r.scheme == "file" {
		return "file:" + strings.TrimSuffix(filepath.Clean(r.path), ".git")
	}
	host := strings.ToLower(strings.TrimSuffix(r.host, "."))
	port := r.port
	if port == map[string]string{"https": "443", "http": "80", "ssh": "22"}[r.scheme] {
		port = ""
	}
	if port != "" {
		host = net.JoinHostPort(host, port)
	}
	if known, ok := tunnels[host]; ok {
		host = known
	}
	p := strings.ToLower(strings.Trim(path.Clean("/"+r.path), "/"))
	if rest, ok := strings.CutPrefix(p, "v3/"); ok && host == "ssh.dev.azure.com" { // its https form is another
		if i := strings.LastIndexByte(rest, '/'); i > 0 {
			host, p = "dev.azure.com", rest[:i]+"/_git"+rest[i:]
		}
	}
	return host + "/" + strings.TrimSuffix(p, ".git")
}

// SameRepository reports whether two URLs name the same repository. The forms git@host:path,
// ssh:// and https:// are alike, so are user, a port that is the scheme's own, a ".git" suffix,
// slashes at the end, and the case of host and path. Other ports must be equal. A URL that
// cannot be parsed is the same as no other.
func SameRepository(a, b string) bool {
	ka, kb := repositoryKey(a), repositoryKey(b)
	return ka != "" && ka == kb
}

func repositoryKey(s string) string {
	if rest, ok := strings.CutPrefix(s, "oci://"); ok {
		return "oci:" + strings.ToLower(strings.Trim(rest, "/"))
	}
	r, ok, err := parseRemote(strings.TrimSpace(s))
	switch {
	case err != nil || s == "":
		return ""
	case ok:
		return r.canonical()
	default:
		return remote{scheme: "file", path: s}.canonical()
	}
}

func hostPort(host, port string) string {
	if port == "" {
		return host
	}
	return net.JoinHostPort(host, port)
}
