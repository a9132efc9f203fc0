package source

import (
	"testing"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/source/gitserver"
)

// The order and the revisions are Flux's: pkg/git, Client.clone and Commit.AbsoluteReference.
func TestReferencesOfAGitRepository(t *testing.T) {
	t.Parallel()
	s := newServed(t)
	runGit(t, s.root+"/fleet.git", s.env, "branch", "-m", "main", "master")
	for name, source := range map[string]string{"http": serve(t, gitserver.Backend(t, s.root)) + "/fleet.git", "file": "file://" + s.root + "/fleet.git"} {
		for _, c := range []struct {
			ref          Reference
			want, branch string
		}{
			{Reference{}, "master@sha1:" + s.third, "master"},
			{Reference{Branch: "release"}, "release@sha1:" + s.first, "release"},
			{Reference{Branch: "release", SemVer: ">=1.0.0"}, "v1.1.0@sha1:" + s.second, ""},
			{Reference{Branch: "release", SemVer: ">=1.1.0", Tag: "v1.0.0"}, "v1.0.0@sha1:" + s.first, ""},
			{Reference{SemVer: "1.x", Tag: "v1.0.0", Name: "refs/heads/master"}, "refs/heads/master@sha1:" + s.third, "master"},
			{Reference{Name: "refs/tags/v1.1.0"}, "refs/tags/v1.1.0@sha1:" + s.second, ""},
			{Reference{Name: "refs/tags/v1.1.0^{}"}, "refs/tags/v1.1.0^{}@sha1:" + s.second, ""},
			{Reference{Name: "refs/pull/7/head"}, "refs/pull/7/head@sha1:" + s.first, ""},
			{Reference{Name: "refs/heads/master", Commit: s.first}, "sha1:" + s.first, ""},
			{Reference{Branch: "master", Commit: s.old}, "master@sha1:" + s.old, "master"},
		} {
			snap := open(t, Options{Source: source, Reference: &c.ref})
			is(t, name+" "+c.ref.String(), snap.Revision, c.want)
			is(t, name+" branch of "+c.ref.String(), snap.Branch, c.branch)
		}
		for _, c := range []struct {
			ref  Reference
			want []string
		}{
			{Reference{Branch: "relaese"}, []string{`no branch "relaese"`, "the branches are master, release", "did you mean release?"}},
			{Reference{Branch: "gone", Commit: s.third}, []string{`no branch "gone"`}},
			{Reference{Tag: "v9"}, []string{`no tag "v9"`, "the tags are v1.0.0, v1.1.0"}},
			{Reference{SemVer: ">=9.0.0"}, []string{`no tag in the semver range ">=9.0.0"`, "the tags are v1.0.0, v1.1.0"}},
			{Reference{SemVer: "newest"}, []string{`"newest" is not a range of versions`}},
			{Reference{Name: "heads/master"}, []string{`no reference "heads/master"`}},
			{Reference{Commit: "abcdef"}, []string{`spec.ref.commit "abcdef" is not a commit`, "40 digits"}},
		} {
			refused(t, Options{Source: source, Reference: &c.ref}, c.want...)
		}
	}
	runGit(t, s.root+"/fleet.git", s.env, "branch", "-m", "master", "main")
	refused(t, Options{Source: "file://" + s.root + "/fleet.git", Reference: &Reference{}}, `no branch "master"`, "spec.ref.branch; without it Flux takes master")
}
