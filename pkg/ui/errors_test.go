package ui

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
)

// located is an error that knows all that we ask for.
type located struct {
	message, hint, file string
	line                int
}

func (e located) Error() string { return e.message }
func (e located) Hint() string  { return e.hint }
func (e located) File() string  { return e.file }
func (e located) Line() int     { return e.line }

// reworded hides the text of what it wraps.
type reworded struct{ error }

func (e reworded) Error() string { return "cannot go on" }
func (e reworded) Unwrap() error { return e.error }

// advised adds a hint to any error.
type advised struct {
	error
	hint string
}

func (e advised) Unwrap() error { return e.error }
func (e advised) Hint() string  { return e.hint }

func TestError(t *testing.T) {
	behind := located{message: "cluster is at main@sha1:9d22, your HEAD 3cfd is 14 commits behind", hint: "git pull, or --allow-rollback"}
	field := located{message: "apps/deployment.yaml:31: name is not a field", hint: "kubectl explain it", file: "apps/deploy,ment.yaml", line: 31}
	other := located{message: "apps/job.yaml:4: no kind", hint: "kubectl explain it", file: "apps/job.yaml"}
	for _, tt := range []struct {
		title  string
		err    error
		github bool
		want   string
	}{
		{"nothing", nil, true, ""},
		{"plain", errors.New("no such path"), true, "error: no such path\n"},
		{"hint", behind, false, "error: " + behind.message + "\nhint: git pull, or --allow-rollback\n"},
		{"wrapped", fmt.Errorf("sync: %w", behind), false, "error: sync: " + behind.message + "\nhint: git pull, or --allow-rollback\n"},
		{"reworded", reworded{behind}, false, "error: cannot go on\nhint: git pull, or --allow-rollback\n"},
		{"joined, one hint for both", errors.Join(field, other), false,
			"error: apps/deployment.yaml:31: name is not a field\nerror: apps/job.yaml:4: no kind\nhint: kubectl explain it\n"},
		{"joined, a hint each", errors.Join(field, errors.New("b"), other), false,
			"error: apps/deployment.yaml:31: name is not a field\nhint: kubectl explain it\nerror: b\nerror: apps/job.yaml:4: no kind\nhint: kubectl explain it\n"},
		{"wrapped around a join", fmt.Errorf("plan: %w", errors.Join(errors.New("a"), fmt.Errorf("b: %w", errors.Join(errors.New("c"), errors.New("d"))))), false,
			"error: plan: a\nerror: plan: b: c\nerror: plan: b: d\n"},
		{"two in one sentence", fmt.Errorf("%w, after %w", behind, errors.New("a retry")), false,
			"error: " + behind.message + ", after a retry\nhint: git pull, or --allow-rollback\n"},
		{"hints of two floors", advised{behind, "see the README"}, false,
			"error: " + behind.message + "\nhint: see the README\nhint: git pull, or --allow-rollback\n"},
		{"several lines", errors.New("kustomize: bad patch\n  op: add\n  path: /x"), false,
			"error: kustomize: bad patch\n    op: add\n    path: /x\n"},
		{"control characters", errors.New("a\x1b[2Jb\n::error::c"), true, "error: a\\x1b[2Jb\n  \\x3a:error::c\n"},
		{"annotated", fmt.Errorf("sync: %w", errors.Join(field, other, located{message: "50%\nof it", file: "a%b:c"})), true,
			"error: sync: apps/deployment.yaml:31: name is not a field\nerror: sync: apps/job.yaml:4: no kind\nhint: kubectl explain it\nerror: sync: 50%\n  of it\n" +
				"::error file=apps/deploy%2Cment.yaml,line=31::sync: apps/deployment.yaml:31: name is not a field%0Ahint: kubectl explain it\n" +
				"::error file=apps/job.yaml::sync: apps/job.yaml:4: no kind%0Ahint: kubectl explain it\n" +
				"::error file=a%25b%3Ac::sync: 50%25%0Aof it\n"},
	} {
		var b bytes.Buffer
		getenv := env()
		if tt.github {
			getenv = env("GITHUB_ACTIONS", "true")
		}
		p := newPlayer(Options{Err: &b, Getenv: getenv})
		p.ui.Error(tt.err)
		if got := b.String(); got != tt.want {
			t.Errorf("%s: got\n%s\nwant\n%s", tt.title, got, tt.want)
		}
	}
}
