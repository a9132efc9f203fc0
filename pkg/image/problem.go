package image

import (
	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
)

// Problem is something wrong with a policy, a repository, a marker or a choice.
// Code is one word for scripts.
type Problem struct {
	Code    string
	File    string
	Line    int // 1-based, 0 if unknown
	Object  string
	Field   string // of the object that is wrong, as in spec.update.strategy; "" for none in particular
	Message string
	Hint    string
}

// Error is "file:line: object: message".
func (p *Problem) Error() string {
	text := p.Message
	if p.Object != "" {
		text = p.Object + ": " + text
	}
	if where := object.Where(p.File, p.Line); where != "" {
		text = where + ": " + text
	}
	return text
}
