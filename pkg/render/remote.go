package render

import (
	"path/filepath"
	"regexp"
	"strings"
)

// isLocal is the rule of fluxcd/pkg/kustomize's IsLocalRelativePath, for
// spec.components.
func isLocal(p string) bool {
	lower := strings.ToLower(p)
	for _, prefix := range []string{"git::", "gh:", "ssh://", "https://", "http://", "git@", "github.com:", "github.com/"} {
		if strings.HasPrefix(lower, prefix) && len(p) > len(prefix) {
			return false
		}
	}
	return !filepath.IsAbs(p) && !filepath.IsAbs(strings.TrimPrefix(lower, "file://"))
}

var userAtHost = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9-]*@`)

// isRemote reports whether kustomize takes p for a URL, of a repository or of
// a file, before it looks for a file of that name (its NewRepoSpecFromURL and
// IsRemoteFile).
func isRemote(p string) bool {
	lower := strings.TrimPrefix(strings.ToLower(p), "git::")
	for _, prefix := range []string{"ssh://", "https:", "http:", "file://", "github.com/", "github.com:"} {
		if strings.HasPrefix(lower, prefix) {
			return true
		}
	}
	user := userAtHost.FindString(lower)
	if user == "" {
		return false
	}
	rest := lower[len(user):]
	i := strings.IndexAny(rest, ":/")
	if i < 0 {
		return false
	}
	repo := rest[i+1:]
	return strings.HasPrefix(rest, "github.com") || strings.Contains(repo, "/") || strings.Contains(repo, ".git")
}
