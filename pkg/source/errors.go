package source

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"regexp"
	"strings"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
)

// ErrNoRepository is the error of Open without a Source outside of a Git repository.
var ErrNoRepository = errors.New("no Git repository")

// Error is a refusal: "where: what: why", and what to type next. No part of it holds a secret.
type Error struct {
	Where string // a path, a URL without credentials, a ref
	What  string
	Why   string // "" where What says it all
	Fix   string // what Hint returns

	err error
}

func (e *Error) Error() string {
	var parts []string
	for _, p := range []string{e.Where, e.What, e.Why} {
		if p != "" {
			parts = append(parts, redact(p))
		}
	}
	return strings.Join(parts, ": ")
}

// Hint is what to type, or "".
func (e *Error) Hint() string { return redact(e.Fix) }

func (e *Error) Unwrap() error { return e.err }

// unreadable says that the file or directory at where cannot be read.
func unreadable(where string, err error) error {
	var e *Error
	if errors.As(err, &e) {
		moved := *e
		moved.Where = where
		return &moved
	}
	return &Error{Where: where, What: "cannot be read", Why: cause(err), err: err}
}

// absence explains why a path that is there is not in a snapshot. It is fs.ErrNotExist.
type absence string

func (a absence) Error() string        { return string(a) }
func (a absence) Is(target error) bool { return target == fs.ErrNotExist }

// LeftOut is why, to be said after the path.
func (a absence) LeftOut() string { return string(a) }

// cause is the innermost message of err: without the operation, path and URL that errors of the
// standard library put before it, which Error.Where names already.
func cause(err error) string {
	for {
		var p *fs.PathError
		var l *os.LinkError
		var u *url.Error
		switch {
		case errors.As(err, &p):
			err = p.Err
		case errors.As(err, &l):
			err = l.Err
		case errors.As(err, &u):
			err = u.Err
		default:
			return err.Error()
		}
	}
}

var userinfo = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*)://([^/\s"']*)@`)

// redact takes user names and passwords out of the URLs in a text. The user of an ssh URL, which
// is no secret and part of the address, stays.
func redact(text string) string {
	return userinfo.ReplaceAllStringFunc(text, func(m string) string {
		scheme, rest, _ := strings.Cut(m, "://")
		user, _, _ := strings.Cut(strings.TrimSuffix(rest, "@"), ":")
		if strings.Contains(strings.ToLower(scheme), "ssh") && user != "" && !strings.Contains(user, "@") {
			return scheme + "://" + user + "@"
		}
		return scheme + "://"
	})
}

// nearest is the one of names that a typing error may have turned into name, or "".
func nearest(name string, names []string) string {
	best, found := max(1, min(3, len(name)/2)), ""
	for _, n := range names {
		if d := object.Distance(strings.ToLower(name), strings.ToLower(n)); d <= best && n != name {
			best, found = d-1, n
		}
	}
	return found
}

// some lists at most n names: "a, b, c and 12 more".
func some(names []string, n int) string {
	if len(names) <= n {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:n], ", "), len(names)-n)
}
