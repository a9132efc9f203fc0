package render

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/envsubst"
	"sigs.k8s.io/kustomize/api/resource"
	"sigs.k8s.io/yaml"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/flux"
)

// substitution is post-build substitution, by the rules of
// fluxcd/pkg/kustomize's SubstituteVariables: ${NAME} and its operators in the
// YAML of each object, whose types are then inferred anew.
type substitution struct {
	b         *build
	variables map[string]string // without newlines
	active    bool
	named     bool // the names of the variables were checked
}

func newSubstitution(b *build) *substitution {
	s := &substitution{b: b, variables: make(map[string]string, len(b.Variables))}
	for name, value := range b.Variables {
		s.variables[name] = strings.ReplaceAll(value, "\n", "")
	}
	post := b.Kustomization.Spec.PostBuild
	s.active = len(s.variables) > 0 || post != nil && post.SubstituteStrategy == kustomizev1.SubstituteStrategyAlways
	return s
}

var variableName = regexp.MustCompile(`^[_[:alpha:]][_[:alpha:][:digit:]]*$`)

// apply substitutes in res, whose JSON and YAML data and text are, and returns
// them anew. It finds every variable that is missing, not the first alone.
func (s *substitution) apply(res *resource.Resource, o rendered, data, text []byte) ([]byte, []byte, []error) {
	if !s.active || res.GetLabels()[flux.SubstituteKey] == "disabled" || res.GetAnnotations()[flux.SubstituteKey] == "disabled" {
		return data, text, nil
	}
	if errs := s.checkNames(); len(errs) > 0 {
		return nil, nil, errs
	}
	if !slices.Contains(text, '$') {
		return data, text, nil // there is nothing that it could change
	}
	out, errs := s.eval(string(text), o)
	if len(errs) > 0 || out == string(text) {
		return data, text, errs
	}
	// Flux goes through a Resource here, which makes floats of all numbers, and
	// so loses digits of integers beyond 2^53; nothing else differs.
	if data, err := yaml.YAMLToJSON([]byte(out)); err != nil {
		return nil, nil, []error{s.invalid(o, err)}
	} else if text, err := yaml.JSONToYAML(data); err != nil {
		return nil, nil, []error{s.invalid(o, err)}
	} else {
		return data, text, nil
	}
}

// checkNames refuses, once, what cannot be the name of a variable.
func (s *substitution) checkNames() []error {
	if s.named {
		return nil
	}
	s.named = true
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(s.variables)) {
		if !variableName.MatchString(name) {
			errs = append(errs, s.b.owner(fmt.Sprintf("spec.postBuild: %q cannot be the name of a variable", name),
				"use letters, digits and _, in postBuild.substitute or as the key in what substituteFrom names"))
		}
	}
	return errs
}

var notSet = regexp.MustCompile(`^variable not set \(strict mode\): "(.*)"$`)

// eval is text with its variables substituted. Each one that strict mode
// misses is noted and then taken as set, to find the next.
func (s *substitution) eval(text string, o rendered) (out string, errs []error) {
	missing := map[string]bool{}
	mapping := func(name string) (string, bool) {
		value, ok := s.variables[name]
		return value, ok || !s.b.Strict || missing[name]
	}
	for {
		out, err := evaluate(text, mapping)
		if err == nil {
			return out, errs
		}
		m := notSet.FindStringSubmatch(err.Error())
		if m == nil {
			return "", append(errs, s.malformed(text, o, err))
		}
		if missing[m[1]] {
			return "", errs
		}
		missing[m[1]] = true
		errs = append(errs, s.missing(m[1], o))
	}
}

// evaluate is envsubst.Eval, which panics on a negative length in
// ${name:offset:length}.
func evaluate(text string, mapping func(string) (string, bool)) (out string, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("bad offset or length")
		}
	}()
	return envsubst.Eval(text, mapping)
}

func (s *substitution) missing(name string, o rendered) error {
	e := o.fail(fmt.Sprintf("${%s}: the variable %s is not set", name, name),
		fmt.Sprintf("set it in spec.postBuild.substitute, give it a default (${%s:=default}), keep it as it is ($${%s}), or label the object %s: disabled", name, name, flux.SubstituteKey))
	e.File, e.Line = s.find(regexp.MustCompile(`\$\{#?`+regexp.QuoteMeta(name)+`\b`), o)
	return e
}

// malformed says which expression does not parse; the parser does not.
func (s *substitution) malformed(text string, o rendered, err error) error {
	cause := err.Error()
	e := o.fail("variable substitution: "+cause,
		fmt.Sprintf("write $$ for a $ that is not a variable's, or label the object %s: disabled", flux.SubstituteKey))
	for at := len(text); at > 0; {
		if at = strings.LastIndex(text[:at], "${"); at < 0 {
			break
		}
		if strings.HasSuffix(text[:at], "$") {
			continue
		}
		if _, err := envsubst.Parse(text[at:]); err == nil {
			continue
		}
		expr, _, _ := strings.Cut(text[at:], "\n")
		if end := strings.IndexByte(expr, '}'); end >= 0 {
			expr = expr[:end+1]
		}
		const most = 40
		if len(expr) > most {
			expr = expr[:most]
		}
		e.File, e.Line = s.find(regexp.MustCompile(regexp.QuoteMeta(expr)), o)
		if !confidential(o.kind) {
			e.Msg = fmt.Sprintf("%s: variable substitution: %s", expr, cause)
		}
		return e
	}
	return e
}

// invalid is err, of reading the YAML after substitution. It quotes no value:
// any of them may be from a Secret.
func (s *substitution) invalid(o rendered, err error) error {
	msg := "is not valid YAML after substitution"
	if !confidential(o.kind) {
		msg += ": " + mask(quiet(err.Error()), slices.Collect(maps.Values(s.variables)))
	}
	return o.fail(msg, `quote the value in the manifest: "${NAME}"`)
}

// confidential reports whether an object of the kind is not to be quoted.
func confidential(kind string) bool { return kind == "Secret" || strings.HasPrefix(kind, "ENC[") }

// find is the line of the source that expr matches: in the object's document,
// else in any file that was read; else the object's own place.
func (s *substitution) find(expr *regexp.Regexp, o rendered) (string, int) {
	if o.doc != nil {
		data := s.b.fs.cache[o.file]
		end := len(data)
		for _, d := range documents(o.file, data) {
			if d.Line > o.line {
				end = min(end, offsetOf(data, d.Line))
			}
		}
		from := offsetOf(data, o.line)
		if line := lineOfMatch(data, from, end, expr); line > 0 {
			return o.file, line
		}
	}
	for _, file := range s.b.fs.files() {
		data := s.b.fs.cache[file]
		if line := lineOfMatch(data, 0, len(data), expr); line > 0 {
			return file, line
		}
	}
	return o.file, o.line
}

// lineOfMatch is the 1-based line of the first match in data[from:end] that no
// $ escapes, 0 if there is none.
func lineOfMatch(data []byte, from, end int, expr *regexp.Regexp) int {
	for _, m := range expr.FindAllIndex(data[from:end], -1) {
		at := from + m[0]
		if at > 0 && data[at-1] == '$' {
			continue
		}
		return 1 + strings.Count(string(data[:at]), "\n")
	}
	return 0
}

// offsetOf is where the 1-based line begins in data.
func offsetOf(data []byte, line int) int {
	at := 0
	for ; line > 1; line-- {
		i := strings.IndexByte(string(data[at:]), '\n')
		if i < 0 {
			return len(data)
		}
		at += i + 1
	}
	return at
}
