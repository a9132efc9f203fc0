package ui

import (
	"bytes"
	"encoding/json"
	"fmt"

	"sigs.k8s.io/yaml"

	"github.com/kubectl-gitops/kubectl-gitops/pkg/gitops"
	"github.com/kubectl-gitops/kubectl-gitops/pkg/object"
)

// Build writes what was rendered to stdout: YAML documents, each with a comment
// that says where it comes from, a List in JSON, or names. What is wrong goes to
// stderr.
func (u *UI) Build(built []gitops.Built) error {
	u.drain()
	u.mu.Lock()
	defer u.mu.Unlock()
	u.erase()
	u.releaseWarnings()
	u.run = newRun()
	var out bytes.Buffer
	items := []any{}
	for _, b := range built {
		if len(b.Problems) > 0 {
			l := u.layout(&u.err)
			lines := []string{l.paint.boldRed(u.name(b.Ref) + ": failed")}
			var commands []string
			for _, p := range b.Problems {
				commands = append(commands, u.annotate("error", p))
			}
			u.put(&u.err, append(lines, l.problems(b.Problems)...), commands...)
		}
		for _, o := range b.Objects {
			switch u.o.Output {
			case "name":
				fmt.Fprintln(&out, cleanLine(o.ID().Short()))
			case "json":
				items = append(items, o.Object)
			default:
				text, err := yaml.Marshal(o.Object)
				if err != nil {
					return fmt.Errorf("%s: %w", o.ID(), err)
				}
				from := b.Ref.String()
				if where := object.Where(o.File, o.Line); where != "" {
					from = where + ", " + from
				}
				fmt.Fprintf(&out, "---\n# %s\n%s", cleanLine(from), text)
			}
		}
	}
	if u.o.Output == "json" {
		text, err := asList(items)
		if err != nil {
			return err
		}
		out.Write(text)
	}
	u.out.write(out.String())
	return u.out.err()
}

// asList is objects as a List in JSON.
func asList(items []any) ([]byte, error) {
	text, err := json.MarshalIndent(map[string]any{"apiVersion": "v1", "kind": "List", "items": items}, "", "  ")
	return append(text, '\n'), err
}
