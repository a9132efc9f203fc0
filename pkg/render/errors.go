package render

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
)

// Error is one thing in the source that keeps it from being rendered.
type Error struct {
	File   string // slash path from the source's root, "" when unknown
	Line   int    // 1-based, 0 when unknown
	Object string // as object.ID prints it, "" when it is about no object
	Msg    string // what is wrong; never a value of a Secret
	Fix    string // what to do about it, "" when nothing better than Msg is known

	err error
}

// Error is "file:line: object: message", as far as each is known.
func (e *Error) Error() string {
	msg := e.Msg
	for _, s := range []string{e.Object, object.Where(e.File, e.Line)} {
		if s != "" {
			msg = s + ": " + msg
		}
	}
	return msg
}

// Hint is what to do about it.
func (e *Error) Hint() string { return e.Fix }

// ErrPanicked is below an Error where kustomize gave up on what it was given, such
// as an object whose kind is no kind.
var ErrPanicked = errors.New("kustomize panicked")

// Unwrap is the refusal of the source's own file system, if that was it, or what
// kustomize said where nothing better is known.
func (e *Error) Unwrap() error { return e.err }

// syntaxError is err, without what it quotes, in the form of this package; err is nearly always an
// *object.SyntaxError.
func syntaxError(file string, err error) *Error {
	e := &Error{File: file, Msg: "not valid YAML: " + quiet(err.Error()), Fix: "correct the YAML there"}
	if s, ok := err.(*object.SyntaxError); ok {
		e.Line, e.Msg = s.Line, "not valid YAML: "+quiet(s.Msg)
	}
	return e
}

var (
	// kustomize reports its first attempt (a file) inside the second (a
	// directory), and each directory that it went down; the cause comes last.
	attempt = regexp.MustCompile(`(?s)accumulation err='.*?': `)
	plugin  = regexp.MustCompile("(?s)trouble configuring builtin (\\w+) with config: `.*?`: ")
	// kustomize prints a line of an env file as numbers.
	bytesAsNumbers = regexp.MustCompile(`\[\d+( \d+)+\]`)
	descents       = regexp.MustCompile(`(accumulating (resources|components)( from '[^']*')?|(accumulateDirectory|loader\.New)|recursed (accumulation of|merging from) path '[^']*'|couldn't make target for path '[^']*'|merging resources from '[^']*'): `)
)

// pointers matches a generator as kustomize prints it.
var pointers = regexp.MustCompile(` &\{0x[0-9a-f]+( 0x[0-9a-f]+)*\}`)

// plain takes out of a message of kustomize what is about kustomize itself.
func plain(msg string) string {
	msg = stripRoot(msg)
	for {
		next := descents.ReplaceAllString(attempt.ReplaceAllString(msg, ""), "")
		next = plugin.ReplaceAllString(next, "$1: ")
		if next == msg {
			break
		}
		msg = next
	}
	if len(msg) > 2 && msg[0] == '"' && strings.HasSuffix(msg, `"`) {
		msg = msg[1 : len(msg)-1]
	}
	msg = pointers.ReplaceAllString(msg, "")
	return strings.TrimSpace(bytesAsNumbers.ReplaceAllString(msg, "[…]"))
}

// stripRoot makes the paths in a message start at the source's root.
func stripRoot(msg string) string {
	for _, r := range []string{root, filepath.ToSlash(root)} {
		msg = strings.ReplaceAll(msg, r+string(filepath.Separator), "")
		msg = strings.ReplaceAll(msg, r+"/", "")
		msg = strings.ReplaceAll(msg, r, ".")
	}
	return msg
}

// linkError explains a file that is missing because it is a symbolic link.
func linkError(name, target string) error {
	return fmt.Errorf("%s is a symbolic link (to %s), which Flux leaves out of its artifacts", name, target)
}

const linkFix = "commit the file itself"
