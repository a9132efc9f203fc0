package ui

import (
	"slices"
	"strings"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/gitops"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
)

// problems lists all that is wrong with a Kustomization. Problems of one code
// stand together under its name, and a hint comes once in a run, after those that
// share it; one that is alone with its code is a single line.
func (l layout) problems(all []gitops.Problem) []string {
	var codes []string
	byCode := map[string][]gitops.Problem{}
	for _, p := range all {
		if !slices.Contains(codes, p.Code) {
			codes = append(codes, p.Code)
		}
		byCode[p.Code] = append(byCode[p.Code], p)
	}
	var lines []string
	for _, code := range codes {
		group, indent := byCode[code], 4
		if len(group) > 1 && code != "" {
			lines = append(lines, spaces(4)+l.paint.bold(cleanLine(code))+": "+plural(len(group), "problem"))
			indent = 6
		}
		var hints []string
		for _, p := range group {
			text := l.finding(p, indent == 4)
			lines = append(lines, fold(spaces(indent), text, indent+2, l.width)...)
			lines = append(lines, l.detail(p.Detail, indent+4)...)
			if p.Hint != "" && !slices.Contains(hints, p.Hint) && !l.hinted[p.Hint] {
				hints = append(hints, p.Hint)
			}
		}
		for _, h := range hints {
			lines = append(lines, l.hint(indent, h)...)
			if l.hinted != nil {
				l.hinted[h] = true
			}
		}
	}
	return lines
}

// finding is "file:line: object: message (code)", without what the message says
// already.
func (l layout) finding(p gitops.Problem, withCode bool) string {
	message := strings.TrimSpace(clean(p.Message))
	var where []string
	for _, w := range []string{object.Where(cleanLine(p.File), p.Line), cleanLine(p.Object)} {
		if w != "" && !strings.HasPrefix(message, w) {
			where = append(where, w)
		}
	}
	if len(where) > 0 {
		where[0] = l.paint.bold(where[0])
	}
	text := strings.Join(append(where, message), ": ")
	if withCode && p.Code != "" {
		text += " (" + cleanLine(p.Code) + ")"
	}
	return text
}

// warning is the same for a Warning; -v has its detail.
func (l layout) warning(w gitops.Warning) []string {
	lines := fold("", l.paint.boldMagenta("warning:")+" "+l.finding(gitops.Problem(w), true), 2, l.width)
	if l.verbose {
		lines = append(lines, l.detail(w.Detail, 4)...)
	}
	return lines
}

// detail is what else is known of a problem, or a warning.
func (l layout) detail(text string, indent int) []string {
	if text == "" {
		return nil
	}
	var lines []string
	for _, d := range strings.Split(clean(text), "\n") {
		lines = append(lines, fold(spaces(indent), d, indent+2, l.width)...)
	}
	return lines
}

// hint is what to type, or to do.
func (l layout) hint(indent int, text string) []string {
	return fold(spaces(indent), l.paint.cyan("hint:")+" "+strings.TrimSpace(clean(Typed(l.typed, text))), indent+2, l.width)
}
